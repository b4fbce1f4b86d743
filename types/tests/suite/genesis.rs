//! `genesis.toml`: what it must hold, what it must not, and what the chain id covers.

use crate::samples::Random;
use types::{
    Address, Allocation, Amount, AuthorityIndex, CommitteeError, Digest, Genesis, GenesisError, Parameters, Stake,
};

fn sample() -> Genesis {
    Random::new(1).genesis()
}

fn parse_error(text: &str) -> String {
    match Genesis::from_toml(text) {
        Err(GenesisError::Toml(error)) => error.to_string(),
        other => panic!("{other:?} for {text}"),
    }
}

#[test]
fn what_is_written_is_read_back_with_its_chain_id() {
    let mut random = Random::new(2);
    for _ in 0..50 {
        let genesis = random.genesis();
        let read = Genesis::from_toml(&genesis.to_toml()).unwrap();
        assert_eq!(read, genesis);
        assert_eq!(read.chain_id(), genesis.chain_id());
    }
}

#[test]
fn the_largest_numbers_can_be_written() {
    let mut genesis = sample();
    let address = Address::from_bytes([1; 32]);
    genesis.created_ms = u64::MAX;
    genesis.accounts = vec![Allocation { address, balance: Amount::MAX }];
    assert_eq!(genesis.check(), Ok(()));
    assert_eq!(Genesis::from_toml(&genesis.to_toml()), Ok(genesis));
}

#[test]
fn an_unknown_key_is_refused_by_name_wherever_it_stands() {
    let text = sample().to_toml();
    let top = format!("surprise = 1\n{text}");
    let parameters = text.replace("[parameters]\n", "[parameters]\nsurprise = 1\n");
    let validators = text.replacen("[[validators]]\n", "[[validators]]\nsurprise = 1\n", 1);
    let account = Address::from_bytes([1; 32]);
    let accounts = format!("{text}\n[[accounts]]\naddress = \"{account}\"\nbalance = 1\nsurprise = 1\n");
    for broken in [top, parameters, validators, accounts] {
        assert_ne!(broken, text);
        let error = parse_error(&broken);
        assert!(error.contains("unknown field `surprise`") && error.contains("line"), "{error}");
    }
}

#[test]
fn missing_keys_and_wrong_types_are_refused_with_their_line() {
    let text = sample().to_toml();
    for key in ["name", "created_ms", "signature_algorithms", "stake", "peer_address", "consensus_key"] {
        let lines = text.lines();
        let start = format!("{key} =");
        let without: Vec<&str> = lines.clone().filter(|line| !line.starts_with(&start)).collect();
        let error = parse_error(&without.join("\n"));
        assert!(error.contains(&format!("missing field `{key}`")), "{error}");
        let wrong: Vec<String> = lines
            .map(|line| if line.starts_with(&start) { format!("{key} = {{}}") } else { line.to_owned() })
            .collect();
        let error = parse_error(&wrong.join("\n"));
        assert!(error.contains("line") && error.contains(key), "{error}");
    }
    for broken in ["", "name = ", "[[", "\u{0}", "name = \"a\"\nname = \"b\""] {
        parse_error(broken);
    }
}

