//! How we say who we are to a broker: SASL PLAIN (RFC 4616), SCRAM (RFC 5802, RFC 7677), OAUTHBEARER
//! (RFC 7628), in the frames of KIP-152.

use std::io;
use std::time::Duration;

use aqueduct_api::config::Secret;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use openssl::base64::{decode_block, encode_block};
use openssl::error::ErrorStack;
use openssl::hash::{MessageDigest, hash};
use openssl::pkcs5::pbkdf2_hmac;
use openssl::pkey::PKey;
use openssl::sign::Signer;

use super::connection::{BrokerConnection, other};
use crate::config::{Connection, Login, Sasl};
use crate::credentials::Credentials;
use crate::tokens::Tokens;

/// Random bytes of a nonce; a multiple of three, so that its base64 needs no filling.
const NONCE_BYTES: usize = 24;
/// With fewer rounds a password is guessed too easily from what went over the wire (RFC 7677, section 4).
const ITERATIONS_MIN: u32 = 4_096;
/// With more rounds somebody only wants to keep us busy.
const ITERATIONS_MAX: u32 = 1_000_000;
/// The header of messages that are not bound to a TLS channel; Kafka has no such binding.
const UNBOUND: &str = "n,,";

/// Logs in with the mechanism of the connection. Says for how long the broker lets it hold (KIP-368), if not
/// for ever.
///
/// # Errors
/// What failed, in words.
pub(super) async fn log_in(
    broker: &mut BrokerConnection,
    connection: &Connection,
    credentials: &Credentials,
) -> io::Result<Option<Duration>> {
    let Some(sasl) = &connection.sasl else { return Ok(None) };
    converse(broker, connection, sasl, credentials).await.map_err(|error| {
        let (mechanism, user) = (sasl.mechanism(), sasl.user());
        io::Error::new(error.kind(), format!("login with {mechanism} as `{user}`: {error}"))
    })
}

async fn converse(
    broker: &mut BrokerConnection,
    connection: &Connection,
    sasl: &Sasl,
    credentials: &Credentials,
) -> io::Result<Option<Duration>> {
    // A token is fetched first: a broker does not wait long for what comes after the handshake.
    let (mut say, mut turn) = match sasl {
        Sasl::Plain(login) => plain(&login.user, password(credentials)?.reveal()).map_err(other)?,
        Sasl::ScramSha256(login) => scram(MessageDigest::sha256(), login, credentials)?,
        Sasl::ScramSha512(login) => scram(MessageDigest::sha512(), login, credentials)?,
        Sasl::Oauthbearer(_) => bearer(token(connection).await?).map_err(other)?,
        Sasl::Kerberos(_) => return Err(other("this way of writing does not speak Kerberos")),
    };
    shake_hands(broker, sasl.mechanism()).await?;
    loop {
        let answer = authenticate(broker, say).await.map_err(|error| turn.censor(error))?;
        // The rounds of hashing that a broker asks for may keep a core busy for a second.
        let heard = tokio::task::spawn_blocking(move || turn.hear(&answer.bytes)).await.map_err(other)?;
        match heard.map_err(other)? {
            Step::Next(message, next) => (say, turn) = (message, next),
            Step::Done => return Ok(answer.lifetime),
            Step::Refused { acknowledge, why } => {
                // What the broker says to this is why it refused, once more; it need not say anything.
                let _ = authenticate(broker, acknowledge).await;
                return Err(other(why));
            }
        }
    }
}

async fn shake_hands(broker: &mut BrokerConnection, mechanism: &'static str) -> io::Result<()> {
    let request = SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(mechanism));
    let answer = broker.request(&request, 1..=1).await?;
    let Some(error) = ResponseError::try_from_code(answer.error_code) else { return Ok(()) };
    if error == ResponseError::UnsupportedSaslMechanism {
        let offered: Vec<&str> = answer.mechanisms.iter().map(|mechanism| &**mechanism).collect();
        return Err(other(format!("the broker only offers {}", offered.join(", "))));
    }
    Err(other(format!("the broker says: {error}")))
}

