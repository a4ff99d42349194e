//! Asks the registry: which of its addresses, how many questions at a time, how long, how much of an answer. What is read
//! goes through schema_registry_converter, what is posted past it (docs/decisions/2026-11-25-registry-client.md); both
//! ways lead through [`Conduct`].

mod conduct;
mod readiness;
mod tls;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use aqueduct_api::Error;
use base64::prelude::{BASE64_STANDARD, Engine};
use futures_util::future::{BoxFuture, FutureExt};
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{ClientBuilder, Url, redirect};
use reqwest_middleware::{ClientWithMiddleware, RequestBuilder};
use schema_registry_converter::async_impl::schema_registry::{SrSettings, perform_sr_call};
use schema_registry_converter::schema_registry_common::{RawRegisteredSchema, SrCall};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use self::conduct::Conduct;
use self::readiness::Readiness;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::Config;
use crate::failure::{Cause, Failure, UNREADABLE};

/// So many requests are under way at a time.
const REQUESTS_IN_FLIGHT_MAX: usize = 8;
/// A connection that takes longer is not waited for: there may be another address.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);
/// Of two that share their schemas one learns so much later of what was registered with the other.
const FOLLOWER_LAG_MAX: Duration = Duration::from_millis(300);
const MEDIA_TYPE: &str = "application/vnd.schemaregistry.v1+json";
const MEDIA_TYPES: &str = "application/vnd.schemaregistry.v1+json, application/json";

/// A registry behind one address or several.
pub(crate) struct Client {
    nodes: Vec<Node>,
    /// The address that answered last.
    first: AtomicUsize,
    requests: Semaphore,
}

/// One address.
pub(crate) struct Node {
    pub(crate) url: Url,
    base: String,
    conduct: Conduct,
    readiness: Readiness,
    /// The library makes a client of its own from the same settings: it takes none that is there already.
    settings: SrSettings,
    http: ClientWithMiddleware,
}

impl Client {
    /// Errors: `Config` where a file cannot be read, or holds no key or certificate.
    pub(crate) fn new(config: &Config, timeout: Duration) -> Result<Self, Error> {
        let urls = config.url.parsed().filter(|urls| !urls.is_empty());
        let urls = urls.ok_or_else(|| Error::config("`registry.url` is no address"))?;
        let encrypted = urls.iter().any(|url| url.scheme() == "https");
        let encryption = tls::client_config(&config.tls, encrypted)?;
        let builder = || {
            ClientBuilder::new()
                .tls_backend_preconfigured(encryption.clone())
                .redirect(redirect::Policy::none())
                .default_headers(headers(config))
                .connect_timeout(CONNECT_TIME_MAX.min(timeout))
                .timeout(timeout)
        };
        let node = |url: Url| {
            let base = url.as_str().trim_end_matches('/').to_owned();
            let conduct = Conduct::new(login(config));
            let settings = SrSettings::new_builder(base.clone())
                .with_middleware(conduct.clone())
                .set_timeout(timeout)
                .build_with(builder())
                .map_err(|error| Error::config("the HTTP client refuses its settings").caused_by(error))?;
            let http = builder()
                .build()
                .map_err(|error| Error::config("the HTTP client refuses its settings").caused_by(error))?;
            let http = reqwest_middleware::ClientBuilder::new(http).with(conduct.clone()).build();
            Ok(Node { url, base, conduct, readiness: Readiness::default(), settings, http })
        };
        Ok(Self {
            nodes: urls.into_iter().map(node).collect::<Result<_, Error>>()?,
            first: AtomicUsize::new(0),
            requests: Semaphore::new(REQUESTS_IN_FLIGHT_MAX),
        })
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The same for whoever names the same addresses, in whichever order.
    pub(crate) fn address(&self) -> String {
        let mut all: Vec<&str> = self.nodes.iter().map(|node| node.base.as_str()).collect();
        all.sort_unstable();
        all.join(",")
    }

    /// Reads a schema.
    pub(crate) async fn read<'a>(&'a self, call: SrCall<'a>) -> Result<RawRegisteredSchema, Failure> {
        self.each(FOLLOWER_LAG_MAX, move |node| {
            perform_sr_call(&node.settings, call)
                .map(|answer| answer.map_err(|error| Failure::of_converter(&error)))
                .boxed()
        })
        .await
    }

