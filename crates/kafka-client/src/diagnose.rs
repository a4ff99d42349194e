//! What librdkafka's errors and log lines mean, where nothing else reports it: logins, ACLs, and a cluster with another id.

use rdkafka::error::RDKafkaErrorCode;

use crate::config::Connection;
use crate::credentials::Principal;
use crate::diagnosis::Diagnosed;
use crate::diagnosis::connecting::{
    CLUSTER_DENIED, GROUP_DENIED, LOGIN_REFUSED, MECHANISM_UNSUPPORTED, SASL_UNEXPECTED, TOKEN_MISSING,
    TOPIC_DENIED, TRANSACTIONAL_ID_DENIED,
};

/// A login that failed, from the error callback; `None` for everything else.
pub fn login(connection: &Connection, code: RDKafkaErrorCode, reason: &str) -> Option<Diagnosed> {
    use RDKafkaErrorCode as Code;
    if !matches!(code, Code::Authentication | Code::SaslAuthenticationFailed) {
        return None;
    }
    let (broker, says) = named(reason).unwrap_or((connection.brokers.0.as_str(), reason));
    // Without a login nothing of this kind is reported.
    let sasl = connection.sasl.as_ref()?;
    let (mechanism, user) = (sasl.mechanism(), sasl.user());
    if let Some(cause) = reason.strip_prefix("Failed to acquire SASL OAUTHBEARER token: ") {
        return Some(TOKEN_MISSING.fill(&[
            ("user", &user),
            ("url", &"the identity provider"),
            ("cause", &cause),
        ]));
    }
    if says.contains("Unsupported SASL mechanism") {
        let mechanisms =
            says.rsplit_once("supported mechanisms: ").map_or("others", |(_, mechanisms)| mechanisms);
        let mechanisms = mechanisms.replace(',', ", ");
        let values: [(&str, &dyn std::fmt::Display); 3] =
            [("broker", &broker), ("mechanism", &mechanism), ("mechanisms", &mechanisms)];
        return Some(MECHANISM_UNSUPPORTED.fill(&values));
    }
    if says.contains("Request not valid in current SASL state") {
        return Some(SASL_UNEXPECTED.fill(&[("broker", &broker)]));
    }
    let cause = says.strip_prefix("SASL authentication error: ").unwrap_or(says);
    let cause = cause.strip_prefix("Authentication failed during authentication due to ").unwrap_or(cause);
    Some(LOGIN_REFUSED.fill(&[
        ("broker", &broker),
        ("mechanism", &mechanism),
        ("user", &user),
        ("cause", &cause),
    ]))
}

/// What an ACL denied.
#[derive(Clone, Copy, Debug, Default)]
pub struct Access<'a> {
    /// As Kafka spells it: `Read`, `Write`, `Create`, `Describe`.
    pub operation: &'static str,
    /// The topic, where it is known.
    pub topic: Option<&'a str>,
    /// The consumer group, where there is one.
    pub group: Option<&'a str>,
}

/// A right that is missing; `None` for every other code.
pub fn denial(
    connection: &Connection,
    code: RDKafkaErrorCode,
    reason: &str,
    access: Access<'_>,
) -> Option<Diagnosed> {
    use RDKafkaErrorCode as Code;
    let entry = match code {
        Code::TopicAuthorizationFailed => &TOPIC_DENIED,
        Code::GroupAuthorizationFailed => &GROUP_DENIED,
        Code::ClusterAuthorizationFailed => &CLUSTER_DENIED,
        _ => return None,
    };
    let Principal { words, grantee } = Principal::of(connection);
    let values: [(&str, &dyn std::fmt::Display); 6] = [
        ("brokers", &connection.brokers.0),
        ("principal", &words),
        ("grantee", &grantee),
        ("operation", &access.operation),
        ("topic", &access.topic.or_else(|| topic_in(reason)).unwrap_or("NAME")),
        ("group", &access.group.unwrap_or("NAME")),
    ];
    Some(entry.fill(&values))
}

/// A transactional id that may not be used.
pub fn transactional_id_denial(connection: &Connection, transactional_id: &str, prefix: &str) -> Diagnosed {
    let Principal { words, grantee } = Principal::of(connection);
    TRANSACTIONAL_ID_DENIED.fill(&[
        ("brokers", &connection.brokers.0),
        ("principal", &words),
        ("grantee", &grantee),
        ("transactional_id", &transactional_id),
        ("prefix", &prefix),
    ])
}

/// The error code of a fatal error of librdkafka, where an ACL is the cause: `Fatal error: Broker: Cluster authorization failed: Failed to
/// acquire idempotence PID ...`
pub fn fatal_denial(reason: &str) -> Option<RDKafkaErrorCode> {
    reason.contains("Cluster authorization failed").then_some(RDKafkaErrorCode::ClusterAuthorizationFailed)
}

