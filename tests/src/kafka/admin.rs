//! What an administrator does to a cluster: topics, records, groups, rights, quotas, leaders.

use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;

use super::{Kafka, TIMEOUT};
use crate::server;

impl Kafka {
    /// Makes a topic, on three brokers where there are as many.
    ///
    /// # Panics
    /// When the cluster refuses, as in all that follow.
    pub fn create_topic(&self, name: &str, partitions: i32) {
        self.create_topic_with(name, partitions, &[]);
    }

    /// The same with settings of its own, as `max.message.bytes` or `min.insync.replicas`.
    pub fn create_topic_with(&self, name: &str, partitions: i32, settings: &[(&str, &str)]) {
        self.create_topics(&[name], partitions, settings);
    }

    /// The same of many at once.
    pub fn create_topics(&self, names: &[&str], partitions: i32, settings: &[(&str, &str)]) {
        let replicas = if self.count() < 3 { 1 } else { 3 };
        let mut topics = Vec::new();
        for name in names {
            let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(replicas));
            topics.push(settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value)));
        }
        let made = answer(self.admin().create_topics(&topics, &options())).expect("an answer");
        assert!(made.iter().all(Result::is_ok), "topics {names:?}: {made:?}");
    }

    /// Deletes a topic.
    pub fn delete_topic(&self, name: &str) {
        let done = answer(self.admin().delete_topics(&[name], &options())).expect("an answer");
        assert!(done.iter().all(Result::is_ok), "topic {name}: {done:?}");
    }

    /// Gives a topic more partitions: so many then.
    pub fn add_partitions(&self, name: &str, partitions: usize) {
        let wanted = NewPartitions::new(name, partitions);
        let done = answer(self.admin().create_partitions([&wanted], &options())).expect("an answer");
        assert!(done.iter().all(Result::is_ok), "topic {name}: {done:?}");
    }

    /// Sets what a topic has of its own; what is not named here falls back to the brokers' default.
    pub fn set_topic(&self, name: &str, settings: &[(&str, &str)]) {
        let wanted = AlterConfig::new(ResourceSpecifier::Topic(name));
        let wanted = settings.iter().fold(wanted, |wanted, (name, value)| wanted.set(name, value));
        let done = answer(self.admin().alter_configs([&wanted], &options())).expect("an answer");
        assert!(done.iter().all(Result::is_ok), "topic {name}: {done:?}");
    }

    /// Deletes the records of a partition that come before an offset; -1 is all of them.
    pub fn delete_records(&self, topic: &str, partition: i32, before: i64) {
        let mut list = TopicPartitionList::new();
        let before = if before < 0 { Offset::End } else { Offset::Offset(before) };
        list.add_partition_offset(topic, partition, before).expect("an offset");
        // Who leads the partition is asked first, and now and then that question is never answered on a busy machine.
        let options = options().request_timeout(Some(DELETE_TIMEOUT));
        let delete = || answer(self.admin().delete_records(&list, &options));
        let done = delete().or_else(|_| delete()).or_else(|_| delete()).expect("an answer");
        assert!(done.elements().iter().all(|element| element.error().is_ok()), "{topic}: {done:?}");
    }

    /// The ids of a group's members, under the classic protocol.
    pub fn members(&self, group: &str) -> Vec<String> {
        let consumer: BaseConsumer = self.client(&[]);
        // The coordinator may be loading its groups.
        let list = server::until("the broker describes the group", TIMEOUT, || {
            consumer.client().fetch_group_list(Some(group), TIMEOUT).ok()
        });
        let members = list.groups().iter().flat_map(|group| group.members());
        members.map(|member| member.id().to_owned()).collect()
    }

    /// Deletes a group with its offsets. It must have no members.
    pub fn delete_group(&self, group: &str) {
        let done = answer(self.admin().delete_groups(&[group], &options())).expect("an answer");
        assert!(done.iter().all(Result::is_ok), "group {group}: {done:?}");
    }

    /// Allows a principal (`User:app`) operations (`Read`, `Write`, `Describe`, ...) on `topic:orders`, `topic:shop.*`,
    /// `group:readers`, `transactional-id:x` or `cluster`.
    pub fn allow(&self, principal: &str, resource: &str, operations: &[&str]) {
        self.acl(&["--add", "--allow-principal", principal], resource, operations);
    }

    /// Takes it back.
    pub fn disallow(&self, principal: &str, resource: &str, operations: &[&str]) {
        self.acl(&["--remove", "--force", "--allow-principal", principal], resource, operations);
    }

    /// Forbids it, whatever else allows it.
    pub fn deny(&self, principal: &str, resource: &str, operations: &[&str]) {
        self.acl(&["--add", "--deny-principal", principal], resource, operations);
    }

    fn acl(&self, what: &[&str], resource: &str, operations: &[&str]) {
        let (kind, name) = resource.split_once(':').unwrap_or((resource, ""));
        let kind = format!("--{kind}");
        let mut arguments = what.to_vec();
        arguments.push(&kind);
        match name.strip_suffix('*').filter(|start| !start.is_empty()) {
            Some(start) => arguments.extend([start, "--resource-pattern-type", "prefixed"]),
            None if !name.is_empty() => arguments.push(name),
            None => {}
        }
        arguments.extend(operations.iter().flat_map(|operation| ["--operation", operation]));
        self.tool("org.apache.kafka.tools.AclCommand", &arguments);
    }

    /// Changes what the cluster keeps of a user, a client id or a broker: `kafka.configure("users", "app",
    /// "producer_byte_rate=10000")`, or `"SCRAM-SHA-512=[password=other]"`.
    pub fn configure(&self, kind: &str, name: &str, settings: &str) {
        let entity = ["--entity-type", kind, "--entity-name", name];
        let change = ["--alter", "--add-config", settings];
        self.tool("kafka.admin.ConfigCommand", &[&change[..], &entity[..]].concat());
    }

    /// Takes such settings away, by their names with commas between.
    pub fn unconfigure(&self, kind: &str, name: &str, settings: &str) {
        let entity = ["--entity-type", kind, "--entity-name", name];
        let change = ["--alter", "--delete-config", settings];
        self.tool("kafka.admin.ConfigCommand", &[&change[..], &entity[..]].concat());
    }

    /// The broker that leads a partition, if any does.
    pub fn leader(&self, topic: &str, partition: i32) -> Option<u16> {
        let consumer: BaseConsumer = self.client(&[]);
        let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT).ok()?;
        let partitions = metadata.topics().first()?.partitions();
        let found = partitions.iter().find(|found| found.id() == partition)?;
        u16::try_from(found.leader()).ok()
    }

    /// Gives every partition back to the broker that should lead it.
    pub fn elect_preferred(&self) {
        let all = ["--election-type", "preferred", "--all-topic-partitions"];
        self.tool("org.apache.kafka.tools.LeaderElectionCommand", &all);
    }

    /// Runs one of Kafka's own tools against this cluster: what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> String {
        let brokers = self.brokers();
        let mut all = vec![class, "--bootstrap-server", &brokers];
        all.extend_from_slice(arguments);
        server::run("kafka_tool.sh", &all, &[])
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client(&[])
    }
}

/// How long one try to delete records may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(15);

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT))
}

fn answer<T>(question: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(question)
}
