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
    let (send, mut recv) = connection.open_bi().await.map_err(|_| RequestError::Down)?;
    let mut send = WholeOrReset::new(send);
    match send.stream.write_chunk(body).await {
        Ok(()) => {}
        Err(quinn::WriteError::Stopped(_)) => return Err(RequestError::Declined),
        Err(_) => return Err(RequestError::Down),
    }
    send.finish();
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
    send: quinn::SendStream,
    mut recv: quinn::RecvStream,
) -> Result<(), LinkFault> {
    let mut send = WholeOrReset::new(send);
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
    let withdrawn = send.stream.stopped();
    let answer = tokio::select! {
        biased;
        answer = answered => answer,
        _ = withdrawn => return Ok(()),
    };
    if let Ok(bytes) = answer
        && send.stream.write_chunk(bytes).await.is_ok()
    {
        send.finish();
        // Held until the peer has it all, so that the number of answers under way stays bounded.
        let _ = send.stream.stopped().await;
    }
    Ok(())
}

/// A stream whose end means "this is all of it". QUIC ends a dropped stream in good order, so that a cancelled writer's
/// half would pass for a whole; here it is reset instead.
struct WholeOrReset {
    stream: quinn::SendStream,
    whole: bool,
}

impl WholeOrReset {
    fn new(stream: quinn::SendStream) -> Self {
        Self { stream, whole: false }
    }

    fn finish(&mut self) {
        // Fails only on a stream that is over already, which the other half shows.
        let _ = self.stream.finish();
        self.whole = true;
    }
}

impl Drop for WholeOrReset {
    fn drop(&mut self) {
        if !self.whole {
            // Fails only on a stream that is over already.
            let _ = self.stream.reset(code::DECLINED);
        }
    }
}
