//! The plain pages, for whoever watches over the process: `/metrics`, `/health` and `/ready`.
//!
//! *Healthy* means that the process is alive and answers, whatever its state: restarting it would not help. *Ready* means
//! that it takes transactions.

use crate::metrics;
use crate::rpc::state::State;
use crate::rpc::status::node_state;
use crate::status;
use client::rpc::NodeState;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use jsonrpsee::server::{HttpBody, HttpResponse};
use serde_json::json;

/// The page under a path, if there is one.
pub(super) async fn answer(state: &State, path: &str) -> Option<HttpResponse> {
    let status = &state.context.status;
    match path {
        "/metrics" => Some(page(StatusCode::OK, metrics::CONTENT_TYPE, state.figures().await.into_text())),
        "/health" => {
            let text = json!({ "status": "alive", "uptime_ms": status.uptime().as_millis() as u64 });
            Some(page(StatusCode::OK, JSON, text.to_string()))
        }
        "/ready" => {
            let (code, text) = readiness(&status.state());
            Some(page(code, JSON, text))
        }
        _ => None,
    }
}

/// An answer without a page.
pub(super) fn empty(code: StatusCode) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::empty());
    *response.status_mut() = code;
    response
}

const JSON: &str = "application/json";

fn page(code: StatusCode, kind: &'static str, text: String) -> HttpResponse {
    let mut response = HttpResponse::new(HttpBody::from(text));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn readiness(state: &status::State) -> (StatusCode, String) {
    let (state, detail) = node_state(state);
    let code = if state == NodeState::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, json!({ "state": state, "detail": detail }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_ready_node_is_ready_and_a_halted_one_says_why() {
        use status::State::*;
        for (state, code, text) in [
            (Starting, 503, "{\"detail\":null,\"state\":\"starting\"}"),
            (Ready, 200, "{\"detail\":null,\"state\":\"ready\"}"),
            (CatchingUp, 503, "{\"detail\":null,\"state\":\"catching_up\"}"),
            (Halted("two headers".into()), 503, "{\"detail\":\"two headers\",\"state\":\"halted\"}"),
            (Stopping, 503, "{\"detail\":null,\"state\":\"stopping\"}"),
        ] {
            let (found, body) = readiness(&state);
            assert_eq!((found.as_u16(), body.as_str()), (code, text));
        }
    }
}
