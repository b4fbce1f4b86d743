//! What nodes send, through the hands of an adversary where they are in them.

use crate::sim::Simulation;
use crate::sim::adversary::{Adversary, Sending, View};
use crate::sim::disk::Record;
use crate::sim::driver::payload_of;
use crate::sim::network::Message;
use crate::sim::node::Place;
use crate::sim::simulation::Event;
use crate::sim::violation::Violation;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader};

impl Simulation {
    /// Sends an own block, header first.
    pub(crate) fn broadcast(&mut self, at: Place, header: Arc<BlockHeader>) -> Result<(), Violation> {
        if self.nodes[at.0].is_honest() {
            let era = self.nodes[at.0].era;
            self.agreement.sent(era, &header.block_ref())?;
            for to in self.eras[era].committee().clone().indices() {
                if to != header.author() {
                    self.send_block(at, to, &header);
                }
            }
            return Ok(());
        }
        let mut out = Vec::new();
        self.as_adversary(at, |adversary, view| adversary.broadcast(view, &header, &mut out));
        self.send_all(at, out);
        Ok(())
    }

    /// Lets an adversary act by itself.
    pub(crate) fn act(&mut self, at: Place) {
        let mut out = Vec::new();
        self.as_adversary(at, |adversary, view| adversary.act(view, &mut out));
        self.send_all(at, out);
        let period_us = self.nodes[at.0].adversary.as_ref().and_then(|adversary| adversary.period_us());
        if let Some(period_us) = period_us {
            self.schedule(self.now_us + period_us, at, Event::Act);
        }
    }

    pub(crate) fn send_all(&mut self, at: Place, out: Vec<Sending>) {
        for sending in out {
            if sending.delay_us > 0 {
                self.schedule(self.now_us + sending.delay_us, at, Event::Send(Box::new(sending)));
            } else {
                self.send_now(at, sending);
            }
        }
    }

    pub(crate) fn send_now(&mut self, at: Place, Sending { to, message, .. }: Sending) {
        match message {
            Message::Block { header, .. } => self.send_block(at, to, &header),
            message => {
                let machine = self.eras[self.nodes[at.0].era].machine(to);
                machine.into_iter().for_each(|machine| self.transmit(at, machine, message.clone(), false));
            }
        }
    }

    /// Sends a block with its payload, together where the link carries them together.
    pub(crate) fn send_block(&mut self, at: Place, to: AuthorityIndex, header: &Arc<BlockHeader>) {
        let node = &self.nodes[at.0];
        let Some(machine) = self.eras[node.era].machine(to) else { return };
        let loaded = !header.body().payload.is_empty() && node.payloads.contains(&header.block_ref());
        let inline = loaded && self.network.is_inline(node.machine, machine);
        self.transmit(at, machine, Message::Block { header: header.clone(), payload: inline }, false);
        if loaded && !inline {
            self.transmit(at, machine, payload_of(Some(header), header.block_ref()), false);
        }
    }

    /// Sends something other than an own new block, if an adversary lets it pass.
    pub(crate) fn send(&mut self, at: Place, to: AuthorityIndex, message: Message, asked: bool) {
        let node = &mut self.nodes[at.0];
        let me = node.me;
        if node.adversary.as_mut().is_none_or(|adversary| adversary.passes(me, to, &message, asked)) {
            let machine = self.eras[self.nodes[at.0].era].machine(to);
            machine.into_iter().for_each(|machine| self.transmit(at, machine, message.clone(), asked));
        }
    }

    pub(crate) fn as_adversary(&mut self, at: Place, act: impl FnOnce(&mut dyn Adversary, &mut View<'_>)) {
        let newest = self.newest_era().config_of(AuthorityIndex(0));
        let Self { nodes, rng, scenario, .. } = self;
        let node = &mut nodes[at.0];
        let removed_from = node.retired.then_some(newest);
        let Some(mut adversary) = node.adversary.take() else { return };
        if let Some(core) = &node.core {
            let (me, config) = (node.me, &node.config);
            let mut view = View { me, config, keys: &scenario.keys, core, rng, removed_from, made: Vec::new() };
            act(&mut *adversary, &mut view);
            for header in std::mem::take(&mut view.made) {
                node.payloads.insert(header.block_ref(), ());
                node.disk.append(self.now_us, Record::Accepted(header));
            }
        }
        node.adversary = Some(adversary);
    }
}
