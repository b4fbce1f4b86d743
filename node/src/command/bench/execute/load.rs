//! What is executed: transactions of a kind between accounts of a number, and how many of them leave their shard.
//!
//! Their signatures are blanks: execution is told the verdicts. Everything is drawn from one seed.

use ledger::{CommitInput, OrderedTransaction, shard_of};
use std::num::NonZeroU16;
use std::sync::Arc;
use types::{
    Address, AlgId, Allocation, Amount, Authority, AuthorityIndex, BlockRef, Call, ChainId, Digest, Draft, Genesis,
    Governance, Height, ObjectId, ObjectRights, Parameters, PublicKey, Round, SecretKey, Signature, Stake, Step,
    TimestampMs, Transaction, TransactionBody,
};

/// Time of genesis.
const START_MS: u64 = 1_000_000;
/// Commits during which an id lives.
const LIFE_COMMITS: u64 = 4;
/// Bytes of a memo, so that a transfer has the 512 bytes that other measurements are made with.
const MEMO_BYTES: usize = 512 - Transaction::transfer_overhead(AlgId::Ed25519);

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A transfer between two accounts.
    Transfer,
    /// The owner of an object hands it on.
    Object,
    /// An object against an amount, signed by both.
    Sale,
}

/// What to draw.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub kind: Kind,
    pub accounts: u32,
    /// How many of them have part in transactions: all, where it is `None`. Transfers before the measured ones touch each.
    pub active: Option<u32>,
    /// Transactions of a commit.
    pub commit: usize,
    pub commits: usize,
    /// Shards that `cross` is about.
    pub shards: u16,
    /// Percentage of transfers whose receiver is in another shard; `None` leaves it to chance.
    pub cross: Option<u32>,
    /// Heights between snapshots; 0 for none.
    pub snapshots: u64,
}

/// A ledger to be, commits that make its objects or touch its active accounts, and the commits that are measured.
pub struct Load {
    pub genesis: Genesis,
    pub before: Vec<CommitInput>,
    pub measured: Vec<CommitInput>,
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound as u64) as usize
    }
}

fn key(seed: u32) -> PublicKey {
    let mut bytes = [3; 32];
    bytes[..4].copy_from_slice(&seed.to_le_bytes());
    SecretKey::ed25519_from_seed(bytes).public_key()
}

impl Load {
    pub fn draw(shape: Shape) -> Self {
        let keys: Vec<PublicKey> = (0..shape.accounts).map(key).collect();
        let addresses: Vec<Address> = keys.iter().map(PublicKey::address).collect();
        let genesis = genesis(&addresses, shape.snapshots);
        let chain = genesis.chain_id();
        let active = shape.active.map_or(keys.len(), |active| keys.len().min(active as usize));
        let (dice, owners) = (Dice(1), Vec::new());
        let mut draw = Drawing { shape, chain, keys, addresses, active, genesis, dice, nonce: 0, owners };
        let before = match shape.kind {
            Kind::Transfer if shape.active.is_some() => draw.touches(),
            Kind::Transfer => Vec::new(),
            Kind::Object | Kind::Sale => draw.objects(),
        };
        let first = before.len() as u64 + 1;
        let measured = (0..shape.commits as u64).map(|index| draw.commit(first + index)).collect();
        Self { genesis: draw.genesis, before, measured }
    }
}

struct Drawing {
    shape: Shape,
    /// Of the genesis, which is long: its digest is taken once.
    chain: ChainId,
    keys: Vec<PublicKey>,
    addresses: Vec<Address>,
    /// The first ones, which have part in transactions.
    active: usize,
    genesis: Genesis,
    dice: Dice,
    nonce: u64,
    /// Place of the owner of each object; object `n` is issued by account `n`.
    owners: Vec<usize>,
}

impl Drawing {
    /// Transfers from every second active account to the next one.
    fn touches(&mut self) -> Vec<CommitInput> {
        let senders: Vec<usize> = (0..self.active - 1).step_by(2).collect();
        let chunks = senders.chunks(self.shape.commit).zip(1..);
        chunks
            .map(|(chunk, height)| {
                let transfers = chunk.iter().map(|from| {
                    self.nonce += 1;
                    self.transfer(height, *from, from + 1)
                });
                input(height, transfers.collect())
            })
            .collect()
    }

    /// One object for each account.
    fn objects(&mut self) -> Vec<CommitInput> {
        self.owners = (0..self.keys.len()).collect();
        let all: Vec<usize> = self.owners.clone();
        let rights = ObjectRights { transferable: true, divisible: false };
        let chunks = all.chunks(4_096).zip(1..);
        chunks
            .map(|(chunk, height)| {
                let create = |place: &usize| {
                    let (issuer, content) = (self.addresses[*place], Digest::ZERO);
                    let step = Step::Create { issuer, salt: 0, owner: issuer, quantity: Amount(1), rights, content };
                    self.nonce += 1;
                    self.call(height, *place, None, vec![step])
                };
                input(height, chunk.iter().map(create).collect())
            })
            .collect()
    }