/// `Subscribed topic not available: orders: Broker: Topic authorization failed`
fn topic_in(reason: &str) -> Option<&str> {
    let (_, rest) = reason.split_once("topic not available: ")?;
    rest.split_once(": ").map(|(topic, _)| topic)
}

/// The ids of the cluster before and now, in a line of the log.
pub(super) fn cluster_change<'a>(facility: &str, line: &'a str) -> Option<(&'a str, &'a str)> {
    let rest = (facility == "CLUSTERID").then_some(line)?.split_once("different ClusterId \"")?.1;
    let (now, rest) = rest.split_once("\" than previously known \"")?;
    Some((rest.split_once('"')?.0, now))
}

/// `sasl_ssl://localhost:9093/bootstrap: what happened (after 3ms in state AUTH_REQ)` in its two parts.
fn named(reason: &str) -> Option<(&str, &str)> {
    let (name, says) = reason.split_once(": ")?;
    let broker = name.split_once("://").map_or(name, |(_, broker)| broker);
    let broker = broker.split_once('/').map_or(broker, |(broker, _)| broker);
    let says = says.rsplit_once(" (after ").map_or(says, |(says, _)| says);
    broker.contains(':').then_some((broker, says))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn connection() -> Connection {
        let sasl = json!({ "scram_sha_512": { "user": "app", "password": "x" } });
        serde_json::from_value(json!({ "brokers": "localhost:27002", "tls": true, "sasl": sasl })).unwrap()
    }

    /// The texts are those of librdkafka 2.12.1 before Kafka 4.3.
    #[test]
    fn logins_that_failed() {
        let says = |reason: &str| {
            let diagnosed = login(&connection(), RDKafkaErrorCode::Authentication, reason).unwrap();
            (diagnosed.id, diagnosed.says)
        };
        assert_eq!(
            says(
                "sasl_ssl://localhost:27002/bootstrap: SASL authentication error: Authentication failed during authentication due to invalid credentials with SASL mechanism SCRAM-SHA-512 (after 314ms in state AUTH_REQ, 1 identical error(s) suppressed)"
            ),
            (
                "login-refused",
                "localhost:27002 does not accept SCRAM-SHA-512 of user `app`: invalid credentials with SASL mechanism SCRAM-SHA-512".into()
            )
        );
        assert_eq!(
            says(
                "sasl_ssl://localhost:27002/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512,OAUTHBEARER (after 302ms in state AUTH_HANDSHAKE)"
            ),
            (
                "mechanism-unsupported",
                "localhost:27002 does not take SCRAM-SHA-512, it takes SCRAM-SHA-512, OAUTHBEARER".into()
            )
        );
        assert_eq!(
            says(
                "sasl_plaintext://localhost:27000/bootstrap: SASL SCRAM-SHA-512 mechanism handshake failed: Broker: Request not valid in current SASL state: broker's supported mechanisms:  (after 1ms in state AUTH_HANDSHAKE)"
            )
            .0,
            "sasl-unexpected"
        );
        assert_eq!(login(&connection(), RDKafkaErrorCode::SSL, "x"), None);
    }

    #[test]
    fn rights_that_are_missing() {
        let says = |code, reason: &str| {
            let access = Access { operation: "Read", topic: None, group: Some("readers") };
            denial(&connection(), code, reason, access).unwrap()
        };
        let topic = says(
            RDKafkaErrorCode::TopicAuthorizationFailed,
            "Subscribed topic not available: orders: Broker: Topic authorization failed",
        );
        assert_eq!(topic.says, "user `app` may not Read topic `orders`");
        assert_eq!(
            topic.remedy,
            "grant it: kafka-acls.sh --bootstrap-server localhost:27002 --add --allow-principal User:app --operation Read --topic orders"
        );
        let group = says(
            RDKafkaErrorCode::GroupAuthorizationFailed,
            "FindCoordinator response error: Group authorization failed.",
        );
        assert_eq!(group.says, "user `app` may not use the consumer group `readers`");
    }

    #[test]
    fn a_cluster_that_is_another_one() {
        let line = "[thrd:main]: Broker localhost:9092/0 reports different ClusterId \"new\" than previously known \"old\": a client must not be simultaneously connected to multiple clusters";
        assert_eq!(cluster_change("CLUSTERID", line), Some(("old", "new")));
        assert_eq!(cluster_change("CLUSTERID", "ClusterId update \"\" -> \"new\""), None);
        assert_eq!(cluster_change("OTHER", line), None);
    }
}
