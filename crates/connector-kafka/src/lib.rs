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
    Block, Duplicates, KeepsOffsets, ProbeContext, SinkConnector, SinkContext, SinkTraits, SourceConnector,
    SourceContext, SourceTraits, TopicResolver,
};
use aqueduct_api::{Finding, OffsetAdmin, Problem, Reads, Result, Sink, Source, System};
use aqueduct_kafka_client::{check_properties, credentials};
use async_trait::async_trait;

pub use config::{
    Assignor, GroupProtocol, Isolation, Moment, NewTopic, OnLostOffsets, OnMissingTopic, Pattern, SinkConfig,
    SourceConfig, Start, TopicSelection, Writes,
};

impl Block for SourceConfig {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "reads Kafka topics as a member of a consumer group";
}

#[async_trait]
impl SourceConnector for SourceConfig {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.check();
        if problems.is_empty() {
            problems.extend(credentials::check(&self.connection));
            problems.extend(check_properties("connection.client", &self.connection.client));
            problems.extend(check_properties("client", &self.client));
        }
        problems
    }

    fn traits(&self) -> SourceTraits {
        let (keeps_offsets, tasks_max) = match self.is_assigned() {
            false => (KeepsOffsets::Always, None),
            true => (KeepsOffsets::UnlessStored, Some(self.partitions.values().map(Vec::len).sum())),
        };
        let transactions = self.transactions();
        SourceTraits { keeps_offsets, tasks_max, finite: false, typed: false, transactions }
    }

    fn describe(&self, pipeline: &str) -> String {
        let group = self.group.as_deref().unwrap_or(pipeline);
        let note = client::isolation_note(self.isolation);
        if !self.is_assigned() {
            return format!("kafka {}, group {group}{note}", self.topics);
        }
        let named = self.partitions.iter();
        let named: Vec<String> = named.map(|(topic, of)| format!("{topic} {of:?}")).collect();
        format!("kafka {}, offsets of group {group}{note}", named.join(", "))
    }

    fn reads(&self, pipeline: &str) -> Option<Reads> {
        Some(self.reads(pipeline))
    }

    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        let group = self.group.as_deref().unwrap_or(&context.pipeline).to_owned();
        let config = self.clone();
        let ask = move || {
            let client = client::consumer_config(&config, &group, &probe::client_id(&context.pipeline));
            probe::system(&config.connection, client, context.patience).map(Some)
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Ok(None))
    }

    async fn open(&self, context: SourceContext) -> Result<Box<dyn Source>> {
        Ok(Box::new(source::open(self, &context)?))
    }

    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        let config = self.clone();
        let ask = move || probe::source(&config, &context.pipeline, context.patience);
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }

    async fn offset_admin(&self, pipeline: Arc<str>) -> Result<Option<Box<dyn OffsetAdmin>>> {
        Ok(Some(Box::new(offset_admin::open(Arc::new(self.clone()), &pipeline)?)))
    }
}

impl Block for SinkConfig {
    const NAME: &'static str = "kafka";
    const ABOUT: &'static str = "writes Kafka topics, idempotently and acknowledged by all replicas";
}

#[async_trait]
impl SinkConnector for SinkConfig {
    fn check(&self) -> Vec<Problem> {
        let mut problems = self.check();
        if problems.is_empty() {
            problems.extend(credentials::check(&self.connection));
            problems.extend(check_properties("connection.client", &self.connection.client));
            problems.extend(check_properties("client", &self.client));
        }
        problems
    }

    fn traits(&self) -> SinkTraits {
        SinkTraits {
            lanes: 1,
            batch_records_max: None,
            duplicates: Duplicates::Visible,
            transactions: Ok(self.connection.brokers.system()),
            value_format: None,
        }
    }

    fn topic(&self) -> Option<TopicResolver> {
        sink::topic(&self.topic)
    }

    fn writes(&self) -> Option<aqueduct_api::Writes> {
        let (system, topic) = (self.connection.brokers.addresses(), self.topic.clone());
        Some(aqueduct_api::Writes { system, topic, option: "topic" })
    }

    async fn system(&self, context: ProbeContext) -> Result<Option<System>> {
        let config = self.clone();
        let ask = move || {
            let client = client::producer_config(&config, &probe::client_id(&context.pipeline), None);
            probe::system(&config.connection, client, context.patience).map(Some)
        };
        tokio::task::spawn_blocking(ask).await.unwrap_or(Ok(None))
    }

    fn describe(&self) -> String {
        format!("kafka {}, {}{}", self.topic.as_str(), self.compression.as_str(), sink::note(self))
    }

    async fn open(&self, context: SinkContext) -> Result<Box<dyn Sink>> {
        if context.transactional {
            return Ok(Box::new(sink::open_transactional(Arc::new(self.clone()), &context)?));
        }
        Ok(Box::new(sink::open(Arc::new(self.clone()), &context)?))
    }

    async fn probe(&self, context: ProbeContext) -> Vec<Finding> {
        let config = self.clone();
        let ask = move || probe::sink(&config, &context);
        tokio::task::spawn_blocking(ask).await.unwrap_or_default()
    }
}
