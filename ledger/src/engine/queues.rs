//! One shard's part of a commit on a worker: a queue for each key, in the global order (CONSENSUS.md §4.3 to §4.6).
//!
//! An operation runs when it heads the queues of all its keys in this shard. One that spans shards then sends the values
//! of these keys to the other participants, and runs when the values of all others are there as well; operations on other
//! keys do not wait. Queue order is the global order in every shard, so the wait-for graph has no cycle and every
//! operation runs.

use super::Verdicts;
use super::mesh::{Abandoned, Mesh, Sent};
use crate::account::Account;
use crate::admission::{Action, Operation, RECEIVER, SENDER};
use crate::contracts::{self, View};
use crate::rules;
use crate::shard::Shard;
use crate::value::Value;
use std::num::NonZeroU16;
use std::ops::Range;
use types::{Reject, TimestampMs};

/// No operation.
const NONE: u32 = u32::MAX;

/// An operation that touches this shard.
#[derive(Debug)]
struct Local {
    /// Index in the commit.
    operation: u32,
    /// First of its keys in this shard, and their number.
    link: u32,
    links: u8,
    /// Queues that it does not head yet.
    behind: u8,
    /// Heads its queues and has sent its values.
    waiting: bool,
    /// Keys whose values have not arrived from other shards.
    missing: u8,
    /// Where the values of all its keys are gathered; meaningless where all its keys are here.
    gathered: u32,
    /// Keys that it declares, wherever they are.
    keys: u8,
}

/// A key of an operation in this shard.
#[derive(Debug)]
struct Link {
    /// Number among the keys that the operation declares.
    key: u8,
    /// Its place in this shard's working values.
    place: u32,
    /// The next operation in the queue of the key.
    next: u32,
}

/// The queues of a shard for one commit.
pub(super) struct Queues<'a> {
    operations: &'a [Operation],
    time: TimestampMs,
    me: u16,
    shards: NonZeroU16,
    locals: Vec<Local>,
    links: Vec<Link>,
    gathered: Vec<Option<Value>>,
    ready: Vec<u32>,
    finished: usize,
    verdicts: Verdicts,
}

impl<'a> Queues<'a> {
    /// Queues the operations that touch the shard, and declares their keys to it.
    pub(super) fn build(operations: &'a [Operation], time: TimestampMs, mesh: &Mesh, shard: &mut Shard) -> Self {
        shard.begin();
        let (me, shards) = (mesh.me(), mesh.shards());
        let (mut locals, mut links) = (Vec::<Local>::new(), Vec::<Link>::new());
        // The last operation in the queue of each key, by its link there.
        let (mut tails, mut gathered) = (Vec::<u32>::new(), 0);
        for (operation, index) in operations.iter().zip(0..) {
            let (local, link) = (locals.len() as u32, links.len());
            let (mut behind, mut keys) = (0, 0);
            operation.for_each_key(shards, |key, state_key, home| {
                keys += 1;
                if home != me {
                    return;
                }
                let place = shard.touch(&state_key);
                tails.resize(shard.touched(), NONE);
                let tail = std::mem::replace(&mut tails[place as usize], links.len() as u32);
                if let Some(before) = links.get_mut(tail as usize) {
                    before.next = local;
                    behind += 1;
                }
                links.push(Link { key, place, next: NONE });
            });
            let here = (links.len() - link) as u8;
            if here == 0 {
                continue;
            }
            let missing = keys - here;
            let (operation, link) = (index, link as u32);
            locals.push(Local { operation, link, links: here, behind, waiting: false, missing, gathered, keys });
            if missing > 0 {
                gathered += u32::from(keys);
            }
        }
        let ready = (0..locals.len() as u32).rev().filter(|local| locals[*local as usize].behind == 0).collect();
        let gathered = vec![None; gathered as usize];
        let verdicts = Verdicts::default();
        Self { operations, time, me, shards, locals, links, gathered, ready, finished: 0, verdicts }
    }

    /// Runs everything. The shard's values are loaded.
    pub(super) fn run(mut self, shard: &mut Shard, mesh: &mut Mesh) -> Result<Verdicts, Abandoned> {
        let mut values = Vec::new();
        loop {
            while let Some(local) = self.ready.pop() {
                self.reach(local, shard, mesh)?;
            }
            mesh.flush()?;
            if self.finished == self.locals.len() {
                return Ok(self.verdicts);
            }
            mesh.receive(&mut values)?;
            for value in values.drain(..) {
                self.arrive(value, shard);
            }
        }
    }

