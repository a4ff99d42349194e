//! `mask`: fields of the value that nobody behind this point may read.

use aqueduct_api::catalog::{Block, TransformKind};
use aqueduct_api::schema::{Kind, Logical};
use aqueduct_api::value::{Blob, Text};
use std::sync::Arc;

use aqueduct_api::{Error, Fields, Outcome, Payload, Problem, Projection, Record, Result, Transform, Value};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::field::{Path, Spot};

/// The transform.
struct Mask {
    fields: Vec<(String, Path)>,
    /// What stands in the place of text.
    with: Arc<str>,
    on_missing: OnMissing,
}

/// The block `mask:` of a file.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaskConfig {
    /// The fields, nested ones with points between the names: `card_number`, `customer.email`.
    #[schemars(length(min = 1))]
    fields: Vec<String>,
    /// What stands in the place of text; nothing unless given. Numbers become 0, booleans false, lists and maps empty.
    #[serde(default)]
    with: Option<String>,
    /// What happens to a record that has no such field: a misspelt name would mask nothing.
    #[serde(default)]
    on_missing: OnMissing,
}

/// What happens to a record without the field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OnMissing {
    /// It is a bad record.
    #[default]
    Error,
    /// It passes.
    Ignore,
}

impl Block for MaskConfig {
    const NAME: &'static str = "mask";
    const ABOUT: &'static str = "Empties fields of the value that nobody behind this point may read.";
}

impl TransformKind for MaskConfig {
    fn check(&self) -> Vec<Problem> {
        let wrong = |(index, field): (usize, &String)| {
            let says = format!("`{field}` is not a field");
            let remedy = "write names with single points between them, as in customer.email";
            Path::parse(field)
                .is_none()
                .then(|| Problem::new(format!("fields[{index}]"), says).remedy(remedy))
        };
        self.fields.iter().enumerate().filter_map(wrong).collect()
    }

    fn build(&self) -> Result<Box<dyn Transform>> {
        let fields = self.fields.iter().filter_map(|field| Some((field.clone(), Path::parse(field)?)));
        let mask = Mask {
            fields: fields.collect(),
            with: self.with.as_deref().unwrap_or_default().into(),
            on_missing: self.on_missing,
        };
        Ok(Box::new(mask))
    }
}

impl Transform for Mask {
    fn projection(&self) -> Projection {
        let fields = self.fields.iter().map(|(_, path)| path.first()).collect();
        Projection { key: Fields::None, value: Fields::Named(fields) }
    }

    fn apply(&mut self, record: &mut Record) -> Result<Outcome> {
        match &mut record.value {
            // A tombstone says nothing that could be read.
            Payload::Absent => {}
            Payload::Raw(_) => {
                return Err(Error::bad_record("`mask` needs a value with fields")
                    .remedy("name the format of the value at the source"));
            }
            Payload::Typed(typed) => {
                for (name, path) in self.fields.iter_mut() {
                    let found = path
                        .visit(typed, &mut |spot| empty(spot, &self.with))
                        .map_err(|error| error.with("field", &*name))?;
                    if !found && self.on_missing == OnMissing::Error {
                        return Err(Error::bad_record(format!("the value has no field `{name}` to mask"))
                            .remedy("correct the name, or add `on_missing: ignore`"));
                    }
                }
            }
        }
        Ok(Outcome::Keep)
    }
}

