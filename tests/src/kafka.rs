//! A real Kafka of one or more brokers: started, killed, frozen, asked. What an administrator does is in `admin`, what is
//! written and read in `data`.

mod admin;
mod data;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rustix::process::{Pid, Signal, kill_process};

pub use self::data::{Load, Parts, Watch};
use crate::folder::Folder;
use crate::server;

const TIMEOUT: Duration = Duration::from_secs(30);

/// Ports that a broker keeps for itself.
const PORTS: u16 = 10;

/// Brokers on loopback, numbered from 0. Who comes in plain text may do everything; who comes by TLS or SASL is `User:client`
/// or the user of the password, and may do what `allow` says (`admin` may do all).
#[derive(Debug)]
pub struct Kafka {
    folder: Folder,
    count: u16,
    environment: Vec<(&'static str, String)>,
    /// Where the first broker listens in plain text.
    pub port: u16,
}

impl Kafka {
    /// One running broker without topics.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        Self::cluster(1)
    }

    /// So many running brokers without topics; three keep three copies, of which two have to be there.
    ///
    /// # Panics
    /// When they cannot be started.
    pub fn cluster(count: u16) -> Self {
        let kafka = Self::of(count);
        kafka.start_again();
        kafka
    }

    /// A place for a broker that does not run yet.
    pub fn new() -> Self {
        Self::of(1)
    }

    /// The same for so many.
    pub fn of(count: u16) -> Self {
        let port = server::free_ports(PORTS * count);
        Self { folder: Folder::new("kafka"), count, environment: Vec::new(), port }
    }

    /// From the next start on, the addresses of `proxied_brokers` lead through these ports, one for each broker.
    #[must_use]
    pub fn advertise(mut self, proxies: &[u16]) -> Self {
        let ports: Vec<String> = proxies.iter().map(u16::to_string).collect();
        self.environment.push(("KAFKA_PROXIED", ports.join(" ")));
        self
    }

    /// From the next start on, the brokers present this certificate: `server-expired`, `server-future`, `server-elsewhere`.
    #[must_use]
    pub fn present(mut self, certificate: &str) -> Self {
        self.environment.push(("KAFKA_CERTIFICATE", certificate.to_owned()));
        self
    }

    /// From the next start on, the brokers are compiled as well as in production: for measuring.
    #[must_use]
    pub fn compiled(mut self) -> Self {
        self.environment.push(("KAFKA_COMPILER", "4".to_owned()));
        self
    }

    /// From the next start on, the brokers have these properties too, one a line.
    #[must_use]
    pub fn set(mut self, properties: &str) -> Self {
        self.environment.push(("KAFKA_SETTINGS", properties.to_owned()));
        self
    }

    /// From the next start on, the brokers find Kerberos by this `krb5.conf`.
    #[must_use]
    pub fn kerberos(mut self, config: &Path) -> Self {
        self.environment.push(("KAFKA_KERBEROS", config.display().to_string()));
        self
    }