/// What the broker said to one message.
struct Answer {
    bytes: Vec<u8>,
    lifetime: Option<Duration>,
}

async fn authenticate(broker: &mut BrokerConnection, message: Vec<u8>) -> io::Result<Answer> {
    let request = SaslAuthenticateRequest::default().with_auth_bytes(message.into());
    let answer = broker.request(&request, 0..=2).await?;
    if let Some(error) = ResponseError::try_from_code(answer.error_code) {
        let says = answer.error_message.filter(|says| !says.is_empty());
        let says = says.map_or_else(|| error.to_string(), |says| says.to_string());
        return Err(other(format!("the broker says: {says}")));
    }
    let lifetime_ms = u64::try_from(answer.session_lifetime_ms).ok().filter(|lifetime_ms| *lifetime_ms > 0);
    Ok(Answer { bytes: answer.auth_bytes.to_vec(), lifetime: lifetime_ms.map(Duration::from_millis) })
}

fn password(credentials: &Credentials) -> io::Result<&Secret> {
    credentials.password.as_ref().ok_or_else(|| other("there is no password"))
}

async fn token(connection: &Connection) -> io::Result<Secret> {
    let tokens = Tokens::new(connection).ok_or_else(|| other("nobody gives out tokens"))?;
    let fetched = tokio::task::spawn_blocking(move || tokens.fetch()).await.map_err(other)?;
    fetched.map(|granted| Secret::new(granted.token)).map_err(other)
}

fn scram(digest: MessageDigest, login: &Login, credentials: &Credentials) -> io::Result<(Vec<u8>, Turn)> {
    let mut nonce = [0; NONCE_BYTES];
    openssl::rand::rand_bytes(&mut nonce)?;
    let scram = Scram::new(digest, &login.user, password(credentials)?.clone(), encode_block(&nonce));
    Ok((scram.first().into_bytes(), Turn::Challenge(scram)))
}

/// What we said last, and so what the next answer has to be.
enum Turn {
    /// The password: it is right if the broker answers at all.
    Plain,
    /// The first message of SCRAM; a challenge is next.
    Challenge(Scram),
    /// The proof that we know the password; that the broker knows it too is next.
    Proof(Signature),
    /// The token: it is good if the answer is empty.
    Bearer(Secret),
}

/// What an answer leads to.
enum Step {
    /// More to say, and what the answer to it has to be.
    Next(Vec<u8>, Turn),
    /// We are in.
    Done,
    /// We are not, and the broker waits for a last message before it closes the connection.
    Refused { acknowledge: Vec<u8>, why: String },
}

/// PLAIN: the name and the password as they are; the broker finds out itself whom we act for.
fn plain(user: &str, password: &str) -> Result<(Vec<u8>, Turn), String> {
    // A zero ends each of them, so none can hold one.
    if user.contains('\0') || password.contains('\0') {
        return Err("neither the user's name nor the password can hold a zero byte".into());
    }
    Ok((format!("\0{user}\0{password}").into_bytes(), Turn::Plain))
}

/// OAUTHBEARER: the token as it is.
fn bearer(token: Secret) -> Result<(Vec<u8>, Turn), String> {
    let text = token.reveal();
    // Anything else could end the field and begin another one.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("what the identity provider gave is not a token".into());
    }
    let message = format!("{UNBOUND}\x01auth=Bearer {text}\x01\x01").into_bytes();
    Ok((message, Turn::Bearer(token)))
}

impl Turn {
    /// Reads the answer of the broker.
    fn hear(self, answer: &[u8]) -> Result<Step, String> {
        match self {
            Turn::Plain => Ok(Step::Done),
            Turn::Bearer(_) if answer.is_empty() => Ok(Step::Done),
            Turn::Bearer(ref token) => {
                let says = String::from_utf8_lossy(answer);
                let why = format!("the broker says: {}", without(token, &says));
                Ok(Step::Refused { acknowledge: vec![1], why })
            }
            Turn::Challenge(scram) => {
                let (message, signature) = scram.prove(text(answer)?)?;
                Ok(Step::Next(message.into_bytes(), Turn::Proof(signature)))
            }
            Turn::Proof(signature) => signature.verify(text(answer)?).map(|()| Step::Done),
        }
    }

