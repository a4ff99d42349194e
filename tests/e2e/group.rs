//! Several runners share one consumer group: one is killed, one is added, one is stopped in good order.

use std::thread::sleep;
use std::time::Duration;

use crate::fixture::Fixture;

#[test]
fn runners_come_and_go_and_nothing_is_lost_or_doubled() {
    let fixture = Fixture::new();
    let pipeline = fixture.pipeline();
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| fixture.produce(0..60_000, 2_500));
        let (mut first, _) = fixture.run(&pipeline);
        let (mut second, _) = fixture.run(&pipeline);
        sleep(Duration::from_secs(6));
        first.kill();
        sleep(Duration::from_secs(4));
        let (mut third, _) = fixture.run(&pipeline);
        sleep(Duration::from_secs(5));
        second.stop();
        // What it had read was written and committed when it left: the other goes on where it stopped.
        let report = fixture.check();
        assert!(report.doubled.is_empty() && report.disordered.is_empty(), "{report:?}");
        sleep(Duration::from_secs(3));
        let (mut fourth, _) = fixture.run(&pipeline);
        producing.join().expect("all is produced");
        fixture.until_done(Duration::from_secs(60));
        third.stop();
        fourth.stop();
    });
    fixture.check().assert_exact();
}

#[test]
fn tasks_of_one_process_share_the_topic() {
    let fixture = Fixture::new();
    let text = fixture.pipeline().text() + "tasks: 3\n";
    std::thread::scope(|scope| {
        scope.spawn(|| fixture.produce(0..40_000, 8_000));
        let (mut aqueduct, _) = fixture.run_text(&text);
        sleep(Duration::from_secs(6));
        // Killed in the middle: three members of the group die at once.
        aqueduct.kill();
    });
    let (mut aqueduct, _) = fixture.run_text(&text);
    fixture.until_done(Duration::from_secs(60));
    aqueduct.stop();
    fixture.check().assert_exact();
}
