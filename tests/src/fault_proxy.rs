//! A proxy before an S3 server that answers in its place for a while, which a proxy of bytes alone cannot do.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// What is answered instead of passing a request on.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// Such as 503.
    pub status: u16,
    /// Such as `SlowDown`.
    pub code: &'static str,
}

/// The proxy; it listens until the process ends.
#[derive(Debug)]
pub struct FaultProxy {
    /// Where clients connect.
    pub port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    answer: Option<Answer>,
    answered: u32,
    open: Vec<TcpStream>,
}

impl FaultProxy {
    /// Passes everything on to a port of this machine.
    ///
    /// # Panics
    /// When it cannot listen.
    pub fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let port = listener.local_addr().expect("a port").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let state = shared.clone();
                thread::spawn(move || serve(client, upstream, &state));
            }
        });
        Self { port, state }
    }

    /// Answers every request like this from now on, and cuts the connections that are open; `None` heals.
    pub fn answer(&self, answer: Option<Answer>) {
        let mut state = lock(&self.state);
        state.answer = answer;
        for stream in state.open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// How many requests were answered here.
    pub fn answered(&self) -> u32 {
        lock(&self.state).answered
    }
}

fn lock(state: &Mutex<State>) -> std::sync::MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: TcpStream, upstream: u16, state: &Mutex<State>) -> io::Result<()> {
    let answer = {
        let mut state = lock(state);
        state.answered += u32::from(state.answer.is_some());
        if state.answer.is_none() {
            state.open.push(client.try_clone()?);
        }
        state.answer
    };
    match answer {
        Some(answer) => refuse(client, answer),
        None => tunnel(client, upstream),
    }
}

fn refuse(mut client: TcpStream, answer: Answer) -> io::Result<()> {
    let mut length = 0_u64;
    let mut reader = BufReader::new(client.try_clone()?);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? <= 2 {
            break;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
    }
    let Answer { status, code } = answer;
    let body = format!("<Error><Code>{code}</Code><Message>answered by the test</Message></Error>");
    write!(
        client,
        "HTTP/1.1 {status} {code}\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    client.shutdown(Shutdown::Write)?;
    // Read to the end, else the system answers the rest with a reset that overtakes the answer.
    client.set_read_timeout(Some(Duration::from_secs(5)))?;
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(())
}

fn tunnel(client: TcpStream, upstream: u16) -> io::Result<()> {
    let server = TcpStream::connect(("127.0.0.1", upstream))?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let (mut from_client, mut to_server) = (client, server);
    let _ = io::copy(&mut from_client, &mut to_server);
    to_server.shutdown(Shutdown::Both)
}
