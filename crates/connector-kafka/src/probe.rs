//! What `aqueduct check --connect` asks a cluster: whether it can be reached, its id, the principal that we are to it, and whether
//! what the pipeline needs exists and is allowed.

mod brokers;

use std::time::Duration;

use aqueduct_api::catalog::ProbeContext;
use aqueduct_api::{Finding, System, Verdict};
use aqueduct_kafka_client::admin::acls::{self, Described, Topic};
use aqueduct_kafka_client::admin::topic_ids;
use aqueduct_kafka_client::config::Connection;
use aqueduct_kafka_client::diagnosis::connecting::NO_BROKER;
use aqueduct_kafka_client::native::transactions::{self, Step};
use aqueduct_kafka_client::{
    Access, AdminContext, credentials, denial, is_passing, near_topics, no_topic, transactional_id_denial,
};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{Producer, ThreadedProducer};
use tokio::time::Instant;

use self::brokers::{ProbeClient, brokers, certificate};
use crate::client::{consumer_config, producer_config};
use crate::config::{OnMissingTopic, SinkConfig, SourceConfig, TopicSelection};
use crate::diagnosis::TRANSACTION_TOO_LONG;

/// At most so many topics of a pattern are described.
const TOPICS_MAX: usize = 200;

/// What is needed of the cluster.
struct Wanted<'a> {
    operation: &'static str,
    topics: Topics<'a>,
    group: Option<&'a str>,
    creates: bool,
}

