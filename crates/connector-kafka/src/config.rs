//! What a pipeline file says of Kafka: the connection, the source and the sink. Read and checked without the
//! network.

mod sink;
mod source;

pub(crate) use sink::is_topic_name;
pub use sink::{NewTopic, OnMissingTopic, SinkConfig, Writes};
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
