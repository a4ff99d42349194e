//! `/livez`, `/readyz` and `/metrics`.

use std::fmt::Write;
use std::sync::Arc;

use aqueduct_api::config::Secret;
use aqueduct_engine::Stop;
use axum::Router;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::metrics;
use crate::supervise::Member;

#[derive(Clone)]
struct View {
    members: Arc<[Arc<Member>]>,
    stopping: Stop,
    token: Option<Arc<Secret>>,
}

/// What the listener answers. With a token, what tells more than yes and no is only for those who send it.
pub(crate) fn routes(members: Arc<[Arc<Member>]>, stopping: Stop, token: Option<Secret>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "there is /livez, /readyz, /readyz?verbose and /metrics\n")
        })
        .with_state(View { members, stopping, token: token.map(Arc::new) })
}

impl View {
    /// The refusal, for whoever asks without the token that is set.
    fn refused(&self, headers: &HeaderMap) -> Option<Response> {
        let token = self.token.as_ref()?;
        let sent = headers.get(header::AUTHORIZATION).map_or(&b""[..], |value| value.as_bytes());
        let sent = sent.split_at_checked(7).filter(|(scheme, _)| scheme.eq_ignore_ascii_case(b"bearer "));
        if sent.is_some_and(|(_, sent)| same(sent, token.reveal().as_bytes())) {
            return None;
        }
        let asks = [(header::WWW_AUTHENTICATE, "Bearer")];
        Some(
            (StatusCode::UNAUTHORIZED, asks, "send runtime.token as `Authorization: Bearer`\n")
                .into_response(),
        )
    }
}

impl View {
    /// Yes or no, or with `?verbose` the whole.
    fn answer(
        &self,
        good: bool,
        [yes, no]: [&'static str; 2],
        query: Option<String>,
        headers: &HeaderMap,
        verbose: impl FnOnce() -> String,
    ) -> Response {
        let status = if good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let asked =
            query.is_some_and(|query| query.split('&').any(|name| name.split('=').next() == Some("verbose")));
        match self.refused(headers).filter(|_| asked) {
            Some(refused) => refused,
            None if asked => (status, verbose()).into_response(),
            None => (status, if good { yes } else { no }).into_response(),
        }
    }
}

/// Compares without telling by the time it takes where the difference is.
fn same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (one, other)| differs | (one ^ other));
    one.len() == other.len() && std::hint::black_box(differs) == 0
}

/// 200 when no pipeline is in a state that a restart of the process may help against, else 503. With `?verbose` a line for
/// each that is.
async fn livez(State(view): State<View>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let mut lines = String::new();
    for member in view.members.iter() {
        if let Some(reason) = member.not_alive() {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{}: {reason}", member.pipeline.name);
        }
    }
    let alive = lines.is_empty();
    view.answer(alive, ["ok\n", "not alive\n"], query, &headers, || {
        if alive { "ok\n".to_owned() } else { lines }
    })
}

/// 200 when no pipeline is in a state that `runtime.health.not_ready` names, else 503. With `?verbose` a line for each
/// pipeline either way.
async fn readyz(State(view): State<View>, RawQuery(query): RawQuery, headers: HeaderMap) -> Response {
    let stopping = view.stopping.requested();
    let ready = !stopping && view.members.iter().all(|member| member.not_ready().is_none());
    view.answer(ready, ["ready\n", "not ready\n"], query, &headers, || {
        let mut lines = if stopping { "stopping\n".to_owned() } else { String::new() };
        for member in view.members.iter() {
            let state = member.remark().unwrap_or_else(|| member.state().to_owned());
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{}: {state}", member.pipeline.name);
        }
        lines
    })
}

async fn metrics_page(State(view): State<View>, headers: HeaderMap) -> Response {
    if let Some(refused) = view.refused(&headers) {
        return refused;
    }
    match metrics::page(view.members) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            let says = format!("cannot write the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, says).into_response()
        }
    }
}
