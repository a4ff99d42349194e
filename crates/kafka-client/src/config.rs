//! What a pipeline file says of a cluster, wherever it names one: the connection, and how batches are compressed. Read and
//! checked without the network.

/// A schema written by hand, where serde reads more than one form.
#[macro_export]
#[doc(hidden)]
macro_rules! inline_schema {
    ($type:ty, $name:literal, |$generator:ident| $schema:expr) => {
        impl JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema($generator: &mut SchemaGenerator) -> Schema {
                $schema
            }
        }
    };
}

mod compression;
mod connection;

pub use self::compression::Compression;
pub use self::connection::{
    Brokers, Connection, Kerberos, Login, Oauth, Password, Pem, Properties, Sasl, Tls,
};