    /// An operation heads its queues.
    fn reach(&mut self, index: u32, shard: &mut Shard, mesh: &mut Mesh) -> Result<(), Abandoned> {
        let local = &self.locals[index as usize];
        if usize::from(local.links) < usize::from(local.keys) {
            self.send(local, shard, mesh)?;
            let local = &mut self.locals[index as usize];
            local.waiting = true;
            if local.missing > 0 {
                return Ok(());
            }
        }
        self.execute(index, shard);
        Ok(())
    }

    /// Sends the values of an operation's keys here to all other participants.
    fn send(&self, local: &Local, shard: &Shard, mesh: &mut Mesh) -> Result<(), Abandoned> {
        let (mut told, mut sent) = (0u64, Ok(()));
        self.operations[local.operation as usize].for_each_key(self.shards, |_, _, to| {
            // Shards are at most 64, see `ledger::SHARDS_MAX`.
            let bit = 1 << to;
            if to == self.me || told & bit != 0 || sent.is_err() {
                return;
            }
            told |= bit;
            sent = self.links[range(local)].iter().try_for_each(|link| {
                let value = shard.value(link.place).cloned();
                mesh.send(to, Sent { operation: local.operation, key: link.key, value })
            });
        });
        sent
    }

    /// The value of a key in another shard is here.
    fn arrive(&mut self, sent: Sent, shard: &mut Shard) {
        let found = self.locals.binary_search_by_key(&sent.operation, |local| local.operation);
        let index = found.expect("values are sent to participants only");
        let local = &mut self.locals[index];
        self.gathered[local.gathered as usize + usize::from(sent.key)] = sent.value;
        local.missing -= 1;
        if local.waiting && local.missing == 0 {
            self.execute(index as u32, shard);
        }
    }

    /// All values of an operation are known.
    fn execute(&mut self, index: u32, shard: &mut Shard) {
        let local = &self.locals[index as usize];
        let operation = &self.operations[local.operation as usize];
        let verdict = match &operation.action {
            Action::Transfer { credit, .. } => {
                let (sender, receiver) = (self.account(local, SENDER, shard), self.account(local, RECEIVER, shard));
                rules::transfer(sender, receiver, credit.amount).map(|(debited, credited)| {
                    for link in &self.links[range(local)] {
                        let account = if link.key == SENDER { debited } else { credited };
                        shard.set(link.place, Some(account.into()));
                    }
                })
            }
            Action::Certify { .. } => rules::certify(self.account(local, SENDER, shard)),
            Action::Call(_) => self.call(index, shard),
        };
        if let (Err(reject), true) = (verdict, operation.home == self.me) {
            self.verdicts.rejects.push((operation.position, reject));
        }
        self.finished += 1;
        for link in &self.links[range(&self.locals[index as usize])] {
            if let Some(next) = self.locals.get_mut(link.next as usize) {
                next.behind -= 1;
                if next.behind == 0 {
                    self.ready.push(link.next);
                }
            }
        }
    }

    /// Runs a call on the values of its keys, and keeps those that lie here.
    fn call(&mut self, index: u32, shard: &mut Shard) -> Result<(), Reject> {
        let local = &self.locals[index as usize];
        let operation = &self.operations[local.operation as usize];
        let Action::Call(transaction) = &operation.action else { unreachable!("only calls are run as calls") };
        let access = contracts::call(transaction).map_or(&[][..], |call| &call.access);
        let mut values = vec![None; access.len()];
        if local.links < local.keys {
            let start = local.gathered as usize;
            values.clone_from_slice(&self.gathered[start..start + access.len()]);
        }
        for link in &self.links[range(local)] {
            values[usize::from(link.key)] = shard.value(link.place).cloned();
        }
        let events = contracts::run(transaction, self.time, &mut View::new(access, &mut values))?;
        for link in &self.links[range(local)] {
            if access[usize::from(link.key)].write {
                shard.set(link.place, values[usize::from(link.key)].take());
            }
        }
        if operation.home == self.me {
            self.verdicts.events.push((operation.position, events));
        }
        Ok(())
    }

    /// The account of a key, here or gathered.
    fn account(&self, local: &Local, key: u8, shard: &Shard) -> Option<Account> {
        match self.links[range(local)].iter().find(|link| link.key == key) {
            Some(link) => shard.account(link.place),
            None => self.gathered[local.gathered as usize + usize::from(key)].as_ref().and_then(Value::account),
        }
    }
}

fn range(local: &Local) -> Range<usize> {
    local.link as usize..local.link as usize + usize::from(local.links)
}
