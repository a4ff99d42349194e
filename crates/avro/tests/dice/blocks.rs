//! An encoder as simple as can be, which cuts arrays and maps into blocks as other writers do: some with their size in
//! bytes, which a negative count announces.

use aqueduct_api::schema::{Kind, Schema, TypeId};
use aqueduct_api::{Typed, Value};

use super::Dice;

/// The bytes of a value, its blocks cut by the dice.
pub fn in_blocks(dice: &mut Dice, typed: &Typed) -> Vec<u8> {
    let mut out = Vec::new();
    Cutting { dice, schema: typed.schema(), payload: typed.payload() }.value(
        typed.schema().root(),
        typed.value(),
        &mut out,
    );
    out
}

struct Cutting<'a> {
    dice: &'a mut Dice,
    schema: &'a Schema,
    payload: &'a [u8],
}

impl Cutting<'_> {
    fn value(&mut self, of: TypeId, value: &Value, out: &mut Vec<u8>) {
        let schema = self.schema;
        match (&schema.get(of).kind, value) {
            (Kind::Null, Value::Null) => {}
            (Kind::Boolean, Value::Boolean(flag)) => out.push(u8::from(*flag)),
            (Kind::Int, Value::Int(number)) => long(out, (*number).into()),
            (Kind::Long, Value::Long(number)) => long(out, *number),
            (Kind::Float, Value::Float(number)) => out.extend(number.to_le_bytes()),
            (Kind::Double, Value::Double(number)) => out.extend(number.to_le_bytes()),
            (Kind::Bytes, Value::Bytes(bytes)) => counted(out, bytes.get(self.payload)),
            (Kind::Text, Value::Text(text)) => counted(out, text.bytes(self.payload)),
            (Kind::Fixed { .. }, Value::Bytes(bytes)) => out.extend(bytes.get(self.payload)),
            (Kind::Enum(_), Value::Enum(symbol)) => long(out, (*symbol).into()),
            (Kind::Record(record), Value::Record(values)) => {
                for (field, value) in record.fields.iter().zip(values) {
                    self.value(field.of, value, out);
                }
            }
            (Kind::List(of), Value::List(values)) => {
                self.blocks(values, out, |cutting, value, out| cutting.value(*of, value, out));
            }
            (Kind::Map(of), Value::Map(entries)) => {
                self.blocks(entries, out, |cutting, (name, value), out| {
                    counted(out, name.bytes(cutting.payload));
                    cutting.value(*of, value, out);
                });
            }
            (Kind::Union(branches), value) => {
                let (branch, value) = match (schema.optional(of), value) {
                    (Some((null, _)), Value::Null) => (null, value),
                    (Some((null, _)), value) => (1 - null, value),
                    (None, Value::Union(branch)) => (branch.0 as usize, &branch.1),
                    (None, value) => panic!("{value:?} in a union"),
                };
                long(out, branch as i64);
                self.value(branches[branch], value, out);
            }
            (kind, value) => panic!("{value:?} as {kind}"),
        }
    }

    fn blocks<T>(&mut self, mut items: &[T], out: &mut Vec<u8>, write: impl Fn(&mut Self, &T, &mut Vec<u8>)) {
        while !items.is_empty() {
            let (block, rest) = items.split_at(1 + self.dice.below(items.len()));
            items = rest;
            let mut bytes = Vec::new();
            block.iter().for_each(|item| write(self, item, &mut bytes));
            if self.dice.one_in(2) {
                long(out, -(block.len() as i64));
                long(out, bytes.len() as i64);
            } else {
                long(out, block.len() as i64);
            }
            out.extend(bytes);
        }
        long(out, 0);
    }
}

fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    long(out, bytes.len() as i64);
    out.extend(bytes);
}

fn long(out: &mut Vec<u8>, number: i64) {
    let mut rest = (number << 1 ^ number >> 63) as u64;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
