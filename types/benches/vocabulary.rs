//! Nanoseconds of what a node does to every transaction and block: parse, hash, verify one signature by the reference.
//! Batch verification is `accel`'s bench.

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use types::{
    Address, AlgId, Amount, AuthorityIndex, BlockBody, BlockHeader, BlockRef, ChainId, Digest, Epoch, HeaderVote,
    Height, Payload, PayloadDescriptor, Round, SecretKey, Signature, SigningMessage, TimestampMs, Transaction,
    TransactionBody, merkle,
};

fn chain() -> ChainId {
    ChainId(Digest::sha256(b"bench"))
}

/// A signed transfer of exactly `bytes` bytes.
fn transfer(bytes: usize, nonce: u64) -> Transaction {
    let memo = vec![nonce as u8; bytes - Transaction::transfer_overhead(AlgId::Ed25519)].into();
    let body = TransactionBody::Transfer { to: Address::from_bytes([7; 32]), amount: Amount(1), memo };
    Transaction::sign(&chain(), &SecretKey::ed25519_from_seed([3; 32]), 1, nonce, body).expect("the memo is short")
}

/// A header of a committee of `validators`, each with one vote for each of `votes` heights.
fn header(validators: u16, votes: u64) -> BlockHeader {
    let digest = |number: u64| Digest::sha256(&number.to_le_bytes());
    let reference =
        |author| BlockRef { round: Round(8), author: AuthorityIndex(author), digest: digest(author.into()) };
    let body = BlockBody {
        ancestors: (0..validators).map(reference).collect(),
        timestamp: TimestampMs(1),
        payload: PayloadDescriptor::empty(),
        lane_roots: Vec::new(),
        misbehaviour: Vec::new(),
        end_of_epoch: false,
    };
    let votes: Vec<_> =
        (0..votes).map(|height| HeaderVote { height: Height(height), header: digest(height) }).collect();
    let statement = BlockHeader::statement_for(chain(), Epoch(1), Round(9), AuthorityIndex(0), &body, &votes);
    let signature = Signature::from_parts(AlgId::Ed25519, &[1; 64]).expect("64 bytes");
    BlockHeader::new(statement, body, votes, signature)
}

fn parse(criterion: &mut Criterion) {
    let chain = chain();
    let mut group = criterion.benchmark_group("parse");
    let transaction = transfer(512, 1).raw().clone();
    group.throughput(Throughput::Bytes(512));
    group.bench_function("transaction of 512 B", |bencher| {
        bencher.iter(|| Transaction::parse(&chain, black_box(&transaction).clone()))
    });
    for (validators, votes) in [(4, 2), (100, 10)] {
        let raw = header(validators, votes).raw().clone();
        group.throughput(Throughput::Bytes(raw.len() as u64));
        group.bench_function(format!("block header of {validators} ancestors and {votes} votes"), |bencher| {
            bencher.iter(|| BlockHeader::parse(&chain, black_box(&raw).clone()))
        });
    }
    let payload = Payload::build((0..2048).map(|nonce| vec![nonce as u8; 508])).raw().clone();
    group.throughput(Throughput::Bytes(payload.len() as u64));
    group.bench_function("payload of 2048 transactions and 1 MiB", |bencher| {
        bencher.iter(|| Payload::parse(black_box(&payload).clone(), 4096))
    });
    group.finish();
}

fn hash(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hash");
    let payload = Payload::build((0..2048).map(|nonce| vec![nonce as u8; 508]));
    group.throughput(Throughput::Bytes(payload.raw().len() as u64));
    group.bench_function("descriptor of 2048 transactions and 1 MiB", |bencher| {
        bencher.iter(|| black_box(&payload).descriptor())
    });
    let leaves: Vec<Digest> = (0..4096_u32).map(|leaf| merkle::leaf_hash(&leaf.to_le_bytes())).collect();
    group.throughput(Throughput::Elements(4096));
    group.bench_function("merkle root of 4096 leaf hashes", |bencher| {
        bencher.iter(|| merkle::root_of_hashes(black_box(&leaves).clone()))
    });
    group.finish();
}

fn verify(criterion: &mut Criterion) {
    let transaction = transfer(512, 1);
    let (key, message, signature) = (transaction.key(), transaction.message(), transaction.signature());
    let mut group = criterion.benchmark_group("verify");
    group.throughput(Throughput::Elements(1));
    group
        .bench_function("one Ed25519 signature", |bencher| bencher.iter(|| key.verify(black_box(&message), signature)));
    let payload: Bytes = transaction.raw().clone();
    group.bench_function("address of a key", |bencher| bencher.iter(|| black_box(key).address()));
    group.bench_function("sha256 of 512 B", |bencher| bencher.iter(|| Digest::sha256(black_box(&payload))));
    group.finish();
}

/// The reference verdict, a signature, and a key of a seed, under each algorithm.
fn algorithms(criterion: &mut Criterion) {
    for alg in AlgId::signing() {
        let key = SecretKey::from_seed(alg, [5; 32]).expect("an algorithm that signs");
        let (public, message) = (key.public_key(), SigningMessage::transaction(&Digest::sha256(b"bench")));
        let signature = key.sign(&message);
        let mut group = criterion.benchmark_group(alg.name());
        group.throughput(Throughput::Elements(1));
        group.bench_function("verify", |bencher| bencher.iter(|| public.verify(black_box(&message), &signature)));
        group.bench_function("sign", |bencher| bencher.iter(|| key.sign(black_box(&message))));
        group.bench_function("key of a seed", |bencher| bencher.iter(|| SecretKey::from_seed(alg, black_box([6; 32]))));
        group.finish();
    }
}

criterion_group!(benches, parse, hash, verify, algorithms);
criterion_main!(benches);
