//! Which topics may be written: each is looked up before its first record, so that a missing one is waited for, made
//! or refused here and never by chance of a broker's settings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Error, ErrorKind, Result};
use rdkafka::admin::{AdminOptions, NewTopic as AdminTopic, TopicReplication};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::producer::Producer;
use tokio::time::Instant;

use super::classifier::not_writable;
use super::librdkafka::ProducerHandle;
use crate::config::{NewTopic, OnMissingTopic, SinkConfig};
use crate::diagnosis::TOPIC_NOT_CREATED;
use aqueduct_kafka_client::{REQUEST_TIMEOUT, WaitReason, admin_client, code_of, is_connection, no_topic};

/// How long until a topic that is waited for is looked up again; also how long a new one may stay unknown to a broker.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// How long a refusal is cached, so that a thousand records of one missing topic need one request.
const REFUSAL_HOLDS: Duration = Duration::from_secs(10);
/// More names than this are forgotten and looked up again: records may bring any number of them.
const NAMES_MAX: usize = 10_000;

/// What is known of the topics met so far.
pub(crate) struct Topics {
    config: Arc<SinkConfig>,
    policy: OnMissingTopic,
    /// The one that was admitted last, which is nearly always the next one.
    last: String,
    known: HashMap<String, TopicState>,
}

enum TopicState {
    There,
    Refused { until: Instant, says: String, remedy: String },
}

/// What metadata says of a topic.
enum Existence {
    Exists,
    Missing,
    NotAllowed,
    NoAnswer,
}

impl Topics {
    pub(crate) fn new(config: Arc<SinkConfig>) -> Self {
        let policy = config.on_missing_topic();
        Self { config, policy, last: String::new(), known: HashMap::new() }
    }

    /// Whether this topic was admitted last, and was not refused since.
    pub(crate) fn is_last(&self, topic: &str) -> bool {
        self.last == topic
    }

    /// Returns when the topic can be written, or with why its records are set aside. An error stops the pipeline.
    pub(crate) async fn admit(&mut self, topic: &str, handle: &ProducerHandle) -> Result<Option<Error>> {
        match self.known.get(topic) {
            Some(TopicState::There) => {
                topic.clone_into(&mut self.last);
                return Ok(None);
            }
            Some(TopicState::Refused { until, says, remedy }) if Instant::now() < *until => {
                return Ok(Some(Error::bad_record(says).remedy(remedy)));
            }
            _ => {}
        }
        let (mut attempts, mut shown) = (0, false);
        loop {
            attempts += 1;
            let waits = match describe(topic, handle).await {
                Existence::Exists => {
                    // That it can be seen ends what was said here, not yet a refusal to take records.
                    if shown {
                        handle.health.clear(WaitReason::Topics);
                    }
                    self.remember(topic, TopicState::There);
                    topic.clone_into(&mut self.last);
                    return Ok(None);
                }
                // Shown by the thread that probes whether any broker answers.
                Existence::NoAnswer => None,
                Existence::NotAllowed => Some(not_writable(topic, &handle.health)),
                Existence::Missing => match &self.policy {
                    OnMissingTopic::Stop => {
                        return Err(self.missing(topic).into_kind(ErrorKind::Config));
                    }
                    OnMissingTopic::Create(new) => self.create(topic, new, handle).await,
                    OnMissingTopic::Wait => Some(self.missing(topic)),
                    // It may be so new that not every broker knows it.
                    OnMissingTopic::SetAside if attempts == 1 => None,
                    OnMissingTopic::SetAside => Some(self.missing(topic)),
                },
            };
            if let Some(error) = waits {
                if self.is_set_aside(&error) {
                    return Ok(Some(self.refuse(topic, error)));
                }
                handle.health.set(WaitReason::Topics, error.to_string());
                shown = true;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Its records are set aside for a while without asking again.
    pub(crate) fn refuse(&mut self, topic: &str, error: Error) -> Error {
        let (says, remedy) = (error.says().to_owned(), error.what_to_do().unwrap_or_default().to_owned());
        self.remember(topic, TopicState::Refused { until: Instant::now() + REFUSAL_HOLDS, says, remedy });
        self.last.clear();
        error.into_kind(ErrorKind::BadRecord)
    }

    /// Something is wrong with some of them: each is looked up again.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.last.clear();
    }

    /// A topic that the file names outright concerns all records and is waited for; one that a record names does not
    /// hold up the others.
    fn is_set_aside(&self, error: &Error) -> bool {
        let passing = error.kind() == ErrorKind::Transient;
        !passing && (self.config.topic.constant().is_none() || self.policy == OnMissingTopic::SetAside)
    }

    fn missing(&self, topic: &str) -> Error {
        let waits = self.policy == OnMissingTopic::Wait;
        let kind = if waits { ErrorKind::Transient } else { ErrorKind::BadRecord };
        no_topic(topic, &self.config.connection.brokers.0, None).into_kind(kind)
    }

    /// Why it was not created, if so.
    async fn create(&self, topic: &str, new: &NewTopic, handle: &ProducerHandle) -> Option<Error> {
        let fixed = new.replication.map_or(-1, |replication| replication);
        let mut wanted = AdminTopic::new(topic, new.partitions.unwrap_or(-1), TopicReplication::Fixed(fixed));
        for (name, value) in &new.config.0 {
            wanted = wanted.set(name, value);
        }
        let options = AdminOptions::new()
            .operation_timeout(Some(REQUEST_TIMEOUT))
            .request_timeout(Some(REQUEST_TIMEOUT));
        let admin = match admin_client(&self.config.connection, &self.config.client) {
            Ok(admin) => admin,
            Err(error) => return Some(error),
        };
        let code = match admin.create_topics([&wanted], &options).await.as_deref() {
            Ok([Ok(_)]) | Ok([Err((_, Code::TopicAlreadyExists))]) | Ok([]) => {
                tracing::info!(
                    topic,
                    partitions = new.partitions,
                    replication = new.replication,
                    "created a topic"
                );
                return None;
            }
            Ok([Err((_, code)), ..]) => *code,
            Ok([Ok(_), ..]) => return None,
            Err(error) => code_of(error),
        };
        if is_connection(code) {
            handle.health.connection_failed();
            return None;
        }
        Some(TOPIC_NOT_CREATED.error(ErrorKind::BadRecord, &[("topic", &topic), ("reason", &code)]))
    }

    fn remember(&mut self, topic: &str, state: TopicState) {
        if self.known.len() >= NAMES_MAX {
            self.known.clear();
        }
        self.known.insert(topic.to_owned(), state);
    }
}

/// Fetches metadata of the topic; the producer caches it as well, which also ends a refusal that it has cached.
async fn describe(topic: &str, handle: &ProducerHandle) -> Existence {
    let (producer, name) = (handle.producer.clone(), topic.to_owned());
    let ask = move || producer.client().fetch_metadata(Some(&name), REQUEST_TIMEOUT);
    let Ok(Ok(metadata)) = tokio::task::spawn_blocking(ask).await else {
        handle.health.connection_failed();
        return Existence::NoAnswer;
    };
    let error = metadata.topics().iter().find(|seen| seen.name() == topic).and_then(|seen| seen.error());
    match error.map(Code::from) {
        None => Existence::Exists,
        Some(Code::UnknownTopicOrPartition | Code::UnknownTopic) => Existence::Missing,
        Some(Code::TopicAuthorizationFailed) => Existence::NotAllowed,
        Some(_) => Existence::NoAnswer,
    }
}
