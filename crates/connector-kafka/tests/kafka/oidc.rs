//! SASL OAUTHBEARER with tokens of an identity provider: a real broker that checks their signatures, and a scripted
//! provider in front of it.
use crate::ends;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_api::Polled;
use aqueduct_tests::Kafka;
use ends::{create, open_sink, open_source, record, text};
use openssl::ecdsa::EcdsaSig;
use openssl::pkey::{PKey, Private};
use openssl::ssl::{SslAcceptor, SslFiletype, SslMethod};
use serde_json::{Value, json};
use tokio::time::Instant;

/// How long a token is good for.
const LIFETIME_S: i64 = 6;

/// Hands out tokens for the client `app` with the secret `right`.
struct Provider {
    url: String,
    handed_out: Arc<AtomicUsize>,
}

impl Provider {
    fn start(kafka: &Kafka) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://localhost:{}/oauth2/token", listener.local_addr().unwrap().port());
        let mut tls = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server()).unwrap();
        tls.set_private_key_file(kafka.certificate("server.key"), SslFiletype::PEM).unwrap();
        tls.set_certificate_file(kafka.certificate("server.crt"), SslFiletype::PEM).unwrap();
        let (tls, handed_out) = (tls.build(), Arc::new(AtomicUsize::new(0)));
        let pem = std::fs::read(kafka.certificate("token.key")).unwrap();
        let (key, count) = (PKey::private_key_from_pem(&pem).unwrap(), handed_out.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = tls.accept(stream.unwrap()) else { continue };
                let asked = request(&mut stream);
                let good = asked.contains("client_id=app&client_secret=right")
                    && asked.contains("grant_type=client_credentials")
                    && asked.contains("scope=kafka")
                    && asked.contains("audience=cluster");
                let (status, body) = if good {
                    count.fetch_add(1, Ordering::Relaxed);
                    (
                        "200 OK",
                        json!({ "access_token": token(&key), "token_type": "Bearer", "expires_in": LIFETIME_S }),
                    )
                } else {
                    let says =
                        json!({ "error": "invalid_client", "error_description": "secret does not fit" });
                    ("401 Unauthorized", says)
                };
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes());
                let _ = stream.shutdown();
            }
        });
        Self { url, handed_out }
    }
}

/// Head and body of one request.
fn request(stream: &mut impl Read) -> String {
    let (mut text, mut bytes) = (String::new(), [0; 4096]);
    loop {
        let count = stream.read(&mut bytes).unwrap_or(0);
        text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        let whole = text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.contains("grant_type"));
        if count == 0 || whole && text.contains("client_secret=") && text.contains("audience=") {
            return text;
        }
    }
}

/// A JWT (RFC 7519) signed with ES256.
fn token(key: &PKey<Private>) -> String {
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as i64;
    let part = |value: Value| openssl::base64::encode_block(value.to_string().as_bytes());
    let url_safe = |text: String| text.replace('+', "-").replace('/', "_").replace(['=', '\n'], "");
    let claims = json!({ "iss": "https://id.example", "aud": "cluster", "sub": "app", "scope": "kafka",
        "iat": now, "exp": now + LIFETIME_S });
    let signed = [json!({ "alg": "ES256", "kid": "test", "typ": "JWT" }), claims];
    let signed = signed.map(|value| url_safe(part(value))).join(".");
    let digest = openssl::sha::sha256(signed.as_bytes());
    let signature = EcdsaSig::sign(&digest, &key.ec_key().unwrap()).unwrap();
    let mut raw = signature.r().to_vec_padded(32).unwrap();
    raw.extend(signature.s().to_vec_padded(32).unwrap());
    format!("{signed}.{}", url_safe(openssl::base64::encode_block(&raw)))
}

