//! Commits below a certified height, as peers give them.

use super::*;
use crate::fixtures::{block, commits, genesis, header_over, ledger};
use crate::wire::state::history_response;
use types::Payload;

fn checker() -> Checker {
    let (chain, committee) = ledger();
    Checker::new(chain, committee, genesis().parameters)
}

fn answer(commits: &[Commit]) -> Vec<CommitWithHeaders> {
    let raw = |header: &Arc<BlockHeader>| header.raw().clone();
    let with_headers = |(record, headers): &Commit| CommitWithHeaders {
        record: record.clone(),
        headers: headers.iter().map(raw).collect(),
    };
    commits.iter().rev().map(with_headers).collect()
}

fn below(commits: &[Commit]) -> History {
    History::below(&header_over(commits), &checker().parameters, Height(1))
}

fn refused(commits: &[Commit], forge: impl FnOnce(&mut Vec<CommitWithHeaders>)) -> Option<Refused> {
    let mut answer = answer(commits);
    forge(&mut answer);
    below(commits).take(&checker(), &history_response(&answer)).err()
}

#[test]
fn commits_are_taken_downward_in_parts_until_they_reach_far_enough() {
    let all = commits(500);
    let mut history = below(&all);
    let mut parts = 0;
    while let Some((top, bottom)) = history.wanted() {
        let part = answer(&all[bottom.0 as usize - 1..top.0 as usize]);
        history.take(&checker(), &history_response(&part[..part.len().min(200)])).expect("an honest answer");
        parts += 1;
    }
    assert!(parts > 1);
    let taken = history.into_commits();
    let lowest = &taken[0].0;
    assert!(lowest.height <= Checkpoint::rebuilt_from(&checker().parameters, Height(1), Height(500)));
    assert!(lowest.leader.round.0 <= all[499].0.leader.round.0 - checker().parameters.gc_depth_rounds + 1);
    assert!(lowest.height > Height(1), "no more than that is fetched");
    assert_eq!(taken.last(), all.last());
}

#[test]
fn a_young_ledger_is_taken_down_to_its_first_commit() {
    let all = commits(5);
    let mut history = below(&all);
    assert_eq!(history.wanted(), Some((Height(5), Height(1))));
    history.take(&checker(), &history_response(&answer(&all))).expect("an honest answer");
    assert_eq!(history.wanted(), None);
    assert_eq!(history.into_commits(), all);
}

#[test]
fn nothing_that_the_certified_header_does_not_reach_is_taken() {
    let all = commits(5);
    assert_eq!(refused(&all, |_| ()), None);
    assert_eq!(refused(&all, Vec::clear), Some("history_without_commits"));
    assert_eq!(refused(&all, |answer| drop(answer.remove(0))), Some("broken_history_chain"));
    assert_eq!(refused(&all, |answer| drop(answer.remove(2))), Some("broken_history_chain"));
    assert_eq!(refused(&all, |answer| answer[3].record.timestamp.0 += 1), Some("broken_history_chain"));
    let another = block(1, 2, Vec::new(), &Payload::empty(), Vec::new());
    assert_eq!(refused(&all, |answer| answer[1].headers[0] = another.raw().clone()), Some("block_not_of_its_commit"));
    let short = |answer: &mut Vec<CommitWithHeaders>| answer[1].headers.clear();
    assert_eq!(refused(&all, short), Some("history_without_headers"));
    assert_eq!(below(&all).take(&checker(), &Bytes::from_static(b"?")).err(), Some("undecodable_history"));
}

#[test]
fn all_commits_at_once_are_those_that_are_needed_and_no_others() {
    let all = commits(20);
    let whole = |commits: &[Commit]| History::whole(&header_over(&all), Height(1), &checker(), answer(commits));
    assert_eq!(whole(&all).as_deref(), Ok(&all[..]));
    assert_eq!(whole(&all[1..]).err(), Some("history_too_short"));
    assert_eq!(whole(&[]).err(), Some("history_too_short"));
    let above = History::whole(&header_over(&all[..10]), Height(11), &checker(), answer(&all[..10]));
    assert_eq!(above.err(), Some("history_too_long"));
}
