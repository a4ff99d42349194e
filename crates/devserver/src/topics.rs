//! The topics, their partitions and settings, and the one limit on the memory that all records together take.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use kafka_protocol::ResponseError;
use tracing::warn;

use crate::batch::Header;
use crate::log::Log;
use crate::settings::{TOPIC_SETTINGS, check_topic_setting};

const NAME_BYTES_MAX: usize = 249;
/// At the memory limit this part of it is freed in one go, and of the largest partition this part in one step.
const RECLAIM_DIVISOR: u64 = 16;

/// All topics, by name.
#[derive(Debug)]
pub(crate) struct Topics {
    by_name: BTreeMap<String, Topic>,
    bytes: u64,
    bytes_max: u64,
    partitions: usize,
    partitions_max: usize,
}

/// One topic. Only the settings that differ from the defaults are kept.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) partitions: Vec<Log>,
    pub(crate) settings: BTreeMap<String, String>,
}

impl Topics {
    pub(crate) fn new(bytes_max: u64, partitions_max: usize) -> Self {
        Self { by_name: BTreeMap::new(), bytes: 0, bytes_max, partitions: 0, partitions_max }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Topic)> {
        self.by_name.iter().map(|(name, topic)| (name.as_str(), topic))
    }

    pub(crate) fn get(&self, name: &str) -> Result<&Topic, ResponseError> {
        self.by_name.get(name).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Result<&mut Topic, ResponseError> {
        self.by_name.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    pub(crate) fn log(&self, name: &str, partition: i32) -> Result<&Log, ResponseError> {
        let index = usize::try_from(partition).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
        self.get(name)?.partitions.get(index).ok_or(ResponseError::UnknownTopicOrPartition)
    }

    /// Whether a topic of that name, so many partitions and these settings could be created now.
    pub(crate) fn check(
        &self,
        name: &str,
        partitions: i32,
        settings: &BTreeMap<String, String>,
    ) -> Result<usize, ResponseError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty()
            || name.len() > NAME_BYTES_MAX
            || name == "."
            || name == ".."
            || !name.chars().all(allowed)
        {
            return Err(ResponseError::InvalidTopicException);
        }
        if self.by_name.contains_key(name) {
            return Err(ResponseError::TopicAlreadyExists);
        }
        for (name, value) in settings {
            check_topic_setting(name, value)?;
        }
        self.check_room(partitions)
    }

    /// Creates a topic; nothing changes when [`Topics::check`] refuses it.
    pub(crate) fn create(
        &mut self,
        name: &str,
        partitions: i32,
        settings: BTreeMap<String, String>,
    ) -> Result<(), ResponseError> {
        let count = self.check(name, partitions, &settings)?;
        self.partitions += count;
        let partitions = (0..count).map(|_| Log::default()).collect();
        self.by_name.insert(name.to_owned(), Topic { partitions, settings });
        Ok(())
    }

    pub(crate) fn delete(&mut self, name: &str) -> Result<(), ResponseError> {
        let topic = self.by_name.remove(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        self.partitions -= topic.partitions.len();
        self.bytes -= topic.partitions.iter().map(Log::bytes).sum::<u64>();
        Ok(())
    }

    /// Grows a topic to `count` partitions in all; with `only_check` it only says whether it could.
    pub(crate) fn grow(&mut self, name: &str, count: i32, only_check: bool) -> Result<(), ResponseError> {
        let have = self.get(name)?.partitions.len();
        let more = i64::from(count) - have as i64;
        let more = i32::try_from(more).map_err(|_| ResponseError::InvalidPartitions)?;
        let more = self.check_room(more)?;
        if !only_check {
            self.partitions += more;
            self.get_mut(name)?.partitions.resize_with(have + more, Log::default);
        }
        Ok(())
    }

    /// Changes one partition, and then makes room when all together have grown past the limit.
    pub(crate) fn change<T>(
        &mut self,
        name: &str,
        partition: i32,
        change: impl FnOnce(&mut Log) -> Result<T, ResponseError>,
    ) -> Result<T, ResponseError> {
        let index = usize::try_from(partition).map_err(|_| ResponseError::UnknownTopicOrPartition)?;
        let topic = self.by_name.get_mut(name).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let log = topic.partitions.get_mut(index).ok_or(ResponseError::UnknownTopicOrPartition)?;
        let before = log.bytes();
        let changed = change(log);
        self.bytes = self.bytes - before + log.bytes();
        if self.bytes > self.bytes_max {
            self.reclaim();
        }
        changed
    }

    /// Appends one batch as [`Log::append`] does, unless it is larger than the topic takes.
    pub(crate) fn append(
        &mut self,
        name: &str,
        partition: i32,
        header: Header,
        bytes: &[u8],
    ) -> Result<i64, ResponseError> {
        let bytes_max = self.get(name)?.setting("max.message.bytes").parse().unwrap_or(usize::MAX);
        if bytes.len() > bytes_max {
            return Err(ResponseError::MessageTooLarge);
        }
        self.change(name, partition, |log| log.append(header, bytes))
    }

    fn check_room(&self, more: i32) -> Result<usize, ResponseError> {
        let more = usize::try_from(more).unwrap_or(0);
        if more == 0 || self.partitions + more > self.partitions_max {
            return Err(ResponseError::InvalidPartitions);
        }
        Ok(more)
    }

    /// Drops the oldest batches of whichever partition is the largest, a little below the limit so that it does not
    /// have to be done again at once.
    fn reclaim(&mut self) {
        let goal = self.bytes_max - self.bytes_max / RECLAIM_DIVISOR;
        let mut dropped: BTreeMap<(String, usize), (i64, i64)> = BTreeMap::new();
        while self.bytes > goal {
            let logs = self.by_name.iter_mut().flat_map(|(name, topic)| {
                topic.partitions.iter_mut().enumerate().map(move |(index, log)| (name, index, log))
            });
            let Some((name, index, log)) = logs.max_by_key(|(_, _, log)| log.bytes()) else {
                return;
            };
            let (start, before) = (log.start(), log.bytes());
            if before == 0 {
                return;
            }
            log.drop_oldest(before.div_ceil(RECLAIM_DIVISOR));
            self.bytes = self.bytes - before + log.bytes();
            match dropped.entry((name.clone(), index)) {
                Entry::Occupied(mut entry) => entry.get_mut().1 = log.start(),
                Entry::Vacant(entry) => _ = entry.insert((start, log.start())),
            }
        }
        for ((topic, partition), (from, to)) in dropped {
            let limit_bytes = self.bytes_max;
            warn!(
                topic,
                partition, from, to, limit_bytes, "memory limit reached, dropped the oldest records"
            );
        }
    }
}

impl Topic {
    /// A setting's value in force; empty when there is no such setting.
    pub(crate) fn setting(&self, name: &str) -> &str {
        let default = || TOPIC_SETTINGS.iter().find(|setting| setting.name == name).map_or("", |s| s.default);
        self.settings.get(name).map_or_else(default, String::as_str)
    }
}
