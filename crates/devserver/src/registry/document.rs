//! A schema as it was registered: its type, its text, what it refers to, and when two of them are the same.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use aqueduct_api::schema::{Kind, Schema};
use aqueduct_avro::Incompatibility;
use serde_json::{Value as Json, json};

/// What a schema is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Language {
    Avro,
    Json,
    Protobuf,
}

/// A named schema of another subject that a schema builds on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub(crate) name: String,
    pub(crate) subject: String,
    pub(crate) version: u32,
}

/// A schema, read and understood as far as its language is.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) language: Language,
    /// Without what stands between the tokens, where that says nothing.
    pub(crate) text: String,
    pub(crate) references: Vec<Reference>,
    /// The numbers of all schemas that this one builds on, each behind those that it builds on itself.
    pub(crate) needs: Vec<u32>,
    meaning: Meaning,
}

#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Avro(Arc<Schema>),
    Json(Json),
    /// Its text is all that is known.
    Protobuf,
}

impl Language {
    pub(crate) const ALL: [Language; 3] = [Language::Json, Language::Protobuf, Language::Avro];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Language::Avro => "AVRO",
            Language::Json => "JSON",
            Language::Protobuf => "PROTOBUF",
        }
    }
}

impl Document {
    /// Reads a schema; `needed` are the texts of those that it builds on. The error says what is wrong with it.
    pub(crate) fn read(
        language: Language,
        text: &str,
        references: Vec<Reference>,
        needs: Vec<u32>,
        needed: &[&str],
    ) -> Result<Self, String> {
        let (text, meaning) = match language {
            Language::Avro => {
                let schema = aqueduct_avro::parse(text, needed).map_err(|error| error.to_string())?;
                // The name of a primitive type may stand there without quotes.
                let bare = !text.trim_start().starts_with(['{', '[', '"']);
                (if bare { json!(text.trim()).to_string() } else { squeezed(text) }, Meaning::Avro(schema))
            }
            Language::Json => {
                let json: Json = serde_json::from_str(text).map_err(|error| error.to_string())?;
                if !json.is_object() && !json.is_boolean() {
                    return Err("a JSON schema is an object, true or false".to_owned());
                }
                (squeezed(text), Meaning::Json(json))
            }
            Language::Protobuf => (text.trim().to_owned(), Meaning::Protobuf),
        };
        if text.is_empty() {
            return Err("the schema is empty".to_owned());
        }
        Ok(Self { language, text, references, needs, meaning })
    }

    /// Whether the two say the same. The order of attributes and the layout do not count, so that asking a registry to
    /// normalise changes nothing here.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.language == other.language
            && self.references == other.references
            && match self.meaning {
                Meaning::Protobuf => self.text == other.text,
                _ => self.meaning == other.meaning,
            }
    }

    /// Equal for documents that are the same, and seldom for others.
    pub(crate) fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        (self.language, &self.references).hash(&mut hasher);
        match &self.meaning {
            Meaning::Avro(schema) => fingerprint(schema, &mut hasher),
            Meaning::Json(_) => self.text.len().hash(&mut hasher),
            Meaning::Protobuf => self.text.hash(&mut hasher),
        }
        hasher.finish()
    }

    /// An identifier that hangs on the contents alone, in the form of a UUID.
    pub(crate) fn guid(&self) -> String {
        let half = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, self.language, &self.text, &self.references).hash(&mut hasher);
            hasher.finish()
        };
        let hex = format!("{:016x}{:016x}", half(0), half(1));
        // Version 8 is for those who number after their own fashion.
        format!("{}-{}-8{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
    }

    /// Why this one cannot read all that `writer` may write. Only Avro schemas are looked into.
    pub(crate) fn cannot_read(&self, writer: &Self) -> Vec<Incompatibility> {
        match (&self.meaning, &writer.meaning) {
            (Meaning::Avro(reader), Meaning::Avro(writer)) => {
                aqueduct_avro::incompatibilities(reader, writer)
            }
            _ => Vec::new(),
        }
    }
}

fn fingerprint(schema: &Schema, hasher: &mut impl Hasher) {
    for (_, of) in schema.types() {
        of.kind.name().hash(hasher);
        of.logical.hash(hasher);
        match &of.kind {
            Kind::Record(record) => {
                record.name.doc.hash(hasher);
                record.fields.iter().for_each(|field| (&field.name, &field.doc).hash(hasher));
            }
            Kind::Enum(of) => of.symbols.hash(hasher),
            _ => {}
        }
    }
}

/// JSON text without the space between its tokens.
fn squeezed(json: &str) -> String {
    let (mut in_text, mut escaped) = (false, false);
    let keep = |letter: &char| {
        let keep = in_text || !matches!(letter, ' ' | '\t' | '\n' | '\r');
        match letter {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_text = !in_text,
            _ => {}
        }
        keep
    };
    json.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(language: Language, text: &str) -> Document {
        Document::read(language, text, Vec::new(), Vec::new(), &[]).unwrap()
    }

    #[test]
    fn layout_and_order_do_not_count() {
        let one = read(
            Language::Avro,
            r#"{ "type": "record", "name": "a.R", "fields": [ { "name": "x", "type": "int", "doc": "a \" b" } ] }"#,
        );
        let other = read(
            Language::Avro,
            r#"{"namespace":"a","name":"R","fields":[{"doc":"a \" b","type":{"type":"int"},"name":"x"}],"type":"record"}"#,
        );
        assert!(one.is_same(&other));
        assert_eq!(one.fingerprint(), other.fingerprint());
        assert!(one.text.ends_with(r#"[{"name":"x","type":"int","doc":"a \" b"}]}"#), "{}", one.text);
        let third = read(Language::Avro, &one.text.replace("a \\\" b", "c"));
        assert!(!one.is_same(&third) && one.fingerprint() != third.fingerprint());
        assert_eq!(read(Language::Avro, " string").text, "\"string\"");
        assert_eq!(read(Language::Avro, "\"string\" ").guid(), read(Language::Avro, "string").guid());
    }
}
