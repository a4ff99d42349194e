//! Tickets of a real Kerberos at a real broker, by a binary built with `--features kerberos`. Only `AQUEDUCT_KERBEROS=1
//! tests/run e2e` runs it: MIT Kerberos and Cyrus SASL are compiled for it.

use std::time::Duration;

use aqueduct_tests::{Aqueduct, Folder, Kerberos, Load, check, until};

const SOON: Duration = Duration::from_secs(60);

#[test]
fn records_pass_with_a_ticket_and_none_without_its_key() {
    let kerberos = Kerberos::start();
    let (kafka, brokers) = kerberos.broker();
    for topic in ["orders", "copy"] {
        kafka.create_topic(topic, 3);
        kafka.allow("User:app", &format!("topic:{topic}"), &["Read", "Write", "Describe"]);
    }
    kafka.allow("User:app", "group:ticketed", &["Read"]);
    kafka.produce(&Load { topic: "orders".into(), ids: 0..1_000, keys: 97, rate: 0 });
    let folder = Folder::new("ticketed");
    let pipeline = |keytab: &str| {
        let sasl = format!("{{ kerberos: {{ principal: app@EXAMPLE.TEST, keytab: {keytab} }} }}");
        let connection = format!("{{ brokers: \"{brokers}\", sasl: {sasl} }}");
        format!(
            "pipeline: ticketed\n\
             source: {{ kafka: {{ connection: {connection}, topics: [orders] }} }}\n\
             sink: {{ kafka: {{ connection: {connection}, topic: copy }} }}\n"
        )
    };
    let (config, cache) = (kerberos.config().display().to_string(), folder.path().join("tickets"));
    let environment = [("KRB5_CONFIG", &*config), ("KRB5CCNAME", &*format!("FILE:{}", cache.display()))];

    folder.write("none.yaml", &pipeline("/no/such.keytab"));
    let mut without = Aqueduct::spawn(folder.path(), &["run", "none.yaml"], &environment);
    without.says("cannot read /no/such.keytab: there is no such file", SOON);
    without.kill();
    assert_eq!(kafka.committed("ticketed", "orders"), 0);

    folder.write("ticketed.yaml", &pipeline(&kerberos.keytab().display().to_string()));
    let mut running = Aqueduct::spawn(folder.path(), &["run", "ticketed.yaml"], &environment);
    until("all is committed", SOON, || (kafka.lag("ticketed", "orders") == 0).then_some(()));
    running.stop();
    assert!(cache.exists(), "there was a ticket");
    check(&kafka.read("orders"), &kafka.read("copy")).assert_exact();
}
