//! The properties of librdkafka that a file may set: their names and values are checked without the network.

use aqueduct_api::Problem;
use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::config::Properties;
use crate::native::property_names::property_names;

/// A name that is nearer than this to a known one is taken for a typing error.
const NEAR_MAX: usize = 3;

/// Lets librdkafka check each property: unknown names and wrong values are found.
pub fn check(path: &str, properties: &Properties) -> Vec<Problem> {
    properties.0.iter().filter_map(|(name, value)| wrong(path, name, value)).collect()
}

fn wrong(path: &str, name: &str, value: &str) -> Option<Problem> {
    let mut client = ClientConfig::new();
    client.set(name, value);
    let Err(KafkaError::ClientConfig(_, says, ..)) = client.create_native_config() else {
        return None;
    };
    let path = format!("{path}.{name}");
    if !says.contains("No such configuration property") {
        let says = says.trim_end_matches('.').replace('"', "`");
        return Some(Problem::new(path, says).remedy("see librdkafka's CONFIGURATION.md for what it takes"));
    }
    let known = property_names();
    let near = known.iter().map(|known| (strsim::damerau_levenshtein(known, name), known)).min();
    let remedy = match near.filter(|(distance, _)| *distance <= NEAR_MAX) {
        Some((_, near)) => format!("did you mean `{near}`?"),
        None => "see librdkafka's CONFIGURATION.md for its properties".to_owned(),
    };
    Some(Problem::new(path, format!("librdkafka has no property `{name}`")).remedy(remedy))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_property_is_named() {
        let properties: Properties = serde_json::from_value(
            serde_json::json!({ "no.such": 1, "fetch.min.bytes": "many", "debug": "broker", "fetch.min.byte": 1 }),
        )
        .unwrap();
        let problems = check("client", &properties);
        let paths: Vec<&str> = problems.iter().map(|problem| &*problem.path).collect();
        assert_eq!(
            paths,
            ["client.fetch.min.byte", "client.fetch.min.bytes", "client.no.such"],
            "{problems:?}"
        );
        assert_eq!(problems[0].remedy.as_deref(), Some("did you mean `fetch.min.bytes`?"));
        assert_eq!(problems[2].says, "librdkafka has no property `no.such`");
    }

    #[test]
    fn properties_of_topics_are_known_too() {
        let names = property_names();
        assert!(names.len() > 100 && names.iter().any(|name| name == "partitioner"), "{}", names.len());
    }
}
