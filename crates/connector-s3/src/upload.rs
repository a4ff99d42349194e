//! One object on its way into a bucket: a single request if it is small, else parts that are sent while it
//! grows.

use std::collections::HashMap;
use std::sync::Arc;

use aqueduct_api::{Error, Result};
use aqueduct_objects::{Finished, Footprint, Upload, persist};
use async_trait::async_trait;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, ServerSideEncryption};
use bytes::Bytes;
use tokio::task::JoinSet;

use crate::bucket::{Bucket, status};
use crate::config::{Checksum, Sse};

/// An object that is being written. It holds less than one part in memory, besides the parts under way.
pub(crate) struct ObjectUpload {
    bucket: Arc<Bucket>,
    name: Arc<str>,
    metadata: HashMap<String, String>,
    buffer: Vec<u8>,
    part_bytes: usize,
    multipart: Option<Multipart>,
}

/// An upload in parts.
struct Multipart {
    id: Arc<str>,
    parts: i32,
    sending: JoinSet<Result<CompletedPart>>,
    sent: Vec<CompletedPart>,
}

impl ObjectUpload {
    pub(crate) fn new(bucket: Arc<Bucket>, name: String, footprint: &Footprint) -> Self {
        let part_bytes = bucket.config.part_bytes();
        let metadata = [
            ("aqueduct-pipeline", footprint.pipeline.escape_default().to_string()),
            ("aqueduct-topic", footprint.topic.escape_default().to_string()),
            ("aqueduct-partition", footprint.partition.to_string()),
            ("aqueduct-start-offset", footprint.start_offset.to_string()),
        ];
        let metadata = metadata.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { bucket, name: name.into(), metadata, buffer: Vec::new(), part_bytes, multipart: None }
    }

    /// Sends the buffer as a part, beside; waits while too many are under way.
    async fn send_part(&mut self) -> Result<()> {
        if self.multipart.is_none() {
            let id = self.create().await?.into();
            self.multipart = Some(Multipart { id, parts: 0, sending: JoinSet::new(), sent: Vec::new() });
        }
        let slot = Arc::clone(&self.bucket.slots).acquire_owned().await;
        let slot = slot.map_err(|_| Error::fatal("the sink is closed"))?;
        let body = Bytes::from(std::mem::take(&mut self.buffer));
        let (bucket, name) = (Arc::clone(&self.bucket), Arc::clone(&self.name));
        let Some(multipart) = &mut self.multipart else { return Ok(()) };
        while let Some(sent) = multipart.sending.try_join_next() {
            multipart.sent.push(joined(sent)?);
        }
        multipart.parts += 1;
        let (id, number) = (Arc::clone(&multipart.id), multipart.parts);
        multipart.sending.spawn(async move {
            let sent = upload_part(&bucket, &name, &id, number, body).await;
            drop(slot);
            sent
        });
        Ok(())
    }

    async fn create(&self) -> Result<String> {
        let Bucket { client, place, config, condition, .. } = &*self.bucket;
        persist(condition, || async {
            let mut request = client
                .create_multipart_upload()
                .bucket(&place.bucket)
                .key(&*self.name)
                .set_metadata(Some(self.metadata.clone()))
                .set_storage_class(config.storage_class());
            if config.connection.checksum == Checksum::WhenSupported {
                request = request.checksum_algorithm(ChecksumAlgorithm::Crc32);
            }
            if let Some((sse, key)) = encryption(config.sse.as_ref()) {
                request = request.server_side_encryption(sse).set_ssekms_key_id(key);
            }
            let answer = request.send().await.map_err(|error| place.classify("begin an upload", error))?;
            answer.upload_id.ok_or_else(|| Error::fatal("the server began an upload without a name"))
        })
        .await
    }

    /// The whole object in one request.
    async fn put(&self, body: Bytes, footprint: &Footprint) -> Result<Finished> {
        let Bucket { client, place, config, condition, .. } = &*self.bucket;
        let mut metadata = self.metadata.clone();
        // Known only now: an upload in parts has its metadata from its beginning, hence the footer.
        metadata.insert("aqueduct-last-offset".into(), footprint.last_offset.to_string());
        metadata.insert("aqueduct-records".into(), footprint.records.to_string());
        persist(condition, || async {
            let mut request = client
                .put_object()
                .bucket(&place.bucket)
                .key(&*self.name)
                .body(ByteStream::from(body.clone()))
                .if_none_match("*")
                .set_metadata(Some(metadata.clone()))
                .set_storage_class(config.storage_class());
            if let Some((sse, key)) = encryption(config.sse.as_ref()) {
                request = request.server_side_encryption(sse).set_ssekms_key_id(key);
            }
            match request.send().await {
                Ok(_) => Ok(Finished::Created),
                Err(error) if status(&error) == Some(412) => Ok(Finished::Refused),
                Err(error) => Err(place.classify("write objects", error)),
            }
        })
        .await
    }

