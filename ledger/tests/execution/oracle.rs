//! The rules once more, as plainly as they can be said: one thread, sorted maps, the state digest recomputed from the
//! whole state at every height. Nothing of the ledger crate is used but its data types.

mod contracts;
mod governance;

use ledger::{Account, CommitInput, Value};
use std::collections::{BTreeMap, BTreeSet};
use types::header::HEADER_VERSION;
use types::*;

pub struct Oracle {
    genesis: Genesis,
    epoch: Epoch,
    parameters: Parameters,
    validators: Vec<Authority>,
    /// The changes that members approve, and the one that was decided.
    approved: BTreeMap<Address, Change>,
    decided: Option<Change>,
    pub values: BTreeMap<StateKey, Value>,
    /// Height → (latest `valid_until`, ids in order).
    pub live: BTreeMap<Height, (TimestampMs, Vec<TransactionId>)>,
    pub header: LedgerHeader,
}

/// What a transaction that was applied did besides changing values.
enum Effect {
    Nothing,
    Certified(Digest),
    Events(Vec<LedgerEvent>),
}

pub struct Outcomes {
    pub receipts: Vec<Receipt>,
    pub certified: Vec<(Digest, TransactionId)>,
    pub events: Vec<(u32, Vec<LedgerEvent>)>,
    pub faulty: Vec<(AuthorityIndex, Digest, u32, Reject)>,
}

impl Oracle {
    pub fn new(genesis: &Genesis) -> Self {
        let account = |allocation: &Allocation| Account { balance: allocation.balance, transfers_out: 0 }.into();
        let value = |allocation: &Allocation| (allocation.address.into(), account(allocation));
        let values = genesis.accounts.iter().map(value).collect();
        let committee = genesis.committee().unwrap();
        let header = LedgerHeader {
            version: HEADER_VERSION,
            chain: genesis.chain_id(),
            epoch: Epoch(1),
            committee: committee.digest(),
            height: Height(0),
            previous: Digest::ZERO,
            commit: Digest::ZERO,
            transaction_root: merkle_root::<[u8; 0]>([]),
            receipt_root: merkle_root::<[u8; 0]>([]),
            state_digest: Digest::ZERO,
            state_root: Digest::ZERO,
            timestamp: TimestampMs(genesis.created_ms),
            next_committee: None,
        };
        let mut oracle = Self {
            genesis: genesis.clone(),
            epoch: Epoch(1),
            parameters: genesis.parameters.clone(),
            validators: genesis.validators.clone(),
            approved: BTreeMap::new(),
            decided: None,
            values,
            live: BTreeMap::new(),
            header,
        };
        oracle.header.state_digest = oracle.state_digest();
        oracle
    }

    pub fn execute(&mut self, input: &CommitInput) -> Outcomes {
        let time = input.timestamp;
        let (epoch, committee) = (self.epoch, self.committee());
        self.live.retain(|_, (max_valid_until, _)| *max_valid_until >= time);
        let (mut bucket, mut latest) = (Vec::new(), TimestampMs(0));
        let (mut receipts, mut certified, mut all_events) = (Vec::<Receipt>::new(), Vec::new(), Vec::new());
        let mut faulty = Vec::<(AuthorityIndex, Digest, u32, Reject)>::new();
        for entry in &input.transactions {
            let (transaction, outcome) = match &entry.transaction {
                Err(undecodable) => (TransactionId(undecodable.digest), Err(undecodable.reason)),
                Ok(transaction) => (
                    transaction.id(),
                    self.admit(transaction, entry.signature_valid, time, &mut bucket, &mut latest)
                        .and_then(|()| self.apply(transaction, time)),
                ),
            };
            let author = entry.block.author;
            let mut done = Outcome::Applied;
            match &outcome {
                Ok(Effect::Nothing) => {}
                Ok(Effect::Certified(document)) => certified.push((*document, transaction)),
                Ok(Effect::Events(events)) => {
                    all_events.push((receipts.len() as u32, events.clone()));
                    let mut list = (events.len() as u32).to_bytes();
                    events.iter().for_each(|event| event.encode(&mut list));
                    done = Outcome::Emitted(Hasher::new("stele/events/1").with(&list).finish());
                }
                Err(
                    reject @ (Reject::Malformed
                    | Reject::TooLarge
                    | Reject::WrongChain
                    | Reject::AlgorithmNotAllowed
                    | Reject::BadSignature),
                ) if faulty.iter().all(|(other, ..)| *other != author) => {
                    faulty.push((author, entry.block.digest, entry.index, *reject));
                }
                Err(_) => {}
            }
            let outcome = outcome.err().map_or(done, Outcome::Rejected);
            receipts.push(Receipt { transaction, outcome });
        }
        if !bucket.is_empty() {
            self.live.insert(input.height, (latest, bucket));
        }
        faulty.sort();
        let mut next_committee = None;
        if input.last_of_epoch {
            self.approved.clear();
            if let Some(decided) = self.decided.take() {
                (self.validators, self.parameters) = self.changed(&decided).unwrap();
            }
            self.epoch.0 += 1;
            let next = self.committee();
            let named = [next.to_bytes(), self.parameters.to_bytes()].concat();
            next_committee = Some(Hasher::new("stele/next-epoch/1").with(&named).finish());
        }
        self.header = LedgerHeader {
            epoch,
            committee,
            next_committee,
            height: input.height,
            previous: self.header.digest(),
            state_root: input.state_root,
            commit: input.commit,
            transaction_root: merkle_root(receipts.iter().map(|receipt| receipt.transaction.to_bytes())),
            receipt_root: merkle_root(receipts.iter().map(Encode::to_bytes)),
            state_digest: self.state_digest(),
            timestamp: time,
            ..self.header.clone()
        };
        Outcomes { receipts, certified, events: all_events, faulty }
    }

