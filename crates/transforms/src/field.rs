//! Fields of values by their path: `customer.email`. Where a list or a map stands on the way, all that is in it is meant.

use std::sync::Arc;

use aqueduct_api::schema::{Kind, Schema, TypeId};
use aqueduct_api::{Typed, Value};

/// The path of a field.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    names: Vec<String>,
    /// Where the first name stands in the schema met last: a stream of records seldom changes it.
    first: Option<(Arc<Schema>, usize)>,
}

/// What a visitor is shown: a value that it may change, its type, and what its text stands in.
pub(crate) struct Spot<'a> {
    pub(crate) schema: &'a Schema,
    pub(crate) of: TypeId,
    pub(crate) value: &'a mut Value,
}

impl Path {
    /// From names with points between them; none may be empty.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let names: Vec<String> = text.split('.').map(str::to_owned).collect();
        names.iter().all(|name| !name.is_empty()).then_some(Self { names, first: None })
    }

    /// The field of the outermost record in which it begins.
    pub(crate) fn first(&self) -> Arc<str> {
        self.names.first().map_or_else(Arc::default, |name| Arc::from(&**name))
    }

    /// Shows the field to `visit`, each of them where there are several. False when the value has no such field; one
    /// that is null, or below something that is null, counts as there.
    pub(crate) fn visit<E>(
        &mut self,
        typed: &mut Typed,
        visit: &mut impl FnMut(Spot<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let (schema, payload, value) = typed.parts_mut();
        if let (Kind::Record(record), Value::Record(values)) = (&schema.get(schema.root()).kind, &mut *value)
        {
            let known = self.first.as_ref().filter(|(of, _)| Arc::ptr_eq(of, schema)).map(|(_, at)| *at);
            let Some(at) = known.or_else(|| record.position(&self.names[0])) else { return Ok(false) };
            if known.is_none() {
                self.first = Some((Arc::clone(schema), at));
            }
            let Some(value) = values.get_mut(at) else { return Ok(false) };
            let spot = Spot { schema, of: record.fields[at].of, value };
            return walk(&self.names[1..], spot, payload, visit);
        }
        walk(&self.names, Spot { schema, of: schema.root(), value }, payload, visit)
    }
}

fn walk<E>(
    names: &[String],
    spot: Spot<'_>,
    payload: &[u8],
    visit: &mut impl FnMut(Spot<'_>) -> Result<(), E>,
) -> Result<bool, E> {
    let Spot { schema, of, value } = spot;
    let kind = &schema.get(of).kind;
    // Behind optional types and unions.
    if let Kind::Union(branches) = kind {
        return match (value, schema.optional(of)) {
            (Value::Null | Value::Absent, _) => Ok(true),
            (Value::Union(branch), None) => match branches.get(branch.0 as usize) {
                Some(of) => walk(names, Spot { schema, of: *of, value: &mut branch.1 }, payload, visit),
                None => Ok(false),
            },
            (value, Some((_, of))) => walk(names, Spot { schema, of, value }, payload, visit),
            _ => Ok(false),
        };
    }
    let Some((name, rest)) = names.split_first() else {
        visit(Spot { schema, of, value })?;
        return Ok(true);
    };
    let mut found = false;
    match (value, kind) {
        (Value::Null | Value::Absent, _) => return Ok(true),
        (Value::Record(values), Kind::Record(record)) => {
            let Some(at) = record.position(name) else { return Ok(false) };
            let Some(value) = values.get_mut(at) else { return Ok(false) };
            return walk(rest, Spot { schema, of: record.fields[at].of, value }, payload, visit);
        }
        (Value::List(items), Kind::List(item)) => {
            found = items.is_empty();
            for value in items.iter_mut() {
                found |= walk(names, Spot { schema, of: *item, value }, payload, visit)?;
            }
        }
        (Value::List(items), Kind::Any) => {
            found = items.is_empty();
            for value in items.iter_mut() {
                found |= walk(names, Spot { schema, of, value }, payload, visit)?;
            }
        }
        (Value::Map(entries), _) => {
            let of = if let Kind::Map(item) = kind { *item } else { of };
            for (_, value) in entries.iter_mut().filter(|(key, _)| key.bytes(payload) == name.as_bytes()) {
                found |= walk(rest, Spot { schema, of, value }, payload, visit)?;
            }
        }
        _ => {}
    }
    Ok(found)
}
