//! What is logged of requests. Alone in its process: whether a line is wanted at all is remembered for all threads, and those
//! of other tests, which want none, might be asked first.
#![allow(missing_docs, clippy::unwrap_used)]

mod stub;

use std::io::Write;
use std::sync::{Arc, Mutex};

use aqueduct_api::registry::{Registering, SchemaId, SchemaKind, SchemaText};
use serde_json::json;
use stub::{Reply, Stub};

const REGISTER: Registering = Registering { allowed: true, normalize: false };
const SEVEN: SchemaId = SchemaId::Number(7);

#[tokio::test]
async fn logs_have_paths_and_no_secrets() {
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);
    impl Write for Lines {
        fn write(&mut self, some: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(some)
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let lines = Lines::default();
    let made = lines.clone();
    let logs = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE);
    let _guard = tracing::subscriber::set_default(logs.with_writer(move || made.clone()).finish());
    let stub = Stub::start(|_| Reply::ok(json!({ "id": 1, "schema": "\"a-secret-schema\"" }))).await;
    let login = stub.open_with(json!({ "user": "app", "password": "hunter2" }));
    login.schema(SEVEN).await.unwrap();
    login.id("a-value", &SchemaText::new(SchemaKind::Avro, "\"a-secret-schema\""), REGISTER).await.unwrap();
    stub.open_with(json!({ "token": "hunter2" })).schema(SEVEN).await.unwrap();
    let came: Vec<String> = stub.asked().into_iter().filter_map(|asked| asked.authorization).collect();
    assert_eq!(came, ["Basic YXBwOmh1bnRlcjI=", "Basic YXBwOmh1bnRlcjI=", "Bearer hunter2"]);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("path=\"/schemas/ids/7\" status=200"), "{text}");
    for secret in ["hunter2", "aHVudGVy", "a-secret-schema", "YXBwOmh1bnRlcjI="] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}
