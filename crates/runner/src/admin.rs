//! The HTTP listener: `/livez`, `/readyz`, `/metrics`.

use std::fmt::Write;
use std::sync::Arc;

use aqueduct_engine::Stop;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use crate::metrics;
use crate::supervise::Member;

#[derive(Clone)]
struct View {
    members: Arc<[Arc<Member>]>,
    stopping: Stop,
}

/// Takes the address; the error says what to do.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, String> {
    TcpListener::bind(address).await.map_err(|error| {
        format!("cannot listen on {address}: {error}; correct runtime.listen, or end what holds the address")
    })
}

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, members: Arc<[Arc<Member>]>, stopping: Stop) {
    let routes = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_page))
        .fallback(|| async { (StatusCode::NOT_FOUND, "there is /livez, /readyz and /metrics\n") })
        .with_state(View { members, stopping });
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "the http listener ended");
    }
}

/// 200 when no pipeline is in a state that a restart of the process may help against, else 503 and a line for each.
async fn livez(State(view): State<View>) -> impl IntoResponse {
    let mut lines = String::new();
    for member in view.members.iter() {
        if let Some(reason) = member.not_alive() {
            // Writing to a string does not fail.
            let _ = writeln!(lines, "{}: {reason}", member.pipeline.name);
        }
    }
    match lines.as_str() {
        "" => (StatusCode::OK, "ok\n".to_owned()),
        _ => (StatusCode::SERVICE_UNAVAILABLE, lines),
    }
}

/// 200 when no pipeline is in a state that `runtime.health.not_ready` names, else 503; a line for each pipeline either
/// way.
async fn readyz(State(view): State<View>) -> impl IntoResponse {
    let mut ready = !view.stopping.requested();
    let mut lines = String::new();
    if !ready {
        lines.push_str("stopping\n");
    }
    for member in view.members.iter() {
        ready &= member.not_ready().is_none();
        let state = member.remark().unwrap_or_else(|| member.state().to_owned());
        // Writing to a string does not fail.
        let _ = writeln!(lines, "{}: {state}", member.pipeline.name);
    }
    (if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, lines)
}

async fn metrics_page(State(view): State<View>) -> impl IntoResponse {
    match metrics::page(view.members) {
        Ok(text) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text),
        Err(error) => {
            let says = format!("cannot write the metrics: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], says)
        }
    }
}
