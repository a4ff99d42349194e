//! A server that answers as it is told, for what the real one cannot show, and counts what it is asked.
#![allow(unreachable_pub, dead_code)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aqueduct_api::catalog::RegistryKind;
use aqueduct_api::registry::Registry;
use aqueduct_registry::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What Karapace alone answers.
pub const HEALTH: &str = "GET /_health";

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `GET /schemas/ids/1?deleted=true`
    pub line: String,
    pub authorization: Option<String>,
    pub body: String,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Reply {
    status: u16,
    headers: String,
    body: String,
    wait: Duration,
}

impl Reply {
    pub fn ok(body: Value) -> Self {
        Self::text(200, body.to_string())
    }

    /// A refusal as registries word it.
    pub fn refusal(status: u16, error_code: u32, message: &str) -> Self {
        Self::text(status, json!({ "error_code": error_code, "message": message }).to_string())
    }

    pub fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: String::new(), body: body.into(), wait: Duration::ZERO }
    }

    #[must_use]
    pub fn header(mut self, line: &str) -> Self {
        self.headers += &format!("{line}\r\n");
        self
    }

    #[must_use]
    pub fn after(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }
}

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

/// The server; it listens until the runtime ends.
pub struct Stub {
    pub port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    at_once_max: Arc<AtomicUsize>,
}

impl Stub {
    pub async fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (asked, at_once_max): (Arc<Mutex<Vec<Asked>>>, Arc<AtomicUsize>) = Default::default();
        let answers: Arc<Answers> = Arc::new(answers);
        let at_once = Arc::new(AtomicUsize::new(0));
        let (log, max) = (asked.clone(), at_once_max.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answers, log, max, at_once) =
                    (answers.clone(), log.clone(), max.clone(), at_once.clone());
                tokio::spawn(async move {
                    let mut stream = BufReader::new(stream);
                    while let Some(asked) = read(&mut stream).await {
                        max.fetch_max(at_once.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        log.lock().unwrap().push(asked.clone());
                        let reply = answers(&asked);
                        tokio::time::sleep(reply.wait).await;
                        at_once.fetch_sub(1, Ordering::SeqCst);
                        if write(&mut stream, &reply).await.is_err() {
                            break;
                        }
                    }
                });
            }
        });
        Self { port, asked, at_once_max }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn open(&self) -> Arc<dyn Registry> {
        self.open_with(json!({}))
    }

    pub fn open_with(&self, mut raw: Value) -> Arc<dyn Registry> {
        raw["url"] = json!(self.url());
        serde_json::from_value::<Config>(raw).unwrap().open().unwrap()
    }

    /// The lines of the requests so far, without the one that a registry is recognized by.
    pub fn lines(&self) -> Vec<String> {
        self.asked().into_iter().map(|asked| asked.line).filter(|line| line != HEALTH).collect()
    }

    /// How often it was asked whether it is ready.
    pub fn health_asked(&self) -> usize {
        self.asked().iter().filter(|asked| asked.line == HEALTH).count()
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// How many requests were open at the same time, at most.
    pub fn at_once_max(&self) -> usize {
        self.at_once_max.load(Ordering::SeqCst)
    }
}

async fn read(stream: &mut BufReader<TcpStream>) -> Option<Asked> {
    let (mut first, mut authorization, mut length) = (String::new(), None, 0);
    if stream.read_line(&mut first).await.ok()? == 0 {
        return None;
    }
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap(),
            "authorization" => authorization = Some(value.to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let line = first.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, authorization, body: String::from_utf8(body).unwrap() })
}

async fn write(stream: &mut BufReader<TcpStream>, reply: &Reply) -> std::io::Result<()> {
    let Reply { status, headers, body, .. } = reply;
    let head = format!("HTTP/1.1 {status} Said\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await
}
