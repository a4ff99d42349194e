//! The sink: records go to an idempotent producer as fast as it takes them, and count when all replicas have
//! them.

mod deliveries;
mod producer;
mod topics;
mod transaction;
mod watch;
mod writer;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use aqueduct_api::catalog::SinkContext;
use aqueduct_api::config::{Piece, Template};
use aqueduct_api::{Batch, Error, ErrorKind, Record, Result, Sink, Written};
use async_trait::async_trait;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use self::deliveries::{Answer, Deliveries, Pass, ticket};
use self::producer::{Outbox, Reports};
use self::topics::Topics;
use self::transaction::TransactionSink;
use self::writer::{Given, Writer};
use crate::client::{Trouble, code_of};
use crate::config::{SinkConfig, is_topic_name};
use crate::diagnosis::TOPIC_NAME;
use crate::native::topic::Topic;

/// How long a topic that took no record is left alone before one record is tried; each further pause is twice as long.
const HELD_MIN: Duration = Duration::from_millis(500);
const HELD_MAX: Duration = Duration::from_secs(10);

/// Writes to topics by name.
pub(crate) struct TopicsSink {
    config: Arc<SinkConfig>,
    context: SinkContext,
    transactional_id: Option<String>,
    /// What the producer puts into one batch at most, where it was found out.
    batch_bytes_max: Option<usize>,
    outbox: Outbox,
    /// Where it does what is asked for; otherwise the outbox writes.
    writer: Option<Writer>,
    deliveries: Arc<Deliveries>,
    topics: Topics,
    /// The topic of the record before, which is nearly always that of the next.
    to: Option<Topic<Reports>>,
    /// How long what was held is left alone.
    held_for: Duration,
    /// Where the name of a topic is put together.
    topic: String,
}

/// Makes the producer; it connects in the background, and a broker that is away is waited for.
pub(crate) fn open(config: Arc<SinkConfig>, context: &SinkContext) -> Result<TopicsSink> {
    open_as(config, context, None)
}

/// The same with a producer of transactions.
pub(crate) fn open_transactional(config: Arc<SinkConfig>, context: &SinkContext) -> Result<TransactionSink> {
    let id = transaction::id(&config, context);
    Ok(TransactionSink::new(open_as(config, context, Some(id))?))
}

fn open_as(
    config: Arc<SinkConfig>,
    context: &SinkContext,
    transactional_id: Option<String>,
) -> Result<TopicsSink> {
    let deliveries = Arc::new(Deliveries::new(&context.wakeup));
    let outbox = Outbox::open(&config, context, deliveries.clone(), transactional_id.as_deref(), None)?;
    let suits = transactional_id.is_none() && Writer::suits(&config);
    let writer = suits.then(|| Writer::open(&config, context, deliveries.clone(), &outbox));
    let topics = Topics::new(config.clone());
    let context = context.clone();
    let (to, held_for, topic, batch_bytes_max) = (None, HELD_MIN, String::new(), None);
    Ok(TopicsSink {
        config,
        context,
        transactional_id,
        batch_bytes_max,
        outbox,
        writer,
        deliveries,
        topics,
        to,
        held_for,
        topic,
    })
}

#[async_trait]
impl Sink for TopicsSink {
    async fn write(&mut self, batch: &Arc<Batch>) -> Result<Written> {
        self.send_again().await?;
        while self.is_outdated() && !self.deliveries.all_answered() {
            self.deliveries.changed().await?;
            self.send_again().await?;
        }
        self.renew()?;
        let number = self.deliveries.open(batch);
        for (index, record) in batch.records.iter().enumerate() {
            self.send(record, ticket(number, index)).await?;
        }
        self.deliveries.all_given(number);
        self.deliveries.collect()
    }

    async fn tick(&mut self) -> Result<Written> {
        self.send_again().await?;
        if self.deliveries.all_answered() {
            self.renew()?;
        }
        self.deliveries.collect()
    }

    async fn flush(&mut self) -> Result<Written> {
        let mut all = Written::nothing();
        loop {
            self.send_again().await?;
            self.writer.iter().for_each(Writer::hurry);
            let written = self.deliveries.collect()?;
            all.rejected.extend(written.rejected);
            if let (aqueduct_api::Durable::Batches(all), aqueduct_api::Durable::Batches(more)) =
                (&mut all.durable, written.durable)
            {
                all.extend(more);
            }
            if self.deliveries.is_empty() {
                return Ok(all);
            }
            self.deliveries.changed().await?;
        }
    }
}

