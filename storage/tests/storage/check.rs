//! The check of a whole log: everything that is not what was written is named, with its place, and nothing else is.

use storage::log::LogError;
use storage::log::check::{Checked, Damage, DamageKind, Seen, check, identity};
use storage::log::format::{GROUP_HEADER, PAGE, RECORD_HEADER, SegmentHeader, page_up};
use storage::log::io::{LogDisk, SegmentReader};
use storage::log::scan::scan;
use storage::sim::{SimDisk, SimRng};

use crate::crash::{Harness, IDENTITY, SEGMENT_BYTES, run};
use crate::damage::one_by_one;

fn examine(disk: &SimDisk) -> (Checked, Vec<Damage>) {
    let mut found = Vec::new();
    let checked = check(disk, &IDENTITY, &mut |seen| {
        if let Seen::Damage(damage) = seen {
            found.push(damage);
        }
        Ok(())
    });
    let checked = checked.unwrap();
    assert_eq!(checked.damaged, found.len() as u64);
    (checked, found)
}

fn damage(disk: &SimDisk) -> Vec<(u64, u64, DamageKind)> {
    examine(disk).1.into_iter().map(|damage| (damage.segment, damage.offset, damage.kind)).collect()
}

/// 120 records over several segments, all durable and known to be.
fn whole() -> Harness {
    let node = one_by_one(1, 120);
    assert!(node.history.last().unwrap().position.segment > 2);
    node
}

#[test]
fn a_log_after_any_power_cuts_is_whole_and_is_what_a_start_reads() {
    let mut cut = 0;
    for seed in 0..40 {
        let steps: Vec<u64> = (0..6).map(|index| 20 + (seed * 7 + index * 13) % 150).collect();
        let node = run(seed, &steps, false).unwrap();
        // Once more, and as the cut left it.
        let disk = {
            let mut node = node;
            (0..seed * 3).for_each(|_| node.step());
            node.disk.crash()
        };
        let (checked, found) = examine(&disk);
        assert_eq!(found, [], "seed {seed}");
        let scanned = scan(&disk, &IDENTITY, None, &mut |_| Ok(())).unwrap().unwrap();
        assert_eq!(checked.records, scanned.records, "seed {seed}");
        assert_eq!((checked.end.segment, checked.end.offset), (scanned.tail.segment, scanned.tail.offset));
        cut += u64::from(scanned.cut);
    }
    assert!(cut > 3, "some cuts left groups behind the end: {cut}");
}

#[test]
fn a_flipped_bit_anywhere_in_a_group_is_named_and_everything_else_is_read() {
    let mut rng = SimRng::new(8);
    for round in 0..300 {
        let node = one_by_one(round, 40);
        let index = usize::try_from(rng.below(39)).unwrap();
        let record = &node.history[index];
        let place = record.position.offset as usize;
        let length = GROUP_HEADER + RECORD_HEADER + record.payload.len();
        let at = usize::try_from(rng.below(length as u64)).unwrap();
        node.disk.flip(record.position.segment, place - GROUP_HEADER + at, u8::try_from(rng.below(8)).unwrap());
        let (checked, found) = examine(&node.disk);
        assert_eq!((checked.records, found.len()), (39, 1), "round {round}");
        assert_eq!(found[0].segment, record.position.segment);
        let expected = if at < GROUP_HEADER {
            (place - GROUP_HEADER, DamageKind::GroupHeader)
        } else {
            (place, DamageKind::Record)
        };
        assert_eq!((found[0].offset, found[0].kind), (expected.0 as u64, expected.1), "round {round}, byte {at}");
    }
}

#[test]
fn every_damaged_group_is_named() {
    let node = whole();
    let hit: Vec<_> = node.history.iter().step_by(7).take(16).collect();
    for record in &hit {
        node.disk.flip(record.position.segment, record.position.offset as usize + 9, 2);
    }
    let expected: Vec<_> =
        hit.iter().map(|r| (r.position.segment, u64::from(r.position.offset), DamageKind::Record)).collect();
    assert_eq!(damage(&node.disk), expected);
    assert_eq!(examine(&node.disk).0.records, 120 - 16);
}