/// Puts in the place of a value one that says nothing, of the same type.
fn empty(spot: Spot<'_>, with: &Arc<str>) -> Result<()> {
    let of = spot.schema.get(spot.of);
    *spot.value = match (&*spot.value, &of.kind) {
        (Value::Null | Value::Absent, _) => return Ok(()),
        (Value::Boolean(_), _) => Value::Boolean(false),
        (Value::Int(_), _) => Value::Int(0),
        (Value::Long(_), _) => Value::Long(0),
        (Value::Float(_), _) => Value::Float(0.0),
        (Value::Double(_), _) => Value::Double(0.0),
        (Value::Number(_), _) => Value::Long(0),
        (Value::Text(_), _) if of.logical == Some(Logical::Uuid) => {
            Value::from("00000000-0000-0000-0000-000000000000")
        }
        (Value::Text(_), _) => Value::Text(Text::Own(Arc::clone(with))),
        (Value::Bytes(_), Kind::Fixed { bytes, .. }) => Value::Bytes(Blob::Own(vec![0; *bytes].into())),
        (Value::Bytes(_), _) if matches!(of.logical, Some(Logical::Decimal { .. })) => {
            Value::from(&[0_u8][..])
        }
        (Value::Bytes(_), _) => Value::from(&[][..]),
        (Value::List(_), _) => Value::List(Box::default()),
        (Value::Map(_), _) => Value::Map(Box::default()),
        (Value::Enum(_), _) => {
            return Err(Error::bad_record("one of a list of symbols cannot be emptied")
                .remedy("leave the field out with another transform, or mask the text at its source"));
        }
        (Value::Record(_) | Value::Union(_) | Value::Opaque(_), _) => {
            return Err(Error::bad_record("a record cannot be emptied").remedy("name its fields instead"));
        }
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use aqueduct_api::schema::{Field, Name, RecordType, SchemaBuilder, TypeId};
    use aqueduct_api::{Headers, Origin, Typed};
    use bytes::Bytes;

    use super::*;

    fn field(name: &str, of: TypeId) -> Field {
        let (aliases, attributes) = (Box::default(), Default::default());
        Field { name: name.into(), aliases, doc: None, of, default: None, attributes }
    }

    /// An order with a card, an amount, an optional buyer and a list of parts.
    fn order(card: &str, buyer: Option<&str>) -> Typed {
        let mut schema = SchemaBuilder::default();
        let (text, long, null) = (schema.add(Kind::Text), schema.add(Kind::Long), schema.add(Kind::Null));
        let person = schema.add(Kind::Record(RecordType::new(Name::new("Person"), [field("email", text)])));
        let buyer_type = schema.add(Kind::Union([null, person].into()));
        let part = schema.add(Kind::Record(RecordType::new(Name::new("Part"), [field("code", text)])));
        let parts = schema.add(Kind::List(part));
        let fields =
            [field("card", text), field("amount", long), field("buyer", buyer_type), field("parts", parts)];
        let root = schema.add(Kind::Record(RecordType::new(Name::new("Order"), fields)));
        let part = |code: &str| Value::Record([code.into()].into());
        let buyer = buyer.map_or(Value::Null, |email| Value::Record([email.into()].into()));
        let parts = Value::List([part("a"), part("b")].into());
        let value = Value::Record([card.into(), Value::Long(7), buyer, parts].into());
        Typed::new(schema.finish(root), Bytes::new(), value)
    }

    fn masked(fields: &[&str], with: Option<&str>, typed: Typed) -> Result<Typed> {
        let fields = fields.iter().map(|name| (*name).to_owned()).collect();
        let config = MaskConfig { fields, with: with.map(str::to_owned), on_missing: OnMissing::Error };
        assert_eq!(config.check(), []);
        let mut record = Record {
            topic: "t".into(),
            origin: Origin::default(),
            key: Payload::Absent,
            value: Payload::Typed(typed),
            headers: Headers::default(),
            timestamp_us: None,
        };
        assert_eq!(config.build()?.apply(&mut record)?, Outcome::Keep);
        record.value.typed().cloned().ok_or_else(|| Error::fatal("it has no structure"))
    }

    #[test]
    fn fields_are_emptied_wherever_they_stand() {
        let made = masked(&["card", "amount", "buyer.email", "parts.code"], None, order("4111", Some("a@b")))
            .unwrap();
        let view = made.view();
        assert_eq!(view.field("card").and_then(|card| card.text()), Some(""));
        assert_eq!(view.field("amount").map(|amount| amount.value), Some(&Value::Long(0)));
        assert_eq!(view.field("buyer").and_then(|buyer| buyer.field("email")?.text()), Some(""));
        let Some(Value::List(parts)) = view.field("parts").map(|parts| parts.value) else {
            panic!("no parts")
        };
        assert_eq!(**parts, [Value::Record(["".into()].into()), Value::Record(["".into()].into())]);
    }

    #[test]
    fn text_may_be_put_in_the_place_and_null_stays_null() {
        let made = masked(&["card", "buyer.email"], Some("***"), order("4111", None)).unwrap();
        assert_eq!(made.view().field("card").and_then(|card| card.text()), Some("***"));
        assert_eq!(made.view().field("buyer").map(|buyer| buyer.value), Some(&Value::Null));
    }

    #[test]
    fn a_misspelt_field_is_a_bad_record_and_so_is_a_whole_one() {
        let error = masked(&["crad"], None, order("4111", None)).unwrap_err();
        assert_eq!(error.says(), "the value has no field `crad` to mask");
        let error = masked(&["buyer"], None, order("4111", Some("a@b"))).unwrap_err();
        assert_eq!(error.says(), "a record cannot be emptied");
    }
}
