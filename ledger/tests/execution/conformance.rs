//! Pinned digests. A change here is a change of the ledger's rules or encodings: old ledgers would no longer replay.

use crate::workload::{Mix, genesis, key, parameters};
use ledger::{Ledger, LedgerOptions, MemoryState};
use std::num::NonZeroU16;
use std::sync::Arc;
use types::{Allocation, Amount};

#[test]
fn the_header_of_a_fixed_genesis_is_pinned() {
    let accounts = (0..3u32)
        .map(|seed| Allocation { address: key(seed).public_key().address(), balance: Amount(10 + u128::from(seed)) })
        .collect();
    let genesis = genesis(accounts, parameters());
    let state = Arc::new(MemoryState::default());
    let (ledger, start) = Ledger::genesis(&genesis, NonZeroU16::MIN, state, LedgerOptions::default()).unwrap();
    assert_eq!(start.header_digest, ledger.header_digest());
    assert_eq!(
        start.header.state_digest.to_string(),
        "sha256:5cbfe5a5dd6713031c73a80be16beb5e57f20fccba3a6ff8d27f886ade4421e5"
    );
    assert_eq!(
        start.header_digest.to_string(),
        "sha256:4d876c62ccc947719ce645c7e6bf817fe4344f1866db29fa61356c5e1774e935"
    );
}

#[test]
fn the_headers_of_a_fixed_workload_are_pinned() {
    let mix =
        Mix { seed: 2, commits: 20, size: 100, accounts: 40, hot: 4, cross: 50, odd: 50, calls: 0, live_ids_max: 300 };
    let workload = mix.build();
    let state = Arc::new(MemoryState::default());
    let (mut ledger, start) =
        Ledger::genesis(&workload.genesis, NonZeroU16::MIN, state.clone(), LedgerOptions::default()).unwrap();
    state.apply(&start.changes);
    for input in workload.commits {
        ledger.execute(input).unwrap();
    }
    assert_eq!(
        ledger.header_digest().to_string(),
        "sha256:8cbf4ff982d785889c1100ce7783767a18999fe0be8049ca6590fe1297974799"
    );
}
