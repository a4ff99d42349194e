//! A bucket as the store that sinks of files write to.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use aqueduct_api::Result;
use aqueduct_objects::{Footprint, Found, Leftovers, Store, Upload};
use async_trait::async_trait;
use bytes::Bytes;
use tracing::info;

use crate::bucket::Bucket;
use crate::upload::ObjectUpload;

/// A bucket that uploads hold on to.
pub(crate) struct BucketStore(pub(crate) Arc<Bucket>);

#[async_trait]
impl Store for BucketStore {
    async fn find(&self, name: &str) -> Result<Option<Found>> {
        self.0.find(name).await
    }

    async fn read(&self, name: &str, from: u64) -> Result<Bytes> {
        self.0.read(name, from).await
    }

    /// An upload is known by its whole name, and nothing else: the server tells no metadata of what is half-way.
    async fn sweep(&self, leftovers: &Leftovers<'_>) -> Result<()> {
        let bucket = &self.0;
        let mut page = None;
        while bucket.may_list_uploads.load(Ordering::Relaxed) {
            let (uploads, next) = bucket.uploads(leftovers.head, &page).await?;
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
