//! Bytes as messages of a schema that has everything. Whatever they are, they are an error or a row; a row stays within
//! bounds, and is read again from what is written of it.
#![no_main]

use std::sync::{Arc, LazyLock};

use aqueduct_protobuf::{Decoder, Encoder, Options, Proto, Shape, Timestamps, UnknownFields, Unsigned};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// A row is at most so many times as large as its payload, beside what the first messages take.
const GROWTH_MAX: usize = 2_000;
const MEMORY_BYTES_SPARE: usize = 1 << 20;

static SHAPES: LazyLock<[Arc<Shape>; 2]> = LazyLock::new(|| {
    let proto = Proto::compile(
        "syntax = 'proto3'; package p;
        import 'google/protobuf/timestamp.proto'; import 'google/protobuf/wrappers.proto'; import 'google/protobuf/struct.proto';
        import 'google/type/date.proto'; import 'google/type/timeofday.proto';
        import 'confluent/meta.proto'; import 'confluent/type/decimal.proto';
        message M {
          int32 a = 1; sint64 b = 2; uint64 c = 3; fixed32 d = 4; double e = 5; string f = 6; bytes g = 7; E h = 8; bool i = 9;
          repeated int32 j = 10; repeated string k = 11; repeated E l = 12; map<int32, M> m = 13; map<string, uint64> n = 14;
          M o = 15; repeated M p = 16; optional float q = 17; oneof r { M s = 18; int64 t = 19; E u = 20; }
          google.protobuf.Timestamp v = 21; google.protobuf.StringValue w = 22; google.protobuf.UInt64Value x = 23;
          google.protobuf.Struct y = 24; google.type.Date z = 25; google.type.TimeOfDay aa = 26;
          confluent.type.Decimal ab = 27 [(confluent.field_meta) = { params: [{ key: 'scale', value: '3' }] }];
          map<bool, google.protobuf.Timestamp> ac = 28; repeated sfixed64 ad = 29;
        }
        enum E { Z = 0; Y = -1; X = 70000; }",
        &[],
    )
    .expect("a schema");
    let shape = |options| Arc::new(proto.at(&[0], options).expect("a message"));
    let other = Options {
        timestamps: Timestamps::Nanos,
        unsigned: Unsigned::Decimal,
        unknown_fields: UnknownFields::Error,
    };
    [shape(Options::default()), shape(other)]
});

fuzz_target!(|data: &[u8]| {
    let payload = Bytes::copy_from_slice(data);
    for shape in SHAPES.iter() {
        let decoder = Decoder::new(Arc::clone(shape));
        let Ok(typed) = decoder.decode(&payload, 0) else { continue };
        let bound = MEMORY_BYTES_SPARE + GROWTH_MAX * payload.len();
        assert!(typed.memory_bytes() < bound, "{} bytes from {}", typed.memory_bytes(), payload.len());
        let mut out = Vec::new();
        let encoder = Encoder::new(Arc::clone(shape), UnknownFields::Error);
        encoder.encode(&typed, &mut out).expect("a row of its own schema");
        let again = decoder.decode(&Bytes::from(out), 0).expect("what was written");
        assert_eq!(again, typed);
    }
});