    fn commit(&mut self, height: u64) -> CommitInput {
        let transactions = (0..self.shape.commit).map(|_| self.transaction(height)).collect();
        input(height, transactions)
    }

    fn transaction(&mut self, height: u64) -> Transaction {
        self.nonce += 1;
        let (from, object) = match self.shape.kind {
            Kind::Transfer => (self.dice.below(self.active), 0),
            Kind::Object | Kind::Sale => {
                let object = self.dice.below(self.owners.len());
                (self.owners[object], object)
            }
        };
        let to = self.receiver(from);
        let (seller, buyer) = (self.addresses[from], self.addresses[to]);
        let transfer = Step::Transfer { object: ObjectId::issued(&self.addresses[object], 0), to: buyer };
        match self.shape.kind {
            Kind::Transfer => self.transfer(height, from, to),
            Kind::Object => {
                self.owners[object] = to;
                self.call(height, from, None, vec![transfer])
            }
            Kind::Sale => {
                self.owners[object] = to;
                let pay = Step::Pay { from: buyer, to: seller, amount: Amount(1) };
                self.call(height, from, Some(to), vec![transfer, pay])
            }
        }
    }

    fn transfer(&self, height: u64, from: usize, to: usize) -> Transaction {
        let to = self.addresses[to];
        self.signed(
            height,
            from,
            TransactionBody::Transfer { to, amount: Amount(1), memo: vec![0; MEMO_BYTES].into() },
            1,
        )
    }

    /// Another account, in another shard or in the same where that is asked for.
    fn receiver(&mut self, from: usize) -> usize {
        let shards = NonZeroU16::new(self.shape.shards).expect("the flag has a range");
        let shard = |address: &Address| shard_of(&(*address).into(), shards);
        let cross = self.shape.cross.map(|percent| self.dice.below(100) < percent as usize);
        loop {
            let to = self.dice.below(self.active);
            let crosses = shard(&self.addresses[from]) != shard(&self.addresses[to]);
            if to != from && cross.is_none_or(|cross| cross == crosses) {
                return to;
            }
        }
    }

    fn call(&self, height: u64, from: usize, cosigner: Option<usize>, steps: Vec<Step>) -> Transaction {
        let cosigners: Vec<PublicKey> = cosigner.map(|place| self.keys[place].clone()).into_iter().collect();
        let signatures = 1 + cosigners.len();
        let call = Call::new(&self.addresses[from], cosigners, steps, Default::default());
        self.signed(height, from, TransactionBody::Call(Box::new(call)), signatures)
    }

    fn signed(&self, height: u64, from: usize, body: TransactionBody, signatures: usize) -> Transaction {
        let valid_until = time(height) + LIFE_COMMITS;
        let blank = Signature::from_parts(AlgId::Ed25519, &[0; 64]).expect("64 bytes");
        let draft = Draft::new(&self.chain, &self.keys[from], valid_until, self.nonce, body);
        draft.and_then(|draft| draft.finish(&vec![blank; signatures])).expect("canonical by construction")
    }
}

/// A commit a millisecond, so that ids run out all along: dropping them is part of what is measured.
fn time(height: u64) -> u64 {
    START_MS + height
}

fn input(height: u64, transactions: Vec<Transaction>) -> CommitInput {
    let block = BlockRef { round: Round(1), author: AuthorityIndex(0), digest: Digest::ZERO };
    let entry = |(transaction, index): (Transaction, u32)| OrderedTransaction {
        transaction: Ok(Arc::new(transaction)),
        signature_valid: true,
        block,
        index,
    };
    CommitInput {
        height: Height(height),
        commit: Digest::ZERO,
        timestamp: TimestampMs(time(height)),
        state_root: Digest::ZERO,
        last_of_epoch: false,
        transactions: transactions.into_iter().zip(0..).map(entry).collect(),
    }
}

fn genesis(addresses: &[Address], snapshots: u64) -> Genesis {
    let address = |port| std::net::SocketAddr::from(([127, 0, 0, 1], port));
    let validator = Authority {
        name: "bench".into(),
        consensus_key: key(u32::MAX),
        transport_key: key(u32::MAX - 1),
        stake: Stake(1),
        peer_address: address(1),
        client_address: address(2),
        rpc_address: address(3),
    };
    Genesis {
        ceremonies: Vec::new(),
        name: "bench".into(),
        created_ms: START_MS,
        signature_algorithms: vec!["ed25519".into()],
        parameters: Parameters { snapshot_interval_heights: snapshots, ..Parameters::default() },
        governance: Governance::default(),
        validators: vec![validator],
        accounts: addresses.iter().map(|address| Allocation { address: *address, balance: Amount(1 << 30) }).collect(),
    }
}
