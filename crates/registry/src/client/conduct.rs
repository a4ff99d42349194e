//! What holds for every request to a registry, whoever makes it: it is logged by path and status, its answer has a bound,
//! an answer that is none becomes a [`Failure`], and who asks us to wait is not asked before.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use http::Extensions;
use reqwest::header::RETRY_AFTER;
use reqwest::{Request, Response, StatusCode, Url};
use reqwest_middleware::{Error, Middleware, Next};
use tokio::time::Instant;
use tracing::debug;

use crate::failure::{Cause, Failure, host};

/// No schema is larger: brokers take no message of this size.
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// Nobody is left alone for longer, whatever he asks for.
const REST_MAX: Duration = Duration::from_secs(300);

/// The conduct towards one address.
#[derive(Clone)]
pub(super) struct Conduct {
    login: Arc<str>,
    rests_until: Arc<Mutex<Option<Instant>>>,
}

impl Conduct {
    pub(super) fn new(login: Arc<str>) -> Self {
        Self { login, rests_until: Arc::default() }
    }

    /// Why it may not be asked yet.
    pub(super) fn resting(&self, url: &Url) -> Option<Failure> {
        let until = (*self.rests_until.lock().unwrap_or_else(PoisonError::into_inner))?;
        let left = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        let says = format!("the schema registry {} asked to be left alone for another {left:.0?}", host(url));
        Some(Failure::new(Cause::Away, says).remedy("see whether its limit of requests is too low"))
    }

    fn rest(&self, answer: &Response) {
        let asked = answer.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        // The other form, a date, needs two clocks to agree; no registry or gateway is known to send it.
        let Some(seconds) = asked.and_then(|text| text.trim().parse().ok()) else { return };
        let until = Instant::now() + Duration::from_secs(seconds).min(REST_MAX);
        *self.rests_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    async fn read(&self, url: &Url, mut answer: Response) -> Result<Response, Failure> {
        let status = answer.status();
        if matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            self.rest(&answer);
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Failure::unreached(url, &error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Failure::not_a_registry(&format!(
                    "{} answers with more than {ANSWER_BYTES_MAX} bytes",
                    host(url)
                )));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(Failure::of_answer(url, status, &body, &self.login));
        }
        let mut read = http::Response::new(body);
        *read.status_mut() = status;
        Ok(read.into())
    }
}

#[async_trait]
impl Middleware for Conduct {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> reqwest_middleware::Result<Response> {
        let (method, url) = (request.method().clone(), request.url().clone());
        let answer = match next.run(request, extensions).await {
            Ok(answer) => {
                debug!(registry = host(&url), %method, path = url.path(), status = answer.status().as_u16(), "the schema registry answers");
                self.read(&url, answer).await
            }
            Err(Error::Reqwest(error)) => {
                let failure = Failure::unreached(&url, &error);
                debug!(registry = host(&url), %method, path = url.path(), %failure, "no answer from the schema registry");
                Err(failure)
            }
            Err(other) => return Err(other),
        };
        answer.map_err(|failure| Error::Middleware(failure.into()))
    }
}
