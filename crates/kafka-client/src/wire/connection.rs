//! One connection to one broker: requests are sent one after the other, and responses come in the same order.
//! <https://kafka.apache.org/protocol>

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

/// How long a broker may read nothing of what is sent.
const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// No response to the requests that are sent here is longer.
const RESPONSE_BYTES_MAX: usize = 100 << 20;
/// No more memory than this is kept for the next request.
const WRITTEN_BYTES_MAX: usize = 512 << 10;
/// Every broker since 2.0 has this version, and its response has no flexible header.
const API_VERSIONS_VERSION: i16 = 2;

/// A connection that is set up: API versions are known, and the login is done.
pub(crate) struct BrokerConnection {
    stream: Box<dyn Stream>,
    client_id: StrBytes,
    /// The API versions of the broker, by key.
    versions: HashMap<i16, RangeInclusive<i16>>,
    correlation: i32,
    /// Correlation id and header version of the responses to come.
    awaited: VecDeque<(i32, i16)>,
    /// The request of now; its memory is used again.
    written: BytesMut,
    /// Read, and not taken yet.
    read: BytesMut,
    /// When the login is over (KIP-368).
    pub(crate) expires: Option<Instant>,
}

/// Either kind of stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Sync + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Sync + Unpin> Stream for S {}

impl BrokerConnection {
    /// Over this stream; requests the API versions.
    pub(super) async fn open(stream: Box<dyn Stream>, client_id: StrBytes) -> io::Result<Self> {
        let mut connection = Self {
            stream,
            client_id,
            versions: HashMap::new(),
            correlation: 0,
            awaited: VecDeque::new(),
            written: BytesMut::new(),
            read: BytesMut::new(),
            expires: None,
        };
        let answer: ApiVersionsResponse =
            connection.request_as(&ApiVersionsRequest::default(), API_VERSIONS_VERSION).await?;
        let versions = answer.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version));
        connection.versions = versions.collect();
        Ok(connection)
    }

    /// The newest version of this request that the broker and we have.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn version<R: Request>(&self, ours: RangeInclusive<i16>) -> io::Result<i16> {
        let theirs = self.versions.get(&R::KEY);
        let newest = theirs.map(|theirs| *theirs.end().min(ours.end()));
        newest
            .filter(|newest| ours.contains(newest) && theirs.is_some_and(|theirs| theirs.contains(newest)))
            .ok_or_else(|| {
                let says = format!("the broker does not speak versions {ours:?} of request {}", R::KEY);
                io::Error::new(io::ErrorKind::Unsupported, says)
            })
    }

    /// Sends a request; its response has to be received.
    pub(crate) async fn send<R: Request>(&mut self, request: &R, version: i16) -> io::Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        let header_version = R::header_version(version);
        let size =
            header.compute_size(header_version).and_then(|size| Ok(size + request.compute_size(version)?));
        let size = size.map_err(other)?;
        let bytes = &mut self.written;
        bytes.clear();
        bytes.reserve(4 + size);
        bytes.put_u32(u32::try_from(size).map_err(other)?);
        header.encode(bytes, header_version).map_err(other)?;
        request.encode(bytes, version).map_err(other)?;
        self.awaited.push_back((self.correlation, R::Response::header_version(version)));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            // The timeout is for each write, however long all of them take.
            let passed = tokio::time::timeout(WRITE_TIMEOUT, self.stream.write(rest)).await;
            let passed = passed.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
            if passed == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            rest = &rest[passed..];
        }
        tokio::time::timeout(WRITE_TIMEOUT, self.stream.flush())
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if self.written.capacity() > WRITTEN_BYTES_MAX {
            self.written = BytesMut::new();
        }
        Ok(())
    }

    /// The body of the next response. Nothing is lost when this is dropped before it is complete.
    pub(crate) async fn receive(&mut self) -> io::Result<Bytes> {
        loop {
            if let Some(mut answer) = self.take_frame()? {
                let (correlation, header_version) =
                    self.awaited.pop_front().ok_or_else(|| other("an answer that nobody asked for"))?;
                let header = ResponseHeader::decode(&mut answer, header_version).map_err(other)?;
                if header.correlation_id != correlation {
                    return Err(other("an answer out of turn"));
                }
                return Ok(answer);
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// Sends a request and waits for its response; no other may be in flight.
    pub(crate) async fn request<R: Request>(
        &mut self,
        request: &R,
        ours: RangeInclusive<i16>,
    ) -> io::Result<R::Response> {
        let version = self.version::<R>(ours)?;
        self.request_as(request, version).await
    }

    async fn request_as<R: Request>(&mut self, request: &R, version: i16) -> io::Result<R::Response> {
        self.send(request, version).await?;
        R::Response::decode(&mut self.receive().await?, version).map_err(other)
    }

    fn take_frame(&mut self) -> io::Result<Option<Bytes>> {
        let Some(length) = self.read.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if length > RESPONSE_BYTES_MAX {
            return Err(other("an answer of a length that no answer has"));
        }
        if self.read.len() < 4 + length {
            self.read.reserve(4 + length - self.read.len());
            return Ok(None);
        }
        self.read.advance(4);
        Ok(Some(self.read.split_to(length).freeze()))
    }
}

/// An error in words.
pub(crate) fn other(says: impl std::fmt::Display) -> io::Error {
    io::Error::other(says.to_string())
}
