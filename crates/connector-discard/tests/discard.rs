//! The sink `discard` through the catalog: it takes batches, reports them at once, and has no options.

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::{Batch, BatchId, Catalog, Durable, Record};
use aqueduct_connector_discard::Config;

#[tokio::test]
async fn what_it_takes_is_durable_at_once() {
    let sink =
        Catalog::default().sink::<Config>().sinks["discard"].configure(serde_json::Value::Null).unwrap();
    let context = SinkContext::new("p");
    let mut sink = sink.open(context).await.unwrap();
    let record = Record {
        topic: "t".into(),
        origin: Default::default(),
        key: Default::default(),
        value: Default::default(),
        headers: Default::default(),
        timestamp_us: None,
    };
    let batch = Batch::new(BatchId(1), vec![record].into(), None);
    assert_eq!(sink.write(&batch).await.unwrap().durable, Durable::All);
    // A handle that is kept would hold the memory of the batch for ever.
    assert_eq!(std::sync::Arc::strong_count(&batch), 1);
    assert_eq!(sink.flush().await.unwrap().durable, Durable::All);
}

#[test]
fn an_option_is_refused() {
    let problems = Catalog::default().sink::<Config>().sinks["discard"]
        .configure(serde_json::json!({ "rate": 1 }))
        .err()
        .unwrap();
    assert!(problems[0].says.contains("unknown field `rate`"), "{problems:?}");
}
