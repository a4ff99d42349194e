//! Text as an Avro schema, with others before it that it may refer to, parted by zero bytes. Whatever it is, it is an
//! error or a schema; a schema is read again from what is written of it, and can be compiled.
#![no_main]

use aqueduct_avro::{Decoder, Encoder, UnknownFields, canonical, fingerprint, parse, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut parts: Vec<&str> = text.split('\0').collect();
    let (Some(main), references) = (parts.pop(), parts) else { return };
    let Ok(schema) = parse(main, &references) else { return };
    let written = write(&schema).to_string();
    let again = parse(&written, &[]).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(write(&again).to_string(), written);
    if references.is_empty() {
        assert_eq!(again, schema, "{written}");
    }
    // A type that is referred to by a name of another namespace cannot be told apart there.
    assert_eq!(canonical(&again), canonical(&schema));
    assert_eq!(fingerprint(&again), fingerprint(&schema));
    drop((Decoder::new(&schema), Encoder::new(&schema, UnknownFields::Drop), Decoder::resolving(&schema, &again)));
});