    /// An error without the token, which a broker may repeat when it cannot read it.
    fn censor(&self, error: io::Error) -> io::Error {
        match self {
            Turn::Bearer(token) => io::Error::new(error.kind(), without(token, &error.to_string())),
            _ => error,
        }
    }
}

fn text(answer: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(answer).map_err(|_| "the broker's answer is not text".into())
}

fn without(secret: &Secret, says: &str) -> String {
    says.replace(secret.reveal(), "***")
}

/// The client's side of SCRAM until the proof is sent. Names and passwords are taken as they are, without
/// SASLprep: Kafka's brokers store them so.
struct Scram {
    digest: MessageDigest,
    password: Secret,
    nonce: String,
    /// The first message without its header; both signatures cover it.
    first_bare: String,
}

/// What the broker has to sign with, if it knows the password.
struct Signature(Vec<u8>);

/// What the broker asks for.
struct Challenge<'a> {
    nonce: &'a str,
    salt: Vec<u8>,
    iterations: u32,
}

impl Scram {
    fn new(digest: MessageDigest, user: &str, password: Secret, nonce: String) -> Self {
        // In this order, so that the escapes are not escaped themselves.
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Self { digest, password, nonce, first_bare }
    }

    fn first(&self) -> String {
        format!("{UNBOUND}{}", self.first_bare)
    }

    /// The final message, and what the broker has to answer to it.
    fn prove(self, server_first: &str) -> Result<(String, Signature), String> {
        let challenge = Challenge::read(server_first, &self.nonce)?;
        let bare = format!("c={},r={}", encode_block(UNBOUND.as_bytes()), challenge.nonce);
        let signed = format!("{},{server_first},{bare}", self.first_bare);
        let (proof, signature) =
            self.sign(&challenge, signed.as_bytes()).map_err(|error| error.to_string())?;
        Ok((format!("{bare},p={}", encode_block(&proof)), Signature(signature)))
    }

    /// Our proof and the broker's signature (RFC 5802, section 3).
    fn sign(&self, challenge: &Challenge<'_>, signed: &[u8]) -> Result<(Vec<u8>, Vec<u8>), ErrorStack> {
        let mut salted = vec![0; self.digest.size()];
        let (password, iterations) = (self.password.reveal().as_bytes(), challenge.iterations as usize);
        pbkdf2_hmac(password, &challenge.salt, iterations, self.digest, &mut salted)?;
        let client_key = self.hmac(&salted, b"Client Key")?;
        let client_signature = self.hmac(&hash(self.digest, &client_key)?, signed)?;
        let proof =
            client_key.iter().zip(&client_signature).map(|(key, signature)| key ^ signature).collect();
        let server_key = self.hmac(&salted, b"Server Key")?;
        Ok((proof, self.hmac(&server_key, signed)?))
    }

    fn hmac(&self, key: &[u8], data: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        Signer::new(self.digest, &*PKey::hmac(key)?)?.sign_oneshot_to_vec(data)
    }
}

impl<'a> Challenge<'a> {
    fn read(server_first: &'a str, our_nonce: &str) -> Result<Self, String> {
        if let Some(error) = server_first.strip_prefix("e=") {
            return Err(format!("the broker says: {error}"));
        }
        let unreadable = || "the broker's challenge is not one of SCRAM".to_owned();
        // The order is fixed; what follows these three may be ignored, what precedes them may not.
        let mut parts = server_first.split(',');
        let mut part = |name: &str| parts.next()?.strip_prefix(name);
        let nonce = part("r=").ok_or_else(unreadable)?;
        let salt = part("s=").and_then(|salt| decode_block(salt).ok()).ok_or_else(unreadable)?;
        let iterations = part("i=").and_then(|count| count.parse().ok()).ok_or_else(unreadable)?;
        // It adds to ours, or this is the answer to somebody else, recorded and played again.
        if nonce.strip_prefix(our_nonce).is_none_or(str::is_empty) {
            return Err("the broker's nonce does not continue ours".into());
        }
        if salt.is_empty() {
            return Err(unreadable());
        }
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            let allowed = format!("{ITERATIONS_MIN} to {ITERATIONS_MAX} are allowed");
            return Err(format!("the broker asks for {iterations} iterations, and {allowed}"));
        }
        Ok(Self { nonce, salt, iterations })
    }
}

