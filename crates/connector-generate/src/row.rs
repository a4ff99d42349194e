//! The same orders as typed rows. A row says all that the JSON says, and, so that a typed order has something of
//! everything, three things more: a reference (UUID), an address, and a note.

use std::sync::{Arc, LazyLock};

use aqueduct_api::schema::{Enumeration, Field, Kind, Logical, Name, RecordType, Type, TypeId, Unit};
use aqueduct_api::value::{Blob, Span, Text};
use aqueduct_api::{Schema, SchemaBuilder, Typed, Value};
use bytes::{Bytes, BytesMut};
use serde_json::Value as Json;

use crate::order::{BASKETS, Basket, CARD, CUSTOMERS, Customers, digits, key, scramble};

/// Bytes of a card's number, which stands first in a row's payload.
const CARD_BYTES: usize = 16;
/// Bytes of a reference, which stands behind it.
const REFERENCE_BYTES: usize = 36;

impl Customers {
    /// The order as a row of [`schema`], behind its key. Its texts come to stand in `memory`, so that a batch takes few
    /// pieces of it.
    ///
    /// `id` is its number, `offset` its place in the partition, `created_at_us` its time in microseconds since 1970.
    pub fn row(&self, id: u64, offset: u64, created_at_us: i64, memory: &mut BytesMut) -> (Bytes, Typed) {
        let drawn = self.draw(offset);
        let made = &*PREPARED;
        let extra = scramble(drawn.dice);
        memory.extend_from_slice(CARD.as_bytes());
        memory.extend_from_slice(&digits::<4>(drawn.card));
        memory.extend_from_slice(&reference(drawn.dice, extra));
        let country = &made.countries[drawn.country()];
        let basket = &made.baskets[drawn.basket];
        let status = STATES[drawn.state];
        // One customer in eight comes to the shop.
        let address = match drawn.customer / 8 % 8 {
            0 => Value::Null,
            _ => country.addresses[drawn.customer as usize / 64 % country.addresses.len()].clone(),
        };
        // One order in four has a note.
        let note = made.notes.get(extra as usize % (4 * NOTES.len())).cloned().unwrap_or(Value::Null);
        let values = [
            Value::Long(id as i64),
            span(CARD_BYTES, REFERENCE_BYTES),
            made.customers[drawn.customer as usize].clone(),
            country.name.clone(),
            country.currency.clone(),
            Value::Enum(status),
            if status == REFUNDED { basket.refund.clone() } else { basket.amount.clone() },
            basket.items.clone(),
            span(0, CARD_BYTES),
            Value::Long(created_at_us),
            address,
            note,
        ];
        let payload = memory.split().freeze();
        let row = Typed::new(Arc::clone(&made.schema), payload, Value::Record(values.into()));
        (Bytes::from_static(key(drawn.customer)), row)
    }
}

/// The schema of the rows, in Avro's terms: `shop.Order` with twelve fields.
pub fn schema() -> Arc<Schema> {
    Arc::clone(&PREPARED.schema)
}

fn span(start: usize, bytes: usize) -> Value {
    Span::new(start, bytes).map_or(Value::Null, |span| Value::Text(Text::Span(span)))
}

