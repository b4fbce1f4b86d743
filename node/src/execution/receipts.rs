//! Tells clients of the fast path what became of their transactions: one frame a session and commit.

use crate::execution::Job;
use crate::pool::{Origin, Pending};
use crate::status::Status;
use client::protocol::{EVENTS_MAX, Event, Events};
use ledger::Executed;
use std::collections::BTreeMap;
use std::sync::Arc;
use transport::{ClientServer, SessionId};
use types::Reject;

/// See the module. Cheap to clone.
#[derive(Clone)]
pub struct Receipts {
    server: ClientServer,
    status: Arc<Status>,
}

impl Receipts {
    /// Over the clients' endpoint.
    pub fn new(server: ClientServer, status: Arc<Status>) -> Self {
        Self { server, status }
    }

    /// The receipts of own blocks in a commit.
    pub fn deliver(&self, job: &Job, executed: &Executed) {
        let mut sessions: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
        let mut first = 0;
        for block in &job.blocks {
            for (offset, pending) in block.origins.iter().enumerate() {
                let Origin::Session { session, sequence } = pending.origin else { continue };
                let index = first + offset;
                let outcome = executed.receipts[index].outcome;
                let event = Event::Receipt { sequence, height: executed.header.height, index: index as u32, outcome };
                sessions.entry(session).or_default().push(event);
            }
            first += block.contents.transactions().len();
        }
        for (session, events) in sessions {
            self.status.receipts_delivered(events.len() as u64);
            self.send(session, events);
        }
    }

    /// Transactions that will never be in a block.
    pub fn refuse(&self, refused: Vec<Pending>, reject: Reject) {
        let mut sessions: BTreeMap<u64, Vec<Event>> = BTreeMap::new();
        for pending in refused {
            if let Origin::Session { session, sequence } = pending.origin {
                sessions.entry(session).or_default().push(Event::Refused { sequence, reject });
            }
        }
        for (session, events) in sessions {
            self.send(session, events);
        }
    }

    /// Ends a session.
    pub fn close(&self, session: SessionId) {
        self.server.close(session);
    }

    /// Events of one session. A client that does not read is dropped by the endpoint; its receipts stay on the ledger.
    pub fn send(&self, session: u64, events: Vec<Event>) {
        for chunk in events.chunks(EVENTS_MAX) {
            if self.server.send(SessionId(session), Events { events: chunk.to_vec() }.encode()).is_err() {
                return;
            }
        }
    }
}
