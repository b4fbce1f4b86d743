//! Random and mutated bytes on every decoder of the log: an answer, never a panic or unbounded memory.

use proptest::prelude::*;
use storage::log::LogPosition;
use storage::log::format::{self, GROUP_HEADER, GroupHeader, PAGE, RECORD_HEADER, SegmentHeader};
use storage::log::scan::scan;
use storage::sim::SimDisk;
use types::codec::{Decode, Encode};

use crate::crash::{Harness, IDENTITY, header};

fn group(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = vec![0; GROUP_HEADER];
    let mut records_crc = 0;
    for payload in payloads {
        let position = LogPosition { segment: 4, offset: 8192 + u32::try_from(bytes.len()).unwrap() };
        let length = u32::try_from(payload.len()).unwrap();
        let header = format::record_header(7, length, crc32c::crc32c(payload), position);
        records_crc = crc32c::crc32c_append(records_crc, &header);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(payload);
    }
    let header = GroupHeader {
        tag: 11,
        segment: 4,
        offset: 8192,
        length: u32::try_from(bytes.len() - GROUP_HEADER).unwrap(),
        sequence: 3,
        incarnation: 1,
        durable_up_to: 2,
        previous: 99,
        records: u32::try_from(payloads.len()).unwrap(),
    };
    header.write(records_crc, bytes.first_chunk_mut().unwrap());
    bytes
}

fn payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 0..6)
}

proptest! {
    #[test]
    fn random_bytes_are_never_taken_for_anything(bytes in prop::collection::vec(any::<u8>(), 0..3 * PAGE)) {
        prop_assert!(SegmentHeader::parse(&bytes).is_err());
        prop_assert!(format::check_group(&bytes, 11, 4, 8192).is_none());
        let position = LogPosition { segment: 4, offset: 8192 };
        prop_assert!(format::check_record(&bytes, position).is_none());
    }

    #[test]
    fn a_group_reads_back(payloads in payloads(), padding in 0usize..100) {
        let mut bytes = group(&payloads);
        let length = bytes.len();
        bytes.resize(length + padding, 0);
        let (header, _) = format::check_group(&bytes, 11, 4, 8192).unwrap();
        let body = &bytes[GROUP_HEADER..][..header.length as usize];
        let found: Vec<_> = format::Records::new(&header, body).map(|r| r.unwrap().1[RECORD_HEADER..].to_vec()).collect();
        prop_assert_eq!(found, payloads);
    }

    #[test]
    fn a_group_is_bound_to_its_place(payloads in payloads(), tag in 0u32..20, segment in 0u64..9, page in 0u32..5) {
        let bytes = group(&payloads);
        let right = tag == 11 && segment == 4 && page == 2;
        prop_assert_eq!(format::check_group(&bytes, tag, segment, page * 4096).is_some(), right);
    }

    #[test]
    fn one_changed_bit_anywhere_spoils_a_group(payloads in payloads(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let mut bytes = group(&payloads);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(format::check_group(&bytes, 11, 4, 8192).is_none());
    }

    #[test]
    fn a_truncated_group_is_no_group(payloads in payloads(), keep in any::<prop::sample::Index>()) {
        let bytes = group(&payloads);
        prop_assert!(format::check_group(&bytes[..keep.index(bytes.len())], 11, 4, 8192).is_none());
    }

    #[test]
    fn a_segment_header_reads_back(identity in any::<[u8; 32]>(), segment in any::<u64>(), bytes in any::<u64>()) {
        let header = SegmentHeader { identity, segment, bytes };
        prop_assert_eq!(SegmentHeader::parse(&header.to_page()), Ok(header));
    }

    #[test]
    fn a_position_has_one_encoding(segment in any::<u64>(), offset in any::<u32>()) {
        let position = LogPosition { segment, offset };
        prop_assert_eq!(position.to_bytes().len(), 12);
        prop_assert_eq!(LogPosition::from_bytes(&position.to_bytes()), Ok(position));
    }

    #[test]
    fn a_scan_of_random_bytes_finds_no_records(bytes in prop::collection::vec(any::<u8>(), 0..4 * PAGE)) {
        let disk = SimDisk::new(1);
        let mut segment = header(0);
        segment.extend_from_slice(&bytes);
        segment.resize(64 << 10, 0);
        disk.overwrite(0, segment);
        let mut count = 0;
        let _ = scan(&disk, &IDENTITY, None, &mut |_| { count += 1; Ok(()) });
        prop_assert_eq!(count, 0);
    }

    #[test]
    fn a_scan_of_a_mutated_log_yields_only_what_was_written(
        seed in 0u64..50,
        edits in prop::collection::vec((0usize..64 << 10, any::<u8>()), 1..6),
    ) {
        let mut node = Harness::new(seed);
        for _ in 0..80 {
            node.step();
        }
        node.drain();
        for (offset, bit) in edits {
            node.disk.flip(0, offset, bit);
        }
        let mut found = Vec::new();
        let _ = scan(&node.disk, &IDENTITY, None, &mut |record| { found.push(record); Ok(()) });
        prop_assert_eq!(&node.history[..found.len()], &found[..]);
    }
}
