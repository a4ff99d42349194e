//! Addresses of brokers as users and clusters write them.

/// Kafka's own.
const PORT_DEFAULT: u16 = 9092;

/// `host:9092`, `[::1]:9092`, `SSL://host:9092`.
pub(crate) fn host_and_port(broker: &str) -> (&str, u16) {
    let broker = broker.trim();
    let broker = broker.split_once("://").map_or(broker, |(_, rest)| rest);
    let (host, port) = match broker.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, port.parse().ok()),
        _ => (broker, None),
    };
    (host.trim_start_matches('[').trim_end_matches(']'), port.unwrap_or(PORT_DEFAULT))
}

/// `host:9092`, `[::1]:9092`.
pub(crate) fn address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses_as_people_write_them() {
        assert_eq!(host_and_port("kafka:9093"), ("kafka", 9093));
        assert_eq!(host_and_port(" SSL://kafka.example "), ("kafka.example", 9092));
        assert_eq!(host_and_port("[::1]:19092"), ("::1", 19092));
        assert_eq!(host_and_port("::1"), ("::1", 9092));
    }
}
