//! Kafka topics as source and sink, on librdkafka.

pub mod bench;
mod client;
mod config;
pub mod diagnosis;
mod offset_admin;
mod probe;
mod sink;
mod source;

use std::sync::Arc;

use aqueduct_api::catalog::{
    Duplicates, KeepsOffsets, ProbeContext, SinkConnector, SinkContext, SinkTraits, SourceConnector,
    SourceContext, SourceTraits, TopicResolver,
};
use aqueduct_api::{Finding, OffsetAdmin, Problem, Reads, Result, Sink, Source, System};
use aqueduct_kafka_client::{check_properties, credentials};
use async_trait::async_trait;

pub use config::{
    Assignor, GroupProtocol, Isolation, Moment, NewTopic, OnLostOffsets, OnMissingTopic, Pattern, SinkConfig,
    SourceConfig, Start, TopicSelection, Writes,
};

/// `kafka`: topics, read as a member of a consumer group and written by an idempotent or a transactional producer.
pub struct Topics;

#[async_trait]
impl SourceConnector for Topics {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "reads Kafka topics as a member of a consumer group";
    type Config = SourceConfig;

    fn check(config: &SourceConfig) -> Vec<Problem> {
        let mut problems = config.check();
        if problems.is_empty() {
            problems.extend(credentials::check(&config.connection));
            problems.extend(check_properties("connection.client", &config.connection.client));
            problems.extend(check_properties("client", &config.client));
        }
        problems
    }

    fn traits(config: &SourceConfig) -> SourceTraits {
        let (keeps_offsets, tasks_max) = match config.is_assigned() {
            false => (KeepsOffsets::Always, None),
            true => (KeepsOffsets::UnlessStored, Some(config.partitions.values().map(Vec::len).sum())),
        };
        let transactions = config.transactions();
        SourceTraits { keeps_offsets, tasks_max, finite: false, typed: false, transactions }
    }

    fn describe(config: &SourceConfig, pipeline: &str) -> String {
        let group = config.group.as_deref().unwrap_or(pipeline);
        let note = client::isolation_note(config.isolation);
        if !config.is_assigned() {
            return format!("kafka {}, group {group}{note}", config.topics);
        }
        let named = config.partitions.iter();
        let named: Vec<String> = named.map(|(topic, of)| format!("{topic} {of:?}")).collect();
        format!("kafka {}, offsets of group {group}{note}", named.join(", "))
    }

    fn reads(config: &SourceConfig, pipeline: &str) -> Option<Reads> {
        Some(config.reads(pipeline))
    }

    async fn system(config: Arc<SourceConfig>, context: ProbeContext) -> Result<Option<System>> {
        let group = config.group.as_deref().unwrap_or(&context.pipeline).to_owned();
        let ask = move || {
            let client = client::consumer_config(&config, &group, &probe::client_id(&context.pipeline));
            probe::system(&config.connection, client, context.patience).map(Some)
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Ok(None))
    }

    async fn open(config: Arc<SourceConfig>, context: SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(source::open(&config, &context)?))
    }

    async fn probe(config: Arc<SourceConfig>, context: ProbeContext) -> Vec<Finding> {
        let ask = move || probe::source(&config, &context.pipeline, context.patience);
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }

    async fn offset_admin(
        config: Arc<SourceConfig>,
        pipeline: Arc<str>,
    ) -> Result<Option<Box<dyn OffsetAdmin>>> {
        Ok(Some(Box::new(offset_admin::open(config, &pipeline)?)))
    }
}

#[async_trait]
impl SinkConnector for Topics {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "writes Kafka topics, idempotently and acknowledged by all replicas";
    type Config = SinkConfig;

    fn check(config: &SinkConfig) -> Vec<Problem> {
        let mut problems = config.check();
        if problems.is_empty() {
            problems.extend(credentials::check(&config.connection));
            problems.extend(check_properties("connection.client", &config.connection.client));
            problems.extend(check_properties("client", &config.client));
        }
        problems
    }

    fn traits(config: &SinkConfig) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Visible,
            transactions: Ok(config.connection.brokers.system()),
            value_format: None,
        }
    }

    fn topic(config: &SinkConfig) -> Option<TopicResolver> {
        sink::topic(&config.topic)
    }

    fn writes(config: &SinkConfig) -> Option<aqueduct_api::Writes> {
        let (system, topic) = (config.connection.brokers.addresses(), config.topic.clone());
        Some(aqueduct_api::Writes { system, topic, option: "topic" })
    }

    async fn system(config: Arc<SinkConfig>, context: ProbeContext) -> Result<Option<System>> {
        let ask = move || {
            let client = client::producer_config(&config, &probe::client_id(&context.pipeline), None);
            probe::system(&config.connection, client, context.patience).map(Some)
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Ok(None))
    }

    fn describe(config: &SinkConfig) -> String {
        format!("kafka {}, {}{}", config.topic.as_str(), config.compression.as_str(), sink::note(config))
    }

    async fn open(config: Arc<SinkConfig>, context: SinkContext) -> Result<Box<dyn Sink>> {
        if context.transactional {
            return Ok(Box::new(sink::open_transactional(config, &context)?));
        }
        Ok(Box::new(sink::open(config, &context)?))
    }

    async fn probe(config: Arc<SinkConfig>, context: ProbeContext) -> Vec<Finding> {
        let ask = move || probe::sink(&config, &context);
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }
}
