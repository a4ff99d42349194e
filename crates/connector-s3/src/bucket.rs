//! A bucket as a store of objects. An object is created on the condition that there is none of its name, so
//! of two writers one learns that it was late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use aqueduct_api::{Condition, Error, ErrorKind, Result};
use aqueduct_objects::store::TAIL_BYTES;
use aqueduct_objects::{Footprint, Found, Leftovers, Store, Upload, persist};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::types::MultipartUpload;
use tokio::sync::Semaphore;
use tracing::{info, warn};

use crate::client::{self, Place};
use crate::config::Config;
use crate::upload::ObjectUpload;

/// A bucket, and everything needed to write into it.
pub(crate) struct Bucket {
    pub(crate) client: Client,
    pub(crate) place: Place,
    pub(crate) config: Arc<Config>,
    pub(crate) condition: Condition,
    /// One for each request with a body that is under way: they bound the memory beside the open parts.
    pub(crate) slots: Arc<Semaphore>,
    may_list_uploads: AtomicBool,
}

impl Bucket {
    /// Connects, and asks something that needs no more than the bucket: so that a wrong name or secret is
    /// said at the start, and not when the first object is full.
    pub(crate) async fn open(
        config: Arc<Config>,
        condition: Condition,
        slots: Arc<Semaphore>,
    ) -> Result<Self> {
        let client = client::connect(&config.connection).await?;
        let place = Place::new(&config.connection, &client);
        let bucket =
            Self { client, place, config, condition, slots, may_list_uploads: AtomicBool::new(true) };
        if let Err(error) = bucket.uploads("aqueduct", None).await {
            bucket.tolerate(error)?;
        }
        Ok(bucket)
    }

    /// What is half-way under names that begin so: one page, and where the next one begins.
    async fn uploads(&self, head: &str, page: Option<Page>) -> Result<(Vec<MultipartUpload>, Option<Page>)> {
        let (key, id) = page.unwrap_or_default();
        let request = self.client.list_multipart_uploads().bucket(&self.place.bucket).prefix(head);
        let answer = request.set_key_marker(key).set_upload_id_marker(id).send().await;
        let answer = answer.map_err(|error| self.place.classify("list uploads", error))?;
        let next = (answer.next_key_marker.clone(), answer.next_upload_id_marker.clone());
        let more = answer.is_truncated == Some(true) && next.0.is_some();
        Ok((answer.uploads.unwrap_or_default(), more.then_some(next)))
    }

    /// Without the right to list uploads everything works, but leftovers stay.
    fn tolerate(&self, error: Error) -> Result<()> {
        if error.kind() != ErrorKind::Fatal {
            return Err(error);
        }
        if self.may_list_uploads.swap(false, Ordering::Relaxed) {
            warn!(%error, "uploads that a crash left half-way will not be removed");
        }
        Ok(())
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

type Page = (Option<String>, Option<String>);

/// A bucket that uploads hold on to.
pub(crate) struct BucketStore(pub(crate) Arc<Bucket>);

#[async_trait]
impl Store for BucketStore {
    async fn find(&self, name: &str) -> Result<Option<Found>> {
        self.0.find(name).await
    }

    async fn sweep(&self, leftovers: &Leftovers<'_>) -> Result<()> {
        let bucket = &self.0;
        let mut page = None;
        while bucket.may_list_uploads.load(Ordering::Relaxed) {
            let listed = persist(&bucket.condition, || bucket.uploads(leftovers.head, page.clone())).await;
            let (uploads, next) = match listed {
                Ok(listed) => listed,
                Err(error) => return bucket.tolerate(error),
            };
            for upload in uploads {
                if let (Some(name), Some(id)) = (upload.key(), upload.upload_id())
                    && leftovers.covers(name)
                {
                    bucket.abort(name, id).await;
                    info!(object = name, "removed what a run that died left half-way");
                }
            }
            match next {
                Some(_) => page = next,
                None => break,
            }
        }
        Ok(())
    }

    async fn begin(&self, name: &str, footprint: &Footprint) -> Result<Box<dyn Upload>> {
        Ok(Box::new(ObjectUpload::new(Arc::clone(&self.0), name.to_owned(), footprint)))
    }
}

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

/// The HTTP status of an answer that says no.
pub(crate) fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}
