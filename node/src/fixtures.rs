//! A ledger of four validators with known keys, for unit tests.

use crate::config::LOG;
use crate::state_sync::pack::{Pack, Packer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use storage::log::{Backend, Log, LogOptions};
use types::snapshot::RowKind;
use types::{
    Address, Allocation, Amount, Authority, AuthorityIndex, BlockBody, BlockHeader, BlockRef, Certificate, ChainId,
    CommitRecord, Committee, Digest, Encode, Epoch, Genesis, HeaderStatement, HeaderVote, Height, LedgerHeader,
    Parameters, Payload, Round, SecretKey, Stake, StateManifest, TimestampMs, Transaction, TransactionBody,
};

/// The key of a validator.
pub fn key(index: u16) -> SecretKey {
    SecretKey::ed25519_from_seed([index as u8 + 1; 32])
}

/// The key of an account.
pub fn account(index: u8) -> SecretKey {
    SecretKey::ed25519_from_seed([100 + index; 32])
}

/// Four validators of equal stake, and one account.
pub fn genesis() -> Genesis {
    let address = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
    let validator = |index: u16| Authority {
        name: format!("node-{index}"),
        consensus_key: key(index).public_key(),
        transport_key: SecretKey::ed25519_from_seed([50 + index as u8; 32]).public_key(),
        stake: Stake(1),
        peer_address: address(7000 + index),
        client_address: address(7100 + index),
        rpc_address: address(7200 + index),
    };
    Genesis {
        ceremonies: Vec::new(),
        name: "unit test".into(),
        created_ms: 1_000,
        signature_algorithms: vec!["ed25519".into()],
        parameters: Parameters::default(),
        governance: Default::default(),
        validators: (0..4).map(validator).collect(),
        accounts: vec![Allocation { address: account(0).public_key().address(), balance: Amount(1_000) }],
    }
}

/// The log of a data directory, with segments and groups so small that a few heights fill several.
pub fn open_log(data_dir: &Path, identity: [u8; 32]) -> Log {
    let mut options = LogOptions::new(data_dir.join(LOG), identity);
    options.backend = Backend::Threaded;
    options.segment_bytes = 64 << 10;
    options.group_bytes_max = 8 << 10;
    options.lock_wait_ms = 0;
    Log::open(options, None, &mut |_| Ok(())).expect("a log")
}

/// Its chain id and committee.
pub fn ledger() -> (ChainId, Arc<Committee>) {
    (genesis().chain_id(), Arc::new(genesis().committee().expect("four distinct validators")))
}

/// A signed transfer of one unit.
pub fn transfer(nonce: u64, valid_until_ms: u64) -> Arc<Transaction> {
    let to = Address::from_bytes([9; 32]);
    let body = TransactionBody::Transfer { to, amount: Amount(1), memo: Default::default() };
    Arc::new(Transaction::sign(&ledger().0, &account(0), valid_until_ms, nonce, body).expect("no memo"))
}

/// A signed block of the first epoch.
pub fn block(
    author: u16,
    round: u64,
    ancestors: Vec<BlockRef>,
    payload: &Payload,
    votes: Vec<HeaderVote>,
) -> Arc<BlockHeader> {
    block_in(Epoch(1), author, round, ancestors, payload, votes)
}

fn block_in(
    epoch: Epoch,
    author: u16,
    round: u64,
    ancestors: Vec<BlockRef>,
    payload: &Payload,
    votes: Vec<HeaderVote>,
) -> Arc<BlockHeader> {
    let body = BlockBody {
        ancestors,
        timestamp: TimestampMs(1_000 + round),
        payload: payload.descriptor(),
        lane_roots: Vec::new(),
        misbehaviour: Vec::new(),
        end_of_epoch: false,
    };
    let statement = BlockHeader::statement_for(ledger().0, epoch, Round(round), AuthorityIndex(author), &body, &votes);
    let signature = key(author).sign(&statement.message());
    Arc::new(BlockHeader::new(statement, body, votes, signature))
}

/// Commits of one empty block each, from height 1 on, with their headers.
pub fn commits(count: u64) -> Vec<(CommitRecord, Vec<Arc<BlockHeader>>)> {
    let mut previous = Digest::ZERO;
    let commit = |height| {
        let header = block((height % 4) as u16, height, Vec::new(), &Payload::empty(), Vec::new());
        let leader = header.block_ref();
        let timestamp = TimestampMs(1_000 + height);
        let record = CommitRecord { height: Height(height), previous, leader, blocks: vec![leader], timestamp };
        previous = record.digest();
        (record, vec![header])
    };
    (1..=count).map(commit).collect()
}

/// A ledger header over the last of some commits, with a state that is empty.
pub fn header_over(commits: &[(CommitRecord, Vec<Arc<BlockHeader>>)]) -> LedgerHeader {
    let (chain, committee) = ledger();
    let (last, _) = commits.last().expect("some commits");
    LedgerHeader {
        version: types::header::HEADER_VERSION,
        chain,
        epoch: committee.epoch(),
        committee: committee.digest(),
        height: last.height,
        previous: Digest::ZERO,
        commit: last.digest(),
        transaction_root: Digest::ZERO,
        receipt_root: Digest::ZERO,
        state_digest: ledger::LtHash::default().digest(),
        state_root: Digest::ZERO,
        timestamp: last.timestamp,
        next_committee: None,
    }
}

/// A certificate over a header, by three of the four in its epoch.
pub fn certificate(header: &LedgerHeader) -> Certificate {
    let vote = HeaderVote { height: header.height, header: header.digest() };
    let round = 1_000_000 + header.height.0;
    let signed = |author| block_in(header.epoch, author, round, Vec::new(), &Payload::empty(), vec![vote]);
    let statement = |author| HeaderStatement::from(&*signed(author));
    Certificate { vote, statements: (0..3).map(statement).collect() }
}

/// A height that was executed, with everything that a log holds of it.
pub struct Executed {
    /// The ordering.
    pub record: CommitRecord,
    /// Its blocks with their payloads.
    pub blocks: Vec<(Arc<BlockHeader>, Payload)>,
    /// The header that execution gives.
    pub header: LedgerHeader,
}

/// Heights from 1 on, each of a block of every validator. Block 0 holds a transfer, block 1 bytes that are no transaction,
/// and all of them vote for the header of the height below.
pub fn executed(count: u64) -> Vec<Executed> {
    let chain = ledger().0;
    let state = Arc::new(ledger::MemoryState::default());
    let options = crate::node::ledger_options();
    let started = ledger::Ledger::genesis(&genesis(), std::num::NonZeroU16::MIN, state.clone(), options);
    let (mut ledger, genesis) = started.expect("a genesis");
    state.apply(&genesis.changes);
    let (mut previous, mut votes) = (Digest::ZERO, Vec::new());
    let mut next = |height: u64| {
        let payload = |author| match author {
            0 => Payload::build([transfer(height, 5_000).raw().to_vec()]),
            1 => Payload::build([vec![height as u8; 3_000]]),
            _ => Payload::empty(),
        };
        let blocks: Vec<_> = (0..4)
            .map(|author| {
                let payload = payload(author);
                (block(author, height, Vec::new(), &payload, votes.clone()), payload)
            })
            .collect();
        let references: Vec<BlockRef> = blocks.iter().map(|(header, _)| header.block_ref()).collect();
        let (leader, timestamp) = (references[(height % 4) as usize], TimestampMs(1_000 + height));
        let record = CommitRecord { height: Height(height), previous, leader, blocks: references, timestamp };
        previous = record.digest();
        let ordered = |(header, payload): &(Arc<BlockHeader>, Payload)| {
            let contents = crate::replica::contents::Contents::parse(&chain, payload);
            let block = header.block_ref();
            let each = contents.transactions().iter().cloned().enumerate();
            each.map(move |(index, transaction)| ledger::OrderedTransaction {
                transaction,
                signature_valid: true,
                block,
                index: index as u32,
            })
            .collect::<Vec<_>>()
        };
        let executed = ledger.execute(ledger::CommitInput {
            height: Height(height),
            commit: previous,
            timestamp,
            state_root: Digest::ZERO,
            last_of_epoch: false,
            transactions: blocks.iter().flat_map(ordered).collect(),
        });
        let executed = executed.expect("memory does not fail");
        state.apply(&executed.changes);
        votes = vec![HeaderVote { height: Height(height), header: executed.header_digest }];
        Executed { record, blocks, header: executed.header }
    };
    (1..=count).map(&mut next).collect()
}

/// The records of a height in the log of validator 0: own blocks as proposals, the others as they came, and the commit.
pub fn records_of(height: &Executed) -> Vec<(u8, Vec<u8>)> {
    use crate::records::{self, Commit, Proposal};
    let mut all = Vec::new();
    for (header, payload) in &height.blocks {
        if header.author() == AuthorityIndex(0) {
            let (statement, body, votes) = (*header.statement(), header.body().clone(), header.votes().to_vec());
            let proposal = Proposal { statement, body, votes }.to_part();
            all.push((records::PROPOSAL, [&*proposal, payload.raw()].concat()));
            all.push((records::SIGNED, header.raw().to_vec()));
        } else {
            all.push((records::BLOCK, [&*records::block_part(header), payload.raw()].concat()));
        }
    }
    let count = height.blocks.iter().map(|(_, payload)| payload.transactions().count()).sum();
    let verdicts = records::pack_verdicts((0..count).map(|_| true));
    all.push((records::COMMIT, Commit { record: height.record.clone(), verdicts }.to_bytes()));
    all
}

/// Writes a height to a log, in groups as they come about.
pub fn log_executed(log: &Log, height: &Executed) {
    for (kind, payload) in records_of(height) {
        log.append_quiet(kind, &[&payload]).expect("room");
    }
}

/// The state of some accounts behind a header, whose root the header 8 heights above is to carry, in a directory.
pub fn pack_to(dir: &Path, accounts: &[(Address, ledger::Account)], header: &LedgerHeader) -> StateManifest {
    let go_on = AtomicBool::new(false);
    let mut packer = Packer::new(Some(dir), &go_on);
    for (address, account) in accounts {
        packer.row(RowKind::Value, address.as_bytes(), &account.to_bytes()).expect("room");
    }
    let (manifest, written) = packer.finish(header, Height(header.height.0 + 8), Some(dir)).expect("a directory");
    assert!(written);
    manifest
}

/// The same, and its packed chunks.
pub fn packed(accounts: &[(Address, ledger::Account)], header: &LedgerHeader) -> (StateManifest, Vec<Vec<u8>>) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let manifest = pack_to(dir.path(), accounts, header);
    let pack = Pack::open(dir.path()).expect("it is whole");
    let chunks = (0..manifest.chunks.len()).map(|index| pack.packed(index).expect("a chunk")).collect();
    (manifest, chunks)
}
