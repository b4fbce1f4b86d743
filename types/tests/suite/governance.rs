//! Changes of committee and parameters as pure functions, and the chain of proofs from one epoch to the next.

use crate::samples::Random;
use types::governance::CHANGE_TRANSACTION_BYTES;
use types::{
    Anchor, Authority, AuthorityIndex, BlockBody, BlockHeader, Certificate, Change, ChangeError, CommitteeError,
    Decode, Encode, Epoch, EpochChange, EpochChangeError, EpochStart, Genesis, GenesisError, Governance,
    GovernanceError, HeaderStatement, HeaderVote, Height, LedgerHeader, Parameters, PayloadDescriptor, Reject, Round,
    SecretKey, Stake, TimestampMs, Transaction, TransactionBody,
};

fn key(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed([seed; 32])
}

fn validator(seed: u8) -> Authority {
    Authority {
        name: format!("v{seed}"),
        consensus_key: key(seed).public_key(),
        transport_key: key(seed + 100).public_key(),
        stake: Stake(1),
        peer_address: "127.0.0.1:1".parse().unwrap(),
        client_address: "127.0.0.1:2".parse().unwrap(),
        rpc_address: "127.0.0.1:3".parse().unwrap(),
    }
}

fn genesis() -> Genesis {
    Genesis { validators: (1..=4).map(validator).collect(), ..Random::new(1).genesis() }
}

fn first() -> EpochStart {
    EpochStart::first(&genesis()).unwrap()
}

fn names(start: &EpochStart, change: &Change) -> Vec<String> {
    let (committee, _) = change.apply(&start.committee, &start.parameters).unwrap();
    assert_eq!(committee.epoch(), Epoch(2));
    committee.authorities().iter().map(|authority| authority.name.clone()).collect()
}

#[test]
fn a_change_makes_the_next_committee_and_leaves_the_rest_in_its_order() {
    let start = first();
    assert_eq!(names(&start, &Change::Add { validator: validator(5) }), ["v1", "v2", "v3", "v4", "v5"]);
    assert_eq!(names(&start, &Change::Remove { name: "v2".into() }), ["v1", "v3", "v4"]);
    let (consensus_key, transport_key) = (key(50).public_key(), key(51).public_key());
    let rekey =
        Change::Rekey { name: "v3".into(), consensus_key: consensus_key.clone(), transport_key: transport_key.clone() };
    let (committee, parameters) = rekey.apply(&start.committee, &start.parameters).unwrap();
    assert_eq!(committee.authorities()[2], Authority { consensus_key, transport_key, ..validator(3) });
    assert_eq!((&committee.authorities()[..2], parameters), (&start.committee.authorities()[..2], start.parameters));
}

#[test]
fn a_change_that_makes_no_committee_is_refused_with_the_reason() {
    let start = first();
    let apply = |change: Change| change.apply(&start.committee, &start.parameters).map(|_| ()).unwrap_err();
    let update = |name: &str, stake| {
        let Authority { peer_address, client_address, rpc_address, .. } = validator(1);
        Change::Update { name: name.into(), stake: Stake(stake), peer_address, client_address, rpc_address }
    };
    let unknown = || ChangeError::UnknownValidator("nobody".into());
    let cases = [
        (Change::Remove { name: "nobody".into() }, unknown(), Reject::UnknownValidator),
        (update("nobody", 1), unknown(), Reject::UnknownValidator),
        (update("v1", 1), ChangeError::Unchanged, Reject::ChangesNothing),
        (update("v1", 0), CommitteeError::NoStake(AuthorityIndex(0)).into(), Reject::InvalidStake),
        (update("v1", 1 << 62), CommitteeError::StakeOverflow.into(), Reject::InvalidStake),
        (
            Change::Add { validator: Authority { name: "other".into(), ..validator(4) } },
            CommitteeError::Repeated(AuthorityIndex(4)).into(),
            Reject::RepeatedValidator,
        ),
        (
            Change::Add { validator: Authority { name: String::new(), ..validator(5) } },
            CommitteeError::Name(AuthorityIndex(4)).into(),
            Reject::InvalidValidator,
        ),
        (
            Change::Parameters {
                parameters: Parameters {
                    transaction_bytes_max: CHANGE_TRANSACTION_BYTES - 1,
                    ..start.parameters.clone()
                },
            },
            GenesisError::NoRoomForChanges.into(),
            Reject::InvalidParameters,
        ),
    ];
    for (change, expected, reject) in cases {
        assert_eq!(apply(change.clone()), expected, "{change:?}");
        assert_eq!(Reject::from(expected), reject);
    }
    let mut alone = start.committee.authorities()[..1].to_vec();
    let committee = types::Committee::new(Epoch(1), std::mem::take(&mut alone)).unwrap();
    let last = Change::Remove { name: "v1".into() }.apply(&committee, &start.parameters);
    assert_eq!(last.unwrap_err(), CommitteeError::Size(0).into());
}

