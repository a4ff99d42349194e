//! Values without a schema, as JSON has them, to bytes: every value is looked at, and taken for what Protobuf's JSON
//! takes it for. <https://protobuf.dev/programming-guides/json/>

use aqueduct_api::Value;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::encode::{
    Writing, field, is_nothing, only, put_decimal, put_number, put_parts, put_scalar, unfit,
};
use crate::logical;
use crate::shape::{Item, Label, Scalar, UnknownFields};
use crate::wire::{deeper, put_bytes, put_counted};
use aqueduct_api::Fault;

impl Writing<'_> {
    /// A value, with its length where it has one.
    pub(crate) fn any(&self, item: Item, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        match item {
            Item::Scalar(scalar) | Item::Decimal64(scalar) => self.any_scalar(scalar, value, out),
            Item::Enum(of) => {
                let symbols = &self.shape.enums[of as usize];
                let number = match value {
                    Value::Text(name) => symbols.number(name.get(self.payload))?,
                    Value::Int(_) | Value::Long(_) => {
                        let number = self.whole(value).and_then(|number| i32::try_from(number).ok());
                        let number = number.ok_or_else(|| unfit(value))?;
                        symbols.position(number)?;
                        number
                    }
                    value => return Err(unfit(value)),
                };
                put_number(Scalar::Int32, number.into(), out)
            }
            item => put_counted(out, |out| self.any_inside(item, value, out, depth)),
        }
    }

    /// A message, without its length.
    pub(crate) fn any_inside(
        &self,
        item: Item,
        value: &Value,
        out: &mut Vec<u8>,
        depth: u32,
    ) -> Result<(), Fault> {
        match (item, value) {
            (Item::Message(message), value) => self.any_message(message, value, out, deeper(depth)?),
            (Item::Wrapper(scalar) | Item::Wrapper64(scalar), value) => {
                let put = |value: &Value, out: &mut Vec<u8>| self.any_scalar(scalar, value, out);
                field(1, Label::Implicit, scalar.wire(), self.payload, value, out, &put)
            }
            (Item::Timestamp, Value::Text(text)) => {
                let time: jiff::Timestamp = parsed(text.get(self.payload), "an RFC 3339 time")?;
                let (seconds, nanos) = (time.as_second(), i64::from(time.subsec_nanosecond()));
                // Before 1970 both count down from the second.
                let (seconds, nanos) =
                    if nanos < 0 { (seconds - 1, nanos + 1_000_000_000) } else { (seconds, nanos) };
                put_parts(out, &[seconds, nanos]);
                Ok(())
            }
            (Item::Date, Value::Text(text)) => {
                let date: jiff::civil::Date = parsed(text.get(self.payload), "a date")?;
                put_parts(out, &[date.year().into(), date.month().into(), date.day().into()]);
                Ok(())
            }
            (Item::TimeOfDay, Value::Text(text)) => {
                let time: jiff::civil::Time = parsed(text.get(self.payload), "a time of day")?;
                let (hours, minutes) = (time.hour().into(), time.minute().into());
                let nanos = time.subsec_nanosecond().into();
                put_parts(out, &[hours, minutes, time.second().into(), nanos]);
                Ok(())
            }
            (Item::Decimal { scale, .. }, value) => {
                let text = match value {
                    Value::Text(text) | Value::Number(text) => text.get(self.payload).to_owned(),
                    Value::Int(number) => number.to_string(),
                    Value::Long(number) => number.to_string(),
                    // The shortest digits that say this number, which are those that were written.
                    Value::Double(number) if number.is_finite() => number.to_string(),
                    value => return Err(unfit(value)),
                };
                let (digits, places) = decimal(&text)?;
                put_decimal(&logical::signed_bytes(digits), places, scale, out)
            }
            (_, value) => Err(unfit(value)),
        }
    }

    fn any_message(&self, message: u32, value: &Value, out: &mut Vec<u8>, depth: u32) -> Result<(), Fault> {
        let message = &self.shape.messages[message as usize];
        let Value::Map(entries) = value else { return Err(unfit(value)) };
        let mut places: Vec<Option<&Value>> = vec![None; message.members.len()];
        for (name, value) in entries {
            let name = name.get(self.payload);
            match message.by_name.get(name) {
                // JSON has no order: of a name that is there twice the last counts.
                Some(at) => places[*at as usize] = Some(value),
                None if self.unknown == UnknownFields::Drop => {}
                None => {
                    let says = format!("the schema `{}` has no such field", message.name);
                    return Err(Fault::new(says).in_field(name));
                }
            }
        }
        let mut set = Vec::new();
        for (_, at) in &message.by_number {
            let member = &message.members[*at as usize];
            let value = places[*at as usize].unwrap_or(&Value::Absent);
            if let (Some(oneof), false) = (member.oneof, is_nothing(value)) {
                only(&mut set, oneof, &member.name)?;
            }
            // Null stands for a field that is not there, as in Protobuf's JSON.
            let value = if *value == Value::Null { &Value::Absent } else { value };
            let put = |value: &Value, out: &mut Vec<u8>| self.any(member.item, value, out, depth);
            field(member.number, member.label, member.item.wire(), self.payload, value, out, &put)
                .map_err(|fault| fault.in_field(&member.name))?;
        }
        Ok(())
    }

    fn any_scalar(&self, scalar: Scalar, value: &Value, out: &mut Vec<u8>) -> Result<(), Fault> {
        match (scalar, value) {
            (Scalar::Bytes, Value::Text(text)) => {
                let bytes = STANDARD.decode(text.bytes(self.payload));
                put_bytes(out, &bytes.map_err(|_| Fault::new("bytes are base64 text"))?);
                Ok(())
            }
            (Scalar::Double | Scalar::Float, Value::Number(text)) => {
                let number = parsed(text.get(self.payload), "a number")?;
                self.any_scalar(scalar, &Value::Double(number), out)
            }
            (Scalar::Float, Value::Double(number)) => {
                put_scalar(scalar, &Value::Float(*number as f32), self.payload, out)
            }
            (Scalar::Double | Scalar::Float | Scalar::Bool | Scalar::Text, value) => {
                put_scalar(scalar, value, self.payload, out)
            }
            (scalar, value) => put_number(scalar, self.whole(value).ok_or_else(|| unfit(value))?, out),
        }
    }

    /// A whole number, also one that is written as text or with a point.
    fn whole(&self, value: &Value) -> Option<i128> {
        match value {
            Value::Int(number) => Some((*number).into()),
            Value::Long(number) => Some((*number).into()),
            // Above 2^53 a double does not say which whole number was meant.
            Value::Double(number) if number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0 => {
                Some(*number as i128)
            }
            Value::Number(text) | Value::Text(text) => text.get(self.payload).parse().ok(),
            _ => None,
        }
    }
}

