//! One connection while it lives: three writers, three readers, and the requests of the peer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::{Buf, Bytes};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::error::{LinkFault, Violation, code};
use crate::mesh::copies::{self, Copies, InOrder};
use crate::mesh::peer::Peer;
use crate::mesh::{Class, MeshEvent, Shared, request};
use crate::stats::bump;
use crate::stream::{self, FrameReader};

/// A stream that was accepted before the link was declared up.
pub(crate) type FirstStream = quinn::RecvStream;

/// Classes whose frames have copies.
const COPIED: [Class; 2] = [Class::Header, Class::Payload];

/// What a link has received of the classes that have copies. Held while frames are delivered, which keeps them in order.
type Received = Arc<[Mutex<InOrder>; COPIED.len()]>;

/// Serves the connection until it ends, and says why it did. The connection is closed on return.
pub(crate) async fn run(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    connection: quinn::Connection,
    first: Option<FirstStream>,
) -> LinkFault {
    let seen = Arc::new(AtomicU8::new(0));
    let mut tasks: JoinSet<Result<(), LinkFault>> = JoinSet::new();
    let (copies, originals) = Copies::new();
    for class in Class::ALL {
        let copies = Some(copies.clone()).filter(|_| COPIED.contains(&class));
        tasks.spawn(write(shared.clone(), peer.clone(), connection.clone(), class, copies));
    }
    if shared.limits.copy_bytes_per_second > 0 {
        let (shared, connection) = (shared.clone(), connection.clone());
        let budget = shared.limits.copy_bytes_per_second;
        tasks.spawn(async move { copies::send(connection, copies, originals, budget, &shared.counters).await });
    }
    let order = |class| Mutex::new(InOrder::new(shared.class_limits(class).frame_bytes_max));
    let received: Received = Arc::new(COPIED.map(order));
    tasks.spawn(read_copies(shared.clone(), peer.address.index, connection.clone(), received.clone()));
    if let Some(stream) = first {
        tasks.spawn(read(shared.clone(), peer.address.index, stream, seen.clone(), received.clone()));
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
                Ok(stream) => { tasks.spawn(read(shared.clone(), peer.address.index, stream, seen.clone(), received.clone())); }
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
    copies: Option<Copies>,
) -> Result<(), LinkFault> {
    let mut out = connection.open_uni().await.map_err(|e| LinkFault::from(&e))?;
    // Fails only on a stream that is over, which the write below reports.
    let _ = out.set_priority(class.priority());
    out.write_all(&[class as u8]).await.map_err(|e| stream::write_fault(&e))?;
    let written = |frames, bytes| shared.counters.sent(class, frames, bytes);
    let mut number = 0;
    let taken = |frames: &[Bytes]| {
        // A batch that is long is a backlog, and no time for more.
        let is_short = || frames.iter().map(Bytes::len).sum::<usize>() <= copies::FRAME_BYTES_MAX;
        if let Some(copies) = copies.as_ref().filter(|copies| copies.are_wanted() && is_short()) {
            (number..).zip(frames).for_each(|(number, frame)| copies.give(class, number, frame.clone()));
        }
        number += frames.len() as u64;
    };
    stream::write_frames(peer.queue(class), &mut out, taken, written).await
}

/// Receives everything of one class. `seen` has a bit for each class that has a stream already.
async fn read(
    shared: Arc<Shared>,
    peer: u16,
    mut stream: quinn::RecvStream,
    seen: Arc<AtomicU8>,
    received: Received,
) -> Result<(), LinkFault> {
    let stall = shared.limits.frame_stall;
    let [tag] = stream::read_preface(&mut stream, stall).await?;
    let class = Class::ALL.into_iter().find(|c| *c as u8 == tag).ok_or(Violation::UnexpectedStream)?;
    if seen.fetch_or(1 << tag, Ordering::Relaxed) & (1 << tag) != 0 {
        return Err(Violation::UnexpectedStream.into());
    }
    let mut reader = FrameReader::new(stream, shared.class_limits(class).frame_bytes_max, stall);
    let mut frames = Vec::new();
    let copied = COPIED.iter().position(|copied| *copied == class).map(|at| &received[at]);
    while reader.read(&mut frames).await? {
        let Some(copied) = copied else {
            for bytes in frames.drain(..) {
                deliver(&shared, peer, class, bytes).await;
            }
            continue;
        };
        let mut order = copied.lock().await;
        for bytes in frames.drain(..) {
            if let Some(bytes) = order.of_stream(bytes) {
                deliver(&shared, peer, class, bytes).await;
            }
        }
        deliver_copies(&shared, peer, class, &mut order).await;
    }
    Err(Violation::StreamEnded.into())
}

/// Receives copies of frames, and delivers those that are ahead of their stream.
async fn read_copies(
    shared: Arc<Shared>,
    peer: u16,
    connection: quinn::Connection,
    received: Received,
) -> Result<(), LinkFault> {
    loop {
        let mut datagram = connection.read_datagram().await.map_err(|e| LinkFault::from(&e))?;
        let tag = datagram.first().copied().ok_or(Violation::MalformedCopy)?;
        let at = COPIED.iter().position(|class| *class as u8 == tag).ok_or(Violation::MalformedCopy)?;
        datagram.advance(1);
        let mut order = received[at].lock().await;
        order.datagram(datagram)?;
        deliver_copies(&shared, peer, COPIED[at], &mut order).await;
    }
}

async fn deliver_copies(shared: &Shared, peer: u16, class: Class, order: &mut InOrder) {
    while let Some(bytes) = order.of_copies() {
        bump(&shared.counters.copies_used);
        deliver(shared, peer, class, bytes).await;
    }
}

async fn deliver(shared: &Shared, peer: u16, class: Class, bytes: Bytes) {
    shared.counters.received(class, 1, bytes.len());
    shared.events.deliver(MeshEvent::Frame { peer, class, bytes }).await;
}
