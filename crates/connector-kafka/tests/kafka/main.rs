//! The connector on real brokers. One binary: most tests share one broker, and librdkafka is linked once.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

mod assigned;
mod conformance;
mod connecting;
mod damaged;
mod ends;
mod group;
mod leaderless;
mod leaving;
mod lost_offsets;
mod made_anew;
mod oidc;
mod outage;
mod progress;
mod replaced;
mod shapes;
mod sink;
mod sink_cluster;
mod sink_topics;
mod source;
mod transactions;
