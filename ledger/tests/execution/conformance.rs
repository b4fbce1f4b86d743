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
        "sha256:9b4cd33cf4b7bc74cc6c9840a931c39049bea5b8dc5bbe86022b82b763600dc3"
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
        "sha256:bf2fca47c3a7e248628bf8e7b7d2ba2cf2955c1ad4a22a3d33870ff76dbcaf7f"
    );
}
