//! Texts as Protobuf schemas: an error or a schema, and the rows of one have a schema that can be written as a text again.
#![no_main]

use aqueduct_protobuf::{Options, Proto, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(proto) = Proto::compile(text, &[]) else { return };
    let Ok(indexes) = proto.indexes(None) else { return };
    let Ok(shape) = proto.at(&indexes, Options::default()) else { return };
    if let Ok(written) = write(shape.schema()) {
        let again = Proto::compile(&written, &[]).unwrap_or_else(|error| panic!("{error}: {written}"));
        again.at(&[0], Options::default()).unwrap_or_else(|error| panic!("{error}: {written}"));
    }
});
