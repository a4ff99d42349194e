//! What a pipeline file says of Kafka: the connection, the source and the sink. Read and checked without the
//! network.

/// A schema written by hand, where serde reads more than one form.
macro_rules! inline_schema {
    ($type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

mod connection;
mod sink;
mod source;

pub use connection::{Brokers, Connection, Kerberos, Login, Oauth, Password, Pem, Properties, Sasl, Tls};
pub(crate) use sink::is_topic_name;
pub use sink::{Compression, NewTopic, OnMissingTopic, SinkConfig, Writes};
pub use source::{
    Assignor, GroupProtocol, Isolation, Moment, OnLostOffsets, Pattern, SourceConfig, Start, TopicSelection,
};

use aqueduct_api::Problem;

/// The rules that a name of a topic has to follow, where it breaks them.
fn topic_problem(path: &str, name: &str) -> Option<Problem> {
    (!is_topic_name(name)).then(|| {
        Problem::new(path, format!("`{name}` is not a topic name"))
            .remedy("a name has 1 to 249 letters, digits, dots, dashes and underscores")
    })
}