    /// Gets something else.
    pub(crate) async fn get<T: DeserializeOwned + Send>(&self, path: &str) -> Result<T, Failure> {
        self.each(Duration::ZERO, |node| node.get(path).boxed()).await
    }

    /// Posts a schema.
    pub(crate) async fn post<T: DeserializeOwned + Send>(
        &self,
        path: &str,
        body: &str,
    ) -> Result<T, Failure> {
        self.each(Duration::ZERO, |node| {
            let request =
                node.http.post(node.at(path)).header(CONTENT_TYPE, MEDIA_TYPE).body(body.to_owned());
            parsed(request).boxed()
        })
        .await
    }

    /// Asks one address after the other until one answers. What may just have come is given `lag` to be there.
    async fn each<'a, T>(
        &'a self,
        lag: Duration,
        ask: impl Fn(&'a Node) -> BoxFuture<'a, Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // It is never closed.
        let _permit = self.requests.acquire().await;
        let first = self.first.load(Ordering::Relaxed);
        let mut failure = None;
        for turn in 0..self.nodes.len() {
            let index = (first + turn) % self.nodes.len();
            let node = &self.nodes[index];
            let answer = match node.conduct.resting(&node.url) {
                Some(resting) => Err(resting),
                None => node.readiness.asked(node, lag, || ask(node)).await,
            };
            match answer {
                // Of several that cannot help, the first says what is wrong.
                Err(no) if matches!(no.cause, Cause::Away | Cause::Wrong) => {
                    failure.get_or_insert(no);
                }
                answer => {
                    self.first.store(index, Ordering::Relaxed);
                    return answer;
                }
            }
        }
        Err(failure.unwrap_or_else(|| Failure::new(Cause::Away, "the schema registry has no address")))
    }
}

impl Node {
    /// Gets something from this address alone.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        parsed(self.http.get(self.at(path))).await
    }

    fn at(&self, path: &str) -> String {
        format!("{}{path}", self.base)
    }
}

async fn parsed<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Failure> {
    let answer = request.send().await.map_err(|error| Failure::of_request(&error))?;
    answer.json().await.map_err(|_| Failure::not_a_registry(UNREADABLE))
}

/// As whom we come, in words.
pub(crate) fn login(config: &Config) -> Arc<str> {
    match (&config.user, &config.token, &config.tls.certificate) {
        (Some(user), ..) => format!("user `{user}`").into(),
        (_, Some(_), _) => "the bearer of the token".into(),
        (_, _, Some(_)) => "the client of the certificate".into(),
        _ => "anybody".into(),
    }
}

fn headers(config: &Config) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static(MEDIA_TYPES));
    let authorization = match (&config.user, &config.token) {
        (Some(user), _) => {
            let password = config.password.as_ref().map(|password| password.reveal().as_str());
            Some(format!(
                "Basic {}",
                BASE64_STANDARD.encode(format!("{user}:{}", password.unwrap_or_default()))
            ))
        }
        (None, Some(token)) => Some(format!("Bearer {}", token.reveal())),
        (None, None) => None,
    };
    // What no header can carry was refused by `check`.
    if let Some(mut value) = authorization.and_then(|text| HeaderValue::try_from(text).ok()) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// A subject as a part of a path: any text may be one.
pub(crate) fn escaped(subject: &str) -> String {
    const KEPT: &AsciiSet =
        &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b':');
    utf8_percent_encode(subject, KEPT).to_string()
}
