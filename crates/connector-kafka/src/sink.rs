//! The sink: which producer writes, and whether in transactions.

mod classifier;
mod deliveries;
mod librdkafka;
mod own_producer;
mod topic_name;
mod topics;
mod topics_sink;
mod transaction;
mod watch;

use std::sync::Arc;

use aqueduct_api::Result;
use aqueduct_api::catalog::SinkContext;

pub(crate) use self::topic_name::topic;
use self::topics_sink::TopicsSink;
use self::transaction::TransactionSink;
use crate::config::SinkConfig;

/// A sink that writes with the idempotent producer.
pub(crate) fn open(config: Arc<SinkConfig>, context: &SinkContext) -> Result<TopicsSink> {
    TopicsSink::open(config, context, None)
}

/// A sink that writes in transactions.
pub(crate) fn open_transactional(config: Arc<SinkConfig>, context: &SinkContext) -> Result<TransactionSink> {
    let id = transaction::id(&config, context);
    Ok(TransactionSink::new(TopicsSink::open(config, context, Some(id))?))
}

/// For `aqueduct plan`: that librdkafka writes is worth saying, it costs more.
pub(crate) fn note(config: &SinkConfig) -> &'static str {
    if own_producer::suits(config) { "" } else { ", by librdkafka" }
}
