//! What `aqueduct check --connect` asks a bucket: whether it is there, where, and whether objects can be created in it on
//! the condition that there is none of that name. Two writers of one name depend on that, so it is tried, not believed.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use aqueduct_api::config::{self as units, Piece};
use aqueduct_api::{Finding, Result};
use aws_sdk_s3::Client;
use aws_sdk_s3::primitives::ByteStream;

use crate::bucket::status;
use crate::client::{self, Place};
use crate::config::{Config, Connection, Timeouts};
use crate::upload::encryption;

/// Asks it. What is written for it is deleted again.
pub(crate) async fn probe(config: &Config, patience: Duration) -> Vec<Finding> {
    let timeouts = Timeouts { connect: units::Duration(patience), answer: units::Duration(patience) };
    let connection = Connection { timeouts, ..config.connection.clone() };
    let client = match client::connect(&connection).await {
        Ok(client) => client,
        Err(error) => return vec![error.into()],
    };
    let place = Place::new(&connection, &client);
    let mut findings = Vec::new();
    match region(&client, &place).await {
        Ok(region) => findings.push(Finding::good(format!("bucket `{}` exists, {region}", place.bucket))),
        Err(error) => return vec![error.into()],
    }
    let key = format!("{}.aqueduct-check-{:016x}", head(config), RandomState::new().hash_one(0));
    match create(config, &client, &place, &key).await {
        Ok(_) => findings.push(Finding::good(format!("objects can be created in `{}`", place.bucket))),
        Err(error) => {
            findings.push(error.into());
            return findings;
        }
    }
    findings.push(match create(config, &client, &place, &key).await {
        Ok(false) => Finding::good("a second object of the same name is refused, as it must be"),
        Ok(true) => Finding::bad(
            "an object of a name that is taken was not refused: this server does not honour If-None-Match, and two \
             writers would overwrite each other",
            "use a server, or a version of it, that honours conditional writes",
        ),
        Err(error) => error.into(),
    });
    if let Err(error) = client.delete_object().bucket(&place.bucket).key(&key).send().await {
        let error = place.classify("delete objects", error);
        findings.push(Finding::warning(
            format!("the object `{key}` of this check stays: {}", error.says()),
            "delete it by hand; pipelines themselves delete nothing",
        ));
    }
    findings
}

/// In which region, in words.
async fn region(client: &Client, place: &Place) -> Result<String> {
    // HEAD has no body to say what is wrong, so that is asked with a list of one.
    let listed = client.list_objects_v2().bucket(&place.bucket).max_keys(1).send().await;
    listed.map_err(|error| place.classify("list objects", error))?;
    let answer = client.head_bucket().bucket(&place.bucket).send().await;
    let region = answer.ok().and_then(|answer| answer.bucket_region);
    Ok(region.map_or_else(|| "the server names no region".to_owned(), |region| format!("in region {region}")))
}

/// True when it was created, false when it was refused because it is there.
async fn create(config: &Config, client: &Client, place: &Place, key: &str) -> Result<bool> {
    let mut request = client.put_object().bucket(&place.bucket).key(key);
    request = request.body(ByteStream::from_static(b"aqueduct check")).if_none_match("*");
    if let Some((sse, key)) = encryption(config.sse.as_ref()) {
        request = request.server_side_encryption(sse).set_ssekms_key_id(key);
    }
    match request.send().await {
        Ok(_) => Ok(true),
        Err(error) if status(&error) == Some(412) => Ok(false),
        Err(error) => Err(place.classify("write objects", error)),
    }
}

/// Where the names of all objects begin: rights may hold for that part of the bucket only.
fn head(config: &Config) -> &str {
    match config.path.pieces().first() {
        Some(Piece::Text(text)) => text.rfind('/').map_or("", |at| &text[..=at]),
        _ => "",
    }
}
