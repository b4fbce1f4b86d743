//! Random values of every wire type from a seed. The same seed gives the same values on every machine and in every
//! version, because the generator is written out here.

// By its path, because another crate takes this file in by its own.
#[path = "samples/contracts.rs"]
pub mod contracts;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use types::alg::AlgKind;
use types::snapshot::RowProof;
use types::{
    Address, AlgId, Allocation, Amount, Anchor, Authority, AuthorityIndex, BlockBody, BlockHeader, BlockRef,
    Certificate, ChainId, Change, CommitRecord, Committee, Digest, Encode, Epoch, EpochChange, EpochKeyCertificate,
    EpochStart, Evidence, Genesis, Governance, HeaderStatement, HeaderVote, Height, InvalidTransaction, LedgerHeader,
    MerkleProof, Outcome, Parameters, Payload, PayloadDescriptor, PublicKey, Receipt, Reject, Round, RoundStatement,
    SecretKey, Signature, Stake, StateChunk, StateManifest, StateProof, StateSummary, StatementSignature, TimestampMs,
    Transaction, TransactionBody, TransactionId,
};

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; small bounds only, so the bias does not matter.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    /// A number of random magnitude, so that small and huge values are as common as each other.
    pub fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.u64() >> shift
    }

    /// An amount, the same.
    pub fn amount(&mut self) -> Amount {
        let units = u128::from(self.u64()) << 64 | u128::from(self.u64());
        Amount(units >> self.below(128))
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.u64() as u8).collect()
    }

    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        std::array::from_fn(|_| self.u64() as u8)
    }

    pub fn list<T>(&mut self, count_max: usize, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(count_max + 1)).map(|_| item(self)).collect()
    }

    fn alg(&mut self, kind: AlgKind) -> AlgId {
        let all: Vec<_> = AlgId::ALL.into_iter().filter(|alg| alg.kind() == kind).collect();
        all[self.below(all.len())]
    }

    pub fn digest(&mut self) -> Digest {
        let alg = self.alg(AlgKind::Digest);
        Digest::from_parts(alg, self.array()).unwrap()
    }

    pub fn chain(&mut self) -> ChainId {
        ChainId(self.digest())
    }

    pub fn secret(&mut self) -> SecretKey {
        SecretKey::ed25519_from_seed(self.array())
    }

    /// Of any algorithm; the bytes need not be a point.
    pub fn public_key(&mut self) -> PublicKey {
        let alg = self.alg(AlgKind::Signature);
        PublicKey::from_parts(alg, &self.bytes(alg.public_key_len())).unwrap()
    }

    /// Of any algorithm, over nothing.
    pub fn signature(&mut self) -> Signature {
        let alg = self.alg(AlgKind::Signature);
        Signature::from_parts(alg, &self.bytes(alg.signature_len())).unwrap()
    }

    /// By a certified epoch key, over nothing.
    pub fn certified_signature(&mut self) -> StatementSignature {
        let certificate = EpochKeyCertificate {
            key: self.public_key(),
            from: self.round(),
            until: self.round(),
            signature: self.signature(),
        };
        StatementSignature::Certified { certificate: Arc::new(certificate), signature: self.signature() }
    }

    /// A key of any supported algorithm, its signature over a message, and the message.
    pub fn signed_message(&mut self) -> Vec<u8> {
        let all: Vec<_> = AlgId::signing().collect();
        let key = SecretKey::from_seed(all[self.below(all.len())], self.array()).unwrap();
        let length = self.below(60);
        let message = self.bytes(length);
        [key.public_key().to_bytes(), key.sign_bytes(&message).to_bytes(), message].concat()
    }

    pub fn address(&mut self) -> Address {
        Address::from_bytes(self.array())
    }

    pub fn round(&mut self) -> Round {
        Round(self.number())
    }

    pub fn author(&mut self) -> AuthorityIndex {
        AuthorityIndex(self.number() as u16)
    }

    pub fn block_ref(&mut self) -> BlockRef {
        BlockRef { round: self.round(), author: self.author(), digest: self.digest() }
    }

    pub fn vote(&mut self) -> HeaderVote {
        HeaderVote { height: Height(self.number()), header: self.digest() }
    }

    pub fn statement(&mut self) -> RoundStatement {
        RoundStatement {
            chain: self.chain(),
            epoch: Epoch(self.number()),
            round: self.round(),
            author: self.author(),
            body_digest: self.digest(),
            votes_digest: self.digest(),
        }
    }

    pub fn evidence(&mut self) -> Evidence {
        if self.number().is_multiple_of(2) {
            return Evidence::InvalidTransaction(self.invalid_transaction());
        }
        let (a, b) = ((self.statement(), self.signature().into()), (self.statement(), self.signature().into()));
        let (first, second) = if a.0.digest() < b.0.digest() { (a, b) } else { (b, a) };
        Evidence::Equivocation { first, second }
    }

    /// Of a block with a few transactions that are none.
    pub fn invalid_transaction(&mut self) -> InvalidTransaction {
        let payload = Payload::build([self.digest(); 3].map(|digest| digest.to_bytes()));
        let body = BlockBody {
            ancestors: self.list(6, Self::block_ref),
            timestamp: TimestampMs(self.number()),
            payload: payload.descriptor(),
            lane_roots: Vec::new(),
            misbehaviour: Vec::new(),
            end_of_epoch: self.below(4) == 0,
        };
        let (epoch, round, author) = (Epoch(self.number()), self.round(), self.author());
        let statement = BlockHeader::statement_for(self.chain(), epoch, round, author, &body, &[]);
        let header = BlockHeader::new(statement, body, Vec::new(), self.signature());
        InvalidTransaction::of(&header, &payload, 1).expect("the payload has three transactions")
    }

    pub fn payload_descriptor(&mut self) -> PayloadDescriptor {
        PayloadDescriptor { root: self.digest(), bytes: self.number() as u32, count: self.number() as u32 }
    }

    pub fn block_body(&mut self) -> BlockBody {
        BlockBody {
            ancestors: self.list(6, Self::block_ref),
            timestamp: TimestampMs(self.number()),
            payload: self.payload_descriptor(),
            lane_roots: self.list(2, Self::digest),
            misbehaviour: self.list(1, Self::evidence),
            end_of_epoch: self.below(4) == 0,
        }
    }

    /// As [`Random::block_header`], signed by an epoch key.
    pub fn certified_header(&mut self, chain: ChainId) -> BlockHeader {
        let header = self.block_header(chain);
        let signature = self.certified_signature();
        BlockHeader::new(*header.statement(), header.body().clone(), header.votes().to_vec(), signature)
    }

    pub fn block_header(&mut self, chain: ChainId) -> BlockHeader {
        let (body, votes) = (self.block_body(), self.list(4, Self::vote));
        let (epoch, round, author) = (Epoch(self.number()), self.round(), self.author());
        let statement = BlockHeader::statement_for(chain, epoch, round, author, &body, &votes);
        BlockHeader::new(statement, body, votes, self.signature())
    }

    pub fn payload(&mut self) -> Payload {
        Payload::build(self.list(6, |random| {
            let length = random.below(90);
            random.bytes(length)
        }))
    }

    pub fn commit_record(&mut self) -> CommitRecord {
        CommitRecord {
            height: Height(self.number()),
            previous: self.digest(),
            leader: self.block_ref(),
            blocks: self.list(9, Self::block_ref),
            timestamp: TimestampMs(self.number()),
        }
    }

    pub fn ledger_header(&mut self) -> LedgerHeader {
        LedgerHeader {
            version: types::header::HEADER_VERSION,
            chain: self.chain(),
            epoch: Epoch(self.number()),
            committee: self.digest(),
            height: Height(self.number()),
            previous: self.digest(),
            commit: self.digest(),
            transaction_root: self.digest(),
            receipt_root: self.digest(),
            state_digest: self.digest(),
            state_root: self.digest(),
            timestamp: TimestampMs(self.number()),
            next_committee: (self.below(2) == 1).then(|| self.digest()),
        }
    }

    pub fn state_manifest(&mut self) -> StateManifest {
        let rows = 1 + self.below(9) as u32;
        let chunks = self.list(5, |random| StateChunk { rows, bytes: rows * 70, root: random.digest() });
        let summary = StateSummary {
            chain: self.chain(),
            height: Height(self.number()),
            header: self.digest(),
            timestamp: TimestampMs(self.number()),
            rows: u64::from(rows) * chunks.len() as u64,
            bytes: u64::from(rows) * 70 * chunks.len() as u64,
            chunks: chunks.len() as u32,
            chunk_root: StateManifest::root_of(&chunks),
        };
        StateManifest { summary, chunks }
    }

    pub fn state_proof(&mut self) -> StateProof {
        let row = |random: &mut Self| RowProof {
            row: random.bytes(70),
            in_chunk: random.merkle_proof(),
            chunk: StateChunk { rows: 3, bytes: 210, root: random.digest() },
            in_state: random.merkle_proof(),
        };
        StateProof { summary: self.state_manifest().summary, rows: self.list(2, row) }
    }

    pub fn outcome(&mut self) -> Outcome {
        // Of the rejects that there were when the hashes over samples were pinned.
        match self.below(27) {
            0 => Outcome::Applied,
            other => Outcome::Rejected(Reject::ALL[other - 1]),
        }
    }

    pub fn receipt(&mut self) -> Receipt {
        Receipt { transaction: TransactionId(self.digest()), outcome: self.outcome() }
    }

    pub fn header_statement(&mut self) -> HeaderStatement {
        HeaderStatement {
            round: self.round(),
            author: self.author(),
            body_digest: self.digest(),
            votes: self.list(3, Self::vote),
            signature: self.signature().into(),
        }
    }

    /// Well-formed; proves nothing.
    pub fn certificate(&mut self) -> Certificate {
        Certificate { vote: self.vote(), statements: self.list(4, Self::header_statement) }
    }

    /// Well-formed; proves nothing.
    pub fn epoch_change(&mut self) -> EpochChange {
        let count = 1 + self.below(4);
        let committee = Committee::new(Epoch(self.number()), self.authorities(count)).unwrap();
        let anchor = Anchor {
            height: Height(self.number()),
            header: self.digest(),
            commit: self.digest(),
            timestamp: TimestampMs(self.number()),
        };
        let start = EpochStart { committee, parameters: self.parameters(), anchor };
        EpochChange { start, last: self.ledger_header(), certificate: self.certificate() }
    }

    pub fn merkle_proof(&mut self) -> MerkleProof {
        MerkleProof { index: self.number(), count: self.number(), path: self.list(12, Self::digest) }
    }

    pub fn transaction_body(&mut self) -> TransactionBody {
        let length = self.below(120);
        match self.below(5) {
            0 | 1 => {
                TransactionBody::Transfer { to: self.address(), amount: self.amount(), memo: self.bytes(length).into() }
            }
            2 | 3 => TransactionBody::Certify { document: self.digest(), memo: self.bytes(length).into() },
            _ => TransactionBody::Govern { epoch: Epoch(self.number()), change: Box::new(self.change()) },
        }
    }

    /// Of any kind; need not be one that a committee could take.
    pub fn change(&mut self) -> Change {
        let name = format!("validator {}", self.below(9));
        match self.below(5) {
            0 => Change::Add { validator: self.authority(name) },
            1 => Change::Remove { name },
            2 => Change::Rekey { name, consensus_key: self.public_key(), transport_key: self.public_key() },
            3 => {
                let Authority { name, stake, peer_address, client_address, rpc_address, .. } = self.authority(name);
                Change::Update { name, stake, peer_address, client_address, rpc_address }
            }
            _ => Change::Parameters { parameters: self.parameters() },
        }
    }

    /// Signed with Ed25519.
    pub fn transaction(&mut self, chain: &ChainId) -> Transaction {
        let (secret, body) = (self.secret(), self.transaction_body());
        Transaction::sign(chain, &secret, self.number(), self.number(), body).unwrap()
    }

    /// Of any algorithm; the signature is over nothing.
    pub fn transaction_of_any_algorithm(&mut self, chain: &ChainId) -> Vec<u8> {
        let (until, nonce, body) = (TimestampMs(self.number()), self.number(), self.transaction_body());
        transcribe_transaction(chain, until, nonce, &self.public_key(), &body, &self.signature())
    }

    pub fn authority(&mut self, name: String) -> Authority {
        let socket = |random: &mut Self| {
            let ip: IpAddr =
                if random.below(2) == 0 { random.array::<4>().into() } else { random.array::<16>().into() };
            SocketAddr::new(ip, random.u64() as u16)
        };
        Authority {
            name,
            consensus_key: self.secret().public_key(),
            transport_key: self.secret().public_key(),
            stake: Stake(1 + self.below(1 << 40) as u64),
            peer_address: socket(self),
            client_address: socket(self),
            rpc_address: socket(self),
        }
    }

    pub fn authorities(&mut self, count: usize) -> Vec<Authority> {
        (0..count).map(|index| self.authority(format!("validator {index}"))).collect()
    }

    /// Within their ranges.
    pub fn parameters(&mut self) -> Parameters {
        let mut within = |min: u64, max: u64| min + self.u64() % (max - min + 1);
        Parameters {
            gc_depth_rounds: within(20, 100_000),
            schedule_interval_commits: within(1, 10_000),
            schedule_window_commits: within(1, 10_000),
            block_payload_bytes_max: within(128 << 10, 16 << 20) as u32,
            block_transactions_max: within(1, 1 << 16) as u32,
            transaction_bytes_max: within(2 << 10, 64 << 10) as u32,
            validity_window_ms: within(1_000, 24 * 3_600_000),
            live_ids_max: within(1_000, 1_000_000_000),
            snapshot_interval_heights: within(16, 1_000_000),
        }
    }

    /// Passes every check.
    pub fn genesis(&mut self) -> Genesis {
        let parameters = self.parameters();
        let members = self.list(4, Self::address);
        let threshold = if members.is_empty() { 0 } else { 1 + self.below(members.len()) as u16 };
        let validators = 1 + self.below(5);
        Genesis {
            ceremonies: Vec::new(),
            name: format!("ledger {}", self.below(1000)),
            created_ms: self.u64() >> 20,
            signature_algorithms: vec!["ed25519".to_owned()],
            parameters,
            governance: Governance { members, threshold },
            validators: self.authorities(validators),
            accounts: self.list(5, |random| Allocation {
                address: random.address(),
                balance: Amount(u128::from(random.u64()) << 48),
            }),
        }
    }
}

