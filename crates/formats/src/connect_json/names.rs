//! What Kafka Connect and the Avro converter of Confluent call things.

pub(super) const DECIMAL: &str = "org.apache.kafka.connect.data.Decimal";
pub(super) const DATE: &str = "org.apache.kafka.connect.data.Date";
pub(super) const TIME: &str = "org.apache.kafka.connect.data.Time";
pub(super) const TIMESTAMP: &str = "org.apache.kafka.connect.data.Timestamp";

/// Debezium's, for what Connect has no name for: <https://debezium.io/documentation/reference/stable/connectors/postgresql.html>
pub(super) const DEBEZIUM_DATE: &str = "io.debezium.time.Date";
pub(super) const DEBEZIUM_TIME: &str = "io.debezium.time.Time";
pub(super) const DEBEZIUM_MICRO_TIME: &str = "io.debezium.time.MicroTime";
pub(super) const DEBEZIUM_TIMESTAMP: &str = "io.debezium.time.Timestamp";
pub(super) const DEBEZIUM_MICRO_TIMESTAMP: &str = "io.debezium.time.MicroTimestamp";
pub(super) const DEBEZIUM_NANO_TIMESTAMP: &str = "io.debezium.time.NanoTimestamp";
pub(super) const DEBEZIUM_UUID: &str = "io.debezium.data.Uuid";

/// Digits of a decimal for which no parameter says how many.
pub(super) const PRECISION: u32 = 64;
pub(super) const PRECISION_PARAMETER: &str = "connect.decimal.precision";
pub(super) const SCALE_PARAMETER: &str = "scale";

/// A struct without a name.
pub(super) const NAMELESS: &str = "io.confluent.connect.avro.ConnectDefault";
/// A union as a struct, and the parameter that lists the symbols of an enum.
pub(super) const UNION: &str = "io.confluent.connect.avro.Union";
pub(super) const ENUM: &str = "io.confluent.connect.avro.Enum";

/// Attributes of our types.
pub(super) const CONNECT_NAME: &str = "connect.name";
pub(super) const CONNECT_VERSION: &str = "connect.version";
pub(super) const CONNECT_DOC: &str = "connect.doc";
pub(super) const CONNECT_PARAMETERS: &str = "connect.parameters";
pub(super) const CONNECT_DEFAULT: &str = "connect.default";
pub(super) const CONNECT_TYPE: &str = "connect.type";
