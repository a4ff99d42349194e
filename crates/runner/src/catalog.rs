//! THE list: every name that a pipeline file may use. A new connector, format or offset store is one line here.

use aqueduct_api::Catalog;
use aqueduct_formats as formats;
use aqueduct_offsets as offsets;
use aqueduct_transforms as transforms;

/// What this binary knows.
pub(crate) fn catalog() -> Catalog {
    Catalog::default()
        .source::<aqueduct_connector_kafka::SourceConfig>()
        .source::<aqueduct_connector_file::SourceConfig>()
        .source::<aqueduct_connector_generate::Config>()
        .sink::<aqueduct_connector_kafka::SinkConfig>()
        .sink::<aqueduct_connector_s3::Config>()
        .sink::<aqueduct_connector_directory::Config>()
        .sink::<aqueduct_connector_file::SinkConfig>()
        .sink::<aqueduct_connector_discard::Config>()
        .format::<formats::Bytes>()
        .format::<formats::Text>()
        .format::<formats::Json>()
        .format::<formats::Avro>()
        .format::<formats::Protobuf>()
        .format::<formats::JsonSchema>()
        .format::<formats::ConnectJson>()
        .format::<formats::Csv>()
        .transform::<transforms::MaskConfig>()
        .registry::<aqueduct_registry::Config>()
        .offset_store::<offsets::MemoryConfig>()
        .offset_store::<offsets::FilesConfig>()
}
