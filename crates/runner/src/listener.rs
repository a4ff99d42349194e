//! The HTTP server of health and metrics. It is bounded in connections, bytes and time, so that whoever reaches its port takes
//! nothing from the pipelines: each connection carries one request, and the oldest one goes when there are too many.

use std::collections::VecDeque;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use self::tls::Tls;

pub(crate) mod tls;

/// One probe or scrape takes milliseconds, so that the oldest of so many is one that hangs.
const CONNECTIONS_MAX: usize = 64;
/// The request line and all headers.
const HEADER_BYTES_MAX: usize = 16 << 10;
/// From the connection, or the end of the TLS handshake, to the last header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(5);
/// From the connection to the last byte of the answer, for a reader that takes its time.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(30);
/// No more file descriptors, most likely: they come back.
const ACCEPT_AGAIN: Duration = Duration::from_secs(1);

/// Takes the address; the error says what to do.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; correct runtime.listen, or end what holds the address")
    })
}

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, tls: Option<Tls>, routes: Router) {
    let mut connections = Connections::default();
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                failing = false;
                connections.spawn(one(stream, tls.as_ref().map(Tls::acceptor), routes.clone()));
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "the http listener takes no connections for the moment");
                }
                sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// The connections that are open, oldest first.
#[derive(Default)]
struct Connections {
    tasks: JoinSet<()>,
    open: VecDeque<AbortHandle>,
}

impl Connections {
    fn spawn(&mut self, connection: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.open.retain(|task| !task.is_finished());
        if self.open.len() >= CONNECTIONS_MAX
            && let Some(oldest) = self.open.pop_front()
        {
            oldest.abort();
        }
        self.open.push_back(self.tasks.spawn(connection));
    }
}

async fn one(stream: TcpStream, tls: Option<tokio_rustls::TlsAcceptor>, routes: Router) {
    let answered = async {
        match tls {
            None => answer(stream, routes).await,
            Some(acceptor) => match timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => answer(stream, routes).await,
                Ok(Err(error)) => tracing::debug!(%error, "a client of the http listener failed at TLS"),
                Err(_) => {}
            },
        }
    };
    // What is not answered by then is cut off.
    timeout(CONNECTION_TIMEOUT, answered).await.ok();
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, routes: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEADER_BYTES_MAX)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes))
        .await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection of the http listener ended early");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    async fn served() -> (std::net::SocketAddr, tokio::task::JoinHandle<()>) {
        let listener = bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/livez", get(|| async { "ok\n" }));
        (address, tokio::spawn(serve(listener, None, routes)))
    }

    async fn ask(address: std::net::SocketAddr, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    const LIVEZ: &[u8] = b"GET /livez HTTP/1.1\r\nhost: here\r\n\r\n";

    #[tokio::test]
    async fn half_requests_and_idle_connections_keep_nobody_out() {
        let (address, server) = served().await;
        let mut idle = Vec::new();
        for number in 0..4 * CONNECTIONS_MAX {
            let mut stream = TcpStream::connect(address).await.unwrap();
            if number % 2 == 0 {
                stream.write_all(b"GET /livez HTTP/1.1\r\nhost: h").await.unwrap();
            }
            idle.push(stream);
        }
        let begin = Instant::now();
        assert!(ask(address, LIVEZ).await.starts_with("HTTP/1.1 200"));
        assert!(begin.elapsed() < HEADER_TIMEOUT / 2, "{:?}", begin.elapsed());
        // The oldest are closed already, and the newest when their time is over.
        let mut byte = [0; 1];
        let closed = timeout(Duration::from_secs(1), idle[0].read(&mut byte)).await;
        assert!(matches!(closed, Ok(Ok(0) | Err(_))), "{closed:?}");
        let mut last = idle.pop().unwrap();
        let closed = timeout(HEADER_TIMEOUT * 2, last.read_to_end(&mut Vec::new())).await;
        assert!(closed.is_ok(), "an idle connection stays");
        server.abort();
    }

    #[tokio::test]
    async fn one_request_each_and_headers_are_bounded() {
        let (address, server) = served().await;
        let twice = ask(address, &[LIVEZ, LIVEZ].concat()).await;
        assert_eq!(twice.matches("HTTP/1.1 200").count(), 1, "{twice}");
        let mut long = b"GET /livez HTTP/1.1\r\nx: ".to_vec();
        long.extend(vec![b'a'; 2 * HEADER_BYTES_MAX]);
        long.extend(b"\r\n\r\n");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(&long).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
        server.abort();
    }

    #[tokio::test]
    async fn no_more_than_the_bound_are_open() {
        static OPEN: AtomicUsize = AtomicUsize::new(0);
        struct Counted;
        impl Drop for Counted {
            fn drop(&mut self) {
                OPEN.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let mut connections = Connections::default();
        for _ in 0..3 * CONNECTIONS_MAX {
            connections.spawn(async {
                OPEN.fetch_add(1, Ordering::SeqCst);
                let _counted = Counted;
                std::future::pending::<()>().await;
            });
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
        }
        assert!(OPEN.load(Ordering::SeqCst) <= CONNECTIONS_MAX, "{OPEN:?}");
    }
}
