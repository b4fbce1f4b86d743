//! Orders to scripted peers, with the clock cranked by hand.

use super::*;

fn peers(indices: &[u16]) -> BTreeSet<AuthorityIndex> {
    indices.iter().map(|index| AuthorityIndex(*index)).collect()
}

/// At height 0, with `target` heights to fetch.
fn behind(target: u64) -> Ranges<u64> {
    let mut ranges = Ranges::new(Height(0));
    ranges.advance(Height(0), Height(0), Height(target));
    ranges
}

fn orders(ranges: &mut Ranges<u64>, now_ms: u64, linked: &[u16]) -> Vec<Order> {
    std::iter::from_fn(|| ranges.next(now_ms, &peers(linked))).collect()
}

fn whole(order: Order) -> Outcome<u64> {
    Outcome::Commits { last: order.to, commits: order.from.0 }
}

#[test]
fn ranges_are_spread_over_all_peers_and_bounded() {
    let mut ranges = behind(100_000);
    let asked = orders(&mut ranges, 0, &[0, 1, 2]);
    assert_eq!(asked.len(), 3 * PER_PEER_MAX);
    for (position, order) in asked.iter().enumerate() {
        assert_eq!(order.from.0, position as u64 * RANGE_HEIGHTS + 1, "from the lowest upward, without gaps");
    }
    for peer in 0..3 {
        assert_eq!(asked.iter().filter(|order| order.peer == AuthorityIndex(peer)).count(), PER_PEER_MAX);
    }
    assert_eq!(orders(&mut behind(100_000), 0, &[0, 1, 2, 3, 4, 5, 6, 7, 8]).len(), RANGES_MAX);
}

#[test]
fn answers_are_handed_on_in_order_and_wait_for_execution() {
    let mut ranges = behind(100_000);
    let mut handed = Vec::new();
    for turn in 0..4 {
        let mut asked = orders(&mut ranges, turn, &[0, 1, 2, 3]);
        asked.reverse();
        asked.into_iter().for_each(|order| ranges.ended(turn, order, whole(order)));
        handed.extend(std::iter::from_fn(|| ranges.ready()));
    }
    let expected: Vec<_> = (0..RANGES_MAX as u64).map(|range| range * RANGE_HEIGHTS + 1).collect();
    assert_eq!(handed, expected, "nothing is executed, so no more is asked for");
    ranges.advance(Height(0), Height(RANGE_HEIGHTS), Height(100_000));
    assert_eq!(orders(&mut ranges, 9, &[0, 1, 2, 3]).len(), 1);
}

#[test]
fn the_range_that_everything_waits_for_is_asked_again_at_once_of_another() {
    let mut ranges = behind(100_000);
    let asked = orders(&mut ranges, 0, &[0, 1, 2, 3]);
    let (first, others) = asked.split_first().expect("there is something to ask");
    others.iter().for_each(|order| ranges.ended(1, *order, whole(*order)));
    ranges.ended(1, *first, Outcome::Failed);
    let again = ranges.next(1, &peers(&[0, 1, 2, 3])).expect("room for the first is always there");
    assert_eq!((again.from, again.to), (first.from, first.to));
    assert_ne!(again.peer, first.peer);
}

#[test]
fn an_answer_that_ends_early_leaves_the_rest_to_be_asked_for() {
    let mut ranges = behind(100);
    let order = ranges.next(0, &peers(&[0])).expect("an order");
    ranges.ended(1, order, Outcome::Commits { last: Height(10), commits: 1 });
    let rest = ranges.next(1, &peers(&[0])).expect("the rest");
    assert_eq!((rest.from, rest.to), (Height(11), Height(10 + RANGE_HEIGHTS)));
    assert_eq!(ranges.ready(), Some(1));
}

#[test]
fn a_peer_that_fails_is_left_alone_for_longer_each_time_and_a_liar_for_long() {
    let mut ranges = behind(100_000);
    let only = peers(&[7]);
    let order = ranges.next(0, &only).expect("an order");
    ranges.ended(0, order, Outcome::Failed);
    assert_eq!(ranges.next(FAILED_PAUSE_MS.0 - 1, &only), None);
    let order = ranges.next(FAILED_PAUSE_MS.0, &only).expect("after the pause");
    ranges.ended(FAILED_PAUSE_MS.0, order, Outcome::Failed);
    assert_eq!(ranges.next(2 * FAILED_PAUSE_MS.0, &only), None);
    let order = ranges.next(3 * FAILED_PAUSE_MS.0, &only).expect("after twice the pause");
    ranges.ended(10_000, order, Outcome::Lied);
    assert_eq!(ranges.next(10_000 + BANISHED_MS - 1, &only), None);
    assert!(ranges.next(10_000 + BANISHED_MS, &only).is_some());
}