impl TopicsSink {
    /// Whether the producer has credentials that were replaced on disk.
    fn is_outdated(&self) -> bool {
        self.outbox.outdated.load(Ordering::Acquire)
    }

    /// Takes another producer in its place, with the credentials of now, if it is outdated; nothing may be under way. The
    /// library reads no others once a client is made.
    fn renew(&mut self) -> Result<bool> {
        let outdated = self.is_outdated();
        if outdated {
            tracing::info!(
                pipeline = %self.context.pipeline,
                brokers = self.config.connection.brokers.0,
                "credentials were replaced on disk: the next records are written with the new ones"
            );
            self.open_again()?;
        }
        Ok(outdated)
    }

    fn open_again(&mut self) -> Result<()> {
        // It names the producer of before.
        self.to = None;
        let (id, bytes) = (self.transactional_id.as_deref(), self.batch_bytes_max);
        self.outbox = Outbox::open(&self.config, &self.context, self.deliveries.clone(), id, bytes)?;
        if self.writer.is_some() {
            let deliveries = self.deliveries.clone();
            self.writer = Some(Writer::open(&self.config, &self.context, deliveries, &self.outbox));
        }
        Ok(())
    }

    /// Gives one record to the producer, waiting while its queue is full. Nothing overtakes it.
    async fn send(&mut self, record: &Record, ticket: usize) -> Result<()> {
        let topic = match topic_of(&self.config.topic, record, &mut self.topic) {
            Ok(topic) => topic,
            Err(error) => {
                self.deliveries.answer(ticket, Answer::Rejected(error));
                return Ok(());
            }
        };
        if !self.topics.is_last(topic)
            && let Some(error) = self.topics.admit(topic, &self.outbox.reporting).await?
        {
            self.deliveries.answer(ticket, Answer::Rejected(error));
            return Ok(());
        }
        if let Some(writer) = &mut self.writer {
            loop {
                match writer.give(topic, record, ticket) {
                    Given::Taken => return Ok(()),
                    Given::HandedBack => {
                        self.deliveries.answer(ticket, Answer::SendAgain);
                        return Ok(());
                    }
                    Given::Answered(answer) => {
                        self.deliveries.answer(ticket, answer);
                        return self.deliveries.check();
                    }
                    Given::NotYet => self.deliveries.changed().await?,
                }
            }
        }
        let to = match &mut self.to {
            Some(to) if to.name() == topic => to,
            to => to.insert(Topic::new(&self.outbox.reporting.producer, topic).map_err(no_handle)?),
        };
        loop {
            match to.give(record, ticket) {
                Ok(()) => return Ok(()),
                // Why the library gave up is told by its error callback, which `wakeup` hears of.
                Err(Code::QueueFull | Code::Fatal) => {}
                Err(code) => {
                    let error = KafkaError::MessageProduction(code);
                    let answer = match self.outbox.judge.answer(&error, topic, record.memory_bytes()) {
                        // The producer remembers this until it is asked about the topic again.
                        Answer::Rejected(says) if code_of(&error) == Code::TopicAuthorizationFailed => {
                            Answer::Rejected(self.topics.refuse(topic, says))
                        }
                        answer => answer,
                    };
                    self.deliveries.answer(ticket, answer);
                    return self.deliveries.check();
                }
            }
            self.deliveries.changed().await?;
        }
    }

