//! Sends each peer, all the time, blocks that cannot be accepted because their history does not exist, payloads of
//! blocks that do not exist, and requests for blocks that do not exist.

use crate::sim::adversary::future_rounder::made_up;
use crate::sim::adversary::{Adversary, Sending, View};
use crate::sim::network::Message;
use std::sync::Arc;
use types::Round;

/// Microseconds in a second.
const SECOND: u64 = 1_000_000;

#[derive(Debug)]
pub(crate) struct Flooder {
    per_second: u64,
    nonce: u64,
}

impl Flooder {
    pub fn new(per_second: u64) -> Self {
        Self { per_second, nonce: 0 }
    }
}

impl Adversary for Flooder {
    fn period_us(&self) -> Option<u64> {
        SECOND.checked_div(self.per_second)
    }

    fn act(&mut self, view: &mut View<'_>, out: &mut Vec<Sending>) {
        self.nonce += 1;
        let status = view.core.status();
        let depth = view.config.parameters.gc_depth_rounds;
        let round = Round(status.gc_round.0 + view.rng.between(2, 2 * depth));
        let refs = made_up(view, Round(round.0 - 1));
        for peer in view.peers() {
            let message = match view.rng.between(0, 3) {
                0 => Message::RequestHeaders(Arc::new((refs.clone(), vec![Round(0); refs.len()]))),
                1 => Message::RequestPayload(Arc::new(refs.clone())),
                2 => Message::Payload(refs[0], 1),
                _ => {
                    let header = view.block(round, refs.clone(), 0, self.nonce);
                    Message::Headers(Arc::new(vec![header]))
                }
            };
            out.push(Sending { to: peer, message, delay_us: 0 });
        }
    }
}
