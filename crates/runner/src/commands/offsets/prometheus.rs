//! Offsets that a Prometheus server remembers, for when the cluster has forgotten them: of our own metric, or of
//! kafka-lag-exporter's.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aqueduct_api::{Error, OffsetSpec, Partition, Result};
use aqueduct_spec::Pipeline;
use serde::Deserialize;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

/// How long the server may take.
const TIMEOUT: Duration = Duration::from_secs(60);
/// No answer is longer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How far back a last value is looked for.
const LOOK_BACK: &str = "30d";
/// Where the system keeps the certificates of authorities.
const AUTHORITIES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Whose metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Metric {
    /// `aqueduct_committed_offset`
    Aqueduct,
    /// `kafka_consumergroup_group_offset`
    #[value(name = "kafka_lag_exporter")]
    KafkaLagExporter,
}

/// Where it answers, and whom we trust about that.
pub(super) struct Server {
    url: String,
    authorities: Arc<Vec<Certificate<'static>>>,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    error: String,
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// The offsets that were seen last before a time, or before now.
pub(super) async fn offsets(
    server: Server,
    metric: Metric,
    pipeline: &Pipeline,
    at_ms: Option<i64>,
) -> Result<BTreeMap<Partition, OffsetSpec>> {
    let group = pipeline.source_raw.get("group").and_then(|group| group.as_str());
    let selector = match metric {
        Metric::Aqueduct => format!("aqueduct_committed_offset{{pipeline={}}}", quoted(&pipeline.name)),
        Metric::KafkaLagExporter => {
            let group = group.unwrap_or(&pipeline.name);
            format!("kafka_consumergroup_group_offset{{group={}}}", quoted(group))
        }
    };
    let asked = selector.clone();
    let found = tokio::task::spawn_blocking(move || {
        let values = server.ask(&format!("last_over_time({asked}[{LOOK_BACK}])"), at_ms)?;
        // A partition that moved from one process to another has a series of each; the one that was seen last counts.
        let times = server.ask(&format!("max_over_time(timestamp({asked})[{LOOK_BACK}:1m])"), at_ms)?;
        Ok(latest(values, &times, metric))
    });
    let found =
        found.await.map_err(|error| Error::fatal("the question to Prometheus died").caused_by(error))?;
    let found = found.map_err(|says: String| {
        Error::transient(format!("Prometheus does not tell offsets: {says}"))
            .remedy("see that the address is that of its web page, without a path")
    })?;
    if found.is_empty() {
        return Err(Error::config(format!("Prometheus remembers nothing of {selector} within {LOOK_BACK}"))
            .remedy("see the names of its labels, or ask for an earlier time with --at"));
    }
    Ok(found.into_iter().map(|(name, offset)| (name, OffsetSpec::At(offset.to_string().into()))).collect())
}

/// Of each partition the value of the series that was alive last.
fn latest(values: Vec<Sample>, times: &[Sample], metric: Metric) -> BTreeMap<Partition, i64> {
    // The two answers tell the same series apart by their labels; only the first may name the metric.
    let labels = |sample: &Sample| {
        let mut labels = sample.metric.clone();
        labels.remove("__name__");
        labels
    };
    let seen: BTreeMap<_, f64> =
        times.iter().map(|sample| (labels(sample), sample.value.1.parse().unwrap_or(0.0))).collect();
    let mut found: BTreeMap<Partition, (f64, i64)> = BTreeMap::new();
    for sample in values {
        let Some(name) = partition_of(&sample.metric, metric) else { continue };
        let Ok(offset) = sample.value.1.parse::<f64>() else { continue };
        let time = seen.get(&labels(&sample)).copied().unwrap_or(0.0);
        let newest = found.entry(name).or_insert((time, offset as i64));
        if time > newest.0 {
            *newest = (time, offset as i64);
        }
    }
    found.into_iter().map(|(name, (_, offset))| (name, offset)).collect()
}

fn partition_of(labels: &BTreeMap<String, String>, metric: Metric) -> Option<Partition> {
    let partition = labels.get("partition")?;
    match metric {
        Metric::Aqueduct => Some(partition.as_str().into()),
        Metric::KafkaLagExporter => Some(format!("{}/{partition}", labels.get("topic")?).into()),
    }
}

impl Server {
    /// At this address, with a certificate of this authority, or of one that the system trusts.
    pub(super) fn new(url: String, ca: Option<&Path>) -> Result<Self> {
        let read = |path: &Path| {
            std::fs::read(path)
                .map_err(|error| Error::config(format!("cannot read {}: {error}", path.display())))
        };
        let text = match ca {
            Some(path) => read(path)?,
            None => AUTHORITIES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default(),
        };
        let authorities: Vec<_> = parse_pem(&text)
            .filter_map(|item| match item {
                Ok(PemItem::Certificate(certificate)) => Some(certificate),
                _ => None,
            })
            .collect();
        if let (Some(path), true) = (ca, authorities.is_empty()) {
            return Err(Error::config(format!("{} holds no certificate in PEM", path.display())));
        }
        Ok(Self { url, authorities: Arc::new(authorities) })
    }

    /// An instant query (HTTP API of Prometheus, `/api/v1/query`).
    fn ask(&self, query: &str, at_ms: Option<i64>) -> Result<Vec<Sample>, String> {
        let tls = TlsConfig::builder()
            .root_certs(RootCerts::Specific(Arc::clone(&self.authorities)))
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .build();
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            .tls_config(tls)
            .build()
            .into();
        let url = self.url.trim_end_matches('/');
        let mut request = agent.get(format!("{url}/api/v1/query")).query("query", query);
        if let Some(ms) = at_ms {
            request = request.query("time", format!("{}.{:03}", ms.div_euclid(1_000), ms.rem_euclid(1_000)));
        }
        let mut answer = request.call().map_err(|error| error.to_string())?;
        let status = answer.status();
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|error| error.to_string())?;
        let read: Answer = serde_json::from_slice(&body)
            .map_err(|_| format!("it answers {status}, and not as Prometheus does"))?;
        match read.data {
            Some(data) if status.is_success() => Ok(data.result),
            _ => Err(format!("it answers {status}: {}", read.error)),
        }
    }
}

/// A string of PromQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_that_was_alive_last_counts() {
        let sample = |instance: &str, value: &str| Sample {
            metric: [("partition", "orders/3"), ("instance", instance)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            value: (0.0, value.to_owned()),
        };
        // The first one's offset is higher: somebody moved the group back before the second took over.
        let values = vec![sample("a", "900"), sample("b", "120")];
        let times = [sample("a", "1000"), sample("b", "2000.5")];
        assert_eq!(latest(values, &times, Metric::Aqueduct), BTreeMap::from([("orders/3".into(), 120)]));
    }
}
