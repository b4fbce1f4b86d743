//! Questions and answers: one bidirectional stream each, both ways ended by the stream's end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::error::{LinkFault, RequestError, SendError, Violation, code};
use crate::mesh::peer::Peer;
use crate::mesh::{MeshEvent, Shared};
use crate::stats::bump;

/// Where the answer to a peer's request goes. Dropped, it declines.
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<Bytes>,
    answer_bytes_max: u32,
}

impl Reply {
    /// Answers. `Down` when the peer no longer waits.
    pub fn send(self, answer: Bytes) -> Result<(), SendError> {
        if answer.len() > self.answer_bytes_max as usize {
            return Err(SendError::TooLarge);
        }
        self.answer.send(answer).map_err(|_| SendError::Down)
    }

    /// Whether the peer has given up waiting.
    pub fn is_withdrawn(&self) -> bool {
        self.answer.is_closed()
    }
}

pub(crate) async fn ask(shared: &Shared, peer: &Peer, body: Bytes, limit: Duration) -> Result<Bytes, RequestError> {
    if body.len() > shared.limits.request_bytes_max as usize {
        return Err(RequestError::TooLarge);
    }
    let connection = peer.connection().ok_or(RequestError::Down)?;
    let _permit = peer.requests.try_acquire().map_err(|_| RequestError::Full)?;
    bump(&shared.counters.requests_sent);
    let answer_bytes_max = shared.limits.answer_bytes_max as usize;
    let answer = timeout(limit, exchange(connection, body, answer_bytes_max)).await;
    let answer = answer.unwrap_or(Err(RequestError::TimedOut));
    if answer.is_err() {
        bump(&shared.counters.requests_failed);
    }
    answer
}

async fn exchange(connection: quinn::Connection, body: Bytes, answer_bytes_max: usize) -> Result<Bytes, RequestError> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|_| RequestError::Down)?;
    match send.write_chunk(body).await {
        Ok(()) => {}
        Err(quinn::WriteError::Stopped(_)) => return Err(RequestError::Declined),
        Err(_) => return Err(RequestError::Down),
    }
    // Fails only on a stream that is over already, which reading shows.
    let _ = send.finish();
    match recv.read_to_end(answer_bytes_max).await {
        Ok(answer) => Ok(answer.into()),
        Err(quinn::ReadToEndError::TooLong) => Err(RequestError::AnswerTooLarge),
        Err(quinn::ReadToEndError::Read(quinn::ReadError::Reset(_))) => Err(RequestError::Declined),
        Err(quinn::ReadToEndError::Read(_)) => Err(RequestError::Down),
    }
}

/// Takes one request of the peer in, and sends its answer.
pub(crate) async fn serve(
    shared: Arc<Shared>,
    peer: u16,
    mut send: quinn::SendStream,
    mut recv: quinn::RecvStream,
) -> Result<(), LinkFault> {
    let body = timeout(shared.limits.frame_stall, recv.read_to_end(shared.limits.request_bytes_max as usize));
    let body = match body.await.map_err(|_| Violation::FrameStalled)? {
        Ok(body) => Bytes::from(body),
        Err(quinn::ReadToEndError::TooLong) => return Err(Violation::OversizeRequest.into()),
        // Withdrawn, or the link is lost, which others report.
        Err(quinn::ReadToEndError::Read(_)) => return Ok(()),
    };
    bump(&shared.counters.requests_received);
    let (answer, answered) = oneshot::channel();
    let reply = Reply { answer, answer_bytes_max: shared.limits.answer_bytes_max };
    shared.events.deliver(MeshEvent::Request { peer, body, reply }).await;
    let withdrawn = send.stopped();
    let answer = tokio::select! {
        answer = answered => answer,
        _ = withdrawn => return Ok(()),
    };
    match answer {
        Ok(bytes) => {
            if send.write_chunk(bytes).await.is_ok() && send.finish().is_ok() {
                let _ = send.stopped().await;
            }
        }
        Err(_) => {
            let _ = send.reset(code::DECLINED);
        }
    }
    Ok(())
}