#[test]
fn beyond_the_target_one_range_is_asked_for_to_find_out() {
    let mut ranges = behind(0);
    assert_eq!(orders(&mut ranges, 0, &[0, 1, 2]).len(), 1);
}

#[test]
fn heights_that_came_another_way_are_not_handed_on() {
    let mut ranges = behind(1000);
    let order = ranges.next(0, &peers(&[0])).expect("an order");
    ranges.advance(order.to, Height(0), Height(1000));
    ranges.ended(1, order, whole(order));
    assert_eq!(ranges.ready(), None);
    assert_eq!(ranges.next(1, &peers(&[0])).expect("an order").from, order.to.next());
}

#[test]
fn peers_that_gave_up_what_is_needed_are_not_asked_and_all_of_them_together_say_so() {
    let mut ranges = behind(1000);
    let linked = peers(&[0, 1]);
    assert_eq!(ranges.too_old(0, &linked), None);
    let pruned = |oldest| Outcome::Nothing { oldest: Height(oldest), certified: Height(1000) };
    for (peer, oldest) in [(0, 500), (1, 400)] {
        assert_eq!(ranges.too_old(0, &linked), None, "not all have answered");
        let order = ranges.next(1000 * peer, &linked).expect("an order");
        ranges.ended(1000 * peer, order, pruned(oldest));
    }
    assert_eq!(ranges.too_old(2000, &linked), Some(Height(400)));
    assert_eq!(ranges.next(60_000, &linked), None);
    ranges.advance(Height(450), Height(450), Height(1000));
    assert_eq!(ranges.too_old(60_000, &linked), None, "one of them serves the next height");
}

#[test]
fn what_peers_said_holds_when_they_fail_afterwards() {
    let mut ranges = behind(1000);
    let linked = peers(&[0, 1]);
    let asked = orders(&mut ranges, 0, &[0, 1]);
    assert_eq!(asked.len(), 4);
    let pruned = || Outcome::Nothing { oldest: Height(100), certified: Height(1000) };
    // The first heights are gone; later ones are still there, and wait in vain for what comes before them.
    ranges.ended(0, asked[0], pruned());
    ranges.ended(0, asked[1], pruned());
    ranges.ended(0, asked[2], Outcome::Failed);
    ranges.ended(0, asked[3], Outcome::Failed);
    let later = orders(&mut ranges, 60_000, &[0, 1]);
    later.into_iter().for_each(|order| ranges.ended(60_000, order, whole(order)));
    assert_eq!(ranges.too_old(60_000, &linked), Some(Height(100)));
}

#[test]
fn who_has_nothing_so_new_is_not_taken_for_one_who_gave_up_what_is_old() {
    let mut ranges = behind(RANGE_HEIGHTS + 1);
    let linked = peers(&[0, 1]);
    let asked = orders(&mut ranges, 0, &[0, 1]);
    let (first, newest) = (asked[0], asked[1]);
    assert_eq!((first.from, newest.from), (Height(1), Height(RANGE_HEIGHTS + 1)));
    // The newest height has no certificate yet, and both say so before the first range is here.
    let uncertified = || Outcome::Nothing { oldest: newest.from, certified: Height(RANGE_HEIGHTS) };
    ranges.ended(0, newest, uncertified());
    let again = ranges.next(0, &linked).expect("the other is asked");
    assert_eq!((again.from, again.peer != newest.peer), (newest.from, true));
    ranges.ended(0, again, uncertified());
    assert_eq!(ranges.too_old(0, &linked), None);
    // Nor are they passed over when the first range has to be asked for again.
    ranges.ended(0, first, Outcome::Failed);
    let order = ranges.next(EMPTY_PAUSE_MS, &linked).expect("somebody is asked");
    assert_eq!(order.from, Height(1));
    ranges.ended(1, order, whole(order));
    assert_eq!(ranges.ready(), Some(1));
}