    /// Starts what does not run, on its old data, and waits until the cluster counts all of its brokers.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_again(&self) {
        self.script(&[]);
        let consumer: BaseConsumer = self.client(&[]);
        server::until("all brokers are in the cluster", TIMEOUT * 2, || {
            let metadata = consumer.fetch_metadata(None, TIMEOUT).ok()?;
            (metadata.brokers().len() == usize::from(self.count)).then_some(())
        });
    }

    /// Starts one broker again on its old data.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start_broker(&self, broker: u16) {
        self.script(&[("KAFKA_ONLY", &broker.to_string())]);
    }

    fn script(&self, more: &[(&str, &str)]) {
        let (folder, port) = (self.folder.path().display().to_string(), self.port.to_string());
        let own = self.environment.iter().map(|(name, value)| (*name, value.as_str()));
        let environment: Vec<(&str, &str)> = own.chain(more.iter().copied()).collect();
        server::run("kafka.sh", &[&folder, &port, &self.count.to_string()], &environment);
    }

    /// Kills all brokers, as machines that lose power would.
    pub fn kill(&self) {
        server::end(self.folder.path(), Signal::KILL);
    }

    /// Kills one.
    pub fn kill_broker(&self, broker: u16) {
        server::end_all(&self.pid(broker).into_iter().collect::<Vec<_>>(), Signal::KILL);
    }

    /// Stops one in good order: it gives its partitions to others first.
    pub fn stop_broker(&self, broker: u16) {
        server::end_all(&self.pid(broker).into_iter().collect::<Vec<_>>(), Signal::TERM);
    }

    /// One broker does nothing any more, and its connections stay open.
    pub fn freeze_broker(&self, broker: u16) {
        self.signal(broker, Signal::STOP);
    }

    /// It goes on where it was.
    pub fn thaw_broker(&self, broker: u16) {
        self.signal(broker, Signal::CONT);
    }

    fn signal(&self, broker: u16, signal: Signal) {
        if let Some(pid) = self.pid(broker) {
            let _ = kill_process(pid, signal);
        }
    }

    fn pid(&self, broker: u16) -> Option<Pid> {
        server::pid_in(&self.folder.path().join(format!("broker-{broker}.pid")))
    }

    /// How many brokers there are.
    pub fn count(&self) -> u16 {
        self.count
    }

    /// `bootstrap.servers` in plain text.
    pub fn brokers(&self) -> String {
        self.addresses("127.0.0.1", 0)
    }

    /// With TLS; the brokers want a certificate of the client.
    pub fn tls_brokers(&self) -> String {
        self.addresses("localhost", 1)
    }

    /// With TLS and SCRAM-SHA-512: user `app`, password `app-secret`, and user `admin`, password `admin-secret`.
    pub fn sasl_brokers(&self) -> String {
        self.addresses("localhost", 2)
    }

    /// With TLS, and PLAIN or SCRAM-SHA-256 of the user `app`, password `app-secret`.
    pub fn login_brokers(&self) -> String {
        self.addresses("localhost", 4)
    }

    /// The same two mechanisms without TLS.
    pub fn bare_login_brokers(&self) -> String {
        self.addresses("localhost", 6)
    }

    /// In plain text, to listeners that are advertised where `advertise` said. Without proxies they lead to themselves.
    pub fn proxied_brokers(&self) -> String {
        let named = self.environment.iter().find(|(name, _)| *name == "KAFKA_PROXIED");
        match named {
            Some((_, ports)) => {
                ports.split(' ').map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
            }
            None => self.addresses("127.0.0.1", 5),
        }
    }

    /// The port of one of a broker's listeners: 0 plain, 1 TLS, 2 SASL, 3 the controller's, 4 and 6 SASL with other
    /// mechanisms, 5 the proxied one.
    pub fn port_of(&self, broker: u16, listener: u16) -> u16 {
        self.port + PORTS * broker + listener
    }

    fn addresses(&self, host: &str, listener: u16) -> String {
        let address = |broker| format!("{host}:{}", self.port_of(broker, listener));
        (0..self.count).map(address).collect::<Vec<_>>().join(",")
    }

    /// A file that `tests/services/certs.sh` makes: `ca.crt`, `client.crt`, `client.key`, or one of its troubles, as
    /// `ca-other.crt`, `client-expired.crt`, `client-encrypted.key`.
    ///
    /// # Panics
    /// When there is none of that name.
    pub fn certificate(&self, name: &str) -> PathBuf {
        static MADE_ONCE: Mutex<()> = Mutex::new(());
        let _alone = MADE_ONCE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = self.folder.path().join("tls");
        let path = folder.join(name);
        if !path.exists() {
            server::run("certs.sh", &[&folder.display().to_string(), "troubles"], &[]);
        }
        assert!(path.exists(), "certs.sh makes no {name}");
        path
    }

    /// What a broker has on its disk, its log and its data.
    pub fn folder_of(&self, broker: u16) -> PathBuf {
        self.folder.path().join(format!("broker-{broker}"))
    }

    /// A client of the plain listeners.
    fn client<T: FromClientConfig>(&self, properties: &[(&str, &str)]) -> T {
        self.config(properties).create().expect("a client")
    }

    fn config(&self, properties: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        // A frozen broker must not hold up the test as long as the library would wait.
        config
            .set("bootstrap.servers", self.brokers())
            .set("log_level", "2")
            .set("socket.timeout.ms", "3000");
        for (name, value) in properties {
            config.set(*name, *value);
        }
        config
    }
}

impl Default for Kafka {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        self.kill();
    }
}
