//! The options of `json`.

use schemars::JsonSchema;
use serde::Deserialize;

/// The block of the format `json`.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Json {
    /// An Avro schema that all values are of: a file, by its path from the working directory, or the text, which begins
    /// with `{`.
    pub schema: Option<String>,
    /// A JSON Schema that all values are of: a file, by its path from the working directory, or the text, which begins
    /// with `{`.
    pub json_schema: Option<String>,
    /// What becomes of a field that the declared schema does not know.
    pub unknown_fields: UnknownFields,
    /// How decimals are written.
    pub decimal: DecimalAs,
    /// How dates, times and timestamps are written.
    pub time: TimeAs,
    /// How bytes are written, and read where a schema is declared.
    pub bytes: BytesAs,
    /// What is written for NaN and the infinities, which JSON does not have.
    pub on_not_a_number: NotANumber,
}

/// What becomes of a field that the declared schema does not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum UnknownFields {
    /// The record is refused.
    #[default]
    Error,
    /// It is left behind.
    Drop,
}

/// How decimals are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecimalAs {
    /// `12.50`, all digits: a number of JSON has no bound.
    #[default]
    Number,
    /// `"12.50"`.
    Text,
    /// The bytes of the whole number in base64, as Kafka Connect has it.
    #[serde(skip)]
    Base64,
}

/// How dates, times and timestamps are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeAs {
    /// `"2026-11-25"`, `"22:48:08.123"`, `"2026-11-25T22:48:08.123Z"`, as RFC 3339 has them.
    #[default]
    Text,
    /// Days, or milliseconds, microseconds or nanoseconds, as the type says.
    Number,
}

/// How bytes are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BytesAs {
    /// Base64 as RFC 4648 has it, with padding.
    #[default]
    Base64,
    /// Two hexadecimal digits a byte.
    Hex,
}

/// What is written for NaN and the infinities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NotANumber {
    /// The record is refused.
    #[default]
    Error,
    /// `null`.
    Null,
    /// `"NaN"`, `"Infinity"`, `"-Infinity"`.
    Text,
}

/// How values are written that JSON has no form of its own for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Style {
    pub(crate) decimal: DecimalAs,
    pub(crate) time: TimeAs,
    pub(crate) bytes: BytesAs,
    pub(crate) on_not_a_number: NotANumber,
    /// Absent fields are null, and large and small numbers look as Java writes them: `1.0E7`.
    pub(crate) connect: bool,
}

impl Json {
    pub(crate) fn style(&self) -> Style {
        let Self { decimal, time, bytes, on_not_a_number, .. } = *self;
        Style { decimal, time, bytes, on_not_a_number, connect: false }
    }
}
