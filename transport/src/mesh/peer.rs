//! One entry of the roster: its queues and whatever link stands at the moment.

use std::sync::{Mutex, MutexGuard};

use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use crate::error::LinkFault;
use crate::limits::MeshLimits;
use crate::mesh::{Class, PeerAddress, PeerStatus, class_limits};
use crate::queue::SendQueue;

#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) address: PeerAddress,
    queues: [SendQueue; Class::ALL.len()],
    /// Permits for requests that we have open.
    pub(crate) requests: Semaphore,
    /// Authenticated connections that the peer dialled, towards its supervisor.
    pub(crate) accepted: mpsc::Sender<quinn::Connection>,
    // Written by the supervisor alone, read by status and requests.
    link: Mutex<Link>,
}

#[derive(Debug, Default)]
struct Link {
    connection: Option<quinn::Connection>,
    last_fault: Option<LinkFault>,
    barred_until: Option<Instant>,
}

impl Peer {
    pub(crate) fn new(address: PeerAddress, limits: &MeshLimits, accepted: mpsc::Sender<quinn::Connection>) -> Self {
        let queues = Class::ALL.map(|class| {
            let limits = class_limits(limits, class);
            SendQueue::new(limits.frame_bytes_max, limits.queue)
        });
        let requests = Semaphore::new(limits.requests_in_flight as usize);
        Self { address, queues, requests, accepted, link: Mutex::default() }
    }

    pub(crate) fn queue(&self, class: Class) -> &SendQueue {
        &self.queues[class as usize]
    }

    pub(crate) fn connection(&self) -> Option<quinn::Connection> {
        self.link().connection.clone()
    }

    pub(crate) fn set_up(&self, connection: quinn::Connection) {
        self.link().connection = Some(connection);
        self.queues.iter().for_each(SendQueue::open);
    }

    pub(crate) fn set_down(&self, fault: LinkFault) {
        self.queues.iter().for_each(SendQueue::close);
        let mut link = self.link();
        link.connection = None;
        link.last_fault = Some(fault);
    }

    /// Turns the peer away until then.
    pub(crate) fn bar(&self, until: Instant) {
        self.link().barred_until = Some(until);
    }

    pub(crate) fn barred(&self, now: Instant) -> bool {
        self.link().barred_until.is_some_and(|until| now < until)
    }

    pub(crate) fn status(&self) -> PeerStatus {
        let (connection, last_fault) = {
            let link = self.link();
            (link.connection.clone(), link.last_fault)
        };
        let stats = connection.as_ref().map(quinn::Connection::stats).unwrap_or_default();
        let up = connection.is_some();
        PeerStatus {
            index: self.address.index,
            up,
            rtt_us: if up { u64::try_from(stats.path.rtt.as_micros()).unwrap_or(u64::MAX) } else { 0 },
            sent_bytes: stats.udp_tx.bytes,
            received_bytes: stats.udp_rx.bytes,
            queued_bytes: self.queues.iter().map(|q| q.bytes() as u64).sum(),
            lost_packets: stats.path.lost_packets,
            cwnd: stats.path.cwnd,
            datagram_bytes: stats.path.current_mtu,
            last_fault,
        }
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().expect("no code panics while it holds this lock")
    }
}