#[test]
fn values_of_keys_and_addresses_are_checked_as_they_are_read() {
    let genesis = sample();
    let text = genesis.to_toml();
    let key = genesis.validators[0].consensus_key.to_string();
    let socket = genesis.validators[0].peer_address.to_string();
    let account = Address::from_bytes([1; 32]).to_string();
    let with_account = format!("{text}\n[[accounts]]\naddress = \"{account}\"\nbalance = 1\n");
    for (from, to) in [
        (&key, "ed25519:00"),
        (&key, "rot13:00"),
        (&key, "sha256:0000000000000000000000000000000000000000000000000000000000000000"),
        (&socket, "localhost"),
        (&account, "stele1qqqq"),
        (&account, ""),
    ] {
        assert_ne!(with_account.replace(from.as_str(), to), with_account);
        parse_error(&with_account.replace(from.as_str(), to));
    }
    let with_balance = |balance: &str| with_account.replace("balance = 1\n", &format!("balance = {balance}\n"));
    for balance in ["-1", "1.5", "\"-1\"", "\"+1\"", "\"\"", "\"1e3\"", "\"1_000\"", &format!("\"{}0\"", u128::MAX)] {
        let error = parse_error(&with_balance(balance));
        assert!(error.contains("whole number below 2^128"), "{balance}: {error}");
    }
    for (written, balance) in [("1", 1), ("\"1\"", 1), (&format!("\"{}\"", u128::MAX / 2), u128::MAX / 2)] {
        let genesis = Genesis::from_toml(&with_balance(written)).expect("a genesis");
        let read = genesis.accounts.iter().find(|allocation| allocation.address == Address::from_bytes([1; 32]));
        assert_eq!(read.map(|allocation| allocation.balance), Some(Amount(balance)));
        assert_eq!(Genesis::from_toml(&genesis.to_toml()).as_ref(), Ok(&genesis));
    }
}

#[test]
fn every_parameter_has_its_range() {
    type Set = fn(&mut Parameters, u64);
    let ranges: [(&str, u64, u64, Set); 9] = [
        ("gc_depth_rounds", 20, 100_000, |p, value| p.gc_depth_rounds = value),
        ("schedule_interval_commits", 1, 10_000, |p, value| p.schedule_interval_commits = value),
        ("schedule_window_commits", 1, 10_000, |p, value| p.schedule_window_commits = value),
        ("block_payload_bytes_max", 1 << 10, 16 << 20, |p, value| p.block_payload_bytes_max = value as u32),
        ("block_transactions_max", 1, 1 << 16, |p, value| p.block_transactions_max = value as u32),
        ("transaction_bytes_max", 256, 64 << 10, |p, value| p.transaction_bytes_max = value as u32),
        ("validity_window_ms", 1_000, 24 * 3_600_000, |p, value| p.validity_window_ms = value),
        ("live_ids_max", 1_000, 1_000_000_000, |p, value| p.live_ids_max = value),
        ("snapshot_interval_heights", 16, 1_000_000, |p, value| p.snapshot_interval_heights = value),
    ];
    for (name, min, max, set) in ranges {
        let with = |value: u64| {
            let mut genesis = Genesis { parameters: Parameters::default(), ..sample() };
            // Small enough for the smallest block, so that only the range under test decides.
            genesis.parameters.transaction_bytes_max = 256;
            set(&mut genesis.parameters, value);
            if name == "transaction_bytes_max" {
                genesis.parameters.block_payload_bytes_max = 16 << 20;
            }
            genesis
        };
        for value in [min, max] {
            assert_eq!(with(value).check(), Ok(()), "{name} = {value}");
        }
        for value in [0, min - 1, max + 1, u64::from(u32::MAX)] {
            if (name, value) == ("snapshot_interval_heights", 0) {
                assert_eq!(with(value).check(), Ok(()), "no snapshots");
                continue;
            }
            let error = GenesisError::OutOfRange { name, value, min, max };
            assert_eq!(with(value).check(), Err(error.clone()), "{name} = {value}");
            assert_eq!(Genesis::from_toml(&with(value).to_toml()), Err(error));
        }
    }
    assert_eq!(Genesis { parameters: Parameters::default(), ..sample() }.check(), Ok(()));
}

#[test]
fn a_transaction_must_fit_a_block_with_its_length() {
    let with = |transaction, block| {
        let mut genesis = sample();
        (genesis.parameters.transaction_bytes_max, genesis.parameters.block_payload_bytes_max) = (transaction, block);
        genesis.check()
    };
    assert_eq!(with(1020, 1024), Ok(()));
    assert_eq!(with(1021, 1024), Err(GenesisError::TransactionOverBlock));
}

