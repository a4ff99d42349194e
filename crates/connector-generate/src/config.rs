//! The block of `generate` in a pipeline file.

use aqueduct_api::Problem;
use aqueduct_api::config::Duration;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Deserialize;

/// Which records, how many, how fast.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What is made up.
    #[serde(default)]
    pub kind: Kind,
    /// The topic of the records.
    #[serde(default = "topic")]
    pub topic: String,
    /// How many partitions the topic has; the key decides, as it does for Kafka's Java client.
    #[serde(default = "partitions")]
    pub partitions: u32,
    /// The same seed makes the same records.
    #[serde(default = "seed")]
    pub seed: u64,
    /// Records a second, all partitions together; as fast as they are taken if not given.
    pub rate: Option<u64>,
    /// The source ends after so many records, all partitions together; never if not given.
    pub count: Option<u64>,
    /// The time of the first record (RFC 3339); now, at the first start, if not given.
    pub start: Option<String>,
    /// Event time between two records; as the rate has it if not given.
    pub timestamp_step: Option<Duration>,
}

/// A kind of made-up record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Orders of a web shop as JSON, keyed by customer.
    #[default]
    Orders,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Orders,
            topic: topic(),
            partitions: partitions(),
            seed: seed(),
            rate: None,
            count: None,
            start: None,
            timestamp_step: None,
        }
    }
}

impl Config {
    /// The short form, `generate: orders`: that kind, and the defaults for the rest.
    pub fn named(kind: &str) -> Result<Self, Problem> {
        match kind {
            "orders" => Ok(Self::default()),
            _ => Err(Problem::new("kind", format!("`{kind}` cannot be generated")).remedy("write `orders`")),
        }
    }

    /// What parsing alone cannot see.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.topic.is_empty() {
            problems.push(Problem::new("topic", "is empty").remedy("name a topic, as in `shop.orders`"));
        }
        if !(1..=PARTITIONS_MAX).contains(&self.partitions) {
            let says = format!("is {}, not between 1 and {PARTITIONS_MAX}", self.partitions);
            problems.push(Problem::new("partitions", says));
        }
        if self.rate == Some(0) {
            let remedy = "write 1 or more, or leave it out for as fast as records are taken";
            problems.push(Problem::new("rate", "no record would ever come").remedy(remedy));
        }
        if let Some(start) = &self.start
            && start.parse::<Timestamp>().is_err()
        {
            let remedy = "write RFC 3339, as in \"2026-01-01T00:00:00Z\"";
            problems.push(Problem::new("start", format!("`{start}` is no time")).remedy(remedy));
        }
        problems
    }

    /// `start` in microseconds since 1970.
    pub(crate) fn start_us(&self) -> Option<i64> {
        self.start.as_ref()?.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
    }
}

/// With more, a partition could be left without a customer.
const PARTITIONS_MAX: u32 = 1_000;

fn topic() -> String {
    "shop.orders".to_owned()
}

fn partitions() -> u32 {
    6
}

fn seed() -> u64 {
    1
}
