//! Several runners share one consumer group: one is killed, one is added, one is stopped in good order.

use std::thread::sleep;
use std::time::Duration;

use crate::scene::Scene;

#[test]
fn runners_come_and_go_and_nothing_is_lost_or_doubled() {
    let scene = Scene::new();
    let pipeline = scene.pipeline();
    std::thread::scope(|scope| {
        let producing = scope.spawn(|| scene.produce(0..60_000, 2_500));
        let (mut first, _) = scene.run(&pipeline);
        let (mut second, _) = scene.run(&pipeline);
        sleep(Duration::from_secs(6));
        first.kill();
        sleep(Duration::from_secs(4));
        let (mut third, _) = scene.run(&pipeline);
        sleep(Duration::from_secs(5));
        second.stop();
        // What it had read was written and committed when it left: the other goes on where it stopped.
        let report = scene.check();
        assert!(report.doubled.is_empty() && report.disordered.is_empty(), "{report:?}");
        sleep(Duration::from_secs(3));
        let (mut fourth, _) = scene.run(&pipeline);
        producing.join().expect("all is produced");
        scene.until_done(Duration::from_secs(60));
        third.stop();
        fourth.stop();
    });
    scene.check().assert_exact();
}

#[test]
fn tasks_of_one_process_share_the_topic() {
    let scene = Scene::new();
    let text = scene.pipeline().text() + "tasks: 3\n";
    std::thread::scope(|scope| {
        scope.spawn(|| scene.produce(0..40_000, 8_000));
        let (mut aqueduct, _) = scene.run_text(&text);
        sleep(Duration::from_secs(6));
        // Killed in the middle: three members of the group die at once.
        aqueduct.kill();
    });
    let (mut aqueduct, _) = scene.run_text(&text);
    scene.until_done(Duration::from_secs(60));
    aqueduct.stop();
    scene.check().assert_exact();
}