    /// Turns the parts into the object.
    async fn complete(&self, id: &str, parts: Vec<CompletedPart>) -> Result<Finished> {
        let Bucket { client, place, condition, .. } = &*self.bucket;
        let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
        let finished = persist(condition, || async {
            let request =
                client.complete_multipart_upload().bucket(&place.bucket).key(&*self.name).upload_id(id);
            match request.multipart_upload(parts.clone()).if_none_match("*").send().await {
                Ok(_) => Ok(Some(Finished::Created)),
                Err(error) if status(&error) == Some(412) => Ok(Some(Finished::Refused)),
                Err(error) if error.code() == Some("NoSuchUpload") => Ok(None),
                Err(error) => Err(place.classify("write objects", error)),
            }
        })
        .await?;
        match finished {
            Some(Finished::Created) => Ok(Finished::Created),
            Some(Finished::Refused) => {
                self.bucket.abort(&self.name, id).await;
                Ok(Finished::Refused)
            }
            // Either it is complete, and the answer to an earlier try was lost; or somebody aborted it.
            None if self.bucket.find(&self.name).await?.is_some() => Ok(Finished::Refused),
            None => Err(gone(&self.name)),
        }
    }
}

#[async_trait]
impl Upload for ObjectUpload {
    async fn write(&mut self, bytes: &mut Vec<u8>) -> Result<()> {
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rest.len().min(self.part_bytes - self.buffer.len()));
            // The pages of a part are only touched as it fills, so reserving it whole costs nothing.
            if self.buffer.capacity() < self.buffer.len() + now.len() {
                self.buffer.reserve_exact(self.part_bytes - self.buffer.len());
            }
            self.buffer.extend_from_slice(now);
            rest = later;
            // Parts are of one length, which some servers insist on.
            if self.buffer.len() == self.part_bytes {
                self.send_part().await?;
            }
        }
        bytes.clear();
        Ok(())
    }

    async fn finish(mut self: Box<Self>, footprint: &Footprint) -> Result<Finished> {
        let rest = Bytes::from(std::mem::take(&mut self.buffer));
        let Some(mut multipart) = self.multipart.take() else {
            return self.put(rest, footprint).await;
        };
        if !rest.is_empty() {
            let number = multipart.parts + 1;
            multipart.sent.push(upload_part(&self.bucket, &self.name, &multipart.id, number, rest).await?);
        }
        while let Some(sent) = multipart.sending.join_next().await {
            multipart.sent.push(joined(sent)?);
        }
        multipart.sent.sort_by_key(CompletedPart::part_number);
        self.complete(&multipart.id, multipart.sent).await
    }

    fn buffered(&self) -> usize {
        self.buffer.len()
    }
}

async fn upload_part(
    bucket: &Bucket,
    name: &str,
    id: &str,
    number: i32,
    body: Bytes,
) -> Result<CompletedPart> {
    let Bucket { client, place, condition, .. } = bucket;
    persist(condition, || async {
        let request = client.upload_part().bucket(&place.bucket).key(name).upload_id(id).part_number(number);
        match request.body(ByteStream::from(body.clone())).send().await {
            Ok(sent) => Ok(CompletedPart::builder()
                .part_number(number)
                .set_e_tag(sent.e_tag)
                .set_checksum_crc32(sent.checksum_crc32)
                .build()),
            Err(error) if error.code() == Some("NoSuchUpload") => Err(gone(name)),
            Err(error) => Err(place.classify("write objects", error)),
        }
    })
    .await
}

fn joined(sent: Result<Result<CompletedPart>, tokio::task::JoinError>) -> Result<CompletedPart> {
    sent.map_err(|error| Error::fatal("sending a part was abandoned").caused_by(error))?
}

fn gone(name: &str) -> Error {
    Error::fatal(format!(
        "the upload of `{name}` is gone: another writer has taken its place, or a rule of the bucket"
    ))
    .remedy("starting again from the stored offsets")
}

/// What a request says of encryption.
pub(crate) fn encryption(sse: Option<&Sse>) -> Option<(ServerSideEncryption, Option<String>)> {
    Some(match sse? {
        Sse::Aes256 => (ServerSideEncryption::Aes256, None),
        Sse::Kms(key) => (ServerSideEncryption::AwsKms, Some(key.clone())),
    })
}
