//! Seeded workloads: commits of transfers and certificates with a stated share of everything that can go wrong.

// By its path, because another test takes this file in by its own.
#[path = "workload/calls.rs"]
mod calls;

use bytes::Bytes;
use ledger::{CommitInput, OrderedTransaction, Undecodable, slot_of};
use std::sync::Arc;
use types::transaction::TransactionError;
use types::*;

/// SplitMix64.
pub struct Dice(pub u64);

impl Dice {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    pub fn percent(&mut self, chance: u32) -> bool {
        self.below(100) < chance as usize
    }
}

pub fn key(seed: u32) -> SecretKey {
    let mut bytes = [7; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    SecretKey::ed25519_from_seed(bytes)
}

pub fn validator(index: u32) -> Authority {
    Authority {
        name: format!("validator-{index}"),
        consensus_key: key(1_000_000 + index).public_key(),
        transport_key: key(2_000_000 + index).public_key(),
        stake: Stake(1),
        peer_address: "127.0.0.1:4001".parse().unwrap(),
        client_address: "127.0.0.1:4002".parse().unwrap(),
        rpc_address: "127.0.0.1:4003".parse().unwrap(),
    }
}

/// Accounts 0 to 2 govern, any two of them.
/// The leader schedule is none of the ledger's business, but stands in what it hashes: fixed, so that defaults may change.
pub fn parameters() -> Parameters {
    Parameters { schedule_interval_commits: 20, ..Parameters::default() }
}

pub fn genesis(accounts: Vec<Allocation>, parameters: Parameters) -> Genesis {
    let members = (0..3).map(|seed| key(seed).public_key().address()).collect();
    Genesis {
        ceremonies: Vec::new(),
        name: "ledger tests".into(),
        created_ms: 1_000_000,
        signature_algorithms: vec!["ed25519".into()],
        parameters,
        governance: Governance { members, threshold: 2 },
        validators: (0..4).map(validator).collect(),
        accounts,
    }
}

pub fn block(author: u16) -> BlockRef {
    BlockRef { round: Round(1), author: AuthorityIndex(author), digest: Digest::sha256(&author.to_le_bytes()) }
}

pub fn ordered(transaction: Transaction) -> OrderedTransaction {
    OrderedTransaction { transaction: Ok(Arc::new(transaction)), signature_valid: true, block: block(0), index: 0 }
}

pub fn commit(height: u64, timestamp: u64, transactions: Vec<OrderedTransaction>) -> CommitInput {
    let commit = Digest::sha256(&height.to_le_bytes());
    let last_of_epoch = false;
    // Every third height has one, for the header; what it is over is not the ledger's business.
    let state_root = if height.is_multiple_of(3) { Digest::sha256(b"root") } else { Digest::ZERO };
    let (height, timestamp) = (Height(height), TimestampMs(timestamp));
    CommitInput { height, commit, timestamp, state_root, last_of_epoch, transactions }
}

/// What a workload is made of.
#[derive(Clone, Debug)]
pub struct Mix {
    pub seed: u64,
    pub commits: usize,
    /// Most transactions of a commit.
    pub size: usize,
    pub accounts: usize,
    /// Accounts at the front that half of all transfers use, on either side.
    pub hot: usize,
    /// Percentage of transfers that leave their shard when there are 16.
    pub cross: u32,
    /// Percentage of everything that is not a plain transfer.
    pub odd: u32,
    /// Percentage of calls of contracts, made as odd as the rest.
    pub calls: u32,
    pub live_ids_max: u64,
}

pub struct Workload {
    pub genesis: Genesis,
    pub commits: Vec<CommitInput>,
}

impl Mix {
    pub fn build(&self) -> Workload {
        let mut dice = Dice(self.seed);
        // A fifth of the keys has no account at the start: unknown senders, until somebody pays them.
        let keys: Vec<_> = (0..self.accounts as u32).map(key).collect();
        let funded = keys.iter().take(self.accounts - self.accounts / 5);
        let mut accounts: Vec<_> =
            funded.map(|key| Allocation { address: key.public_key().address(), balance: Amount(500) }).collect();
        // One holds the rest of the largest supply that there can be, so that sums are tried at their limit.
        if let [richest, others @ ..] = &mut accounts[..] {
            richest.balance = Amount(u128::MAX - 500 * others.len() as u128);
        }
        let parameters = Parameters { validity_window_ms: 3_000, live_ids_max: self.live_ids_max, ..parameters() };
        let genesis = genesis(accounts, parameters);
        let (mut time, mut epoch) = (genesis.created_ms, 1);
        let (mut past, mut commits) = (Vec::<OrderedTransaction>::new(), Vec::new());
        for height in 1..=self.commits as u64 {
            time += [0, 1, 40, 400, 1_500][dice.below(5)];
            let count = dice.below(self.size + 1);
            let mut transactions = Vec::new();
            for index in 0..count {
                let mut entry = self.entry(&mut dice, &keys, &genesis.chain_id(), (time, epoch), &past);
                (entry.block, entry.index) = (block((index % 4) as u16), index as u32);
                if past.len() < 4_000 {
                    past.push(entry.clone());
                }
                transactions.push(entry);
            }
            // Consensus does not ask whether a change was decided, so an epoch may end without one.
            let last_of_epoch = dice.percent(self.odd / 4);
            epoch += u64::from(last_of_epoch);
            commits.push(CommitInput { last_of_epoch, ..commit(height, time, transactions) });
        }
        Workload { genesis, commits }
    }

    fn entry(
        &self,
        dice: &mut Dice,
        keys: &[SecretKey],
        chain: &ChainId,
        (time, epoch): (u64, u64),
        past: &[OrderedTransaction],
    ) -> OrderedTransaction {
        let pick = |dice: &mut Dice| if dice.percent(50) { dice.below(self.hot) } else { dice.below(keys.len()) };
        let sender = &keys[pick(dice)];
        let from = sender.public_key().address();
        let cross = dice.percent(self.cross);
        let mut to = keys[pick(dice)].public_key().address();
        for _ in 0..200 {
            if to != from && (slot_of(&to.into()) / 256 != slot_of(&from.into()) / 256) == cross {
                break;
            }
            to = keys[dice.below(keys.len())].public_key().address();
        }
        // Without calls nothing is drawn for them: older workloads stay what they are.
        if self.calls > 0 && dice.percent(self.calls) {
            return calls::entry(dice, keys, chain, time, self.odd);
        }
        let mut amount = Amount(1 + dice.below(60) as u128);
        let mut valid_until = time + dice.below(3_001) as u64;
        let mut memo = Bytes::new();
        let mut signature_valid = true;
        if dice.percent(self.odd) {
            match dice.below(13) {
                0 | 1 if !past.is_empty() => return past[dice.below(past.len())].clone(),
                2 => valid_until = time - 1 - dice.below(900) as u64,
                3 => valid_until = time + 3_001 + dice.below(5) as u64,
                4 => signature_valid = false,
                5 => return malformed(dice.next()),
                6 => amount = Amount::ZERO,
                7 => to = from,
                8 => amount = if dice.percent(50) { Amount(100_000) } else { Amount::MAX },
                9 => memo = vec![1; 16 << 10].into(),
                10 | 11 => {
                    let epoch = Epoch(if dice.percent(90) { epoch } else { epoch + 1 });
                    let body = TransactionBody::Govern { epoch, change: Box::new(change(dice)) };
                    let sender = &keys[dice.below(4)];
                    return ordered(Transaction::sign(chain, sender, valid_until, dice.next(), body).unwrap());
                }
                _ => {
                    let document = Digest::sha256(&dice.next().to_le_bytes());
                    let body = TransactionBody::Certify { document, memo };
                    return ordered(Transaction::sign(chain, sender, valid_until, dice.next(), body).unwrap());
                }
            }
        }
        let body = TransactionBody::Transfer { to, amount, memo };
        let transaction = Transaction::sign(chain, sender, valid_until, dice.next(), body).unwrap();
        OrderedTransaction { signature_valid, ..ordered(transaction) }
    }
}

/// One of few, so that members often agree.
fn change(dice: &mut Dice) -> Change {
    let Authority { name, peer_address, client_address, rpc_address, .. } = validator(1);
    match dice.below(7) {
        0 => Change::Add { validator: validator(4 + dice.below(2) as u32) },
        1 => Change::Remove { name: format!("validator-{}", dice.below(5)) },
        2 => Change::Rekey { name, consensus_key: key(50).public_key(), transport_key: key(51).public_key() },
        3 => Change::Update { name, stake: Stake(dice.below(3) as u64), peer_address, client_address, rpc_address },
        4 => Change::Add { validator: validator(3) },
        _ => {
            let (validity_window_ms, live_ids_max) = (2_000 + dice.below(2) as u64, 999 + dice.below(2) as u64);
            Change::Parameters { parameters: Parameters { validity_window_ms, live_ids_max, ..parameters() } }
        }
    }
}

pub fn malformed(seed: u64) -> OrderedTransaction {
    let raw = seed.to_le_bytes();
    let error = TransactionError::Decode(DecodeError::Truncated { needed: 1, left: 0 });
    let transaction = Err(Undecodable::new(&raw, error));
    OrderedTransaction { transaction, signature_valid: false, block: block(0), index: 0 }
}
