//! A bucket and what is asked of it. An object is created on the condition that there is none of its name, so
//! of two writers one learns that it was late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_api::{Condition, Error, Result};
use aqueduct_objects::store::TAIL_BYTES;
use aqueduct_objects::{Found, persist};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::types::MultipartUpload;
use bytes::Bytes;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::client::{self, Place};
use crate::config::Config;

/// An object is read back in pieces of this length.
const PIECE_BYTES: u64 = 4 << 20;

/// A bucket, and everything needed to write into it.
pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) config: Arc<Config>,
    pub(crate) condition: Condition,
    /// One for each request with a body that is under way: they bound the memory beside the open parts.
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) may_list_uploads: AtomicBool,
}

impl Bucket {
    /// Connects, and asks something that needs no more than the bucket: so that a wrong name or secret is
    /// said at the start, and not when the first object is full. A server that is away is waited for.
    pub(crate) async fn open(
        config: Arc<Config>,
        condition: Condition,
        slots: Arc<Semaphore>,
    ) -> Result<Self> {
        let client = client::connect(&config.connection).await?;
        let place = Place::new(&config.connection, &client);
        let bucket =
            Self { client, place, config, condition, slots, may_list_uploads: AtomicBool::new(true) };
        bucket.uploads("aqueduct", &None).await?;
        Ok(bucket)
    }

    /// What is half-way under names that begin so: one page, and where the next one begins. Without the right to list
    /// uploads everything works, but leftovers stay.
    pub(crate) async fn uploads(
        &self,
        head: &str,
        page: &Option<Page>,
    ) -> Result<(Vec<MultipartUpload>, Option<Page>)> {
        let (key, id) = page.clone().unwrap_or_default();
        persist(&self.condition, || async {
            let request = self.client.list_multipart_uploads().bucket(&self.place.bucket).prefix(head);
            let request = request.set_key_marker(key.clone()).set_upload_id_marker(id.clone());
            let answer = match request.send().await {
                Ok(answer) => answer,
                Err(error) if lacks_right(&error) => {
                    let error = self.place.classify("list uploads", error);
                    if self.may_list_uploads.swap(false, Ordering::Relaxed) {
                        warn!(%error, "uploads that a crash left half-way will not be removed");
                    }
                    return Ok((Vec::new(), None));
                }
                Err(error) => return Err(self.place.classify("list uploads", error)),
            };
            let next = (answer.next_key_marker.clone(), answer.next_upload_id_marker.clone());
            let more = answer.is_truncated == Some(true) && next.0.is_some();
            Ok((answer.uploads.unwrap_or_default(), more.then_some(next)))
        })
        .await
    }

    /// Gives an upload up. It may be gone already.
    pub(crate) async fn abort(&self, name: &str, id: &str) {
        let request = self.client.abort_multipart_upload().bucket(&self.place.bucket).key(name).upload_id(id);
        if let Err(error) = request.send().await {
            let error = self.place.classify("abort an upload", error);
            warn!(%error, object = name, "an upload was not removed");
        }
    }
}

pub(crate) type Page = (Option<String>, Option<String>);

impl Bucket {
    /// The end of an object, and how long it is.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<Found>> {
        persist(&self.condition, || async {
            let range = format!("bytes=-{TAIL_BYTES}");
            let answer =
                self.client.get_object().bucket(&self.place.bucket).key(name).range(range).send().await;
            let answer = match answer {
                Ok(answer) => answer,
                Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => return Ok(None),
                // No end can be had of what is empty.
                Err(error) if status(&error) == Some(416) => {
                    return Ok(Some(Found { bytes: 0, tail: Default::default() }));
                }
                Err(error) => return Err(self.place.classify("look up objects", error)),
            };
            let whole = answer.content_range().and_then(|range| range.rsplit('/').next()?.parse().ok());
            let length = answer.content_length().and_then(|length| u64::try_from(length).ok());
            let tail = answer.body.collect().await.map_err(|error| {
                Error::transient("an answer about an object was cut off").caused_by(error)
            })?;
            let tail = tail.into_bytes();
            let bytes = whole.or(length).unwrap_or(tail.len() as u64);
            Ok(Some(Found { bytes, tail }))
        })
        .await
    }
}

impl Bucket {
    /// A piece of an object.
    pub(crate) async fn read(&self, name: &str, from: u64) -> Result<Bytes> {
        persist(&self.condition, || async {
            let range = format!("bytes={from}-{}", from + PIECE_BYTES - 1);
            let request = self.client.get_object().bucket(&self.place.bucket).key(name).range(range);
            let answer = match request.send().await {
                Ok(answer) => answer,
                // It ends before that.
                Err(error) if status(&error) == Some(416) => return Ok(Bytes::new()),
                Err(SdkError::ServiceError(error)) if error.err().is_no_such_key() => {
                    return Err(Error::fatal(format!("`{name}` is gone, it was there a moment ago"))
                        .remedy("starting again from the stored offsets"));
                }
                Err(error) => return Err(self.place.classify("read objects", error)),
            };
            let piece = answer.body.collect().await;
            let piece = piece.map_err(|error| Error::transient("an object was cut off").caused_by(error))?;
            Ok(piece.into_bytes())
        })
        .await
    }
}

/// A right that is missing; a wrong key or secret is something else.
fn lacks_right<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    status(error) == Some(403) && matches!(error.code(), None | Some("AccessDenied" | "AllAccessDisabled"))
}

/// The HTTP status of an answer that says no.
pub(crate) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}
