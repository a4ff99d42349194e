//! Schemas as JSON again: whole, to be registered elsewhere, and in the canonical form that says only how values are
//! read, with its fingerprint.
//! <https://avro.apache.org/docs/1.12.0/specification/#parsing-canonical-form-for-schemas>

use std::collections::HashSet;

use aqueduct_api::schema::{Enumeration, Field, Kind, Logical, Name, RecordType, Schema, Type, TypeId, Unit};
use serde_json::{Map, Value as Json};

/// The schema as JSON: what `parse` makes of it is the schema again, with documentation, aliases, defaults and what
/// other programs have written into it. `Kind::Any`, which Avro does not have, comes out as a name that nobody knows.
pub fn write(schema: &Schema) -> Json {
    Writing { schema, canonical: false, written: HashSet::new() }.of(schema.root(), "")
}

/// The parsing canonical form: the same for all schemas that read the same bytes the same way.
pub fn canonical(schema: &Schema) -> String {
    Writing { schema, canonical: true, written: HashSet::new() }.of(schema.root(), "").to_string()
}

/// The 64-bit Rabin fingerprint of the canonical form.
pub fn fingerprint(schema: &Schema) -> u64 {
    const EMPTY: u64 = 0xc15d_213a_a4d7_a795;
    canonical(schema).bytes().fold(EMPTY, |print, byte| {
        let low = (0..8)
            .fold((print ^ u64::from(byte)) & 0xff, |low, _| (low >> 1) ^ (EMPTY & (low & 1).wrapping_neg()));
        (print >> 8) ^ low
    })
}

struct Writing<'a> {
    schema: &'a Schema,
    canonical: bool,
    /// Types that stand in the text already, and are written by name from then on.
    written: HashSet<&'a str>,
}

impl<'a> Writing<'a> {
    /// A type, in a place where names without a namespace are in this one.
    fn of(&mut self, id: TypeId, namespace: &str) -> Json {
        let of = self.schema.get(id);
        match &of.kind {
            Kind::Union(branches) => branches.iter().map(|branch| self.of(*branch, namespace)).collect(),
            Kind::List(item) => {
                let item = self.of(*item, namespace);
                self.object(of, "array", [("items", item)])
            }
            Kind::Map(value) => {
                let value = self.of(*value, namespace);
                self.object(of, "map", [("values", value)])
            }
            Kind::Record(record) => self.named(&record.name, |writing| writing.record(of, record, namespace)),
            Kind::Enum(list) => self.named(&list.name, |writing| writing.enumeration(of, list, namespace)),
            Kind::Fixed { name, bytes } => self.named(name, |writing| {
                let parts = writing.name(name, namespace).chain([("size", Json::from(*bytes))]);
                writing.object(of, "fixed", parts)
            }),
            kind if self.canonical || of.logical.is_none() && of.attributes.is_empty() => {
                Json::from(kind.name())
            }
            kind => self.object(of, kind.name(), []),
        }
    }

    fn named(&mut self, name: &'a Name, write: impl FnOnce(&mut Self) -> Json) -> Json {
        if self.written.insert(&name.full) { write(self) } else { Json::from(&*name.full) }
    }

    fn record(&mut self, of: &'a Type, record: &'a RecordType, namespace: &str) -> Json {
        let inner = record.name.full.rsplit_once('.').map_or("", |(inner, _)| inner);
        let fields: Json = record.fields.iter().map(|field| self.field(field, inner)).collect();
        let parts = self.name(&record.name, namespace).chain([("fields", fields)]);
        self.object(of, "record", parts)
    }

    fn field(&mut self, field: &'a Field, namespace: &str) -> Json {
        let mut map = Map::new();
        map.insert("name".to_owned(), Json::from(&*field.name));
        map.insert("type".to_owned(), self.of(field.of, namespace));
        if !self.canonical {
            let aliases = (!field.aliases.is_empty()).then(|| texts(&field.aliases));
            let doc = field.doc.as_deref().map(Json::from);
            let known = [("aliases", aliases), ("doc", doc), ("default", field.default.clone())];
            map.extend(known.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
            map.extend(field.attributes.clone());
        }
        Json::Object(map)
    }

    fn enumeration(&self, of: &Type, list: &Enumeration, namespace: &str) -> Json {
        let default = list.default.and_then(|at| list.symbols.get(at as usize));
        let default = default.filter(|_| !self.canonical).map(|symbol| ("default", Json::from(&**symbol)));
        let parts =
            self.name(&list.name, namespace).chain([("symbols", texts(&list.symbols))]).chain(default);
        self.object(of, "enum", parts)
    }

    fn name<'n>(
        &self,
        name: &'n Name,
        namespace: &str,
    ) -> impl Iterator<Item = (&'static str, Json)> + use<'n> {
        let (short, own) = match name.full.rsplit_once('.') {
            Some((own, short)) if !self.canonical && !own.is_empty() && !short.is_empty() => {
                (short, Some(own))
            }
            None if !self.canonical => (&*name.full, Some("")),
            _ => (&*name.full, None),
        };
        let own = own.filter(|own| *own != namespace).map(Json::from);
        let whole = !self.canonical;
        let aliases = (whole && !name.aliases.is_empty()).then(|| texts(&name.aliases));
        let doc = name.doc.as_deref().filter(|_| whole).map(Json::from);
        [("name", Some(Json::from(short))), ("namespace", own), ("aliases", aliases), ("doc", doc)]
            .into_iter()
            .filter_map(|(key, value)| Some((key, value?)))
    }

    /// An object for a type. The canonical form has the name before the type, and so have all.
    fn object(&self, of: &Type, kind: &str, parts: impl IntoIterator<Item = (&'static str, Json)>) -> Json {
        let mut map = Map::new();
        let mut kind = Some(Json::from(kind));
        for (key, value) in parts {
            if key != "name"
                && let Some(kind) = kind.take()
            {
                map.insert("type".to_owned(), kind);
            }
            map.insert(key.to_owned(), value);
        }
        if let Some(kind) = kind {
            map.insert("type".to_owned(), kind);
        }
        if !self.canonical {
            logical(of.logical, &mut map);
            map.extend(of.attributes.clone());
        }
        Json::Object(map)
    }
}

fn texts(texts: &[std::sync::Arc<str>]) -> Json {
    texts.iter().map(|text| Json::from(&**text)).collect()
}

fn logical(of: Option<Logical>, map: &mut Map<String, Json>) {
    let Some(of) = of else { return };
    if let Logical::Decimal { precision, scale } = of {
        map.insert("precision".to_owned(), precision.into());
        map.insert("scale".to_owned(), scale.into());
    }
    let name = match of {
        Logical::Decimal { .. } => "decimal",
        Logical::Date => "date",
        Logical::TimeMillis => "time-millis",
        Logical::TimeMicros => "time-micros",
        Logical::Timestamp { unit: Unit::Millis, local: false } => "timestamp-millis",
        Logical::Timestamp { unit: Unit::Micros, local: false } => "timestamp-micros",
        Logical::Timestamp { unit: Unit::Nanos, local: false } => "timestamp-nanos",
        Logical::Timestamp { unit: Unit::Millis, local: true } => "local-timestamp-millis",
        Logical::Timestamp { unit: Unit::Micros, local: true } => "local-timestamp-micros",
        Logical::Timestamp { unit: Unit::Nanos, local: true } => "local-timestamp-nanos",
        Logical::Uuid => "uuid",
        Logical::Duration => "duration",
    };
    map.insert("logicalType".to_owned(), name.into());
}
