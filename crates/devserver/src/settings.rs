//! The topic and broker settings that clients may ask for. Of the topic settings `max.message.bytes` is acted upon;
//! the others are kept and shown, so that tools that set them work, and records stay until the memory limit.

use kafka_protocol::ResponseError;

/// A setting, its default, and its type in the protocol's own numbering.
pub(crate) struct Setting {
    pub(crate) name: &'static str,
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
}

/// The types of settings, as DescribeConfigs numbers them.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Long = 5,
    Double = 6,
    List = 7,
}

const VALUE_BYTES_MAX: usize = 1024;

const fn setting(name: &'static str, default: &'static str, kind: Kind) -> Setting {
    Setting { name, default, kind }
}

/// Every topic setting that is known.
pub(crate) const TOPIC_SETTINGS: &[Setting] = &[
    setting("cleanup.policy", "delete", Kind::List),
    setting("compression.type", "producer", Kind::String),
    setting("delete.retention.ms", "86400000", Kind::Long),
    setting("file.delete.delay.ms", "60000", Kind::Long),
    setting("flush.messages", "9223372036854775807", Kind::Long),
    setting("flush.ms", "9223372036854775807", Kind::Long),
    setting("index.interval.bytes", "4096", Kind::Int),
    setting("max.compaction.lag.ms", "9223372036854775807", Kind::Long),
    setting("max.message.bytes", "1048588", Kind::Int),
    setting("message.timestamp.type", "CreateTime", Kind::String),
    setting("min.cleanable.dirty.ratio", "0.5", Kind::Double),
    setting("min.compaction.lag.ms", "0", Kind::Long),
    setting("min.insync.replicas", "1", Kind::Int),
    setting("preallocate", "false", Kind::Boolean),
    setting("retention.bytes", "-1", Kind::Long),
    setting("retention.ms", "604800000", Kind::Long),
    setting("segment.bytes", "1073741824", Kind::Int),
    setting("segment.index.bytes", "10485760", Kind::Int),
    setting("segment.jitter.ms", "0", Kind::Long),
    setting("segment.ms", "604800000", Kind::Long),
    setting("unclean.leader.election.enable", "false", Kind::Boolean),
];

/// What the broker itself shows; none of it can be changed.
pub(crate) const BROKER_SETTINGS: &[Setting] = &[
    setting("auto.create.topics.enable", "true", Kind::Boolean),
    setting("default.replication.factor", "1", Kind::Int),
    setting("message.max.bytes", "1048588", Kind::Int),
    setting("min.insync.replicas", "1", Kind::Int),
    setting("num.partitions", "1", Kind::Int),
];

/// Whether a topic may have this setting.
pub(crate) fn check_topic_setting(name: &str, value: &str) -> Result<(), ResponseError> {
    let known =
        TOPIC_SETTINGS.iter().find(|setting| setting.name == name).ok_or(ResponseError::InvalidConfig)?;
    let sound = match known.kind {
        Kind::Boolean => value.parse::<bool>().is_ok(),
        Kind::Int => value.parse::<i32>().is_ok_and(|value| value >= 0),
        Kind::Long => value.parse::<i64>().is_ok(),
        Kind::Double => value.parse::<f64>().is_ok(),
        // Timestamps are the producer's: those of the broker would be written inside the batch's checksum.
        Kind::String if name == "message.timestamp.type" => value == known.default,
        Kind::String | Kind::List => value.len() <= VALUE_BYTES_MAX,
    };
    if sound { Ok(()) } else { Err(ResponseError::InvalidConfig) }
}