    fn admit(
        &self,
        transaction: &Transaction,
        signed: bool,
        time: TimestampMs,
        bucket: &mut Vec<TransactionId>,
        latest: &mut TimestampMs,
    ) -> Result<(), Reject> {
        let (limits, valid_until) = (&self.parameters, transaction.valid_until());
        if transaction.raw().len() > limits.transaction_bytes_max as usize {
            return Err(Reject::TooLarge);
        }
        let allowed = self.genesis.algorithms().unwrap();
        if transaction.claims().any(|(key, _)| !allowed.contains(&key.alg())) {
            return Err(Reject::AlgorithmNotAllowed);
        }
        if !signed {
            return Err(Reject::BadSignature);
        }
        if valid_until < time {
            return Err(Reject::Expired);
        }
        if valid_until.0 > time.0 + limits.validity_window_ms {
            return Err(Reject::ValidUntilTooFar);
        }
        let live: BTreeSet<_> = self.live.values().flat_map(|(_, ids)| ids).chain(&*bucket).collect();
        if live.contains(&transaction.id()) {
            return Err(Reject::Duplicate);
        }
        if live.len() as u64 >= limits.live_ids_max {
            return Err(Reject::TooManyLiveIds);
        }
        bucket.push(transaction.id());
        *latest = valid_until.max(*latest);
        Ok(())
    }

    fn apply(&mut self, transaction: &Transaction, time: TimestampMs) -> Result<Effect, Reject> {
        let sender = transaction.sender();
        let (to, amount) = match transaction.body() {
            TransactionBody::Certify { document, .. } if self.account(&sender).is_some() => {
                return Ok(Effect::Certified(*document));
            }
            TransactionBody::Certify { .. } => return Err(Reject::UnknownSender),
            TransactionBody::Govern { epoch, change } => {
                return self.govern(sender, *epoch, change).map(|()| Effect::Nothing);
            }
            TransactionBody::Call(call) => return self.call(transaction, call, time).map(Effect::Events),
            TransactionBody::Transfer { to, amount, .. } => (*to, *amount),
        };
        self.pay(sender, to, amount).map(|()| Effect::Nothing)
    }

    fn account(&self, address: &Address) -> Option<Account> {
        self.values.get(&StateKey::Account(*address)).and_then(Value::account)
    }

    fn pay(&mut self, sender: Address, to: Address, amount: Amount) -> Result<(), Reject> {
        if amount == Amount(0) {
            return Err(Reject::ZeroAmount);
        }
        if to == sender {
            return Err(Reject::SelfTransfer);
        }
        let mut from = self.account(&sender).ok_or(Reject::UnknownSender)?;
        if from.balance < amount {
            return Err(Reject::Overdraft);
        }
        let mut receiver = self.account(&to).unwrap_or_default();
        if amount.0 > u128::MAX - receiver.balance.0 {
            return Err(Reject::BalanceOverflow);
        }
        from.balance = Amount(from.balance.0 - amount.0);
        from.transfers_out += 1;
        receiver.balance = Amount(receiver.balance.0 + amount.0);
        self.values.insert(sender.into(), from.into());
        self.values.insert(to.into(), receiver.into());
        Ok(())
    }

    /// The digest of the whole state, from nothing.
    fn state_digest(&self) -> Digest {
        let mut lanes = [0u16; 1024];
        let mut add = |element: &[u8]| {
            let mut expansion = [0; 2048];
            let key = b"stele/state-element/1\0\0\0\0\0\0\0\0\0\0\0";
            blake3::Hasher::new_keyed(key).update(element).finalize_xof().fill(&mut expansion);
            for (lane, bytes) in lanes.iter_mut().zip(expansion.chunks(2)) {
                *lane = lane.wrapping_add(u16::from_le_bytes([bytes[0], bytes[1]]));
            }
        };
        for (key, value) in &self.values {
            match key {
                StateKey::Account(address) => add(&[&[1], &address.as_bytes()[..], &value.to_bytes()].concat()),
                StateKey::Object(_) | StateKey::Grant(_) => {
                    let content = [key.to_bytes(), value.to_bytes()].concat();
                    let digest = Hasher::new("stele/state-value/1").with(&content).finish();
                    add(&[&[4], &digest.to_bytes()[..]].concat());
                }
            }
        }
        for (height, (max_valid_until, ids)) in &self.live {
            let mut content = max_valid_until.to_bytes();
            (ids.len() as u32).encode(&mut content);
            ids.iter().for_each(|id| id.encode(&mut content));
            let digest = Hasher::new("stele/live-bucket/1").with(&content).finish();
            add(&[&[2], &height.to_bytes()[..], &digest.to_bytes()].concat());
        }
        if !self.approved.is_empty() || self.decided.is_some() {
            let mut content = (self.approved.len() as u32).to_bytes();
            for (member, change) in &self.approved {
                content.extend([member.to_bytes(), change.to_bytes()].concat());
            }
            self.decided.encode(&mut content);
            let digest = Hasher::new("stele/approvals/1").with(&content).finish();
            add(&[&[3], &digest.to_bytes()[..]].concat());
        }
        let bytes: Vec<u8> = lanes.iter().flat_map(|lane| lane.to_le_bytes()).collect();
        Hasher::new("stele/state-digest/1").with(&bytes).finish()
    }
}