    /// What was refused, and may pass later, goes again, and with it what followed it in the same topic. A request is refused as a
    /// whole when one record in it is, so suspects go in ever smaller groups until one is refused alone; a topic that
    /// takes none is tried with a group of one after a pause. Groups grow again while they pass, and nothing overtakes
    /// a group that does not.
    async fn send_again(&mut self) -> Result<()> {
        let mut group_max = usize::MAX;
        while self.deliveries.again() {
            while !self.deliveries.all_answered() {
                self.deliveries.changed().await?;
            }
            let doubt = self.deliveries.take_doubt();
            if let Some(error) = &doubt.held {
                self.hold(error).await;
                group_max = 1;
            } else if doubt.suspects > 0 {
                group_max = (group_max.min(doubt.suspects) / 2).max(1);
            }
            // The writer hands back with a record what followed it in its partition; the library has sent it already.
            let passes = self.deliveries.take_unsent(self.writer.is_some());
            let topics = self.topics_again(&passes);
            self.writer.iter().for_each(Writer::mend);
            let (mut due, mut group) = (self.deliveries.answers(), 0);
            for Pass { number, batch, indices, .. } in passes {
                for index in indices {
                    let (Some(record), ticket) = (batch.records.get(index), ticket(number, index)) else {
                        continue;
                    };
                    due += 1;
                    if group_max < usize::MAX && self.deliveries.again() {
                        self.deliveries.answer(ticket, Answer::SendAgain);
                        continue;
                    }
                    if topics.as_ref().is_some_and(|topics| !topics.contains(&self.name(record))) {
                        self.deliveries.answer(ticket, Answer::Stored);
                        continue;
                    }
                    self.outbox.judge.alone.store(group_max == 1, Ordering::Release);
                    self.send(record, ticket).await?;
                    group += 1;
                    if group == group_max {
                        while self.deliveries.answers() < due {
                            self.deliveries.changed().await?;
                        }
                        if !self.deliveries.again() {
                            (group, group_max) = (0, group_max.saturating_mul(2));
                            self.passed();
                        }
                    }
                }
                self.deliveries.all_given(number);
            }
        }
        Ok(())
    }

    /// A group went through.
    fn passed(&mut self) {
        self.outbox.judge.alone.store(false, Ordering::Release);
        self.outbox.reporting.troubles.clear(Trouble::Topics);
        self.held_for = HELD_MIN;
    }

    async fn hold(&mut self, error: &Error) {
        if error.kind() != ErrorKind::Transient {
            self.outbox.reporting.troubles.set(Trouble::Topics, error.to_string());
        }
        tokio::time::sleep(self.held_for).await;
        self.held_for = (self.held_for * 2).min(HELD_MAX);
        self.topics.forget();
    }

    /// The topics that records were refused for; `None` where that is all of them.
    fn topics_again(&mut self, passes: &[Pass]) -> Option<HashSet<String>> {
        if self.config.topic.constant().is_some() || self.writer.is_some() {
            return None;
        }
        let mut topics = HashSet::new();
        for Pass { batch, unsent, .. } in passes {
            for record in unsent.iter().filter_map(|index| batch.records.get(*index)) {
                topics.insert(self.name(record));
            }
        }
        Some(topics)
    }

    fn name(&mut self, record: &Record) -> String {
        topic_of(&self.config.topic, record, &mut self.topic).map(str::to_owned).unwrap_or_default()
    }
}

/// For `aqueduct plan`: that the library writes is worth saying, it costs more.
pub(crate) fn note(config: &SinkConfig) -> &'static str {
    if Writer::suits(config) { "" } else { ", by librdkafka" }
}

/// Finds topics for those who have to know them before the record is here.
pub(crate) fn topic(template: &Template) -> Option<aqueduct_api::catalog::TopicResolver> {
    if template.pieces() == [Piece::Topic] {
        return None;
    }
    if let Some(name) = template.constant() {
        let name: Arc<str> = name.into();
        return Some(Box::new(move |_| Ok(Arc::clone(&name))));
    }
    let template = template.clone();
    Some(Box::new(move |record| topic_of(&template, record, &mut String::new()).map(Arc::from)))
}

/// The topic of this record, put together in `made` where a record names it.
fn topic_of<'a>(template: &'a Template, record: &Record, made: &'a mut String) -> Result<&'a str> {
    if let Some(name) = template.constant() {
        return Ok(name);
    }
    made.clear();
    template.render(record, None, |text: &str, out: &mut String| out.push_str(text), made)?;
    if is_topic_name(made) {
        Ok(made)
    } else {
        Err(TOPIC_NAME.error(ErrorKind::BadRecord, &[("topic", made)]))
    }
}

fn no_handle(code: Code) -> Error {
    Error::fatal("the Kafka client does not take the name of a topic")
        .caused_by(KafkaError::MessageProduction(code))
}