fn parsed<T: std::str::FromStr>(text: &str, what: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| Fault::new(format!("the text is not {what}")))
}

/// The digits of a number as a whole one, and how many of them stand behind the point.
fn decimal(text: &str) -> Result<(i128, u32), Fault> {
    let (digits, power) = match text.split_once(['e', 'E']) {
        Some((digits, power)) => (digits, parsed::<i32>(power.trim_start_matches('+'), "a decimal")?),
        None => (text, 0),
    };
    let (before, behind) = digits.split_once('.').unwrap_or((digits, ""));
    let digits: i128 = parsed(&format!("{before}{behind}"), "a decimal of at most 38 digits")?;
    let places = i64::try_from(behind.len()).unwrap_or(i64::MAX).saturating_sub(power.into());
    match u32::try_from(places) {
        Ok(places) => Ok((digits, places)),
        Err(_) => {
            let power =
                u32::try_from(places.unsigned_abs()).ok().and_then(|power| 10_i128.checked_pow(power));
            let digits = power.and_then(|power| digits.checked_mul(power));
            digits.map(|digits| (digits, 0)).ok_or_else(|| Fault::new("a decimal of more than 38 digits"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_with_points_and_powers() {
        for (text, digits) in [
            ("12.50", (1250, 2)),
            ("-0.5", (-5, 1)),
            ("7", (7, 0)),
            ("1.5e3", (1500, 0)),
            ("15e-1", (15, 1)),
            (".5", (5, 1)),
        ] {
            assert_eq!(decimal(text), Ok(digits), "{text}");
        }
        for text in ["", "x", "1.2.3", "1e40", "1e99999999999", "--1"] {
            assert!(decimal(text).is_err(), "{text}");
        }
    }
}