impl Signature {
    /// Whoever answers without the password is not the broker.
    fn verify(&self, server_final: &str) -> Result<(), String> {
        if let Some(error) = server_final.strip_prefix("e=") {
            return Err(format!("the broker says: {error}"));
        }
        let theirs = server_final.strip_prefix("v=").and_then(|rest| rest.split(',').next());
        let theirs = theirs.and_then(|theirs| decode_block(theirs).ok());
        let theirs = theirs.ok_or("the broker's last answer is not one of SCRAM")?;
        // The comparison panics on slices of different lengths.
        if theirs.len() == self.0.len() && openssl::memcmp::eq(&theirs, &self.0) {
            return Ok(());
        }
        Err("the broker's signature is wrong: whoever this is does not know the password".into())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const BOTH: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";
    const SIGNATURE_256: &str = "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn client(digest: MessageDigest) -> Scram {
        Scram::new(digest, "user", Secret::new("pencil".into()), NONCE.into())
    }

    /// The client's answer to a challenge, in the exchange of RFC 7677, section 3.
    fn answer(challenge: &str) -> Result<(String, Signature), String> {
        client(MessageDigest::sha256()).prove(challenge)
    }

    fn refusal<T>(result: Result<T, String>) -> String {
        result.err().unwrap()
    }

    fn answered(turn: Turn, answer: &[u8]) -> Step {
        turn.hear(answer).unwrap()
    }

    #[test]
    fn scram_sha_256_is_that_of_rfc_7677() {
        let scram = client(MessageDigest::sha256());
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = format!("r={BOTH},s={SALT},i=4096");
        let Step::Next(proof, turn) = answered(Turn::Challenge(scram), challenge.as_bytes()) else {
            panic!()
        };
        let expected = format!("c=biws,r={BOTH},p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=");
        assert_eq!(String::from_utf8(proof).unwrap(), expected);
        assert!(matches!(answered(turn, format!("v={SIGNATURE_256}").as_bytes()), Step::Done));
    }

    /// No RFC has an example; this one was worked out with Python's `hashlib` and `hmac`.
    #[test]
    fn scram_sha_512_is_that_of_another_implementation() {
        let scram = client(MessageDigest::sha512());
        let (proof, signature) = scram.prove(&format!("r={BOTH},s={SALT},i=4096")).unwrap();
        let p = "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==";
        assert_eq!(proof, format!("c=biws,r={BOTH},p={p}"));
        let v = "ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==";
        assert_eq!(signature.verify(&format!("v={v}")), Ok(()));
    }

    #[test]
    fn a_name_cannot_end_its_field() {
        let scram = Scram::new(MessageDigest::sha256(), "a=b,c=2C", Secret::default(), "x".into());
        assert_eq!(scram.first(), "n,,n=a=3Db=2Cc=3D2C,r=x");
    }

    #[test]
    fn a_nonce_that_does_not_continue_ours_is_refused() {
        for nonce in ["somebodyElses", "", NONCE, "XrOprNGfwEbeRWgbNEkqO%hv"] {
            let says = refusal(answer(&format!("r={nonce},s={SALT},i=4096")));
            assert_eq!(says, "the broker's nonce does not continue ours", "{nonce}");
        }
    }

    #[test]
    fn iterations_that_are_too_few_or_too_many_are_refused() {
        for iterations in ["0", "1", "4095", "1000001", "4294967295"] {
            let says = refusal(answer(&format!("r={BOTH},s={SALT},i={iterations}")));
            let allowed = "4096 to 1000000 are allowed";
            assert_eq!(says, format!("the broker asks for {iterations} iterations, and {allowed}"));
        }
    }