#[test]
fn a_governance_needs_a_threshold_that_its_members_can_reach() {
    let mut random = Random::new(3);
    let members: Vec<_> = (0..3).map(|_| random.address()).collect();
    let check = |members: &[types::Address], threshold| Governance { members: members.to_vec(), threshold }.check();
    assert_eq!(check(&[], 0), Ok(()));
    assert_eq!(check(&members, 3), Ok(()));
    assert_eq!(check(&members, 0), Err(GovernanceError::Threshold { members: 3, threshold: 0 }));
    assert_eq!(check(&members, 4), Err(GovernanceError::Threshold { members: 3, threshold: 4 }));
    assert_eq!(check(&[], 1), Err(GovernanceError::Threshold { members: 0, threshold: 1 }));
    assert_eq!(check(&[members[0], members[0]], 1), Err(GovernanceError::Repeated(members[0])));
    let many: Vec<_> = (0..65).map(|_| random.address()).collect();
    assert_eq!(check(&many, 1), Err(GovernanceError::Members(65)));
}

#[test]
fn members_and_threshold_are_part_of_the_chain_id() {
    let governance = Governance { members: vec![Random::new(4).address()], threshold: 1 };
    let without = Genesis { governance: Governance::default(), ..genesis() };
    let with = Genesis { governance, ..genesis() };
    assert_ne!(with.chain_id(), without.chain_id());
    assert!(!without.to_toml().contains("governance"));
    assert_eq!(Genesis::from_toml(&with.to_toml()), Ok(with));
}

#[test]
fn the_largest_change_fits_a_transaction_of_the_smallest_limit() {
    let address = "[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let validator = Authority {
        name: "n".repeat(255),
        peer_address: address,
        client_address: address,
        rpc_address: address,
        ..validator(1)
    };
    let body = TransactionBody::Govern { epoch: Epoch(u64::MAX), change: Box::new(Change::Add { validator }) };
    let chain = Random::new(5).chain();
    let member = SecretKey::from_seed(types::AlgId::Sm2Sm3, [9; 32]).unwrap();
    let transaction = Transaction::sign(&chain, &member, 1, 1, body).unwrap();
    assert!(transaction.raw().len() <= CHANGE_TRANSACTION_BYTES as usize, "{} bytes", transaction.raw().len());
}

/// The proof of epoch 2, by the validators of these seeds.
fn change(signers: &[u8]) -> (EpochStart, EpochChange) {
    let (genesis, start) = (genesis(), first());
    let (committee, parameters) =
        Change::Remove { name: "v4".into() }.apply(&start.committee, &start.parameters).unwrap();
    let last = LedgerHeader {
        chain: genesis.chain_id(),
        epoch: Epoch(1),
        committee: start.committee.digest(),
        height: Height(7),
        next_committee: Some(EpochStart::digest_of(&committee, &parameters)),
        ..Random::new(6).ledger_header()
    };
    let vote = HeaderVote { height: last.height, header: last.digest() };
    let statement = |seed: &u8| {
        let body = BlockBody {
            ancestors: Vec::new(),
            timestamp: TimestampMs(1),
            payload: PayloadDescriptor::empty(),
            lane_roots: Vec::new(),
            misbehaviour: Vec::new(),
            end_of_epoch: true,
        };
        let author = AuthorityIndex(u16::from(*seed) - 1);
        let statement = BlockHeader::statement_for(genesis.chain_id(), Epoch(1), Round(9), author, &body, &[vote]);
        let signature = key(*seed).sign(&statement.message());
        HeaderStatement::from(&BlockHeader::new(statement, body, vec![vote], signature))
    };
    let certificate = Certificate { vote, statements: signers.iter().map(statement).collect() };
    let next = EpochStart { committee, parameters, anchor: Anchor::of(&last) };
    (start, EpochChange { start: next, last, certificate })
}

#[test]
fn an_epoch_is_believed_with_a_certificate_of_the_one_before() {
    let chain = genesis().chain_id();
    let (start, good) = change(&[1, 2, 3]);
    assert_eq!(good.verify(chain, &start), Ok(()));
    assert_eq!(EpochChange::from_bytes(&good.to_bytes()).as_ref(), Ok(&good));
    let (_, few) = change(&[1, 2]);
    assert!(matches!(few.verify(chain, &start), Err(EpochChangeError::Certificate(_))));

    let mut other_committee = good.clone();
    other_committee.start.committee = types::Committee::new(Epoch(2), (1..=2).map(validator).collect()).unwrap();
    assert_eq!(other_committee.verify(chain, &start), Err(EpochChangeError::NotNamed));
    let mut other_parameters = good.clone();
    other_parameters.start.parameters.gc_depth_rounds += 1;
    assert_eq!(other_parameters.verify(chain, &start), Err(EpochChangeError::NotNamed));
    let mut no_end = good.clone();
    no_end.last.next_committee = None;
    assert_eq!(no_end.verify(chain, &start), Err(EpochChangeError::NotNamed));
    let mut elsewhere = good.clone();
    elsewhere.start.anchor.height = Height(8);
    assert_eq!(elsewhere.verify(chain, &start), Err(EpochChangeError::Anchor));
    let mut changed = good.clone();
    changed.last.state_root = changed.last.commit;
    changed.start.anchor = Anchor::of(&changed.last);
    assert_eq!(changed.verify(chain, &start), Err(EpochChangeError::OtherHeader));
    let skipped = good.verify(chain, &good.start);
    assert_eq!(skipped, Err(EpochChangeError::Order { before: Epoch(2), found: Epoch(2) }));
    let other_chain = Random::new(8).chain();
    assert_eq!(good.verify(other_chain, &start), Err(EpochChangeError::OtherEpoch));
}
