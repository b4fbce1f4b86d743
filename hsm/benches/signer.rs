//! A round signature: in the guard alone, and through the socket of a signer process with each key store.
//! After each store its own figures are printed: the signer's p50 and p99, and the guard's part of them.

#[path = "../tests/signer/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use criterion::{Criterion, criterion_group, criterion_main};
use fixture::Validator;
use hsm::guard::{Guard, Identity};
use types::{Digest, HeaderVote, Height};

fn votes(round: u64) -> [HeaderVote; 1] {
    [HeaderVote { height: Height(round), header: Digest::sha256(&round.to_le_bytes()) }]
}

fn guard_alone(criterion: &mut Criterion) {
    let validator = Validator::with_keystore();
    let config = &validator.config;
    let identity = Identity { chain: config.chain, author: config.author, key: validator.keys.consensus.clone() };
    let mut guard = Guard::open(&config.guard, &identity, &config.fence).expect("new guard");
    let mut round = 0;
    criterion.bench_function("guard approves a round", |bencher| {
        bencher.iter(|| {
            round += 1;
            let votes = votes(round);
            guard.approve(&validator.statement(round, 1, &votes), &votes).expect("a new round")
        });
    });
}

fn through_the_socket(criterion: &mut Criterion) {
    for (name, validator) in [("keystore", Validator::with_keystore()), ("softhsm", Validator::with_softhsm())] {
        let (_child, client) = validator.start();
        let mut round = 0;
        criterion.bench_function(&format!("{name} signs a round"), |bencher| {
            bencher.iter(|| {
                round += 1;
                let votes = votes(round);
                client.sign_round(&validator.statement(round, 1, &votes), &votes).expect("a new round")
            });
        });
        let stats = client.stats().expect("figures");
        println!("{name}: {stats:?}");
    }
}

criterion_group!(benches, guard_alone, through_the_socket);
criterion_main!(benches);
