//! Who keeps links standing: one task per peer that dials or awaits dials, and one that accepts for all.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};

use crate::admission::Verdict;
use crate::error::{LinkFault, Violation, code};
use crate::identity;
use crate::mesh::link::{self, FirstStream};
use crate::mesh::peer::Peer;
use crate::mesh::{MeshEvent, Shared};
use crate::stats::{Refusal, bump};

/// A name must stand in the handshake; nobody looks at it.
const SERVER_NAME: &str = "validator.stele";

/// Dials `peer` whenever no link stands, for ever.
pub(crate) async fn dial(shared: Arc<Shared>, peer: Arc<Peer>, config: quinn::ClientConfig) {
    let mut pauses = Pauses::new(shared.limits.reconnect, shared.me, peer.address.index);
    loop {
        let fault = match connect(&shared, &peer, config.clone()).await {
            Ok((connection, first)) => {
                bump(&shared.counters.accepted);
                let fault = live(&shared, &peer, connection, Some(first)).await;
                if !matches!(fault, LinkFault::PeerMisbehaved(_) | LinkFault::CutOff(_) | LinkFault::Replaced) {
                    pauses.reset();
                }
                fault
            }
            Err(fault) => {
                shared.counters.refused(fault.into());
                tracing::debug!(peer = peer.address.index, %fault, "transport.dial: no link");
                peer.set_down(fault);
                fault
            }
        };
        if shared.closing() {
            return;
        }
        if let LinkFault::PeerMisbehaved(_) | LinkFault::KeyRefused { .. } = fault {
            pauses.longest();
        }
        sleep(pauses.next()).await;
    }
}

/// A connection counts once the other side has opened a stream: until then it may still refuse our key, which TLS 1.3
/// tells a dialler only after its own handshake is over.
async fn connect(
    shared: &Shared,
    peer: &Peer,
    config: quinn::ClientConfig,
) -> Result<(quinn::Connection, FirstStream), LinkFault> {
    let connecting = shared.endpoint.connect_with(config, peer.address.addr, SERVER_NAME).map_err(|e| match e {
        quinn::ConnectError::EndpointStopping => LinkFault::Shutdown,
        _ => LinkFault::BadAddress,
    })?;
    let handshake = async {
        let connection = connecting.await.map_err(|e| LinkFault::from(&e))?;
        let first = connection.accept_uni().await.map_err(|e| LinkFault::from(&e))?;
        Ok((connection, first))
    };
    timeout(shared.limits.admission.timeout, handshake).await.unwrap_or(Err(LinkFault::TimedOut))
}

/// Serves the connections that `peer` dials, the newest one.
pub(crate) async fn await_dials(shared: Arc<Shared>, peer: Arc<Peer>, mut accepted: mpsc::Receiver<quinn::Connection>) {
    let mut next = accepted.recv().await;
    while let Some(connection) = next.take() {
        let mut living = std::pin::pin!(live(&shared, &peer, connection.clone(), None));
        tokio::select! {
            biased;
            _ = &mut living => {}
            newer = accepted.recv() => {
                connection.close(code::REPLACED, b"replaced");
                living.await;
                next = newer;
                continue;
            }
        }
        next = accepted.recv().await;
    }
}

/// One link from `Up` to `Down`.
async fn live(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: quinn::Connection,
    first: Option<FirstStream>,
) -> LinkFault {
    let index = peer.address.index;
    peer.set_up(connection.clone());
    tracing::info!(peer = index, address = %connection.remote_address(), "transport.link: up");
    shared.events.deliver(MeshEvent::Up { peer: index }).await;
    let fault = match link::run(shared, peer, connection, first).await {
        // Closed by us while the mesh goes on: the supervisor has a newer one.
        LinkFault::Shutdown if !shared.closing() => LinkFault::Replaced,
        fault => fault,
    };
    if let LinkFault::PeerMisbehaved(violation) = fault {
        shared.counters.violated(violation);
        peer.bar(Instant::now() + shared.limits.reconnect.1);
        tracing::warn!(peer = index, %violation, "transport.link: peer misbehaved");
    }
    peer.set_down(fault);
    tracing::info!(peer = index, %fault, "transport.link: down");
    shared.events.deliver(MeshEvent::Down { peer: index, reason: fault }).await;
    fault
}

/// Takes handshakes in, within the limits, and hands the connections to their peers' supervisors.
pub(crate) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let proven = incoming.remote_address_validated();
        match shared.admission.judge(incoming.remote_address().ip(), proven, Instant::now()) {
            Verdict::Admit(permit) => {
                let shared = shared.clone();
                tokio::spawn(async move {
                    let limit = shared.limits.admission.timeout;
                    let done = timeout(limit, admit(&shared, incoming)).await.unwrap_or(Err(Refusal::TimedOut));
                    drop(permit);
                    if let Err(refusal) = done {
                        shared.counters.refused(refusal);
                    }
                });
            }
            // A client that was already sent a token cannot be asked again; `proven` rules that out.
            Verdict::Retry => {
                bump(&shared.counters.retried);
                let _ = incoming.retry();
            }
            Verdict::Refuse(refusal) => {
                shared.counters.refused(refusal);
                incoming.refuse();
            }
        }
    }
}

async fn admit(shared: &Shared, incoming: quinn::Incoming) -> Result<(), Refusal> {
    let address = incoming.remote_address();
    let refused = |e: &quinn::ConnectionError| {
        let fault = LinkFault::from(e);
        tracing::warn!(%address, %fault, "transport.accept: handshake refused");
        Refusal::from(fault)
    };
    let connection = incoming
        .accept_with(shared.servers.to(address).clone())
        .map_err(|e| refused(&e))?
        .await
        .map_err(|e| refused(&e))?;
    let key = identity::remote_key(&connection);
    let Some(peer) = shared.peers.iter().find(|p| Some(&p.address.key) == key.as_ref()) else {
        // The verifier lets no other key through.
        connection.close(code::BUSY, b"unknown");
        return Err(Refusal::Key);
    };
    if peer.address.index > shared.me {
        shared.counters.violated(Violation::WrongDirection);
        connection.close(code::violation(Violation::WrongDirection), b"the lower index dials");
        return Err(Refusal::Protocol);
    }
    if peer.barred(Instant::now()) || peer.accepted.try_send(connection.clone()).is_err() {
        connection.close(code::BUSY, b"busy");
        return Err(Refusal::Busy);
    }
    bump(&shared.counters.accepted);
    Ok(())
}

/// Capped exponential back-off with a jitter of a quarter, so that peers of a restarted node do not dial in step. The
/// jitter is a hash of who dials whom and how often, not random: a simulated run repeats.
struct Pauses {
    first: Duration,
    last: Duration,
    next: Duration,
    state: u64,
}

impl Pauses {
    fn new((first, last): (Duration, Duration), me: u16, peer: u16) -> Self {
        Self { first, last, next: first, state: u64::from(me) << 16 | u64::from(peer) }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn longest(&mut self) {
        self.next = self.last;
    }

    fn next(&mut self) -> Duration {
        // SplitMix64.
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let jitter = 0.75 + f64::from((z >> 48) as u16) / f64::from(u16::MAX) / 2.0;
        let pause = self.next.mul_f64(jitter);
        self.next = (self.next * 2).min(self.last);
        pause
    }
}
