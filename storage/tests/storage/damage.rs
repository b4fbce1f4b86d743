//! Rot, torn tails and stale bytes: what is cut, what is refused.

use storage::log::LogError;
use storage::log::format::{GROUP_HEADER, PAGE};
use storage::log::scan::scan;
use storage::sim::SimRng;

use crate::crash::{Harness, IDENTITY};

/// `count` records, each durable before the next is appended.
pub fn one_by_one(seed: u64, count: u8) -> Harness {
    let mut node = Harness::new(seed);
    for index in 0..count {
        node.make_segment();
        node.append(index, vec![index; 700 * usize::from(index % 9)]).unwrap();
        node.drain();
    }
    node
}

fn read(node: &Harness) -> Result<usize, LogError> {
    let mut count = 0;
    scan(&node.disk, &IDENTITY, None, &mut |_| {
        count += 1;
        Ok(())
    })?;
    Ok(count)
}

#[test]
fn a_flipped_bit_in_proven_groups_is_corruption_and_cuts_nothing() {
    let mut rng = SimRng::new(3);
    for round in 0..300 {
        let node = one_by_one(round, 40);
        // All but the last group are proven durable by a later header.
        let index = usize::try_from(rng.below(39)).unwrap();
        let record = &node.history[index];
        let start = record.position.offset as usize - GROUP_HEADER;
        let length = GROUP_HEADER + 12 + record.payload.len();
        let offset = start + usize::try_from(rng.below(length as u64)).unwrap();
        node.disk.flip(record.position.segment, offset, u8::try_from(rng.below(8)).unwrap());
        match read(&node) {
            Err(LogError::Corrupt { segment, offset }) => {
                assert_eq!(segment, record.position.segment);
                assert_eq!(offset as usize, start);
            }
            other => panic!("round {round}: {other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_in_the_last_unproven_group_is_a_torn_tail() {
    let node = one_by_one(1, 20);
    let last = node.history.last().unwrap();
    node.disk.flip(last.position.segment, last.position.offset as usize + 3, 1);
    assert_eq!(read(&node).unwrap(), 19);
}

#[test]
fn rot_in_the_last_group_is_seen_after_a_clean_end() {
    let mut node = one_by_one(1, 20);
    assert!(node.writer.mark_durable());
    node.drain();
    assert!(!node.writer.mark_durable(), "one marker is enough");
    assert_eq!(read(&node).unwrap(), 20);
    let last = node.history.last().unwrap();
    node.disk.flip(last.position.segment, last.position.offset as usize + 3, 1);
    assert!(matches!(read(&node), Err(LogError::Corrupt { .. })));
}

#[test]
fn padding_is_not_data() {
    let node = one_by_one(1, 3);
    node.disk.flip(0, 2 * PAGE - 1, 0);
    assert_eq!(read(&node).unwrap(), 3);
}

#[test]
fn a_damaged_segment_header_is_corruption() {
    let node = one_by_one(1, 3);
    node.disk.flip(0, 20, 0);
    assert!(matches!(read(&node), Err(LogError::Corrupt { segment: 0, offset: 0 })));
}

#[test]
fn the_log_of_another_node_is_refused() {
    let node = one_by_one(1, 3);
    let error = scan(&node.disk, &[8; 32], None, &mut |_| Ok(())).unwrap_err();
    assert!(matches!(error, LogError::OtherIdentity { segment: 0, found: IDENTITY, .. }));
}

#[test]
fn a_missing_segment_is_named() {
    use storage::log::io::LogDisk;
    let node = one_by_one(1, 100);
    node.disk.remove(1).unwrap();
    assert!(matches!(read(&node), Err(LogError::MissingSegment { segment: 1 })));
}

#[test]
fn the_scan_can_start_at_any_segment() {
    let node = one_by_one(1, 120);
    let newest = node.history.last().unwrap().position.segment;
    assert!(newest > 2);
    for from in 0..newest + 3 {
        let mut found = Vec::new();
        let result = scan(&node.disk, &IDENTITY, Some(from), &mut |record| {
            found.push(record);
            Ok(())
        });
        let tail = result.unwrap().unwrap().tail;
        let expected: Vec<_> = node.history.iter().filter(|r| r.position.segment >= from).cloned().collect();
        // Past the end the newest segment is taken, which is a spare here.
        assert_eq!(found, expected, "from {from}");
        assert_eq!(tail.sequence, 120);
    }
}

#[test]
fn a_visitor_can_refuse() {
    let node = one_by_one(1, 3);
    let error = scan(&node.disk, &IDENTITY, None, &mut |_| Err("no".into())).unwrap_err();
    assert!(matches!(error, LogError::Visitor { .. }));
}

#[test]
fn a_whole_group_that_came_after_another_one_is_corruption() {
    // The same node, another turn: the fifth record differs, so that what follows it has another history.
    let node = one_by_one(1, 20);
    let mut other = Harness::new(1);
    for record in &node.history {
        other.make_segment();
        let byte = if record.kind == 4 { 77 } else { record.kind };
        other.append(record.kind, vec![byte; record.payload.len()]).unwrap();
        other.drain();
    }
    let place = |index: usize| node.history[index].position.offset as usize - GROUP_HEADER;
    let mut bytes = node.disk.contents(0).unwrap();
    bytes[place(7)..place(8)].copy_from_slice(&other.disk.contents(0).unwrap()[place(7)..place(8)]);
    node.disk.overwrite(0, bytes);
    match read(&node) {
        Err(LogError::Corrupt { segment: 0, offset }) => assert_eq!(offset as usize, place(7)),
        other => panic!("{other:?}"),
    }
}
