//! Pinned digests. A change here is a change of the ledger's rules or encodings: old ledgers would no longer replay.

use crate::workload::{Mix, genesis, key, parameters};
use ledger::{Ledger, LedgerOptions, MemoryState};
use std::num::NonZeroU16;
use std::sync::Arc;
use types::Allocation;

#[test]
fn the_header_of_a_fixed_genesis_is_pinned() {
    let accounts = (0..3u32)
        .map(|seed| Allocation { address: key(seed).public_key().address(), balance: 10 + u64::from(seed) })
        .collect();
    let genesis = genesis(accounts, parameters());
    let state = Arc::new(MemoryState::default());
    let (ledger, start) = Ledger::genesis(&genesis, NonZeroU16::MIN, state, LedgerOptions::default()).unwrap();
    assert_eq!(start.header_digest, ledger.header_digest());
    assert_eq!(
        start.header.state_digest.to_string(),
        "sha256:43313b6e5ed04fde4c13a256499c671d1f47c272f04e926a50e1db34e36ba2a0"
    );
    assert_eq!(
        start.header_digest.to_string(),
        "sha256:042e00726f172a9ce9d5128a8e1941cb032bb0628e0525ce7eeff2b2950915cf"
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
        "sha256:78642e2b6fad8cc6c0c03b10c0639ac36cdbf0e8b3cec4733fbfcd0d7efd5ef4"
    );
}