#[test]
fn a_damaged_segment_header_hides_no_group() {
    for at in 0..64 {
        let node = whole();
        node.disk.flip(1, at, 3);
        let (checked, found) = examine(&node.disk);
        assert_eq!(checked.records, 120);
        assert_eq!(found, [Damage { segment: 1, offset: 0, kind: DamageKind::SegmentHeader }], "byte {at}");
    }
}

#[test]
fn what_holds_no_data_is_no_damage() {
    let node = whole();
    node.disk.flip(0, 100, 1);
    let padding = node
        .history
        .iter()
        .find(|r| !(r.position.offset as usize + RECORD_HEADER + r.payload.len()).is_multiple_of(PAGE))
        .unwrap();
    let end = padding.position.offset as usize + RECORD_HEADER + padding.payload.len();
    node.disk.flip(padding.position.segment, page_up(end) - 1, 1);
    assert_eq!(damage(&node.disk), []);
}

#[test]
fn a_missing_segment_is_named_and_the_rest_is_read() {
    let node = whole();
    let lost = node.history.iter().filter(|record| record.position.segment == 1).count();
    node.disk.remove(1).unwrap();
    let (checked, found) = examine(&node.disk);
    assert_eq!(found, [Damage { segment: 1, offset: 0, kind: DamageKind::MissingSegment }]);
    assert_eq!(checked.records, 120 - lost as u64);
}

#[test]
fn swapped_segments_are_named() {
    let node = whole();
    let (one, two) = (node.disk.contents(1).unwrap(), node.disk.contents(2).unwrap());
    node.disk.overwrite(1, two);
    node.disk.overwrite(2, one);
    let expected = [(1, 0, DamageKind::SwappedSegment(2)), (2, 0, DamageKind::SwappedSegment(1))];
    assert_eq!(damage(&node.disk), expected);
}

#[test]
fn a_truncated_segment_is_named_with_what_it_lost() {
    let node = whole();
    let half = SEGMENT_BYTES / 2;
    let mut bytes = node.disk.contents(1).unwrap();
    bytes.truncate(usize::try_from(half).unwrap());
    node.disk.overwrite(1, bytes);
    let (checked, found) = examine(&node.disk);
    assert_eq!(found[0], Damage { segment: 1, offset: half, kind: DamageKind::SegmentLength });
    // At most the group that was cut through is named besides.
    assert!(found[1..].iter().all(|damage| damage.segment == 1 && damage.offset < half), "{found:?}");
    let kept = |record: &&storage::log::Record| {
        let end = record.position.offset as usize + RECORD_HEADER + record.payload.len();
        record.position.segment != 1 || end as u64 <= half
    };
    assert_eq!(checked.records, node.history.iter().filter(kept).count() as u64);

    node.disk.overwrite(1, Vec::new());
    assert_eq!(damage(&node.disk)[0], (1, 0, DamageKind::SegmentHeader));
}

#[test]
fn a_segment_of_another_chain_or_version_is_named() {
    let node = whole();
    let mut bytes = node.disk.contents(1).unwrap();
    let other = SegmentHeader { identity: [3; 32], segment: 1, bytes: SEGMENT_BYTES }.to_page();
    bytes[..PAGE].copy_from_slice(&other);
    node.disk.overwrite(1, bytes.clone());
    assert_eq!(damage(&node.disk), [(1, 0, DamageKind::OtherIdentity)]);

    bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32c::crc32c(&bytes[..60]);
    bytes[60..64].copy_from_slice(&crc.to_le_bytes());
    node.disk.overwrite(1, bytes);
    assert_eq!(damage(&node.disk), [(1, 0, DamageKind::Version(9))]);
}

