//! Three requests of Kafka's protocol, small enough to be written by hand: they are sent before there is a client.
//! <https://kafka.apache.org/protocol>

use std::io::{self, Read, Write};
use std::ops::RangeInclusive;

use crate::diagnosis::Diagnosed;

/// Kafka's API key of Metadata.
const METADATA: i16 = 3;
/// Every broker since 0.11 has this version, and an empty list means no topic.
pub(super) const METADATA_VERSION: i16 = 4;
/// No response to these requests is longer.
const RESPONSE_BYTES_MAX: i32 = 1 << 20;
/// One request is in flight at a time.
const CORRELATION: i32 = 7;

/// One of them.
pub(super) enum Request {
    ApiVersions,
    SaslHandshake(&'static str),
    Metadata,
}

/// The bytes of a response.
pub(super) struct Response(Vec<u8>);

impl Request {
    /// Key, version and body.
    fn parts(&self) -> (i16, i16, Vec<u8>) {
        match self {
            Request::ApiVersions => (18, 0, Vec::new()),
            Request::SaslHandshake(mechanism) => {
                let mut body = (mechanism.len() as i16).to_be_bytes().to_vec();
                body.extend(mechanism.as_bytes());
                (17, 1, body)
            }
            // No topics, and none to be created.
            Request::Metadata => (METADATA, METADATA_VERSION, vec![0, 0, 0, 0, 0]),
        }
    }
}

/// Why an exchange with a broker failed.
#[derive(Debug)]
pub(super) enum Failure {
    Diagnosed(Diagnosed),
    /// The other side closed the connection.
    Closed,
    /// No response comes.
    Silent,
    /// The response is not one of Kafka's protocol.
    NotKafka(&'static str),
    /// An error of TLS.
    Tls(String),
}

impl From<Diagnosed> for Failure {
    fn from(diagnosed: Diagnosed) -> Self {
        Self::Diagnosed(diagnosed)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Self::Silent,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe => Self::Closed,
            _ => Self::Tls(error.to_string()),
        }
    }
}

/// Sends a request, and waits for its response as long as the stream waits.
pub(super) fn send(
    stream: &mut (impl Read + Write + ?Sized),
    request: &Request,
) -> Result<Response, Failure> {
    let (key, version, body) = request.parts();
    let client = b"aqueduct-check";
    let mut bytes = Vec::new();
    bytes.extend(((10 + client.len() + body.len()) as i32).to_be_bytes());
    bytes.extend(key.to_be_bytes());
    bytes.extend(version.to_be_bytes());
    bytes.extend(CORRELATION.to_be_bytes());
    bytes.extend((client.len() as i16).to_be_bytes());
    bytes.extend(client);
    bytes.extend(body);
    stream.write_all(&bytes)?;
    stream.flush()?;
    let mut head = [0; 8];
    stream.read_exact(&mut head)?;
    let length = i32::from_be_bytes([head[0], head[1], head[2], head[3]]);
    let correlation = i32::from_be_bytes([head[4], head[5], head[6], head[7]]);
    if !(4..RESPONSE_BYTES_MAX).contains(&length) || correlation != CORRELATION {
        return Err(Failure::NotKafka("it answers with something else"));
    }
    let mut response = vec![0; length as usize - 4];
    stream.read_exact(&mut response)?;
    Ok(Response(response))
}

impl Response {
    /// The versions of Metadata, if it has any: a controller has none. `None` when the response cannot be read.
    pub(super) fn api_versions(&self) -> Option<Option<RangeInclusive<i16>>> {
        let mut rest = &self.0[..];
        let (_code, count) = (int16(&mut rest)?, int32(&mut rest)?);
        let mut metadata = None;
        for _ in 0..count {
            let (key, min, max) = (int16(&mut rest)?, int16(&mut rest)?, int16(&mut rest)?);
            if key == METADATA {
                metadata = Some(min..=max);
            }
        }
        Some(metadata)
    }

    /// The error code, and the mechanisms that it takes.
    pub(super) fn sasl_handshake(&self) -> Option<(i16, Vec<String>)> {
        let mut rest = &self.0[..];
        let (code, count) = (int16(&mut rest)?, int32(&mut rest)?);
        let mut mechanisms = Vec::new();
        for _ in 0..count.max(0) {
            let length = usize::try_from(int16(&mut rest)?).ok()?;
            let (name, tail) = rest.split_at_checked(length)?;
            mechanisms.push(String::from_utf8_lossy(name).into_owned());
            rest = tail;
        }
        Some((code, mechanisms))
    }
}

fn int16(rest: &mut &[u8]) -> Option<i16> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(i16::from_be_bytes(*head))
}

fn int32(rest: &mut &[u8]) -> Option<i32> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(i32::from_be_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_that_are_cut_off_are_no_responses() {
        let versions = Response(vec![0, 0, 0, 0, 0, 1, 0, 3, 0, 0, 0, 13]);
        assert_eq!(versions.api_versions(), Some(Some(0..=13)));
        assert_eq!(Response(vec![0, 0, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4]).api_versions(), Some(None));
        assert_eq!(Response(vec![0, 0, 0, 0, 0, 2, 0, 3, 0, 0, 0, 13]).api_versions(), None);
        let sasl = Response(vec![0, 33, 0, 0, 0, 1, 0, 2, b'A', b'B']);
        assert_eq!(sasl.sasl_handshake(), Some((33, vec!["AB".to_owned()])));
        assert_eq!(Response(vec![0, 33, 0, 0, 0, 1, 0, 9, b'A']).sasl_handshake(), None);
    }
}