/// A UUID of version 4, as far as dice go.
fn reference(high: u64, low: u64) -> [u8; REFERENCE_BYTES] {
    let bits = u128::from(high) << 64 | u128::from(low);
    let bits = bits & !(0xf << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let mut text = [b'-'; REFERENCE_BYTES];
    let places = (0..REFERENCE_BYTES).filter(|place| ![8, 13, 18, 23].contains(place));
    for (nibble, place) in places.enumerate() {
        text[place] = b"0123456789abcdef"[(bits >> (124 - 4 * nibble)) as usize & 0xf];
    }
    text
}

/// What many orders have alike: a copy of it costs less than making it.
struct Prepared {
    schema: Arc<Schema>,
    /// The key of each as text.
    customers: Vec<Value>,
    baskets: Vec<Contents>,
    countries: Vec<Country>,
    notes: Vec<Value>,
}

struct Contents {
    items: Value,
    amount: Value,
    /// The amount where the order is given back.
    refund: Value,
}

struct Country {
    name: Value,
    currency: Value,
    addresses: Vec<Value>,
}

static PREPARED: LazyLock<Prepared> = LazyLock::new(|| Prepared {
    schema: order_schema(),
    customers: (0..CUSTOMERS).map(|number| Value::from(&*String::from_utf8_lossy(key(number)))).collect(),
    baskets: BASKETS.iter().map(contents).collect(),
    countries: COUNTRIES.iter().map(country).collect(),
    notes: NOTES.iter().map(|note| Value::from(*note)).collect(),
});

fn contents(basket: &Basket) -> Contents {
    let item = |item: &crate::order::Item| {
        let quantity = Value::Int(item.quantity as i32);
        Value::Record([Value::from(&*item.sku), quantity, money(item.price_cents as i64)].into())
    };
    let total = basket.total_cents as i64;
    Contents {
        items: Value::List(basket.items.iter().map(item).collect()),
        amount: money(total),
        refund: money(-total),
    }
}

/// A decimal as Java writes it: in no more bytes than it needs.
fn money(cents: i64) -> Value {
    let all = cents.to_be_bytes();
    let sign = if cents < 0 { 0xff } else { 0 };
    let spare = |at: &usize| all[*at] == sign && (all[*at + 1] ^ sign) & 0x80 == 0;
    let skip = (0..all.len() - 1).take_while(spare).count();
    Value::Bytes(Blob::Own(all[skip..].into()))
}

fn country((name, currency, cities): &(&str, &str, [&str; 2])) -> Country {
    let address = |number: usize| {
        let street = format!("{} {}", STREETS[number % STREETS.len()], 1 + number * 7 % 90);
        let zip = format!("{}", 10_000 + number * 1_237 % 89_999);
        Value::Record([Value::from(&*street), Value::from(cities[number % 2]), Value::from(&*zip)].into())
    };
    Country {
        name: Value::from(*name),
        currency: Value::from(*currency),
        addresses: (0..ADDRESSES).map(address).collect(),
    }
}

fn order_schema() -> Arc<Schema> {
    let mut build = SchemaBuilder::default();
    let number = build.add(Kind::Long);
    let text = build.add(Kind::Text);
    let reference = build.add(meaning(Kind::Text, Logical::Uuid));
    let symbols = SYMBOLS.map(Arc::from).into();
    let status = Enumeration { name: Name::new("shop.Status"), symbols, default: Some(0) };
    let status = build.add(Kind::Enum(status));
    let amount = build.add(meaning(Kind::Bytes, Logical::Decimal { precision: 12, scale: 2 }));
    let quantity = build.add(Kind::Int);
    let price = build.add(meaning(Kind::Bytes, Logical::Decimal { precision: 10, scale: 2 }));
    let item = [field("sku", text), field("quantity", quantity), field("price", price)];
    let item = build.add(record("shop.Item", item));
    let items = build.add(Kind::List(item));
    let time = build.add(meaning(Kind::Long, Logical::Timestamp { unit: Unit::Micros, local: false }));
    let address = ["street", "city", "zip"].map(|name| field(name, text));
    let address = build.add(record("shop.Address", address));
    let null = build.add(Kind::Null);
    let perhaps_address = build.add(Kind::Union([null, address].into()));
    let perhaps_text = build.add(Kind::Union([null, text].into()));
    let or_null = |name, of| Field { default: Some(Json::Null), ..field(name, of) };
    let order = [
        field("id", number),
        field("reference", reference),
        field("customer_id", text),
        field("country", text),
        field("currency", text),
        field("status", status),
        field("amount", amount),
        field("items", items),
        field("card_number", text),
        field("created_at", time),
        or_null("address", perhaps_address),
        or_null("note", perhaps_text),
    ];
    let order = build.add(record("shop.Order", order));
    build.finish(order)
}

fn meaning(kind: Kind, logical: Logical) -> Type {
    Type { logical: Some(logical), ..kind.into() }
}

fn record<const N: usize>(name: &str, fields: [Field; N]) -> Kind {
    Kind::Record(RecordType::new(Name::new(name), fields))
}

fn field(name: &str, of: TypeId) -> Field {
    Field {
        name: name.into(),
        aliases: Box::default(),
        doc: None,
        of,
        default: None,
        attributes: Default::default(),
    }
}

const SYMBOLS: [&str; 6] = ["new", "paid", "shipped", "delivered", "cancelled", "refunded"];
const REFUNDED: u32 = 5;
/// The symbols, as often as orders have them: `order::STATES` in other words.
const STATES: [u32; 16] = [REFUNDED, 4, 0, 0, 0, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3];

/// `order::COUNTRIES` in other words.
const COUNTRIES: [(&str, &str, [&str; 2]); 8] = [
    ("SE", "SEK", ["Lund", "Umeå"]),
    ("DE", "EUR", ["Köln", "Jena"]),
    ("FR", "EUR", ["Lyon", "Nantes"]),
    ("FI", "EUR", ["Turku", "Oulu"]),
    ("NO", "NOK", ["Bergen", "Bodø"]),
    ("DK", "DKK", ["Aarhus", "Odense"]),
    ("GB", "GBP", ["Leeds", "Bath"]),
    ("US", "USD", ["Boston", "Tulsa"]),
];

/// Addresses in a country.
const ADDRESSES: usize = 32;
const STREETS: [&str; 8] = [
    "Mill Lane",
    "Harbour Road",
    "Long Street",
    "Well Yard",
    "North Gate",
    "Oak Row",
    "Bridge End",
    "Hill Way",
];
const NOTES: [&str; 4] = ["ring twice", "leave it at the door", "a gift, no bill inside", "mind the dog"];

#[cfg(test)]
mod tests {
    use aqueduct_api::value::View;
    use aqueduct_avro::{Decoder, Encoder, UnknownFields};
    use serde_json::json;

    use super::*;
    use crate::order::Clock;

    /// The same as people write it for a registry.
    const ORDER: &str = r#"{ "type": "record", "name": "Order", "namespace": "shop", "fields": [
        { "name": "id", "type": "long" },
        { "name": "reference", "type": { "type": "string", "logicalType": "uuid" } },
        { "name": "customer_id", "type": "string" },
        { "name": "country", "type": "string" },
        { "name": "currency", "type": "string" },
        { "name": "status", "type": { "type": "enum", "name": "Status", "default": "new",
            "symbols": ["new", "paid", "shipped", "delivered", "cancelled", "refunded"] } },
        { "name": "amount", "type": { "type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2 } },
        { "name": "items", "type": { "type": "array", "items": { "type": "record", "name": "Item", "fields": [
            { "name": "sku", "type": "string" },
            { "name": "quantity", "type": "int" },
            { "name": "price", "type": { "type": "bytes", "logicalType": "decimal", "precision": 10, "scale": 2 } }
        ] } } },
        { "name": "card_number", "type": "string" },
        { "name": "created_at", "type": { "type": "long", "logicalType": "timestamp-micros" } },
        { "name": "address", "default": null, "type": ["null", { "type": "record", "name": "Address", "fields": [
            { "name": "street", "type": "string" }, { "name": "city", "type": "string" }, { "name": "zip", "type": "string" }
        ] }] },
        { "name": "note", "type": ["null", "string"], "default": null }
    ] }"#;

    fn cents(view: View<'_>) -> i64 {
        let bytes = view.bytes().unwrap();
        let first = if bytes[0] & 0x80 == 0 { 0 } else { -1 };
        bytes.iter().fold(first, |cents, byte| cents << 8 | i64::from(*byte))
    }

    /// The part of a row that the JSON says too, as the JSON says it.
    fn as_json(row: &Typed) -> Json {
        let text = |name: &str| row.view().field(name).unwrap().text().unwrap().to_owned();
        let amount = |view| cents(view) as f64 / 100.0;
        let items = row.view().field("items").unwrap();
        let Kind::List(of) = items.schema.get(items.of).kind else { panic!("no list") };
        let Value::List(list) = items.value else { panic!("no list") };
        let item = |value| {
            let item = View { of, value, ..items };
            let Value::Int(quantity) = item.field("quantity").unwrap().value else { panic!("no number") };
            let sku = item.field("sku").unwrap().text().unwrap();
            json!({ "sku": sku, "quantity": quantity, "price": amount(item.field("price").unwrap()) })
        };
        let number = |name: &str| match row.view().field(name).unwrap().value {
            Value::Long(number) => *number,
            Value::Enum(symbol) => i64::from(*symbol),
            other => panic!("{other:?}"),
        };
        json!({
            "id": number("id"),
            "customer_id": text("customer_id"),
            "country": text("country"),
            "currency": text("currency"),
            "status": SYMBOLS[number("status") as usize],
            "amount": amount(row.view().field("amount").unwrap()),
            "items": list.iter().map(item).collect::<Vec<_>>(),
            "card_number": text("card_number"),
            "created_at": std::str::from_utf8(Clock::default().at(number("created_at"))).unwrap(),
        })
    }

    #[test]
    fn a_row_says_what_the_json_says_and_encodes() {
        let schema = aqueduct_avro::parse(ORDER, &[]).unwrap();
        let encoder = Encoder::new(&super::schema(), UnknownFields::Error);
        let decoder = Decoder::new(&super::schema());
        let (mut memory, mut bytes, mut clock) = (BytesMut::new(), 0, Clock::default());
        let (mut notes, mut addresses) = (0, 0);
        let orders = 20_000;
        let customers = Customers::shared_out(3, 7).remove(1);
        for offset in 0..orders {
            let at_us = 1_767_225_600_000_000 + offset as i64 * 1_234_567;
            let key = customers.order(offset + 1, offset, clock.at(at_us), &mut memory);
            let json: Json = serde_json::from_slice(&memory.split()).unwrap();
            let (same_key, row) = customers.row(offset + 1, offset, at_us, &mut memory);
            assert_eq!((&same_key, as_json(&row)), (&key, json));
            notes += usize::from(row.view().field("note").unwrap().text().is_some());
            addresses += usize::from(row.view().field("address").unwrap().field("city").is_some());
            let reference = row.view().field("reference").unwrap().text().unwrap();
            assert_eq!((&reference[8..9], &reference[14..15]), ("-", "4"), "{reference}");
            assert!(
                reference.len() == 36 && matches!(&reference[19..20], "8" | "9" | "a" | "b"),
                "{reference}"
            );

            let mut out = Vec::new();
            encoder.encode(&row, &mut out).unwrap();
            bytes += out.len();
            let read = decoder.decode(&Bytes::from(out), 0).unwrap();
            assert_eq!(read, row);
        }
        // What people would write for a registry means the same.
        assert!(aqueduct_avro::incompatibilities(&schema, &super::schema()).is_empty());
        assert!(aqueduct_avro::incompatibilities(&super::schema(), &schema).is_empty());
        assert!((130..230).contains(&(bytes / orders as usize)), "{}", bytes / orders as usize);
        assert!(
            (4_500..5_500).contains(&notes) && (16_000..19_000).contains(&addresses),
            "{notes} {addresses}"
        );
    }

    #[test]
    fn the_same_seed_makes_the_same_rows() {
        let row = |seed| {
            let (_, row) = Customers::shared_out(6, seed)[0].row(1, 0, 0, &mut BytesMut::new());
            row
        };
        assert_eq!(row(1), row(1));
        assert_ne!(row(1), row(2));
    }

    #[test]
    fn decimals_take_no_more_bytes_than_they_need() {
        for (cents, bytes) in [
            (0, &[0][..]),
            (127, &[127]),
            (128, &[0, 128]),
            (-128, &[128]),
            (-129, &[255, 127]),
            (65_536, &[1, 0, 0]),
        ] {
            assert_eq!(money(cents), Value::from(bytes), "{cents}");
        }
    }
}