/// The encoding of a transaction, written a second time, field by field.
pub fn transcribe_transaction(
    chain: &ChainId,
    valid_until: TimestampMs,
    nonce: u64,
    key: &PublicKey,
    body: &TransactionBody,
    signature: &Signature,
) -> Vec<u8> {
    let mut raw = vec![2];
    raw.push(chain.0.alg() as u8);
    raw.extend_from_slice(chain.0.as_bytes());
    raw.extend_from_slice(&valid_until.0.to_le_bytes());
    raw.extend_from_slice(&nonce.to_le_bytes());
    raw.push(key.alg() as u8);
    raw.extend_from_slice(key.as_bytes());
    let memo = match body {
        TransactionBody::Transfer { to, amount, memo } => {
            raw.push(1);
            raw.extend_from_slice(to.as_bytes());
            raw.extend_from_slice(&amount.0.to_le_bytes());
            memo
        }
        TransactionBody::Certify { document, memo } => {
            raw.push(2);
            document.encode(&mut raw);
            memo
        }
        TransactionBody::Call(_) => unreachable!("calls are written by `transcribe_call`"),
        TransactionBody::Govern { epoch, change } => {
            raw.push(3);
            raw.extend_from_slice(&epoch.0.to_le_bytes());
            change.encode(&mut raw);
            raw.push(signature.alg() as u8);
            raw.extend_from_slice(signature.as_bytes());
            return raw;
        }
    };
    raw.extend_from_slice(&(memo.len() as u32).to_le_bytes());
    raw.extend_from_slice(memo);
    raw.push(signature.alg() as u8);
    raw.extend_from_slice(signature.as_bytes());
    raw
}
