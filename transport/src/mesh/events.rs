//! What the mesh tells the process, in two lanes so that bulk never stands before a header.

use bytes::Bytes;

use crate::error::LinkFault;
use crate::lane::{self, LaneReceiver, LaneSender};
use crate::limits::EventLimits;
use crate::mesh::{Class, Reply};

/// What happened on the mesh.
#[derive(Debug)]
pub enum MeshEvent {
    /// A link stands. Always the first event of a link.
    Up {
        /// The peer.
        peer: u16,
    },
    /// A link was lost. Frames of it that were received before may still come after.
    Down {
        /// The peer.
        peer: u16,
        /// Why.
        reason: LinkFault,
    },
    /// A frame was received whole.
    Frame {
        /// Who sent it.
        peer: u16,
        /// Its class.
        class: Class,
        /// Its bytes.
        bytes: Bytes,
    },
    /// A peer asks.
    Request {
        /// Who asks.
        peer: u16,
        /// The question.
        body: Bytes,
        /// Where the answer goes.
        reply: Reply,
    },
}

/// The mesh's end of the event lanes.
#[derive(Debug, Clone)]
pub struct EventSink {
    urgent: LaneSender<MeshEvent>,
    bulk: LaneSender<MeshEvent>,
}

/// The process's end of the event lanes.
#[derive(Debug)]
pub struct MeshEvents {
    urgent: LaneReceiver<MeshEvent>,
    bulk: LaneReceiver<MeshEvent>,
}

/// The lanes between a mesh and its process, each with these bounds.
pub fn event_channel(limits: EventLimits) -> (EventSink, MeshEvents) {
    let (urgent_in, urgent) = lane::lane(limits);
    let (bulk_in, bulk) = lane::lane(limits);
    (EventSink { urgent: urgent_in, bulk: bulk_in }, MeshEvents { urgent, bulk })
}

impl EventSink {
    /// Waits for room. An event that nobody listens for any more is dropped.
    pub(crate) async fn deliver(&self, event: MeshEvent) {
        let (lane, bytes) = match &event {
            MeshEvent::Up { .. } | MeshEvent::Down { .. } => (&self.urgent, 0),
            MeshEvent::Frame { class: Class::Header, bytes, .. } => (&self.urgent, bytes.len()),
            MeshEvent::Frame { bytes, .. } => (&self.bulk, bytes.len()),
            MeshEvent::Request { body, .. } => (&self.bulk, body.len()),
        };
        let _ = lane.send(event, bytes).await;
    }
}

impl MeshEvents {
    /// The next event, those of links and headers first; `None` once the mesh is gone. Safe to cancel.
    pub async fn recv(&mut self) -> Option<MeshEvent> {
        tokio::select! {
            biased;
            Some(event) = self.urgent.recv() => Some(event),
            event = self.bulk.recv() => event,
        }
    }

    /// The next event if one is here.
    pub fn try_recv(&mut self) -> Option<MeshEvent> {
        self.urgent.try_recv().or_else(|| self.bulk.try_recv())
    }
}
