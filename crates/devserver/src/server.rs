//! The listener, the connections and their frames. A connection's requests are answered one after another, as the
//! protocol demands.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader};
use kafka_protocol::protocol::Decodable;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tracing::{debug, warn};

use crate::apis::{self, Call, Peer, invalid};
use crate::broker::Broker;

/// How often time acts on groups and transactions: their timeouts are that exact.
const TICK: Duration = Duration::from_millis(50);
/// The buffer of an idle connection; larger ones are given back.
const BUFFER_BYTES: usize = 64 << 10;
const HEADER_BYTES_MIN: usize = 8;
const CLIENT_ID_BYTES_MAX: usize = 255;

/// Serves until `stopped` is closed; no connection outlives it.
pub(crate) async fn serve(listener: TcpListener, broker: Arc<Broker>, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            _ = ticks.tick() => broker.tick(Instant::now()),
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    warn!(%error, "connection failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if connections.len() >= broker.limits.connections_max => {
                    let connections_max = broker.limits.connections_max;
                    warn!(%peer, connections_max, "too many connections, refused one");
                }
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&broker)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a connection");
                    sleep(TICK).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, broker: Arc<Broker>) {
    match converse(stream, peer, &broker).await {
        Ok(()) => debug!(%peer, "connection closed"),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            warn!(%peer, %error, "closed a connection")
        }
        Err(error) => debug!(%peer, %error, "connection lost"),
    }
}

async fn converse(mut stream: TcpStream, peer: SocketAddr, broker: &Broker) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut peer =
        Peer { client: String::new(), host: peer.ip().to_string(), reached_at: stream.local_addr()? };
    let mut buffer = BytesMut::with_capacity(BUFFER_BYTES);
    while let Some(frame) = read_frame(&mut stream, &mut buffer, broker.limits.request_bytes_max).await? {
        let call = open(frame, &mut peer)?;
        if let Some(answer) = Box::pin(apis::answer(broker, &peer, call)).await? {
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}

/// The next request without its length; none when the client has hung up between two. Memory grows with what has
/// really arrived, not with what was announced.
async fn read_frame(
    stream: &mut TcpStream,
    buffer: &mut BytesMut,
    bytes_max: usize,
) -> io::Result<Option<Bytes>> {
    loop {
        if let Some(mut length) = buffer.get(..4) {
            let announced = length.get_i32();
            let length = usize::try_from(announced).ok().filter(|length| *length <= bytes_max);
            let Some(length) = length else {
                return Err(invalid(format!("a request of {announced} bytes, the limit is {bytes_max}")));
            };
            if buffer.len() >= 4 + length {
                buffer.advance(4);
                return Ok(Some(buffer.split_to(length).freeze()));
            }
        }
        buffer.reserve(BUFFER_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return if buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
    }
}

/// Reads the header of a request, and notes the client's name for itself.
fn open(mut frame: Bytes, peer: &mut Peer) -> io::Result<Call> {
    if frame.len() < HEADER_BYTES_MIN {
        return Err(invalid("a request too short for its header".to_owned()));
    }
    let (key, version) = ((&frame[..2]).get_i16(), (&frame[2..4]).get_i16());
    let api =
        ApiKey::try_from(key).map_err(|()| invalid(format!("a request with the unknown API key {key}")))?;
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version))
        .map_err(|error| invalid(format!("a request whose header cannot be read: {error}")))?;
    peer.client.clear();
    peer.client.extend(header.client_id.iter().flat_map(|id| id.chars()).take(CLIENT_ID_BYTES_MAX));
    Ok(Call { api, version, correlation_id: header.correlation_id, body: frame })
}
