//! Orders of thirteen fields, decoded and encoded on one core: ours, and prost-reflect's dynamic messages beside it.
//! `cargo bench -p aqueduct-protobuf`

use std::hint::black_box;
use std::sync::Arc;

use aqueduct_protobuf::{Decoder, Encoder, Options, Proto, UnknownFields};
use bytes::Bytes;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use protox::prost_reflect::prost::Message;
use protox::prost_reflect::{DynamicMessage, MessageDescriptor, Value};
use tokio::time::Instant;

/// As the binary has it.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const RECORDS: usize = 300_000;
const ROUNDS: usize = 5;

const ORDER: &str = "syntax = 'proto3'; package shop; import 'google/protobuf/timestamp.proto';
    message Order {
      int64 id = 1; int64 customer_id = 2; google.protobuf.Timestamp placed_at = 3; Status status = 4; int64 cents = 5;
      string currency = 6; optional string email = 7; optional string note = 8; bool paid = 9; double weight = 10;
      Address address = 11; repeated string tags = 12; repeated int32 sizes = 13;
      enum Status { NEW = 0; PAID = 1; SENT = 2; DONE = 3; }
      message Address { string street = 1; string city = 2; string zip = 3; }
    }";

struct Order;

impl FileResolver for Order {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == "order.proto" {
            File::from_source(name, ORDER)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

fn descriptor() -> MessageDescriptor {
    let mut files = ChainFileResolver::new();
    files.add(Order);
    files.add(GoogleFileResolver::new());
    let mut compiler = protox::Compiler::with_file_resolver(files);
    compiler.open_file("order.proto").expect("a schema");
    compiler.descriptor_pool().get_message_by_name("shop.Order").expect("a message")
}

fn main() {
    let descriptor = descriptor();
    let messages: Vec<DynamicMessage> = (0..10_000).map(|id| order(&descriptor, id)).collect();
    let payloads: Vec<Bytes> = messages.iter().map(|message| message.encode_to_vec().into()).collect();
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    println!("{RECORDS} orders of {} bytes, best of {ROUNDS} rounds", bytes / payloads.len());

    let proto = Proto::compile(ORDER, &[]).expect("a schema");
    let shape = Arc::new(proto.at(&[0], Options::default()).expect("a message"));
    let (decoder, encoder) = (Decoder::new(Arc::clone(&shape)), Encoder::new(shape, UnknownFields::Error));
    let ours = best(|at| drop(black_box(decoder.decode(&payloads[at], 0).expect("an order"))));
    let theirs = best(|at| {
        drop(black_box(DynamicMessage::decode(descriptor.clone(), &payloads[at][..]).expect("an order")));
    });
    print("decode", ours, theirs);

    let rows: Vec<_> = payloads.iter().map(|bytes| decoder.decode(bytes, 0).expect("an order")).collect();
    let (mut out, mut other) = (Vec::new(), Vec::new());
    let ours = best(|at| {
        out.clear();
        encoder.encode(&rows[at], &mut out).expect("an order");
        black_box(&out);
    });
    let theirs = best(|at| {
        other.clear();
        messages[at].encode(&mut other).expect("an order");
        black_box(&other);
    });
    print("encode", ours, theirs);
}

/// Seconds of the best round.
fn best(mut each: impl FnMut(usize)) -> f64 {
    let time = |_| {
        let begin = Instant::now();
        (0..RECORDS).for_each(|record| each(record % 10_000));
        begin.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(time).fold(f64::INFINITY, f64::min)
}

fn print(what: &str, ours: f64, theirs: f64) {
    let rate = |seconds: f64| RECORDS as f64 / seconds / 1e6;
    println!(
        "{what}  ours {:5.2} M/s   prost-reflect {:5.2} M/s   {:4.1} times",
        rate(ours),
        rate(theirs),
        theirs / ours
    );
}

fn order(of: &MessageDescriptor, id: i64) -> DynamicMessage {
    let mixed = id.wrapping_mul(0x9e37_79b9_7f4a).rem_euclid(1_000_003);
    let inside = |name: &str, values: &[(&str, Value)]| {
        let kind = of.get_field_by_name(name).expect("a field").kind();
        let mut message = DynamicMessage::new(kind.as_message().expect("a message").clone());
        values.iter().for_each(|(name, value)| message.set_field_by_name(name, value.clone()));
        Value::Message(message)
    };
    let text = |text: &str| Value::String(text.to_owned());
    let placed = [("seconds", Value::I64(1_700_000_000 + id)), ("nanos", Value::I32(123_000))];
    let address = [("street", text("Long Street 12")), ("city", text("Springfield")), ("zip", text("12345"))];
    let mut order = DynamicMessage::new(of.clone());
    for (name, value) in [
        ("id", Value::I64(id)),
        ("customer_id", Value::I64(mixed)),
        ("placed_at", inside("placed_at", &placed)),
        ("status", Value::EnumNumber((id % 4) as i32)),
        ("cents", Value::I64(mixed % 1_000_000)),
        ("currency", text("EUR")),
        ("email", text(&format!("customer-{mixed:07}@example.com"))),
        ("paid", Value::Bool(id % 2 == 0)),
        ("weight", Value::F64(mixed as f64 / 100.0)),
        ("address", inside("address", &address)),
        ("tags", Value::List(vec![text("new"), text("gift")])),
        ("sizes", Value::List(vec![Value::I32(1), Value::I32(200), Value::I32(3)])),
    ] {
        order.set_field_by_name(name, value);
    }
    order
}
