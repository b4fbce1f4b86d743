//! Frames of the fast path: they read back, limits hold, and no bytes can panic or allocate without bound.

use super::*;
use proptest::prelude::*;
use types::Digest;

fn reject() -> impl Strategy<Value = Reject> {
    prop::sample::select(Reject::ALL)
}

fn event() -> impl Strategy<Value = Event> {
    let outcome = prop_oneof![
        Just(Outcome::Applied),
        reject().prop_map(Outcome::Rejected),
        any::<[u8; 4]>().prop_map(|seed| Outcome::Emitted(types::Digest::sha256(&seed)))
    ];
    prop_oneof![
        (any::<[u8; 8]>(), any::<u16>()).prop_map(|(seed, validator)| Event::Hello {
            chain: ChainId(Digest::sha256(&seed)),
            validator: AuthorityIndex(validator),
        }),
        (any::<u64>(), any::<u64>(), any::<u32>(), outcome).prop_map(|(sequence, height, index, outcome)| {
            Event::Receipt { sequence, height: Height(height), index, outcome }
        }),
        (any::<u64>(), reject()).prop_map(|(sequence, reject)| Event::Refused { sequence, reject }),
        (any::<u64>(), any::<u32>()).prop_map(|(sequence, retry_after_ms)| Event::Busy { sequence, retry_after_ms }),
    ]
}

proptest! {
    #[test]
    fn submitted_transactions_read_back_in_order(
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..50),
    ) {
        let submit = Submit { transactions: parts.iter().cloned().map(Bytes::from).collect() };
        let mut filled = SubmitFrame::default();
        for part in &parts {
            prop_assert!(filled.push(part));
        }
        let frame = submit.encode();
        prop_assert_eq!(filled.take(), Some(frame.clone()));
        prop_assert_eq!(Submit::decode(&frame), Ok(submit));
    }

    #[test]
    fn events_read_back_in_order(events in prop::collection::vec(event(), 1..50)) {
        let events = Events { events };
        prop_assert!(events.events.iter().all(|event| event.to_bytes().len() <= Event::ENCODED_MAX));
        prop_assert_eq!(Events::decode(&events.encode()), Ok(events));
    }

    #[test]
    fn a_frame_cut_short_is_an_error_or_a_shorter_list(
        events in prop::collection::vec(event(), 1..9), cut in any::<prop::sample::Index>(),
    ) {
        let frame = encode_events(&events);
        let short = &frame[..cut.index(frame.len())];
        if let Ok(read) = Events::decode(short) {
            prop_assert!(events.starts_with(&read.events) && read.events.len() < events.len());
        }
    }

    #[test]
    fn bytes_that_decode_have_no_second_encoding(mut bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for version in [None, Some(PROTOCOL_VERSION)] {
            if let (Some(version), Some(first)) = (version, bytes.first_mut()) {
                *first = version;
            }
            let frame = Bytes::from(bytes.clone());
            if let Ok(submit) = Submit::decode(&frame) {
                prop_assert_eq!(submit.encode(), frame.clone());
            }
            if let Ok(events) = Events::decode(&frame) {
                prop_assert_eq!(events.encode(), frame);
            }
        }
    }
}

#[test]
fn a_frame_over_its_limits_is_refused() {
    let many = Submit { transactions: vec![Bytes::new(); SUBMIT_TRANSACTIONS_MAX + 1] };
    assert!(matches!(
        Submit::decode(&many.encode()),
        Err(DecodeError::TooLong { field: "submitted transactions", .. })
    ));
    let large = Submit { transactions: vec![Bytes::from(vec![0; SUBMIT_BYTES_MAX])] };
    assert!(matches!(Submit::decode(&large.encode()), Err(DecodeError::TooLong { field: "submit frame", .. })));
    let busy = Event::Busy { sequence: 0, retry_after_ms: 1 };
    let crowd = encode_events(&vec![busy; EVENTS_MAX + 1]);
    assert!(matches!(Events::decode(&crowd), Err(DecodeError::TooLong { field: "events", .. })));

    let mut frame = SubmitFrame::default();
    assert!(!frame.push(&vec![0; SUBMIT_BYTES_MAX - 4]));
    assert!(frame.is_empty() && frame.take().is_none());
    assert!(frame.push(&vec![0; SUBMIT_BYTES_MAX - 5]));
    assert!(!frame.push(b""));
    let full = frame.take().expect("holds one");
    assert_eq!(Submit::decode(&full).map(|submit| submit.transactions.len()), Ok(1));
    assert!(frame.is_empty());
}

#[test]
fn an_empty_frame_or_another_version_is_refused() {
    let unknown = DecodeError::UnknownTag { field: "protocol version", value: 2 };
    assert_eq!(Submit::decode(&Bytes::from_static(&[2])), Err(unknown));
    assert_eq!(Events::decode(&[2]), Err(unknown));
    assert!(Submit::decode(&Bytes::new()).is_err() && Events::decode(&[]).is_err());
    assert!(Submit::decode(&Bytes::from_static(&[1])).is_err() && Events::decode(&[1]).is_err());
}
