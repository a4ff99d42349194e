//! Where a partition goes on when its offset is lost: as `on_lost_offsets` says. Runs on the event thread.

use aqueduct_api::{Error, ErrorKind, Result};
use aqueduct_kafka_client::admin::{self, ListedOffset, OffsetQuery};
use aqueduct_kafka_client::{REQUEST_TIMEOUT, is_passing};
use rdkafka::consumer::Consumer;
use rdkafka::error::RDKafkaErrorCode;

use super::handoff::name_of;
use super::member::{GroupConsumer, Member};
use super::stopped::StoppedPartition;
use crate::config::OnLostOffsets;
use crate::diagnosis::{Diagnosis, OFFSET_BEYOND_END, OFFSET_DELETED, OFFSETS_FORGOTTEN};

/// What stands in a remedy where no record has a time.
const SOME_TIME: &str = "2026-01-31T12:00:00Z";

/// A partition whose offset is lost.
pub(super) struct LostOffset {
    /// The offset that is lost.
    pub(super) lost: i64,
    pub(super) first: ListedOffset,
    pub(super) end: ListedOffset,
}

impl Member {
    /// The offset to go on from where the stored one is lost: the group does not have it any more, or it is of a topic that was
    /// recreated since.
    pub(super) fn offset_after_loss(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
        partition: i32,
        lost: i64,
        recreated: bool,
    ) -> Result<Option<i64>> {
        let (first, end) = match self.first_and_end(consumer, topic, partition) {
            Ok(bounds) => bounds,
            Err(code) => return self.refused(code, topic).map_or(Ok(None), Err),
        };
        let forgotten = || {
            OFFSETS_FORGOTTEN.error(
                ErrorKind::Config,
                &[
                    ("group", &self.group),
                    ("offset", &lost),
                    ("partition", &partition),
                    ("topic", &topic),
                    ("pipeline", &self.pipeline),
                    ("time", &SOME_TIME),
                ],
            )
        };
        let error = match recreated {
            true => self.recreated_error(topic, partition, lost, end.offset.unwrap_or(0)),
            false => forgotten(),
        };
        self.apply_policy(consumer, LostOffset { lost, first, end }, error)
    }

    /// The first record with its time, and the end.
    pub(super) fn first_and_end(
        &self,
        consumer: &GroupConsumer,
        topic: &str,
        partition: i32,
    ) -> Result<(ListedOffset, ListedOffset), RDKafkaErrorCode> {
        let ask = |query| {
            let found =
                admin::list_offsets(consumer.client(), &[(topic, partition, query)], REQUEST_TIMEOUT)?;
            found.into_iter().next().ok_or(RDKafkaErrorCode::UnknownPartition)
        };
        let (mut first, end) = (ask(OffsetQuery::Earliest)?, ask(OffsetQuery::Latest)?);
        // The first record with a time is the oldest one, unless it has none.
        first.timestamp_ms = ask(OffsetQuery::Timestamp(0))?.timestamp_ms;
        Ok((first, end))
    }

    /// The offset to go on from as `on_lost_offsets` says; `None` when the cluster does not answer. `error` says what is lost.
    pub(super) fn apply_policy(
        &self,
        consumer: &GroupConsumer,
        lost: LostOffset,
        error: Error,
    ) -> Result<Option<i64>> {
        let LostOffset { lost, first, end } = lost;
        let (topic, partition) = (first.topic.clone(), first.partition);
        let listed = match self.on_lost {
            OnLostOffsets::Stop => return Err(error),
            OnLostOffsets::Earliest => first,
            OnLostOffsets::Latest => end,
            OnLostOffsets::Timestamp(moment) => {
                let since = [(&*topic, partition, OffsetQuery::Timestamp(moment.unix_ms))];
                match admin::list_offsets(consumer.client(), &since, REQUEST_TIMEOUT) {
                    Ok(found) => found.into_iter().find(|found| found.offset.is_some()).unwrap_or(end),
                    Err(code) => return self.refused(code, &topic).map_or(Ok(None), Err),
                }
            }
        };
        let (reason, offset, policy) = (error.says(), listed.offset, self.on_lost);
        // Those that were deleted, and those that are there and left out.
        let skipped_records_max = offset.map(|offset| (offset - lost).max(0));
        let goes_on_with = listed.timestamp_ms.and_then(time_of);
        tracing::warn!(
            topic,
            partition,
            offset,
            skipped_records_max,
            goes_on_with,
            ?policy,
            reason,
            "going on behind what is lost"
        );
        Ok(offset)
    }

    /// The error for an offset that is out of range.
    pub(super) fn out_of_range_error(
        &self,
        stopped: &StoppedPartition,
        first: &ListedOffset,
        end: i64,
    ) -> Error {
        let oldest = first.offset.unwrap_or(end);
        let diagnosis: &Diagnosis = if stopped.at < oldest { &OFFSET_DELETED } else { &OFFSET_BEYOND_END };
        let time = first.timestamp_ms.and_then(time_of);
        let time_of_first = time.as_ref().map_or(String::new(), |time| format!(", of {time}"));
        let read = self
            .stopped
            .time_us(&name_of(&stopped.topic, stopped.partition))
            .and_then(|us| time_of(us / 1_000));
        let read = read.map_or(String::new(), |time| format!(", later than {time}"));
        diagnosis.error(
            ErrorKind::Config,
            &[
                ("partition", &stopped.partition),
                ("topic", &stopped.topic),
                ("from", &stopped.at),
                ("offset", &stopped.at),
                ("to", &(oldest - 1)),
                ("end", &end),
                ("records", &(if stopped.at < oldest { oldest - stopped.at } else { stopped.at - end })),
                ("first", &oldest),
                ("time_of_first", &time_of_first),
                ("read", &read),
                ("pipeline", &self.pipeline),
                ("time", &time.as_deref().unwrap_or(SOME_TIME)),
            ],
        )
    }

    /// The error for a request that was refused; what failed for any other reason is tried again.
    pub(super) fn refused(&self, code: RDKafkaErrorCode, topic: &str) -> Option<Error> {
        if let Some(error) = self.denied(code, Some(topic)) {
            return Some(error);
        }
        if !is_passing(code) {
            tracing::debug!(%code, topic, "the cluster does not tell where a partition ends");
        }
        None
    }
}

fn time_of(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}