enum Topics<'a> {
    Named(Vec<String>),
    Matching(&'a crate::config::Pattern),
    /// Known only when a record comes.
    Template(&'a str),
}

/// The client id of a probe.
pub(crate) fn client_id(pipeline: &str) -> String {
    format!("aqueduct-check-{pipeline}")
}

/// The id of the cluster, its topics with their ids, and its advertised addresses. Topic ids are the same behind all listeners;
/// brokers that have none leave only the addresses.
pub(crate) fn system(
    connection: &Connection,
    client: Result<ClientConfig, aqueduct_api::Error>,
    patience: Duration,
) -> Result<System, aqueduct_api::Error> {
    let away = |says: String| aqueduct_api::Error::transient(says).with("brokers", &connection.brokers.0);
    let consumer = connect(client?, connection, patience).map_err(|finding| away(finding.to_string()))?;
    let id = consumer.client().fetch_cluster_id(patience);
    let id = id.ok_or_else(|| away("the cluster does not say what it is called".to_owned()))?;
    let metadata = consumer
        .fetch_metadata(None, patience)
        .map_err(|error| away(format!("the cluster does not name its topics: {error}")))?;
    let names: Vec<&str> = metadata.topics().iter().map(|topic| topic.name()).collect();
    let ids = topic_ids(consumer.client(), &names, patience).unwrap_or_default();
    let ids = ids.into_values().map(|id| format!("topic {id}"));
    let brokers = metadata.brokers().iter().map(|it| format!("broker {}:{}", it.host(), it.port()));
    let signs = brokers.chain(ids).collect();
    let topics = names.into_iter().map(str::to_owned).collect();
    Ok(System { id, signs, topics })
}

/// Probes for a source. Takes a few times `patience` at most.
pub(crate) fn source(config: &SourceConfig, pipeline: &str, patience: Duration) -> Vec<Finding> {
    let group = config.group.as_deref().unwrap_or(pipeline);
    let topics = match &config.topics {
        _ if config.is_assigned() => Topics::Named(config.partitions.keys().cloned().collect()),
        TopicSelection::Named(names) => Topics::Named(names.clone()),
        TopicSelection::Matching(pattern) => Topics::Matching(pattern),
    };
    let wanted = Wanted { operation: "Read", topics, group: Some(group), creates: false };
    let client = consumer_config(config, group, &client_id(pipeline));
    cluster(&config.connection, client, &wanted, patience)
}

/// Probes for a sink.
pub(crate) fn sink(config: &SinkConfig, context: &ProbeContext) -> Vec<Finding> {
    let (pipeline, patience) = (&*context.pipeline, context.patience);
    let topics = match config.topic.constant() {
        Some(name) => Topics::Named(vec![name.to_owned()]),
        None => Topics::Template(config.topic.as_str()),
    };
    let creates = matches!(config.on_missing_topic, Some(OnMissingTopic::Create(_)));
    let wanted = Wanted { operation: "Write", topics, group: None, creates };
    let client_id = client_id(pipeline);
    let client = producer_config(config, &client_id, None);
    let mut findings = cluster(&config.connection, client, &wanted, patience);
    // Where something is wrong already, a transaction would only fail for the same reason.
    if context.transactional && findings.iter().all(|finding| finding.verdict != Verdict::Bad) {
        findings.push(transactional_id(config, pipeline, &client_id, patience));
    }
    findings
}

fn cluster(
    connection: &Connection,
    client: Result<ClientConfig, aqueduct_api::Error>,
    wanted: &Wanted<'_>,
    patience: Duration,
) -> Vec<Finding> {
    let (client, credentials) = match (client, credentials::load(connection)) {
        (Ok(client), Ok(credentials)) => (client, credentials),
        (Err(error), _) | (_, Err(error)) => return vec![error.into()],
    };
    let mut findings: Vec<Finding> = certificate(&credentials).into_iter().collect();
    let named: Vec<String> = connection.brokers.each().map(str::to_owned).collect();
    let (seen, reached) = brokers(connection, &credentials, &named, true, patience);
    findings.extend(seen);
    if !reached {
        return findings;
    }
    let consumer = match connect(client, connection, patience) {
        Ok(consumer) => consumer,
        Err(finding) => {
            findings.push(finding);
            return findings;
        }
    };
    let metadata = match consumer.fetch_metadata(None, patience) {
        Ok(metadata) => metadata,
        Err(error) => {
            findings.push(Finding::bad(
                format!("the cluster does not name its topics: {error}"),
                "see the brokers' logs",
            ));
            return findings;
        }
    };
    let id = consumer.client().fetch_cluster_id(patience).unwrap_or_else(|| "without an id".to_owned());
    let count = metadata.brokers().len();
    let plural = if count == 1 { "broker" } else { "brokers" };
    findings.push(Finding::good(format!(
        "cluster {id} with {count} {plural} takes us as {}",
        credentials::Principal::of(connection).words
    )));
    let advertised = metadata.brokers().iter().map(|broker| format!("{}:{}", broker.host(), broker.port()));
    let others: Vec<String> = advertised.filter(|broker| !named.contains(broker)).collect();
    findings.extend(brokers(connection, &credentials, &others, false, patience).0);
    findings.extend(topics(connection, &consumer, &metadata, wanted, patience));
    findings.extend(wanted.group.map(|name| group(connection, &consumer, name, patience)));
    findings
}

/// A client that some broker has answered, which means that the login went well.
fn connect(
    mut client: ClientConfig,
    connection: &Connection,
    patience: Duration,
) -> Result<BaseConsumer<ProbeClient>, Finding> {
    // It joins no group: it is a consumer because consumers can make all the requests that are made here.
    client.set("group.id", "aqueduct-check");
    for of_producers in self::brokers::PRODUCER_ONLY {
        client.remove(of_producers);
    }
    let consumer: BaseConsumer<ProbeClient> =
        client.create_with_context(ProbeClient::new(connection)).map_err(|error| {
            Finding::bad(format!("the Kafka client refuses its settings: {error}"), "see `client`")
        })?;
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        // Errors, and requests for tokens, are called back from a poll only.
        let _ = consumer.poll(Duration::from_millis(50));
        if let Some(diagnosed) = consumer.context().login_error() {
            return Err(diagnosed.into());
        }
        if consumer.client().fetch_cluster_id(Duration::from_millis(200)).is_some() {
            return Ok(consumer);
        }
    }
    Err(NO_BROKER.fill(&[("brokers", &connection.brokers.0)]).into())
}

fn topics(
    connection: &Connection,
    consumer: &BaseConsumer<ProbeClient>,
    metadata: &Metadata,
    wanted: &Wanted<'_>,
    patience: Duration,
) -> Vec<Finding> {
    let names = match &wanted.topics {
        Topics::Named(names) => names.clone(),
        Topics::Template(template) => {
            return vec![Finding::good(format!(
                "the topic of each record is `{template}`: known when it comes"
            ))];
        }
        Topics::Matching(pattern) => {
            let Ok(expression) = pattern.compile() else { return Vec::new() };
            let all = metadata.topics().iter().map(|topic| topic.name());
            let matching = |name: &&str| {
                expression.is_match(name)
                    && !name.starts_with("__")
                    && !pattern.except.iter().any(|no| no == name)
            };
            all.filter(matching).take(TOPICS_MAX).map(str::to_owned).collect()
        }
    };
    if let (Topics::Matching(pattern), true) = (&wanted.topics, names.is_empty()) {
        let says = format!("no topic on {} matches `{}`", connection.brokers.0, pattern.pattern);
        return vec![Finding::warning(says, "create one, or correct the pattern; the pipeline would wait")];
    }
    let described = match acls::topics(consumer.client(), &names, patience) {
        Ok(described) => described,
        Err(code) => {
            let says = format!("the cluster does not describe its topics: {code}");
            return vec![Finding::bad(says, "see the brokers' logs")];
        }
    };
    described.into_iter().map(|topic| one_topic(connection, topic, metadata, wanted)).collect()
}

