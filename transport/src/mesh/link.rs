//! One connection while it lives: three writers, three readers, and the requests of the peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use tokio::task::JoinSet;

use crate::error::{LinkFault, Violation, code};
use crate::mesh::peer::Peer;
use crate::mesh::{Class, MeshEvent, Shared, request};
use crate::stream::{self, FrameReader};

/// A stream that was accepted before the link was declared up.
pub(crate) type FirstStream = quinn::RecvStream;

/// Serves the connection until it ends, and says why it did. The connection is closed on return.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: quinn::Connection,
    first: Option<FirstStream>,
) -> LinkFault {
    let seen = Arc::new(AtomicU8::new(0));
    let mut tasks: JoinSet<Result<(), LinkFault>> = JoinSet::new();
    for class in Class::ALL {
        tasks.spawn(write(shared.clone(), peer.clone(), connection.clone(), class));
    }
    if let Some(stream) = first {
        tasks.spawn(read(shared.clone(), peer.address.index, stream, seen.clone()));
    }
    let fault = loop {
        tokio::select! {
            biased;
            // First, so that a peer that keeps opening streams cannot put off the verdict on an earlier one.
            Some(done) = tasks.join_next() => match done {
                Ok(Ok(())) => {}
                Ok(Err(fault)) => break fault,
                // A task that panicked is our bug; the link starts over.
                Err(_) => break LinkFault::Internal,
            },
            stream = connection.accept_uni() => match stream {
                Ok(stream) => { tasks.spawn(read(shared.clone(), peer.address.index, stream, seen.clone())); }
                Err(error) => break LinkFault::from(&error),
            },
            stream = connection.accept_bi() => match stream {
                Ok((send, recv)) => {
                    tasks.spawn(request::serve(shared.clone(), peer.address.index, send, recv));
                }
                Err(error) => break LinkFault::from(&error),
            },
        }
    };
    // A task may report the end of its stream before the reason of the connection's end is looked at.
    let fault = match (&fault, connection.close_reason()) {
        (LinkFault::PeerMisbehaved(Violation::StreamEnded), Some(reason)) => LinkFault::from(&reason),
        _ => fault,
    };
    match fault {
        LinkFault::PeerMisbehaved(violation) => {
            connection.close(code::violation(violation), violation.label().as_bytes());
        }
        _ => connection.close(code::SHUTDOWN, b""),
    }
    tasks.shutdown().await;
    fault
}

/// Sends everything of one class.
async fn write(
    shared: Arc<Shared>,
    peer: Arc<Peer>,
    connection: quinn::Connection,
    class: Class,
) -> Result<(), LinkFault> {
    let mut out = connection.open_uni().await.map_err(|e| LinkFault::from(&e))?;
    // Fails only on a stream that is over, which the write below reports.
    let _ = out.set_priority(class.priority());
    out.write_all(&[class as u8]).await.map_err(|e| stream::write_fault(&e))?;
    let written = |frames, bytes| shared.counters.sent(class, frames, bytes);
    stream::write_frames(peer.queue(class), &mut out, written).await
}

/// Receives everything of one class. `seen` has a bit for each class that has a stream already.
async fn read(
    shared: Arc<Shared>,
    peer: u16,
    mut stream: quinn::RecvStream,
    seen: Arc<AtomicU8>,
) -> Result<(), LinkFault> {
    let stall = shared.limits.frame_stall;
    let [tag] = stream::read_preface(&mut stream, stall).await?;
    let class = Class::ALL.into_iter().find(|c| *c as u8 == tag).ok_or(Violation::UnexpectedStream)?;
    if seen.fetch_or(1 << tag, Ordering::Relaxed) & (1 << tag) != 0 {
        return Err(Violation::UnexpectedStream.into());
    }
    let mut reader = FrameReader::new(stream, shared.class_limits(class).frame_bytes_max, stall);
    let mut frames = Vec::new();
    while reader.read(&mut frames).await? {
        shared.counters.received(class, frames.len(), frames.iter().map(Bytes::len).sum());
        for bytes in frames.drain(..) {
            shared.events.deliver(MeshEvent::Frame { peer, class, bytes }).await;
        }
    }
    Err(Violation::StreamEnded.into())
}
