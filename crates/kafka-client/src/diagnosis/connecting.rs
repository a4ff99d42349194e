//! The faults of connections to a cluster: names, ports, TLS, SASL, the files with certificates, and rights.

use super::{Diagnosis, Reaction};

/// DNS.
pub const ADDRESS_UNKNOWN: Diagnosis = Diagnosis {
    id: "address-unknown",
    says: "the name `{host}` of broker {broker} cannot be resolved: {cause}",
    why: "The name is misspelt, or the DNS that this machine asks does not know it. Where the broker is not one of `brokers`, it is the cluster itself that advertises this name.",
    remedy: "correct `connection.brokers`, or the brokers' advertised.listeners, or the DNS",
    reaction: Reaction::Waits,
};

/// A closed port.
pub const CONNECTION_REFUSED: Diagnosis = Diagnosis {
    id: "connection-refused",
    says: "nothing listens at {broker}: the connection was refused",
    why: "The broker does not run, listens on another port, or only on another interface.",
    remedy: "see that the broker runs, and that host and port in `connection.brokers` are right",
    reaction: Reaction::Waits,
};

/// Packets go nowhere, or come back from nowhere.
pub const NO_ANSWER: Diagnosis = Diagnosis {
    id: "no-answer",
    says: "{broker} does not answer: {cause}",
    why: "A firewall or a network policy drops the packets, the address belongs to no machine, or the broker hangs.",
    remedy: "see that this machine may reach the broker: firewall, network policy, route",
    reaction: Reaction::Waits,
};

/// No broker answers, and the preflight was not made or finds nothing.
pub const NO_BROKER: Diagnosis = Diagnosis {
    id: "no-broker",
    says: "no broker of {brokers} answers: waiting for one",
    why: "All connections are closed or were never made, and none of the causes below was found: mostly a cluster that is just starting.",
    remedy: "see that the addresses are right and the brokers run",
    reaction: Reaction::Waits,
};

/// Plain against TLS.
pub const TLS_EXPECTED: Diagnosis = Diagnosis {
    id: "tls-expected",
    says: "{broker} speaks TLS, and the connection is made without",
    why: "The port belongs to a listener of the kind SSL or SASL_SSL.",
    remedy: "write `tls: true` under `connection`, or `tls: { ca: ... }`; or take the port of a plain listener",
    reaction: Reaction::Waits,
};

/// TLS against plain.
pub const TLS_UNEXPECTED: Diagnosis = Diagnosis {
    id: "tls-unexpected",
    says: "{broker} does not speak TLS, and the connection is made with it",
    why: "The port belongs to a listener of the kind PLAINTEXT or SASL_PLAINTEXT, or to something that is no broker.",
    remedy: "take the port of a TLS listener, or leave `connection.tls` out",
    reaction: Reaction::Waits,
};

/// Another protocol.
pub const NOT_KAFKA: Diagnosis = Diagnosis {
    id: "not-kafka",
    says: "what listens at {broker} is not a Kafka broker: {cause}",
    why: "The port belongs to something else: a schema registry, a web server, an exporter of metrics.",
    remedy: "correct the port in `connection.brokers`",
    reaction: Reaction::Waits,
};

/// KRaft's own listener.
pub const CONTROLLER_PORT: Diagnosis = Diagnosis {
    id: "controller-port",
    says: "{broker} is the port of a KRaft controller, not of a broker",
    why: "Controllers speak Kafka's protocol among themselves, but serve no records.",
    remedy: "take the port of a broker's listener",
    reaction: Reaction::Waits,
};

/// The wrong CA, or none.
pub const CA_UNKNOWN: Diagnosis = Diagnosis {
    id: "ca-unknown",
    says: "the certificate of {broker} is signed by `{issuer}`, which is not trusted here: {cause}",
    why: "`connection.tls.ca` names another authority than the one that signed the broker's certificate, or names none and the system does not know it. Seldom: the broker does not send its intermediate certificates.",
    remedy: "name the authority of the brokers' certificates as `connection.tls.ca`",
    reaction: Reaction::Waits,
};

/// The broker's certificate is too old.
pub const BROKER_CERTIFICATE_EXPIRED: Diagnosis = Diagnosis {
    id: "broker-certificate-expired",
    says: "the certificate of {broker} expired at {time}",
    why: "Nobody renewed it, or the broker was not restarted with the new one. A wrong clock on this machine looks the same.",
    remedy: "renew the broker's certificate; see the clock of this machine",
    reaction: Reaction::Waits,
};

/// The broker's certificate is too young.
pub const BROKER_CERTIFICATE_EARLY: Diagnosis = Diagnosis {
    id: "broker-certificate-not-yet-valid",
    says: "the certificate of {broker} is not valid before {time}",
    why: "It was made for later, or the clock of this machine is behind.",
    remedy: "see the clock of this machine, then the broker's certificate",
    reaction: Reaction::Waits,
};