fn one_topic(connection: &Connection, topic: Described, metadata: &Metadata, wanted: &Wanted<'_>) -> Finding {
    use RDKafkaErrorCode as Code;
    let denied = |name: &str, operation: &'static str| {
        let access = Access { operation, topic: Some(name), group: None };
        let diagnosed = denial(connection, Code::TopicAuthorizationFailed, "", access);
        let mut finding = diagnosed.map_or_else(|| Finding::good(name), Finding::from);
        // The cluster does not say whether a topic exists that this user may not describe.
        if let (Some(near), Some(remedy)) = (near_topics(name, metadata), &mut finding.remedy)
            && operation == "Describe"
        {
            remedy.push_str(&format!("; or did you mean {near}"));
        }
        finding
    };
    match topic {
        Ok(Topic { name, partitions, rights }) => {
            let (allowed, verb) = match wanted.operation {
                "Read" => (rights.read, "read"),
                _ => (rights.write, "written"),
            };
            if !allowed {
                return denied(&name, wanted.operation);
            }
            let plural = if partitions == 1 { "partition" } else { "partitions" };
            Finding::good(format!("topic `{name}` can be {verb}, {partitions} {plural}"))
        }
        Err((name, Code::TopicAuthorizationFailed)) => denied(&name, "Describe"),
        Err((name, Code::UnknownTopicOrPartition | Code::UnknownTopic)) if wanted.creates => {
            Finding::good(format!("topic `{name}` does not exist and will be created"))
        }
        Err((name, Code::UnknownTopicOrPartition | Code::UnknownTopic)) => {
            no_topic(&name, &connection.brokers.0, Some(metadata)).into()
        }
        Err((name, code)) => {
            Finding::bad(format!("topic `{name}` cannot be described: {code}"), "see the brokers' logs")
        }
    }
}

fn group(
    connection: &Connection,
    consumer: &BaseConsumer<ProbeClient>,
    name: &str,
    patience: Duration,
) -> Finding {
    let denied = || {
        let access = Access { operation: "Read", topic: None, group: Some(name) };
        let diagnosed = denial(connection, RDKafkaErrorCode::GroupAuthorizationFailed, "", access);
        diagnosed.map_or_else(|| Finding::good(name), Finding::from)
    };
    // The first use of a group creates the topic `__consumer_offsets`, which takes a moment.
    let deadline = Instant::now() + patience;
    let ask = || acls::group(consumer.client(), name, patience);
    let mut answer = ask();
    while answer.as_ref().is_err_and(|code| is_passing(*code)) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        answer = ask();
    }
    match answer {
        Ok(rights) if rights.read => Finding::good(format!("consumer group `{name}` may be used")),
        Ok(_) | Err(RDKafkaErrorCode::GroupAuthorizationFailed) => denied(),
        Err(code) => Finding::bad(
            format!("consumer group `{name}` cannot be described: {code}"),
            "see the brokers' logs",
        ),
    }
}

/// Whether a transactional id of this pipeline may be used: one is initialized as a runner would do it.
fn transactional_id(config: &SinkConfig, pipeline: &str, client_id: &str, patience: Duration) -> Finding {
    let prefix = config.transactional_ids(pipeline);
    let id = format!("{prefix}check");
    let client = match producer_config(config, client_id, Some(&id)) {
        Ok(client) => client,
        Err(error) => return error.into(),
    };
    let producer: ThreadedProducer<AdminContext> = match client
        .create_with_context(AdminContext::new(&config.connection))
    {
        Ok(producer) => producer,
        Err(error) => {
            return Finding::bad(format!("the Kafka client refuses its settings: {error}"), "see `client`");
        }
    };
    let timeout_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    match transactions::init(producer.client(), timeout_ms) {
        Step::Done => Finding::good(format!("transactional ids that begin with `{prefix}` may be used")),
        Step::Fatal(RDKafkaErrorCode::TransactionalIdAuthorizationFailed, _) => {
            transactional_id_denial(&config.connection, &id, &prefix).into()
        }
        Step::Fatal(RDKafkaErrorCode::InvalidTransactionTimeout, _) => TRANSACTION_TOO_LONG.fill(&[]).into(),
        Step::Retriable(says) | Step::Abortable(says) | Step::Fatal(_, says) => Finding::bad(
            format!("no transaction can be begun: {says}"),
            "see the state of the topic `__transaction_state` and the brokers' logs",
        ),
    }
}
