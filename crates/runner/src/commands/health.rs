//! `aqueduct health`: asks a running process whether it lives, for the health check of a container.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::listener::tls;
use crate::{Exit, catalog};

/// How long connecting, asking and answering may each take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Ask a running process on this machine whether it lives (GET /livez)
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The files that the process was started with: their aqueduct.yaml says where it listens
    #[arg(value_name = "FILE_OR_DIR", default_value = "/pipelines")]
    paths: Vec<PathBuf>,
    /// Ask there, whatever the files say
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// Asks.
pub(crate) fn run(arguments: &Arguments) -> Exit {
    let (address, tls) = match &arguments.address {
        Some(address) => (address.clone(), None),
        None => {
            let Some(loaded) = super::load(&arguments.paths, &catalog::catalog()) else { return Exit::Wrong };
            let Some(address) = loaded.runtime.listen else {
                println!("runtime.listen is not set: there is nobody to ask");
                return Exit::Good;
            };
            (address, loaded.runtime.tls)
        }
    };
    match ask(&address, tls.map(|(certificate, _)| certificate).as_deref()) {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Exit::Good,
        Ok(answer) => {
            eprintln!("error: {address} answers {}", answer.lines().next().unwrap_or("nothing"));
            Exit::Failed
        }
        Err(error) => {
            eprintln!("error: {address} does not answer: {error}");
            Exit::Failed
        }
    }
}

fn ask(address: &str, certificate: Option<&Path>) -> std::io::Result<String> {
    let none = || std::io::Error::other("the address has no host");
    let mut target: SocketAddr = address.to_socket_addrs()?.next().ok_or_else(none)?;
    // Who listens on all addresses is asked on the local one.
    if target.ip().is_unspecified() {
        target.set_ip(if target.is_ipv4() {
            [127, 0, 0, 1].into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    let stream = TcpStream::connect_timeout(&target, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    match certificate {
        None => request(stream, address),
        Some(certificate) => {
            request(tls::connect(stream, certificate).map_err(std::io::Error::other)?, address)
        }
    }
}

fn request(mut stream: impl Read + Write, address: &str) -> std::io::Result<String> {
    write!(stream, "GET /livez HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    stream.flush()?;
    let mut answer = String::new();
    stream.take(4_096).read_to_string(&mut answer)?;
    Ok(answer)
}