/// A broker that checks tokens at one more listener, and wants a new one when the old one is over.
fn broker(audience: &str) -> (Kafka, String) {
    let kafka = Kafka::new();
    let (port, jwks) = (kafka.port, kafka.certificate("jwks.json").display().to_string());
    let (own, prefix) = (port + 4, "listener.name.oauth.oauthbearer");
    let settings = format!(
        "listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PROXIED:PLAINTEXT,OAUTH:SASL_SSL
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{},OAUTH://127.0.0.1:{own}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},OAUTH://localhost:{own}
listener.name.oauth.sasl.enabled.mechanisms=OAUTHBEARER
{prefix}.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;
{prefix}.sasl.server.callback.handler.class=org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler
{prefix}.connections.max.reauth.ms=4000
sasl.oauthbearer.jwks.endpoint.url=file://{jwks}
sasl.oauthbearer.expected.audience={audience}
sasl.oauthbearer.expected.issuer=https://id.example",
        port + 3
    );
    let kafka = kafka.set(&settings);
    kafka.start_again();
    (kafka, format!("localhost:{own}"))
}

fn connection(kafka: &Kafka, brokers: &str, provider: &Provider, secret: &str) -> Value {
    let ca = kafka.certificate("ca.crt");
    json!({ "brokers": brokers, "tls": { "ca": ca }, "sasl": { "oauthbearer": {
        "token_url": provider.url, "client_id": "app", "client_secret": secret, "scope": "kafka",
        "parameters": { "audience": "cluster" }, "ca": ca } } })
}

async fn until_says(connection: Value, expected: &str) {
    let mut reader = open_source("", "oidc", json!({ "connection": connection, "topics": ["oidc"] })).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while reader.condition.reason().is_none_or(|reason| !reason.starts_with(expected)) {
        assert!(Instant::now() < deadline, "expected {expected}\nfound {:?}", reader.condition.reason());
        reader.nothing(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_pass_with_tokens_that_are_renewed() {
    let (kafka, brokers) = broker("cluster");
    let provider = Provider::start(&kafka);
    create(&kafka, "oidc", 1, &[]).await;
    kafka.allow("User:app", "topic:oidc", &["Read", "Write", "Describe"]);
    kafka.allow("User:app", "group:oidc", &["Read"]);
    let with = connection(&kafka, &brokers, &provider, "right");
    let mut writer = open_sink("", json!({ "connection": with, "topic": "oidc" })).await;
    let mut reader = open_source("", "oidc", json!({ "connection": with, "topics": ["oidc"] })).await;
    // Longer than two tokens live, one after the other.
    let (begin, mut written, mut read) = (Instant::now(), 0, Vec::new());
    while begin.elapsed() < Duration::from_secs(2 * LIFETIME_S as u64 + 3) || read.len() < written {
        assert!(
            begin.elapsed() < ends::PATIENCE,
            "{} of {written}, {:?}",
            read.len(),
            reader.condition.reason()
        );
        if begin.elapsed() < Duration::from_secs(2 * LIFETIME_S as u64 + 3) {
            writer.write(vec![record("t", Some("k"), &written.to_string())]).await.unwrap();
            written += 1;
        }
        if let Polled::Batch { records, .. } = reader.source.poll(Duration::from_millis(100)).await.unwrap() {
            read.extend(records.iter().map(|record| text(&record.value)));
        }
    }
    writer.flush().await.unwrap();
    assert_eq!(read, (0..written).map(|number| number.to_string()).collect::<Vec<_>>());
    // Two clients, three tokens each at least.
    assert!(provider.handed_out.load(Ordering::Relaxed) >= 6, "{:?}", provider.handed_out);

    let denied = connection(&kafka, &brokers, &provider, "wrong");
    let says = format!(
        "no token for client `app` from {}: it answers 401 Unauthorized, invalid_client: secret does not fit; ",
        provider.url
    );
    until_says(denied, &says).await;
    let mut distrusted = connection(&kafka, &brokers, &provider, "right");
    distrusted["sasl"]["oauthbearer"]["ca"] = json!(kafka.certificate("ca-other.crt"));
    until_says(distrusted, &format!("no token for client `app` from {}: ", provider.url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_broker_does_not_take() {
    let (kafka, brokers) = broker("another");
    let provider = Provider::start(&kafka);
    let says = format!("{brokers} does not accept OAUTHBEARER of user `app`: ");
    until_says(connection(&kafka, &brokers, &provider, "right"), &says).await;
}
