//! Thresholds of committees, and what is no committee.

use crate::samples::Random;
use types::committee::COMMITTEE_MAX;
use types::{Authority, AuthorityIndex, Committee, CommitteeError, Epoch, Stake};

fn committee(stakes: &[u64]) -> Committee {
    Committee::new(Epoch(1), with_stakes(stakes)).unwrap()
}

fn with_stakes(stakes: &[u64]) -> Vec<Authority> {
    let mut authorities = Random::new(1).authorities(stakes.len());
    for (authority, stake) in authorities.iter_mut().zip(stakes) {
        authority.stake = Stake(*stake);
    }
    authorities
}

#[test]
fn two_quorums_share_more_than_may_be_faulty() {
    // Thresholds depend on the total alone, so one validator with all the stake stands for every split of it.
    for total in (1..=100).chain([1 << 20, (1 << 62) - 1, 1 << 62]) {
        let committee = committee(&[total]);
        let (n, f, q) = (committee.total_stake().0, committee.faulty_max().0, committee.quorum().0);
        assert_eq!(n, total);
        assert!(3 * u128::from(f) < u128::from(n) && 3 * (u128::from(f) + 1) >= u128::from(n), "f is largest at {n}");
        assert!(2 * q - n > f, "two quorums of {n} share an honest validator");
        assert!(n - f >= q, "the honest ones alone reach the quorum of {n}");
        assert_eq!(committee.validity(), Stake(f + 1));
        assert!(committee.validity().0 <= q);
    }
}

#[test]
fn equal_stakes_give_the_textbook_thresholds() {
    for (size, faulty, quorum) in
        [(1, 0, 1), (3, 0, 3), (4, 1, 3), (5, 1, 4), (6, 1, 5), (7, 2, 5), (10, 3, 7), (100, 33, 67)]
    {
        let committee = committee(&vec![1; size]);
        assert_eq!((committee.faulty_max(), committee.quorum()), (Stake(faulty), Stake(quorum)), "{size} validators");
        let members: Vec<AuthorityIndex> = committee.indices().collect();
        let quorum = quorum as usize;
        assert!(committee.is_quorum(members[..quorum].iter().copied()));
        assert!(!committee.is_quorum(members[..quorum - 1].iter().copied()));
    }
}

#[test]
fn random_quorums_of_random_stakes_intersect_beyond_f() {
    let mut random = Random::new(2);
    let mut quorums = 0;
    for _ in 0..2000 {
        let stakes: Vec<u64> = (0..1 + random.below(8)).map(|_| 1 + random.below(50) as u64).collect();
        let committee = committee(&stakes);
        let mut subset = || -> Vec<AuthorityIndex> { committee.indices().filter(|_| random.below(5) > 0).collect() };
        let (a, b) = (subset(), subset());
        if committee.is_quorum(a.iter().copied()) && committee.is_quorum(b.iter().copied()) {
            let shared: u64 =
                a.iter().filter(|member| b.contains(member)).map(|member| committee.stake(*member).0).sum();
            assert!(shared > committee.faulty_max().0, "{stakes:?}: {a:?} and {b:?}");
            quorums += 1;
        }
    }
    assert!(quorums > 300, "{quorums} pairs of quorums");
}

#[test]
fn strangers_weigh_nothing() {
    let committee = committee(&[5, 6]);
    assert_eq!(committee.stake(AuthorityIndex(1)), Stake(6));
    assert_eq!(committee.stake(AuthorityIndex(2)), Stake(0));
    assert!(committee.authority(AuthorityIndex(u16::MAX)).is_none());
    assert!(!committee.is_quorum([AuthorityIndex(7)]));
}

#[test]
fn sizes_and_stakes_have_limits() {
    let new = |stakes: &[u64]| Committee::new(Epoch(1), with_stakes(stakes)).map(|committee| committee.size());
    assert_eq!(new(&[]), Err(CommitteeError::Size(0)));
    assert_eq!(new(&[1; COMMITTEE_MAX]), Ok(COMMITTEE_MAX));
    assert_eq!(new(&[1; COMMITTEE_MAX + 1]), Err(CommitteeError::Size(COMMITTEE_MAX + 1)));
    assert_eq!(new(&[1, 0, 1]), Err(CommitteeError::NoStake(AuthorityIndex(1))));
    assert_eq!(new(&[1 << 61, 1 << 61]), Ok(2));
    assert_eq!(new(&[1 << 61, (1 << 61) + 1]), Err(CommitteeError::StakeOverflow));
    assert_eq!(new(&[u64::MAX, u64::MAX]), Err(CommitteeError::StakeOverflow));
}

#[test]
fn names_and_keys_stand_once() {
    let honest = Random::new(3).authorities(4);
    let breaks: [fn(&mut Vec<Authority>); 5] = [
        |list| list[2].name = list[0].name.clone(),
        |list| list[2].consensus_key = list[0].consensus_key.clone(),
        |list| list[2].transport_key = list[0].transport_key.clone(),
        |list| list[2].transport_key = list[1].consensus_key.clone(),
        |list| list[2].transport_key = list[2].consensus_key.clone(),
    ];
    for (index, broken) in breaks.into_iter().enumerate() {
        let mut list = honest.clone();
        broken(&mut list);
        let error = CommitteeError::Repeated(AuthorityIndex(2));
        assert_eq!(Committee::new(Epoch(1), list).unwrap_err(), error, "break {index}");
    }
}

#[test]
fn everything_of_a_committee_is_in_its_digest() {
    let honest = Random::new(4).authorities(3);
    let other = Random::new(5).authority("other".to_owned());
    let mut digests = vec![
        Committee::new(Epoch(1), honest.clone()).unwrap().digest(),
        Committee::new(Epoch(2), honest.clone()).unwrap().digest(),
    ];
    let mut changed = |change: &dyn Fn(&mut Vec<Authority>)| {
        let mut list = honest.clone();
        change(&mut list);
        digests.push(Committee::new(Epoch(1), list).unwrap().digest());
    };
    changed(&|list| list.swap(0, 1));
    changed(&|list| drop(list.pop()));
    changed(&|list| list[1].name = other.name.clone());
    changed(&|list| list[1].consensus_key = other.consensus_key.clone());
    changed(&|list| list[1].transport_key = other.transport_key.clone());
    changed(&|list| list[1].stake = other.stake);
    changed(&|list| list[1].peer_address = other.peer_address);
    changed(&|list| list[1].client_address = other.client_address);
    changed(&|list| list[1].rpc_address = other.rpc_address);
    let count = digests.len();
    digests.sort();
    digests.dedup();
    assert_eq!(digests.len(), count);
}