    #[test]
    fn a_challenge_that_is_none_is_refused() {
        let salt_of = |salt: &str| format!("r={BOTH},s={salt},i=4096");
        let count_of = |count: &str| format!("r={BOTH},s={SALT},i={count}");
        let required = format!("m=more,{}", count_of("4096"));
        let without_count = format!("r={BOTH},s={SALT}");
        let broken = [String::new(), "r".into(), salt_of(""), salt_of("?"), salt_of("W22Za"), required];
        for challenge in broken.into_iter().chain([without_count, count_of(""), count_of("4294967296")]) {
            let says = refusal(answer(&challenge));
            assert_eq!(says, "the broker's challenge is not one of SCRAM", "{challenge}");
        }
        assert!(answer(&format!("{},x=optional", count_of("4096"))).is_ok());
        let says = refusal(Turn::Challenge(client(MessageDigest::sha256())).hear(&[0xff]));
        assert_eq!(says, "the broker's answer is not text");
    }

    #[test]
    fn a_broker_that_does_not_know_the_password_is_refused() {
        let (_, signature) = answer(&format!("r={BOTH},s={SALT},i=4096")).unwrap();
        let wrong = "the broker's signature is wrong: whoever this is does not know the password";
        let changed = SIGNATURE_256.replacen('6', "7", 1);
        // Of the right length, of none, and too short.
        for says in [changed.as_str(), "", "6rri"] {
            assert_eq!(refusal(signature.verify(&format!("v={says}"))), wrong, "{says}");
        }
        for says in ["", "v", "v=?", SIGNATURE_256] {
            let refused = refusal(signature.verify(says));
            assert_eq!(refused, "the broker's last answer is not one of SCRAM", "{says}");
        }
        assert_eq!(signature.verify(&format!("v={SIGNATURE_256},x=optional")), Ok(()));
    }

    #[test]
    fn the_error_of_a_broker_is_shown() {
        assert_eq!(refusal(answer("e=unknown-user")), "the broker says: unknown-user");
        let (_, signature) = answer(&format!("r={BOTH},s={SALT},i=4096")).unwrap();
        assert_eq!(refusal(signature.verify("e=invalid-proof")), "the broker says: invalid-proof");
    }

    #[test]
    fn plain_says_name_and_password() {
        let (message, turn) = plain("us=er", "pen,cil").unwrap();
        assert_eq!(message, b"\0us=er\0pen,cil");
        assert!(matches!(answered(turn, b""), Step::Done));
        for (user, password) in [("a\0b", "c"), ("a", "b\0c")] {
            let says = refusal(plain(user, password));
            assert_eq!(says, "neither the user's name nor the password can hold a zero byte");
        }
    }

    #[test]
    fn oauthbearer_says_the_token() {
        let (message, turn) = bearer(Secret::new("ab.c-_~+/=".into())).unwrap();
        assert_eq!(message, b"n,,\x01auth=Bearer ab.c-_~+/=\x01\x01");
        assert!(matches!(answered(turn, b""), Step::Done));
        for token in ["", "a b", "a\x01host=b", "a\r\n", "ä"] {
            let says = refusal(bearer(Secret::new(token.into())));
            assert_eq!(says, "what the identity provider gave is not a token");
        }
    }

    #[test]
    fn a_refused_token_is_acknowledged_and_not_shown() {
        let turn = || bearer(Secret::new("ey.token".into())).unwrap().1;
        let answer = br#"{"status":"invalid_token","seen":"ey.token"}"#;
        let Step::Refused { acknowledge, why } = answered(turn(), answer) else { panic!() };
        assert_eq!(acknowledge, b"\x01");
        assert_eq!(why, r#"the broker says: {"status":"invalid_token","seen":"***"}"#);
        let error = turn().censor(other("the broker says: cannot read ey.token"));
        assert_eq!(error.to_string(), "the broker says: cannot read ***");
    }
}
