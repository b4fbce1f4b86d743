//! The frame parser against the obvious one.

use bytes::{BufMut, Bytes};
use proptest::collection::vec;
use proptest::prelude::*;
use transport::frame::{FrameParser, PREFIX_BYTES};

const LIMIT: u32 = 20_000;

/// Frames of a whole stream, and whether it ends between two of them; `None` where one announces too much.
fn naive(stream: &[u8]) -> (Vec<Vec<u8>>, Option<bool>) {
    let (mut frames, mut rest) = (Vec::new(), stream);
    while rest.len() >= PREFIX_BYTES {
        let (prefix, body) = rest.split_at(PREFIX_BYTES);
        let length = u32::from_le_bytes(prefix.try_into().unwrap());
        if length > LIMIT {
            return (frames, None);
        }
        if body.len() < length as usize {
            break;
        }
        frames.push(body[..length as usize].to_vec());
        rest = &body[length as usize..];
    }
    (frames, Some(rest.is_empty()))
}

fn chunked(stream: Bytes, cuts: &[usize]) -> Vec<Bytes> {
    let (mut chunks, mut rest) = (Vec::new(), stream);
    for cut in cuts {
        chunks.push(rest.split_to((*cut).min(rest.len())));
    }
    chunks.push(rest);
    chunks
}

fn agree(stream: Bytes, cuts: &[usize]) -> Result<(), TestCaseError> {
    let (expected, end) = naive(&stream);
    let mut parser = FrameParser::new(LIMIT);
    let mut frames = Vec::new();
    let parsed = chunked(stream, cuts).into_iter().try_for_each(|chunk| parser.push(chunk, &mut frames));
    prop_assert_eq!(parsed.is_err(), end.is_none());
    prop_assert_eq!(frames, expected);
    if let Some(clean) = end {
        prop_assert_eq!(parser.mid_frame(), !clean);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn frames_survive_any_split_of_their_stream(
        lengths in vec(prop_oneof![0usize..20, 4000usize..4200, 0usize..=LIMIT as usize], 0..20),
        cuts in vec(prop_oneof![0usize..9, 0usize..10_000], 0..60),
        missing in 0usize..10,
    ) {
        let mut stream = Vec::new();
        for (i, length) in lengths.iter().enumerate() {
            stream.put_u32_le(*length as u32);
            stream.resize(stream.len() + length, i as u8);
        }
        stream.truncate(stream.len().saturating_sub(missing));
        agree(stream.into(), &cuts)?;
    }

    #[test]
    fn arbitrary_bytes_are_frames_or_an_error(
        stream in vec(prop_oneof![4 => Just(0u8), 1 => any::<u8>()], 0..400),
        cuts in vec(0usize..9, 0..40),
    ) {
        agree(stream.into(), &cuts)?;
    }
}
