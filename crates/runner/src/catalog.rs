//! THE list: every name that a pipeline file may use. A new connector, format or offset store is one line here.

use aqueduct_api::Catalog;
use aqueduct_formats as formats;
use aqueduct_offsets as offsets;
use aqueduct_transforms as transforms;

/// What this binary knows.
pub(crate) fn catalog() -> Catalog {
    Catalog::default()
        .source::<aqueduct_connector_kafka::Topics>()
        .source::<aqueduct_connector_file::Lines>()
        .source::<aqueduct_connector_generate::Orders>()
        .sink::<aqueduct_connector_kafka::Topics>()
        .sink::<aqueduct_connector_s3::Objects>()
        .sink::<aqueduct_connector_directory::Folder>()
        .sink::<aqueduct_connector_file::Lines>()
        .sink::<aqueduct_connector_discard::Nothing>()
        .format::<formats::Bytes>()
        .format::<formats::Text>()
        .format::<formats::Json>()
        .format::<formats::Avro>()
        .format::<formats::Protobuf>()
        .format::<formats::JsonSchema>()
        .format::<formats::ConnectJson>()
        .format::<formats::Csv>()
        .transform::<transforms::Mask>()
        .registry::<aqueduct_registry::SchemaRegistry>()
        .offset_store::<offsets::Memory>()
        .offset_store::<offsets::Files>()
}