/// The broker's certificate names another host.
pub const BROKER_NAME_WRONG: Diagnosis = Diagnosis {
    id: "broker-name-wrong",
    says: "the certificate of {broker} is for {names}, not for `{host}`",
    why: "The broker is called by a name that its certificate does not have: an address in place of a name, or a name behind a load balancer.",
    remedy: "call the broker by a name of its certificate; or `verify_hostname: false` under `connection.tls`, which trusts every certificate of that authority",
    reaction: Reaction::Waits,
};

/// No client certificate where one is asked for.
pub const CERTIFICATE_REQUIRED: Diagnosis = Diagnosis {
    id: "certificate-required",
    says: "{broker} asks for a client certificate, and the connection has none",
    why: "The listener is set up with ssl.client.auth=required.",
    remedy: "name the client certificate and its key as `connection.tls.certificate` and `connection.tls.key`",
    reaction: Reaction::Waits,
};

/// A client certificate that the broker does not take.
pub const CERTIFICATE_REFUSED: Diagnosis = Diagnosis {
    id: "certificate-refused",
    says: "{broker} refuses the client certificate `{subject}`: {cause}",
    why: "The broker does not trust the authority that signed it, or it is expired, revoked, or not made for clients.",
    remedy: "take a certificate of an authority in the brokers' truststore, within its time",
    reaction: Reaction::Waits,
};

/// Any other failure of a handshake.
pub const TLS_FAILED: Diagnosis = Diagnosis {
    id: "tls-failed",
    says: "no TLS connection to {broker}: {cause}",
    why: "Both sides speak TLS and find no common ground: versions, ciphers, a damaged certificate.",
    remedy: "see the broker's log at the same moment",
    reaction: Reaction::Waits,
};

/// SASL where it is asked for.
pub const SASL_REQUIRED: Diagnosis = Diagnosis {
    id: "sasl-required",
    says: "{broker} asks for a login, and the connection has no `sasl`",
    why: "The listener is of the kind SASL_SSL or SASL_PLAINTEXT.",
    remedy: "write the mechanism and the user under `connection.sasl`",
    reaction: Reaction::Waits,
};

/// SASL where there is none.
pub const SASL_UNEXPECTED: Diagnosis = Diagnosis {
    id: "sasl-unexpected",
    says: "{broker} takes no login on this port, and the connection has `sasl`",
    why: "The listener is of the kind SSL or PLAINTEXT.",
    remedy: "take the port of a SASL listener, or leave `connection.sasl` out",
    reaction: Reaction::Waits,
};

/// The mechanism.
pub const MECHANISM_UNSUPPORTED: Diagnosis = Diagnosis {
    id: "mechanism-unsupported",
    says: "{broker} does not take {mechanism}, it takes {mechanisms}",
    why: "sasl.enabled.mechanisms of that listener does not have it.",
    remedy: "write a mechanism that it takes under `connection.sasl`, or enable this one on the broker",
    reaction: Reaction::Waits,
};

/// The password.
pub const LOGIN_REFUSED: Diagnosis = Diagnosis {
    id: "login-refused",
    says: "{broker} does not accept {mechanism} of user `{user}`: {cause}",
    why: "The user is not known, the password is another, or the token is not accepted. Brokers tell nobody which of them it is; their log may.",
    remedy: "correct the credentials under `connection.sasl`, or those that the cluster keeps",
    reaction: Reaction::Waits,
};

/// No token to log in with.
pub const TOKEN_MISSING: Diagnosis = Diagnosis {
    id: "token-missing",
    says: "no token for client `{user}` from {url}: {cause}",
    why: "The identity provider cannot be reached, does not know the client, or does not take its secret.",
    remedy: "correct `connection.sasl.oauthbearer`, or see the identity provider",
    reaction: Reaction::Waits,
};

/// Files were exchanged under a running client.
pub const CREDENTIALS_REPLACED: Diagnosis = Diagnosis {
    id: "credentials-replaced",
    says: "the credentials for {brokers} were replaced on disk: connecting with the new ones",
    why: "A certificate, a key or an authority that the connection names has another content than before. A sink makes another producer when what was given to the one of before is acknowledged. A source commits what was read and leaves the group, and the pipeline starts again; this is no fault. A password alone is taken up without that.",
    remedy: "nothing has to be done",
    reaction: Reaction::Restarts,
};

/// The cluster sends its clients where they cannot go.
pub const ADVERTISED_UNREACHABLE: Diagnosis = Diagnosis {
    id: "advertised-unreachable",
    says: "broker {id} is advertised at {address} and cannot be reached there: {cause}",
    why: "A client asks `connection.brokers` first, and is told the address of each broker (advertised.listeners); everything else goes there. In containers and behind tunnels it is often a name that only the brokers themselves know.",
    remedy: "make {address} reachable from here, or correct advertised.listeners of broker {id}",
    reaction: Reaction::Waits,
};

/// Another cluster behind the same name.
pub const CLUSTER_REPLACED: Diagnosis = Diagnosis {
    id: "cluster-replaced",
    says: "{brokers} is another cluster now: its id was {before} and is {now}",
    why: "The cluster was made anew, or the name leads elsewhere. Offsets of the one mean nothing on the other, so nothing is read or written until somebody has looked.",
    remedy: "see where `connection.brokers` leads; when the new cluster is meant, start the process again, and set the offsets first",
    reaction: Reaction::Stops,
};