#[test]
fn accounts_stand_once_and_add_up() {
    let allocation = |byte, balance| Allocation { address: Address::from_bytes([byte; 32]), balance: Amount(balance) };
    let with = |accounts: Vec<Allocation>| Genesis { accounts, ..sample() }.check();
    assert_eq!(with(vec![allocation(1, 5), allocation(2, 0)]), Ok(()));
    let twice = vec![allocation(1, 5), allocation(2, 5), allocation(1, 5)];
    assert_eq!(with(twice), Err(GenesisError::RepeatedAccount(Address::from_bytes([1; 32]))));
    assert_eq!(with(vec![allocation(1, u128::MAX), allocation(2, 1)]), Err(GenesisError::SupplyOverflow));
}

#[test]
fn validators_must_be_a_committee() {
    let mut genesis = sample();
    genesis.validators.clear();
    assert_eq!(genesis.check(), Err(GenesisError::Committee(CommitteeError::Size(0))));
    genesis = sample();
    genesis.validators[0].stake = Stake(0);
    assert_eq!(genesis.check(), Err(GenesisError::Committee(CommitteeError::NoStake(AuthorityIndex(0)))));
}

#[test]
fn everything_of_a_genesis_is_in_the_chain_id() {
    let genesis = sample();
    let mut ids = vec![genesis.chain_id()];
    let mut changed = |change: &dyn Fn(&mut Genesis)| {
        let mut other = genesis.clone();
        change(&mut other);
        ids.push(other.chain_id());
    };
    changed(&|genesis| genesis.name.push('x'));
    changed(&|genesis| genesis.created_ms += 1);
    changed(&|genesis| genesis.signature_algorithms.clear());
    changed(&|genesis| genesis.parameters.gc_depth_rounds += 1);
    changed(&|genesis| genesis.parameters.schedule_interval_commits += 1);
    changed(&|genesis| genesis.parameters.schedule_window_commits += 1);
    changed(&|genesis| genesis.parameters.block_payload_bytes_max += 1);
    changed(&|genesis| genesis.parameters.block_transactions_max += 1);
    changed(&|genesis| genesis.parameters.transaction_bytes_max += 1);
    changed(&|genesis| genesis.parameters.validity_window_ms += 1);
    changed(&|genesis| genesis.parameters.live_ids_max += 1);
    changed(&|genesis| genesis.parameters.snapshot_interval_heights += 1);
    changed(&|genesis| genesis.validators[0].stake.0 += 1);
    changed(&|genesis| genesis.accounts.push(Allocation { address: Address::from_bytes([1; 32]), balance: Amount(1) }));
    changed(&|genesis| genesis.accounts.push(Allocation { address: Address::from_bytes([1; 32]), balance: Amount(2) }));
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count);
}

#[test]
fn ceremonies_are_part_of_the_identity_and_there_is_one_for_each_validator_or_none() {
    let plain = sample();
    let roots = |count: usize| (0..count).map(|n| Digest::sha256(&[n as u8])).collect::<Vec<_>>();
    let with = |ceremonies: Vec<Digest>| Genesis { ceremonies, ..sample() };
    let validators = plain.validators.len();
    let bound = with(roots(validators));
    assert_eq!(bound.check(), Ok(()));
    assert_ne!(bound.chain_id(), plain.chain_id());
    let mut other = roots(validators);
    other[0] = Digest::sha256(b"another ceremony");
    assert_ne!(with(other).chain_id(), bound.chain_id());
    assert_eq!(Genesis::from_toml(&bound.to_toml()).expect("reads back"), bound);
    assert!(!plain.to_toml().contains("ceremonies"), "a genesis without them reads as before");
    let ceremonies = validators + 1;
    assert_eq!(with(roots(ceremonies)).check(), Err(GenesisError::Ceremonies { ceremonies, validators }));
    if validators > 1 {
        let twice = vec![roots(1)[0]; validators];
        assert_eq!(with(twice.clone()).check(), Err(GenesisError::RepeatedCeremony(twice[0])));
    }
}
