//! One shard's part of a commit on a worker: a queue for each key, in the global order (CONSENSUS.md §4.3 to §4.6).
//!
//! An operation runs when it heads the queues of all its keys in this shard. One that spans shards then sends its value
//! to the other participant, and runs when the other's value is there as well; operations on other keys do not wait.
//! Queue order is the global order in every shard, so the wait-for graph has no cycle and every operation runs.

use super::mesh::{Abandoned, Mesh, Value};
use crate::account::Account;
use crate::admission::Operation;
use crate::rules;
use crate::shard::{NetChange, Shard};
use types::Reject;

/// No key here, no next operation.
const NONE: u32 = u32::MAX;
/// Index of the sender's key, and of the receiver's.
const SENDER: usize = 0;
const RECEIVER: usize = 1;

/// What a commit did in one shard.
#[derive(Debug)]
pub(super) struct Part {
    /// Rejected operations whose sender is in this shard, by position.
    pub(super) rejects: Vec<(u32, Reject)>,
    pub(super) change: NetChange,
}

/// An operation that touches this shard.
#[derive(Debug)]
struct Local {
    /// Index in the commit.
    operation: u32,
    /// Places of its keys in this shard's working values.
    keys: [u32; 2],
    /// The next operation in the queue of each key.
    next: [u32; 2],
    /// Queues that it does not head yet.
    behind: u8,
    /// Heads its queues and has sent its value.
    waiting: bool,
    /// The other participant's value.
    remote: Option<Option<Account>>,
}

/// The queues of a shard for one commit.
pub(super) struct Queues<'a> {
    operations: &'a [Operation],
    locals: Vec<Local>,
    ready: Vec<u32>,
    finished: usize,
    rejects: Vec<(u32, Reject)>,
}

impl<'a> Queues<'a> {
    /// Queues the operations that touch the shard, and declares their keys to it.
    pub(super) fn build(operations: &'a [Operation], me: u16, shard: &mut Shard) -> Self {
        shard.begin();
        let (mut locals, mut tails) = (Vec::<Local>::new(), Vec::<u32>::new());
        for (index, operation) in operations.iter().enumerate() {
            let mut keys = [NONE; 2];
            if operation.sender_shard == me {
                keys[SENDER] = shard.touch(&operation.sender);
            }
            if let Some(credit) = operation.credit.filter(|credit| credit.shard == me) {
                keys[RECEIVER] = shard.touch(&credit.receiver);
            }
            if keys == [NONE; 2] {
                continue;
            }
            tails.resize(shard.touched(), NONE);
            let (local, mut behind) = (locals.len() as u32, 0);
            for key in keys.into_iter().filter(|key| *key != NONE) {
                let tail = std::mem::replace(&mut tails[key as usize], local);
                if let Some(before) = locals.get_mut(tail as usize) {
                    before.next[usize::from(before.keys[SENDER] != key)] = local;
                    behind += 1;
                }
            }
            let operation = index as u32;
            locals.push(Local { operation, keys, next: [NONE; 2], behind, waiting: false, remote: None });
        }
        let ready = (0..locals.len() as u32).rev().filter(|local| locals[*local as usize].behind == 0).collect();
        Self { operations, locals, ready, finished: 0, rejects: Vec::new() }
    }

    /// Runs everything. The shard's accounts are loaded.
    pub(super) fn run(mut self, shard: &mut Shard, mesh: &mut Mesh) -> Result<Vec<(u32, Reject)>, Abandoned> {
        let mut values = Vec::new();
        loop {
            while let Some(local) = self.ready.pop() {
                self.reach(local, shard, mesh)?;
            }
            mesh.flush()?;
            if self.finished == self.locals.len() {
                return Ok(self.rejects);
            }
            mesh.receive(&mut values)?;
            for value in values.drain(..) {
                self.arrive(value, shard);
            }
        }
    }

    /// An operation heads its queues.
    fn reach(&mut self, index: u32, shard: &mut Shard, mesh: &mut Mesh) -> Result<(), Abandoned> {
        let local = &mut self.locals[index as usize];
        let operation = &self.operations[local.operation as usize];
        if let Some(credit) = operation.credit.filter(|credit| credit.shard != operation.sender_shard) {
            let (key, other) = match local.keys {
                [NONE, receiver] => (receiver, operation.sender_shard),
                [sender, _] => (sender, credit.shard),
            };
            local.waiting = true;
            mesh.send(other, Value { operation: local.operation, account: shard.value(key) })?;
            if local.remote.is_none() {
                return Ok(());
            }
        }
        self.execute(index, shard);
        Ok(())
    }

    /// The other participant's value is here.
    fn arrive(&mut self, value: Value, shard: &mut Shard) {
        let found = self.locals.binary_search_by_key(&value.operation, |local| local.operation);
        let index = found.expect("values are sent to participants only");
        self.locals[index].remote = Some(value.account);
        if self.locals[index].waiting {
            self.execute(index as u32, shard);
        }
    }

    /// All values of an operation are known.
    fn execute(&mut self, index: u32, shard: &mut Shard) {
        let local = &self.locals[index as usize];
        let operation = &self.operations[local.operation as usize];
        let value = |key: u32| match key {
            NONE => local.remote.expect("an operation that spans shards runs when the other value is here"),
            here => shard.value(here),
        };
        let [sender, receiver] = local.keys;
        let verdict = match operation.credit {
            Some(credit) => {
                rules::transfer(value(sender), value(receiver), credit.amount).map(|(debited, credited)| {
                    for (key, account) in [(sender, debited), (receiver, credited)] {
                        if key != NONE {
                            shard.set(key, account);
                        }
                    }
                })
            }
            None => rules::certify(value(sender)),
        };
        if let (Err(reject), true) = (verdict, sender != NONE) {
            self.rejects.push((operation.position, reject));
        }
        self.finished += 1;
        for next in local.next {
            if let Some(next_local) = self.locals.get_mut(next as usize) {
                next_local.behind -= 1;
                if next_local.behind == 0 {
                    self.ready.push(next);
                }
            }
        }
    }
}
