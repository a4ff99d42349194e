//! A real S3 server for a test, and a doorman in front of it that misbehaves on demand.

#![allow(clippy::unwrap_used)]

use std::net::TcpListener as StdListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// versitygw over a folder of its own; gone after the test.
pub(crate) struct Server {
    folder: PathBuf,
    pub(crate) port: u16,
}

impl Server {
    pub(crate) async fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("aqueduct-s3-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        // The server takes the next port too.
        let port = loop {
            let port = StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            if port < u16::MAX && StdListener::bind(("127.0.0.1", port + 1)).is_ok() {
                break port;
            }
        };
        let server = Self { folder, port };
        let script = std::env::var("CARGO_MANIFEST_DIR").unwrap() + "/../../tests/services/s3.sh";
        let started = Command::new(&script).arg(&server.folder).arg(port.to_string()).status().unwrap();
        assert!(started.success(), "{script} failed");
        server.client().create_bucket().bucket("lake").send().await.unwrap();
        server
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn client(&self) -> Client {
        let config = aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(self.endpoint())
            .force_path_style(true)
            .credentials_provider(Credentials::new("test", "testtest", None, None, "test"))
            .build();
        Client::from_conf(config)
    }

    /// All objects with their content.
    pub(crate) async fn objects(&self) -> Vec<(String, Vec<u8>)> {
        let client = self.client();
        let listed = client.list_objects_v2().bucket("lake").send().await.unwrap();
        let mut objects = Vec::new();
        for object in listed.contents() {
            let name = object.key().unwrap().to_owned();
            let answer = client.get_object().bucket("lake").key(&name).send().await.unwrap();
            objects.push((name, answer.body.collect().await.unwrap().to_vec()));
        }
        objects
    }

    /// Gives up all uploads of this name.
    pub(crate) async fn abort(&self, key: &str) {
        let client = self.client();
        let listed = client.list_multipart_uploads().bucket("lake").prefix(key).send().await.unwrap();
        for upload in listed.uploads().iter().filter(|upload| upload.key() == Some(key)) {
            let request = client.abort_multipart_upload().bucket("lake").key(key);
            request.set_upload_id(upload.upload_id.clone()).send().await.unwrap();
        }
    }

    /// The names under which uploads are half-way.
    pub(crate) async fn uploads(&self) -> Vec<String> {
        let listed = self.client().list_multipart_uploads().bucket("lake").send().await.unwrap();
        listed.uploads().iter().map(|upload| upload.key().unwrap().to_owned()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for name in ["http.pid", "https.pid"] {
            if let Ok(pid) = std::fs::read_to_string(self.folder.join(name)) {
                let _ = Command::new("kill").arg(pid.trim()).status();
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What the doorman does with a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trick {
    /// Answers by itself, with this status.
    Answer(&'static str),
    /// Closes the connection after so many bytes of the body.
    Cut(usize),
    /// Never answers.
    Silence,
    /// Lets the request through and keeps the answer.
    LoseAnswer,
}

/// A proxy that treats the next requests of a method in a way of its own.
pub(crate) struct Doorman {
    pub(crate) port: u16,
    tricks: Arc<Mutex<Vec<(&'static str, Trick)>>>,
}

impl Doorman {
    pub(crate) async fn start(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tricks: Arc<Mutex<Vec<(&'static str, Trick)>>> = Arc::default();
        let (upstream, of_all) = (server.port, Arc::clone(&tricks));
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let tricks = Arc::clone(&of_all);
                // A client that goes away is no concern of the next one.
                tokio::spawn(async move { serve(connection, upstream, &tricks).await.ok() });
            }
        });
        Self { port, tricks }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The next `times` requests whose first line begins so.
    pub(crate) fn play(&self, times: usize, line: &'static str, trick: Trick) {
        self.tricks.lock().unwrap().extend(std::iter::repeat_n((line, trick), times));
    }

    pub(crate) fn left(&self) -> usize {
        self.tricks.lock().unwrap().len()
    }
}

/// One request and its answer: the connection ends with it.
async fn serve(
    mut client: TcpStream,
    upstream: u16,
    tricks: &Mutex<Vec<(&'static str, Trick)>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    let head = loop {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if let Some(at) = request.windows(4).position(|four| four == b"\r\n\r\n") {
            break at + 4;
        }
    };
    let text = String::from_utf8_lossy(&request[..head]).into_owned();
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let trick = {
        let mut tricks = tricks.lock().unwrap();
        let at = tricks.iter().position(|(line, _)| text.starts_with(line));
        at.map(|at| tricks.remove(at).1)
    };
    let whole = head + length.unwrap_or(0);
    let needed = if let Some(Trick::Cut(bytes)) = trick { whole.min(head + bytes) } else { whole };
    while request.len() < needed {
        if client.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    match trick {
        Some(Trick::Cut(_)) => return Ok(()),
        Some(Trick::Silence) => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            return Ok(());
        }
        Some(Trick::Answer(status)) => {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            return client.write_all(answer.as_bytes()).await;
        }
        Some(Trick::LoseAnswer) | None => {}
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    server.write_all(&request[..head - 2]).await?;
    server.write_all(b"connection: close\r\n\r\n").await?;
    server.write_all(&request[head..]).await?;
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).await?;
    if trick.is_none() {
        client.write_all(&answer).await?;
    }
    Ok(())
}
