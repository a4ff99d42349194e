//! The schema registry of `aqueduct dev`: the HTTP interface of Confluent's Schema Registry, in memory.
//!
//! Ids count up from 1 over all subjects, and a schema has the same id wherever it is registered. Whether a new version is
//! compatible is checked for Avro; JSON Schema and Protobuf are kept as text (JSON Schema must be JSON), and any version may
//! follow any other of them. What it leaves out: TLS, logging in, contexts, modes other than READWRITE, metadata and rules.

mod document;
mod level;
mod refusal;
mod routes;
mod store;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::sleep;
use tracing::{debug, error, warn};

use refusal::Refusal;
use store::Store;

/// What the answers are said to be; clients take it for JSON.
const JSON: &str = "application/vnd.schemaregistry.v1+json";
/// After an error of the listener.
const PAUSE: Duration = Duration::from_millis(50);

/// How much the registry may take.
#[derive(Clone, Debug)]
pub struct RegistryLimits {
    /// Versions of all subjects together. One more is refused.
    pub schemas_max: usize,
    /// The texts of all schemas together, in bytes. More are refused.
    pub text_bytes_max: usize,
    /// Largest body of a request, in bytes.
    pub body_bytes_max: usize,
    /// Open connections. One more is closed at once.
    pub connections_max: usize,
}

impl Default for RegistryLimits {
    fn default() -> Self {
        Self { schemas_max: 50_000, text_bytes_max: 64 << 20, body_bytes_max: 2 << 20, connections_max: 256 }
    }
}

/// A running registry. It stops when it is dropped; [`Registry::stop`] also waits until it has.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    server: JoinHandle<()>,
    /// Closed to stop the server.
    running: oneshot::Sender<()>,
}

impl Registry {
    /// Starts a registry that listens on `listen`, within the default limits; port 0 takes a free one. Must be called inside
    /// a tokio runtime.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start(listen: SocketAddr) -> io::Result<Self> {
        Self::start_with(listen, RegistryLimits::default()).await
    }

    /// The same, within limits of one's own.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn start_with(listen: SocketAddr, limits: RegistryLimits) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let (running, stopped) = oneshot::channel();
        let server = tokio::spawn(serve(listener, limits, stopped));
        Ok(Self { address, server, running })
    }

    /// Where it is: `http://127.0.0.1:34567`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lines to paste into a shell, for the schemas of a topic's values.
    #[must_use]
    pub fn curl_lines(&self, topic: &str) -> Vec<String> {
        let url = self.url();
        let subject = format!("{url}/subjects/{topic}-value/versions");
        vec![
            format!("curl {url}/subjects"),
            format!("curl {subject}/latest"),
            format!(r#"curl {subject} -d '{{"schema": "\"string\""}}'"#),
            format!(r#"curl {url}/config/{topic}-value -X PUT -d '{{"compatibility": "FULL"}}'"#),
        ]
    }

    /// Stops listening, closes all connections and forgets all schemas.
    pub async fn stop(self) {
        let Self { server, running, .. } = self;
        drop(running);
        if let Err(error) = server.await {
            error!(%error, "embedded registry failed");
        }
    }
}

/// What all connections share.
struct Shared {
    limits: RegistryLimits,
    store: Mutex<Store>,
}

/// Serves until `stopped` is closed; no connection outlives it.
async fn serve(listener: TcpListener, limits: RegistryLimits, mut stopped: oneshot::Receiver<()>) {
    let shared = Arc::new(Shared { store: Mutex::new(Store::new(limits.clone())), limits });
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    warn!(%error, "registry connection failed");
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if connections.len() >= shared.limits.connections_max => {
                    let connections_max = shared.limits.connections_max;
                    warn!(%peer, connections_max, "too many registry connections, refused one");
                }
                Ok((stream, peer)) => {
                    connections.spawn(connection(stream, peer, Arc::clone(&shared)));
                }
                Err(error) => {
                    warn!(%error, "cannot accept a registry connection");
                    sleep(PAUSE).await;
                }
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "cannot set nodelay");
    }
    let service = service_fn(|request| {
        let shared = Arc::clone(&shared);
        async move { Ok::<_, Infallible>(respond(request, &shared).await) }
    });
    match http1::Builder::new().serve_connection(TokioIo::new(stream), service).await {
        Ok(()) => debug!(%peer, "registry connection closed"),
        Err(error) => debug!(%peer, %error, "registry connection lost"),
    }
}

async fn respond(request: Request<Incoming>, shared: &Shared) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let bytes_max = shared.limits.body_bytes_max;
    let answer = match Limited::new(body, bytes_max).collect().await {
        Ok(body) => {
            let request = routes::Request {
                method: head.method.as_str(),
                path: head.uri.path(),
                query: head.uri.query().unwrap_or_default(),
                body: &body.to_bytes(),
            };
            routes::answer(&mut shared.store.lock().unwrap_or_else(PoisonError::into_inner), &request)
        }
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::body_is_too_large(bytes_max)),
        // The client has gone: nobody reads the answer.
        Err(_) => Err(Refusal::no_such_page()),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err(refusal) => (StatusCode::from_u16(refusal.status).unwrap_or_default(), refusal.body()),
    };
    debug!(method = %head.method, path = head.uri.path(), status = status.as_u16(), "registry answered");
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}
