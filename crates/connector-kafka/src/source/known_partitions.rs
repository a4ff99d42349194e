//! How many partitions topics had when this source began, once it has looked. One that came later is read from its beginning:
//! what was written before it was found would else be left out.

use std::collections::HashMap;
use std::sync::OnceLock;

use rdkafka::metadata::Metadata;

/// See the file's header.
#[derive(Default)]
pub(crate) struct KnownPartitions(OnceLock<HashMap<String, usize>>);

impl KnownPartitions {
    /// Remembers the partitions that there are. Only the first call counts.
    pub(crate) fn learn(&self, cluster: &Metadata) {
        let topics = cluster.topics().iter();
        let counts = topics.map(|topic| (topic.name().to_owned(), topic.partitions().len()));
        self.0.get_or_init(|| counts.collect());
    }

    /// Whether they were remembered.
    pub(crate) fn is_learned(&self) -> bool {
        self.0.get().is_some()
    }

    /// Whether the partition came later.
    pub(crate) fn is_new(&self, topic: &str, partition: i32) -> bool {
        self.0.get().is_some_and(|known| partition as usize >= known.get(topic).copied().unwrap_or(0))
    }
}