#[test]
fn a_group_that_was_moved_or_comes_from_another_history_is_named() {
    let node = whole();
    let place = |index: usize| node.history[index].position.offset as usize - GROUP_HEADER;
    // Two groups of a page each: one stands where the other was.
    let one_page: Vec<usize> =
        (0..40).filter(|i| node.history[*i].position.segment == 0 && node.history[*i].payload.len() < 3000).collect();
    let (from, to) = (one_page[1], one_page[3]);
    let mut bytes = node.disk.contents(0).unwrap();
    let original = bytes.clone();
    bytes.copy_within(place(from)..place(from) + PAGE, place(to));
    node.disk.overwrite(0, bytes);
    assert_eq!(damage(&node.disk), [(0, place(to) as u64, DamageKind::MovedGroup)]);

    // A log of the same node that took another turn: whole in itself, but not what came after the group before.
    let mut other = Harness::new(1);
    for index in 0..120u8 {
        other.make_segment();
        let byte = if index == 2 { 77 } else { index };
        other.append(index, vec![byte; 700 * usize::from(index % 9)]).unwrap();
        other.drain();
    }
    let index = 5;
    let end = place(index + 1);
    let mut bytes = original;
    bytes[place(index)..end].copy_from_slice(&other.disk.contents(0).unwrap()[place(index)..end]);
    node.disk.overwrite(0, bytes);
    assert_eq!(damage(&node.disk), [(0, place(index) as u64, DamageKind::Chain)]);
}

#[test]
fn the_oldest_segment_without_a_group_is_damage_only_where_older_ones_were_given_up() {
    let node = Harness::new(1);
    assert_eq!(damage(&node.disk), []);
    let node = whole();
    node.disk.remove(0).unwrap();
    assert_eq!(damage(&node.disk), [], "the oldest segments may have been given up");
    let mut bytes = node.disk.contents(1).unwrap();
    bytes[PAGE..].fill(0);
    node.disk.overwrite(1, bytes);
    assert_eq!(damage(&node.disk).len(), 1);
}

#[test]
fn the_identity_is_read_past_damage() {
    let node = whole();
    node.disk.flip(0, 3, 0);
    assert_eq!(identity(&node.disk).unwrap(), Some(IDENTITY));
    assert_eq!(identity(&SimDisk::new(1)).unwrap(), None);
}

#[test]
fn the_caller_can_end_the_check() {
    let node = whole();
    let error = check(&node.disk, &IDENTITY, &mut |_| Err("enough".into())).unwrap_err();
    assert!(matches!(error, LogError::Visitor { .. }));
}

#[test]
fn any_mutilation_is_survived_and_named() {
    let mut rng = SimRng::new(21);
    for round in 0..200 {
        let node = whole();
        let newest = *node.disk.segments().unwrap().last().unwrap();
        for _ in 0..=rng.below(6) {
            let segment = rng.below(newest + 1);
            let Some(mut bytes) = node.disk.contents(segment).filter(|bytes| !bytes.is_empty()) else { continue };
            let at = usize::try_from(rng.below(bytes.len() as u64)).unwrap();
            match rng.below(5) {
                0 => bytes.truncate(at),
                1 => bytes[at..].fill(0),
                2 => bytes[at..].fill(0xff),
                3 => bytes.rotate_left(at - at % PAGE),
                _ => bytes[at] ^= 0x10,
            }
            node.disk.overwrite(segment, bytes);
        }
        let (checked, found) = examine(&node.disk);
        assert!(checked.records <= 120);
        assert!(
            checked.records == 120 || !found.is_empty() || checked.end < node.history[119].position,
            "round {round}"
        );
        // What a start reads without complaint is not said to be damaged where a record was lost.
        if let Ok(Some(scanned)) = scan(&node.disk, &IDENTITY, None, &mut |_| Ok(())) {
            assert_eq!(scanned.records, checked.records, "round {round}: {found:?}");
        }
    }
}
