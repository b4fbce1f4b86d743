//! The rules once more, as plainly as they can be said: one thread, sorted maps, the state digest recomputed from the
//! whole state at every height. Nothing of the ledger crate is used but its data types.

use ledger::{Account, CommitInput};
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
    pub accounts: BTreeMap<Address, Account>,
    /// Height → (latest `valid_until`, ids in order).
    pub live: BTreeMap<Height, (TimestampMs, Vec<TransactionId>)>,
    pub header: LedgerHeader,
}

pub struct Outcomes {
    pub receipts: Vec<Receipt>,
    pub certified: Vec<(Digest, TransactionId)>,
    pub faulty: Vec<(AuthorityIndex, Digest, u32, Reject)>,
}

impl Oracle {
    pub fn new(genesis: &Genesis) -> Self {
        let account = |allocation: &Allocation| Account { balance: allocation.balance, transfers_out: 0 };
        let accounts = genesis.accounts.iter().map(|allocation| (allocation.address, account(allocation))).collect();
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
            accounts,
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
        let (mut receipts, mut certified) = (Vec::new(), Vec::new());
        let mut faulty = Vec::<(AuthorityIndex, Digest, u32, Reject)>::new();
        for entry in &input.transactions {
            let (transaction, outcome) = match &entry.transaction {
                Err(undecodable) => (TransactionId(undecodable.digest), Err(undecodable.reason)),
                Ok(transaction) => (
                    transaction.id(),
                    self.admit(transaction, entry.signature_valid, time, &mut bucket, &mut latest)
                        .and_then(|()| self.apply(transaction)),
                ),
            };
            let author = entry.block.author;
            match outcome {
                Ok(None) => {}
                Ok(Some(document)) => certified.push((document, transaction)),
                Err(
                    reject @ (Reject::Malformed
                    | Reject::TooLarge
                    | Reject::WrongChain
                    | Reject::AlgorithmNotAllowed
                    | Reject::BadSignature),
                ) if faulty.iter().all(|(other, ..)| *other != author) => {
                    faulty.push((author, entry.block.digest, entry.index, reject));
                }
                Err(_) => {}
            }
            let outcome = outcome.err().map_or(Outcome::Applied, Outcome::Rejected);
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
            commit: input.commit,
            transaction_root: merkle_root(receipts.iter().map(|receipt| receipt.transaction.to_bytes())),
            receipt_root: merkle_root(receipts.iter().map(Encode::to_bytes)),
            state_digest: self.state_digest(),
            timestamp: time,
            ..self.header.clone()
        };
        Outcomes { receipts, certified, faulty }
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
        if !self.genesis.algorithms().unwrap().contains(&transaction.key().alg()) {
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

    /// The document, for a deposit certificate.
    fn apply(&mut self, transaction: &Transaction) -> Result<Option<Digest>, Reject> {
        let sender = transaction.sender();
        let (to, amount) = match transaction.body() {
            TransactionBody::Certify { document, .. } if self.accounts.contains_key(&sender) => {
                return Ok(Some(*document));
            }
            TransactionBody::Certify { .. } => return Err(Reject::UnknownSender),
            TransactionBody::Govern { epoch, change } => return self.govern(sender, *epoch, change),
            TransactionBody::Transfer { to, amount, .. } => (*to, *amount),
        };
        if amount == 0 {
            return Err(Reject::ZeroAmount);
        }
        if to == sender {
            return Err(Reject::SelfTransfer);
        }
        let held = self.accounts.get(&sender).ok_or(Reject::UnknownSender)?.balance;
        if held < amount {
            return Err(Reject::Overdraft);
        }
        let receiver = self.accounts.get(&to).map_or(0, |account| account.balance);
        if u128::from(receiver) + u128::from(amount) > u128::from(u64::MAX) {
            return Err(Reject::BalanceOverflow);
        }
        let from = self.accounts.get_mut(&sender).unwrap();
        from.balance -= amount;
        from.transfers_out += 1;
        self.accounts.entry(to).or_default().balance += amount;
        Ok(None)
    }

    fn committee(&self) -> Digest {
        Committee::new(self.epoch, self.validators.clone()).unwrap().digest()
    }

    fn govern(&mut self, sender: Address, epoch: Epoch, change: &Change) -> Result<Option<Digest>, Reject> {
        if !self.genesis.governance.members.contains(&sender) {
            return Err(Reject::NotGoverning);
        }
        if epoch != self.epoch {
            return Err(Reject::WrongEpoch);
        }
        self.changed(change)?;
        if self.decided.is_some() {
            return Err(Reject::EpochClosing);
        }
        if self.approved.get(&sender) == Some(change) {
            return Err(Reject::AlreadyApproved);
        }
        self.approved.insert(sender, change.clone());
        let agree = self.approved.iter().filter(|(_, other)| *other == change).count();
        if agree == usize::from(self.genesis.governance.threshold) {
            self.decided = Some(change.clone());
            self.approved.clear();
        }
        Ok(None)
    }

    /// Validators and parameters after a change, for the changes that workloads make.
    fn changed(&self, change: &Change) -> Result<(Vec<Authority>, Parameters), Reject> {
        let (mut validators, mut parameters) = (self.validators.clone(), self.parameters.clone());
        let find = |name: &str| {
            self.validators.iter().position(|validator| validator.name == name).ok_or(Reject::UnknownValidator)
        };
        match change {
            Change::Add { validator } => {
                if validators.iter().any(|other| other.name == validator.name) {
                    return Err(Reject::RepeatedValidator);
                }
                validators.push(validator.clone());
            }
            Change::Remove { name } => drop(validators.remove(find(name)?)),
            Change::Rekey { name, consensus_key, transport_key } => {
                let validator = &mut validators[find(name)?];
                (validator.consensus_key, validator.transport_key) = (consensus_key.clone(), transport_key.clone());
            }
            Change::Update { name, stake, .. } => {
                let place = find(name)?;
                if validators[place].stake == *stake {
                    return Err(Reject::ChangesNothing);
                }
                if stake.0 == 0 {
                    return Err(Reject::InvalidStake);
                }
                validators[place].stake = *stake;
            }
            Change::Parameters { parameters: wanted } => {
                if wanted.live_ids_max < 1_000 {
                    return Err(Reject::InvalidParameters);
                }
                parameters = wanted.clone();
            }
        }
        if validators.is_empty() {
            return Err(Reject::CommitteeSize);
        }
        let nothing = validators == self.validators && parameters == self.parameters;
        if nothing { Err(Reject::ChangesNothing) } else { Ok((validators, parameters)) }
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
        for (address, account) in &self.accounts {
            add(&[&[1], &address.as_bytes()[..], &account.to_bytes()].concat());
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
