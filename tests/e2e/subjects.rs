//! What `aqueduct check --connect` prints about a schema registry and its subjects, word for word.

use std::process::Command;

use aqueduct_tests::{Folder, SchemaRegistry, binary, free_ports, url};
use serde_json::json;

const OBJECT: &str =
    r#"{"title":"Order","type":"object","properties":{"id":{"type":"integer"}},"required":["id"]}"#;

struct Asked {
    folder: Folder,
    port: u16,
    password: &'static str,
    /// What the source reads, and where the sink writes it.
    topics: [&'static str; 2],
}

impl Asked {
    /// Whether it ended well, and its lines about the registry of the sink.
    fn about(&self, value: &str) -> (bool, String) {
        let (url, password, [read, written]) = (url(self.port), self.password, self.topics);
        // No broker is needed to ask a registry: what is said about the ends is not looked at.
        let connection = "connection: { brokers: \"127.0.0.1:1\" }";
        let pipeline = format!(
            "pipeline: asked\nregistry: {{ url: \"{url}\", user: app, password: \"{password}\" }}\n\
             source: {{ kafka: {{ {connection}, topics: {read} }}, value: json }}\n\
             sink: {{ kafka: {{ {connection}, topic: \"{written}\" }}, value: {value} }}\n"
        );
        self.folder.write("asked.yaml", &pipeline);
        let mut command = Command::new(binary());
        command.current_dir(self.folder.path()).args([
            "check",
            "--connect",
            "--patience",
            "2s",
            "asked.yaml",
        ]);
        let done = command.output().expect("the binary runs");
        let out = String::from_utf8(done.stdout).expect("text");
        assert!(out.starts_with("1 pipeline is fine\n"), "{out}{}", String::from_utf8_lossy(&done.stderr));
        assert!(out.contains("problem  asked, source.kafka: nothing listens at 127.0.0.1:1"), "{out}");
        let mut ours = false;
        let lines = out.lines().filter(|line| {
            ours = line.contains("asked, registry of the sink: ") || ours && line.starts_with("    ");
            ours
        });
        let lines: Vec<&str> = lines.collect();
        let good = lines.iter().all(|line| line.starts_with("ok "));
        (good, lines.join("\n").replace("asked, registry of the sink: ", ""))
    }
}

#[test]
fn check_asks_a_registry_about_the_subjects_of_a_sink() {
    let registry = SchemaRegistry::start_with("app:app-secret");
    let topics = ["[orders, refunds]", "{topic}.checked"];
    let mut asked =
        Asked { folder: Folder::new("asked"), port: registry.port, password: "app-secret", topics };
    registry.post("orders.checked-value", &json!({ "schemaType": "JSON", "schema": OBJECT }));
    asked.folder.write("order.json", OBJECT);
    asked.folder.write("other.json", &OBJECT.replace("integer", "string"));
    let (url, place) = (registry.url(), format!("127.0.0.1:{}", registry.port));
    let met = format!(
        "ok       schema registry {place} answers at 127.0.0.1\n\
         ok       schema registry {place} is asked without encryption\n\
         ok       schema registry {place} lets us in as user `app`\n\
         ok       schema registry {place} serves JSON, PROTOBUF, AVRO"
    );
    let says = |good: bool, lines: &str| (good, format!("{met}\n{lines}"));

    assert_eq!(
        asked.about("{ json_schema: { schema: { file: order.json } } }"),
        says(
            true,
            "ok       subject `orders.checked-value` has the schema of the file as id 1\n\
             ok       subject `refunds.checked-value` is not there yet and will be registered"
        )
    );
    assert_eq!(
        asked.about("{ json_schema: { schema: { file: other.json } } }"),
        says(
            false,
            "problem  subject `orders.checked-value` refuses the schema of the file: the registry calls it incompatible, and \
             does not say why\n         \
             change the schema so that it is compatible, or the rule of the subject\n\
             ok       subject `refunds.checked-value` is not there yet and will be registered"
        )
    );
    let refunds = format!("(registry={url}, subject=refunds.checked-value)");
    assert_eq!(
        asked.about("{ json_schema: { schema: { file: order.json }, register: false } }"),
        says(
            false,
            &format!(
                "ok       subject `orders.checked-value` has the schema of the file as id 1\n\
                 problem  the schema is not registered under subject `refunds.checked-value`: Subject 'refunds.checked-value' \
                 not found. {refunds}\n         \
                 register it there, or allow that it is registered"
            )
        )
    );
    assert_eq!(
        asked.about("{ json_schema: { schema: latest } }"),
        says(
            false,
            &format!(
                "ok       subject `orders.checked-value` has schema id 1\n\
                 problem  the schema registry does not know subject `refunds.checked-value`, the latest version: Subject \
                 'refunds.checked-value' not found. {refunds}"
            )
        )
    );
    // Nobody knows yet what will be read, and the one topic that is written is known all the same.
    asked.topics = ["{ pattern: '.*', except: [orders.checked] }", "orders.checked"];
    assert_eq!(
        asked.about("{ json_schema: { schema: { file: order.json } } }"),
        says(true, "ok       subject `orders.checked-value` has the schema of the file as id 1")
    );
    what_does_not_let_us_in_is_not_asked_about_subjects(&mut asked, &place);
}

fn what_does_not_let_us_in_is_not_asked_about_subjects(asked: &mut Asked, place: &str) {
    asked.password = "hunter2";
    let refused = format!(
        "ok       schema registry {place} answers at 127.0.0.1\n\
         ok       schema registry {place} is asked without encryption\n\
         problem  the schema registry {place} does not let us in as user `app`: 401 Unauthorized\n         \
         check `registry.user` and `registry.password`, or `registry.token`"
    );
    assert_eq!(asked.about("json_schema"), (false, refused));
    asked.port = free_ports(1);
    let place = format!("127.0.0.1:{}", asked.port);
    let away = format!(
        "problem  the schema registry {place} cannot be reached: Connection refused (os error 111)\n         \
         see whether it runs, and whether a firewall lets us through"
    );
    assert_eq!(asked.about("json_schema"), (false, away));
}