/// A file that is not there.
pub const FILE_UNREADABLE: Diagnosis = Diagnosis {
    id: "file-unreadable",
    says: "cannot read {file}: {cause}",
    why: "The file is not mounted, is called otherwise, or belongs to another user.",
    remedy: "see that the file is there and this process may read it; the PEM text itself may stand in its place",
    reaction: Reaction::Restarts,
};

/// A file that is something else.
pub const NOT_PEM: Diagnosis = Diagnosis {
    id: "not-pem",
    says: "{file} holds no {what} in PEM",
    why: "It is another file, a Java keystore, or DER: PEM is text that begins with -----BEGIN.",
    remedy: "convert it with openssl, as in `openssl pkcs12 -in client.p12 -out client.pem -nodes`",
    reaction: Reaction::Restarts,
};

/// An encrypted key without its password, or with another.
pub const KEY_LOCKED: Diagnosis = Diagnosis {
    id: "key-locked",
    says: "{file} is encrypted, and {cause}",
    why: "`connection.tls.key_password` is not given, or is not the key's.",
    remedy: "write its password as `connection.tls.key_password`",
    reaction: Reaction::Restarts,
};

/// A key of another certificate.
pub const KEY_MISMATCH: Diagnosis = Diagnosis {
    id: "key-mismatch",
    says: "{file} is not the key of the certificate `{subject}`",
    why: "Certificate and key come from two different requests, or only one of them was renewed.",
    remedy: "name the pair that was issued together",
    reaction: Reaction::Restarts,
};

/// Our own certificate is too old.
pub const CERTIFICATE_EXPIRED: Diagnosis = Diagnosis {
    id: "certificate-expired",
    says: "the client certificate `{subject}` expired at {time}",
    why: "Nobody renewed it. A running pipeline takes a new one up by itself as soon as it stands on disk.",
    remedy: "renew it; see the clock of this machine",
    reaction: Reaction::Waits,
};

/// Our own certificate is too young.
pub const CERTIFICATE_EARLY: Diagnosis = Diagnosis {
    id: "certificate-not-yet-valid",
    says: "the client certificate `{subject}` is not valid before {time}",
    why: "It was made for later, or the clock of this machine is behind.",
    remedy: "see the clock of this machine, then the certificate",
    reaction: Reaction::Waits,
};

/// ACLs of a topic.
pub const TOPIC_DENIED: Diagnosis = Diagnosis {
    id: "topic-denied",
    says: "{principal} may not {operation} topic `{topic}`",
    why: "No ACL of the cluster allows it. The check of topics counts for each operation: Read, Write, Describe, Create. A sink does not start again: it waits for a topic that the file names, and sets the records of a template aside.",
    remedy: "grant it: kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {grantee} --operation {operation} --topic {topic}",
    reaction: Reaction::Restarts,
};

/// ACLs of a group.
pub const GROUP_DENIED: Diagnosis = Diagnosis {
    id: "group-denied",
    says: "{principal} may not use the consumer group `{group}`",
    why: "No ACL of the cluster allows it. Reading a topic as a group needs Read on the group too.",
    remedy: "grant it: kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {grantee} --operation Read --group {group}",
    reaction: Reaction::Restarts,
};

/// No producer id without a right to write something.
pub const CLUSTER_DENIED: Diagnosis = Diagnosis {
    id: "cluster-denied",
    says: "{principal} may write to no topic of the cluster",
    why: "A producer begins with an id, and the cluster gives one only to whoever may write to some topic. Brokers before 2.8 ask for IdempotentWrite on the cluster instead.",
    remedy: "grant it: kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {grantee} --operation Write --topic {topic}; before 2.8 also --operation IdempotentWrite --cluster",
    reaction: Reaction::Restarts,
};

/// ACLs of a transactional id.
pub const TRANSACTIONAL_ID_DENIED: Diagnosis = Diagnosis {
    id: "transactional-id-denied",
    says: "{principal} may not use the transactional id `{transactional_id}`",
    why: "No ACL of the cluster allows it. `delivery: exactly_once` writes in transactions, and each runner and task has an id of its own that begins with `transactional_id_prefix`, if there is one, the name of the pipeline and a dash.",
    remedy: "grant it: kafka-acls.sh --bootstrap-server {brokers} --add --allow-principal {grantee} --operation Write --operation Describe --transactional-id {prefix} --resource-pattern-type prefixed",
    reaction: Reaction::Restarts,
};

/// A topic that is not there.
pub const TOPIC_MISSING: Diagnosis = Diagnosis {
    id: "topic-missing",
    says: "topic `{topic}` does not exist on the cluster {brokers}",
    why: "The name is wrong, the topic was never made or was deleted, or another cluster is meant. A broker also says so of a topic that this user may not describe.",
    remedy: "create it, or correct the name",
    reaction: Reaction::Waits,
};
