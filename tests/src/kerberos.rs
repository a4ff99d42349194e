//! A real Kerberos, and what a broker needs to take its tickets.

use std::path::PathBuf;

use rustix::process::Signal;

use crate::folder::Folder;
use crate::kafka::Kafka;
use crate::server;

/// The realm `EXAMPLE.TEST` with the principals `kafka/localhost` and `app`.
#[derive(Debug)]
pub struct Kerberos {
    folder: Folder,
}

impl Kerberos {
    /// Makes the realm and starts its server.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start() -> Self {
        let folder = Folder::new("kerberos");
        server::start("kerberos.sh", folder.path(), server::free_ports(1));
        Self { folder }
    }

    /// `krb5.conf`, for the variable `KRB5_CONFIG`.
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("krb5.conf")
    }

    /// The keys of `app@EXAMPLE.TEST`.
    pub fn keytab(&self) -> PathBuf {
        self.folder.path().join("app.keytab")
    }

    /// A running broker that takes tickets at one listener, without TLS, and that listener's address.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn broker(&self) -> (Kafka, String) {
        let kafka = Kafka::new();
        let (port, own) = (kafka.port, kafka.port + 4);
        let settings = format!(
            "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,KERBEROS:SASL_PLAINTEXT
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{},KERBEROS://127.0.0.1:{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},KERBEROS://localhost:{own}
listener.name.kerberos.sasl.enabled.mechanisms=GSSAPI
listener.name.kerberos.sasl.kerberos.service.name=kafka
listener.name.kerberos.gssapi.sasl.jaas.config=com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true keyTab=\"{}\" principal=\"kafka/localhost@EXAMPLE.TEST\";",
            port + 3,
            self.folder.path().join("kafka.keytab").display()
        );
        let kafka = kafka.set(&settings).kerberos(&self.config());
        kafka.start_again();
        (kafka, format!("localhost:{own}"))
    }
}

impl Drop for Kerberos {
    fn drop(&mut self) {
        server::end(self.folder.path(), Signal::KILL);
    }
}
