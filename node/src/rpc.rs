//! The RPC's port: JSON-RPC 2.0 over HTTP and WebSocket, and three plain pages, `/metrics`, `/health` and `/ready`.
//!
//! Owns the listener and every limit on what a stranger may ask for. The JSON is that of [`client::rpc`]. Deliberately
//! absent: TLS and access control (put a proxy in front), and anything that changes the node, except that a transaction
//! may be submitted.

mod answers;
mod attestation;
mod contracts;
mod error;
mod follow;
mod governance;
mod methods;
mod pages;
mod proof;
mod receipts;
mod state;
mod state_proof;
mod status;

use crate::node::{Context, NodeError};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use jsonrpsee::Methods;
use jsonrpsee::server::{
    BatchRequestConfig, HttpRequest, HttpResponse, PingConfig, ServerBuilder, ServerConfig, ServerHandle, StopHandle,
    TowerServiceBuilder, stop_channel,
};
use state::State;
use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;
use tower::Service;
use tower::layer::util::Identity;

/// Open HTTP connections; as many WebSocket sessions and HTTP calls in progress together. Full: closed at once, or
/// answered with 429.
const CONNECTIONS_MAX: u32 = 512;
/// Bytes of a request, and of a WebSocket message: the largest transaction is 64 KiB, twice that in hexadecimal.
const REQUEST_BYTES_MAX: u32 = 512 << 10;
/// Bytes of an answer.
const RESPONSE_BYTES_MAX: u32 = 10 << 20;
/// Calls in one batch.
const BATCH_CALLS_MAX: u32 = 64;
/// Subscriptions of one connection.
const SUBSCRIPTIONS_MAX: u32 = 16;
/// Messages that wait for a WebSocket to take them. Full: the subscription waits, and later reads what it missed from
/// the state database.
const MESSAGES_WAITING_MAX: u32 = 16;
/// Time for the head of a request, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Time for the rest of a request and its answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after the system could not hand out a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Time that calls and sessions get to end when the node stops.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A running RPC.
pub struct Server {
    handle: ServerHandle,
    accepting: JoinHandle<()>,
}

impl Server {
    /// Takes no more connections, lets calls in progress end, and closes subscriptions.
    pub async fn stop(self) {
        // Fails where everything has stopped already.
        let _ = self.handle.stop();
        let _ = self.accepting.await;
        let _ = timeout(STOP_PATIENCE, self.handle.stopped()).await;
    }
}

/// Opens the port and answers until [`Server::stop`].
///
/// # Errors
/// [`NodeError::Rpc`], for instance where the port is in use.
pub async fn start(context: Arc<Context>, address: SocketAddr) -> Result<Server, NodeError> {
    let listener = TcpListener::bind(address).await.map_err(|source| NodeError::Rpc { address, source })?;
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX as usize));
    let state = Arc::new(State::new(context, Arc::clone(&connections), CONNECTIONS_MAX as usize));
    let (stop, handle) = stop_channel();
    let methods = methods::all(&state);
    let pages = move |path: String| {
        let state = Arc::clone(&state);
        async move { pages::answer(&state, &path).await }
    };
    let port = Port { builder: ServerBuilder::with_config(limits()).to_service_builder(), methods, pages, stop };
    Ok(Server { handle, accepting: tokio::spawn(port.accept(listener, connections)) })
}

fn limits() -> ServerConfig {
    ServerConfig::builder()
        .max_connections(CONNECTIONS_MAX)
        .max_request_body_size(REQUEST_BYTES_MAX)
        .max_response_body_size(RESPONSE_BYTES_MAX)
        .max_subscriptions_per_connection(SUBSCRIPTIONS_MAX)
        .set_batch_request_config(BatchRequestConfig::Limit(BATCH_CALLS_MAX))
        .set_message_buffer_capacity(MESSAGES_WAITING_MAX)
        // A client that does not read does not answer pings either, and is dropped.
        .enable_ws_ping(PingConfig::new())
        .build()
}

/// Everything that a connection needs.
#[derive(Clone)]
struct Port<P> {
    builder: TowerServiceBuilder<Identity, Identity>,
    methods: Methods,
    /// Answers the plain pages, by path.
    pages: P,
    stop: StopHandle,
}

impl<P, F> Port<P>
where
    P: Fn(String) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Option<HttpResponse>> + Send + 'static,
{
    async fn accept(self, listener: TcpListener, connections: Arc<Semaphore>) {
        let mut open = JoinSet::new();
        let stopped = self.stop.clone().shutdown();
        tokio::pin!(stopped);
        loop {
            tokio::select! {
                () = &mut stopped => break,
                // Only so that ended tasks do not pile up.
                Some(_) = open.join_next() => {}
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        // Without a place the stream is closed by being dropped.
                        let Ok(place) = Arc::clone(&connections).try_acquire_owned() else { continue };
                        open.spawn(self.clone().serve(stream, place));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the RPC cannot take a connection");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                }
            }
        }
        drop((listener, self));
        let all_ended = async { while open.join_next().await.is_some() {} };
        // What is left after that is aborted.
        let _ = timeout(STOP_PATIENCE, all_ended).await;
    }

    async fn serve(self, stream: TcpStream, _place: OwnedSemaphorePermit) {
        // Without it answers wait for the client's acknowledgements; they arrive either way.
        let _ = stream.set_nodelay(true);
        let calls = self.builder.build(self.methods, self.stop.clone());
        let pages = self.pages;
        let service = service_fn(move |request: HttpRequest<Incoming>| {
            let (mut calls, pages) = (calls.clone(), pages.clone());
            async move {
                let page = (request.method() == hyper::Method::GET).then(|| pages(request.uri().path().to_owned()));
                if let Some(page) = page
                    && let Some(page) = page.await
                {
                    return Ok(page);
                }
                let answer = timeout(CALL_TIMEOUT, calls.call(request)).await;
                let answer = answer.map_err(|_| hyper::StatusCode::REQUEST_TIMEOUT);
                let answer = answer.and_then(|answer| answer.map_err(|_| hyper::StatusCode::BAD_REQUEST));
                Ok::<_, Infallible>(answer.unwrap_or_else(pages::empty))
            }
        });
        let mut http = hyper::server::conn::http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
        let connection = http.serve_connection(TokioIo::new(stream), service).with_upgrades();
        let stopped = self.stop.shutdown();
        tokio::pin!(connection, stopped);
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = stopped => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "an RPC connection ended");
        }
    }
}

#[cfg(test)]
mod tests;
