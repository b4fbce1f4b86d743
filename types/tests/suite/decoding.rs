//! Every decoder against bytes that are cut, extended, flipped, spliced or random. What a decoder accepts it must be able
//! to write again, byte for byte: there is one encoding of a value.

use crate::decoders::{self, Decoder};
use crate::samples::Random;
use types::DecodeError;

/// Accepted bytes are canonical; refused ones do not panic.
fn check(decoder: &Decoder, bytes: &[u8]) -> bool {
    match (decoder.rewrite)(bytes) {
        Ok(written) => {
            assert!(written == bytes, "{}: a second encoding of {}", decoder.name, hex::encode(bytes));
            true
        }
        Err(_) => false,
    }
}

/// Runs `test` with a few samples of each decoder.
fn for_samples(seed: u64, samples: usize, mut test: impl FnMut(&Decoder, &mut Random, Vec<u8>)) {
    for decoder in decoders::all() {
        let mut random = Random::new(seed);
        for _ in 0..samples {
            let sample = (decoder.sample)(&mut random);
            test(&decoder, &mut random, sample);
        }
    }
}

#[test]
fn every_value_is_read_back() {
    for_samples(1, 300, |decoder, _, sample| {
        assert!(check(decoder, &sample), "{}: {:?}", decoder.name, (decoder.rewrite)(&sample));
    });
}

#[test]
fn every_truncation_is_an_error() {
    for_samples(2, 5, |decoder, _, sample| {
        for length in 0..sample.len() {
            let accepted = check(decoder, &sample[..length]);
            assert!(!accepted || decoder.open_ended, "{}: {length} of {} bytes", decoder.name, sample.len());
        }
    });
}

#[test]
fn trailing_bytes_are_an_error() {
    for_samples(3, 50, |decoder, random, mut sample| {
        if decoder.open_ended {
            return;
        }
        let count = 1 + random.below(9);
        sample.extend(random.bytes(count));
        let error = (decoder.rewrite)(&sample).unwrap_err();
        assert_eq!(error, DecodeError::TrailingBytes { count }, "{}", decoder.name);
    });
}

#[test]
fn a_flipped_bit_is_refused_or_another_value() {
    for_samples(4, 4, |decoder, _, sample| {
        let mut flipped = sample.clone();
        // Keys of lattices are long and opaque: a stride that is coprime to 8 still meets every bit of a byte.
        let stride = if sample.len() > 2500 { 13 } else { 1 };
        for bit in (0..sample.len() * 8).step_by(stride) {
            flipped[bit / 8] ^= 1 << (bit % 8);
            check(decoder, &flipped);
            flipped[bit / 8] ^= 1 << (bit % 8);
        }
    });
}

#[test]
fn spliced_and_overwritten_values_are_refused_or_canonical() {
    for_samples(5, 200, |decoder, random, mut sample| {
        if sample.is_empty() {
            return;
        }
        let (from, to) = (random.below(sample.len()), random.below(sample.len()));
        let length = random.below(9).min(sample.len() - from.max(to));
        match random.below(3) {
            0 => sample.copy_within(from..from + length, to),
            1 => sample[to..to + length].fill([0, 1, 0x7f, 0xff][random.below(4)]),
            _ => {
                let other = (decoder.sample)(random);
                sample.truncate(to);
                sample.extend_from_slice(&other[from.min(other.len())..]);
            }
        }
        check(decoder, &sample);
    });
}

#[test]
fn random_bytes_are_refused_or_canonical() {
    for decoder in decoders::all() {
        let mut random = Random::new(6);
        for _ in 0..4000 {
            let length = random.below(300);
            let mut bytes = random.bytes(length);
            // Half of them with small numbers in front, which tags, versions and lengths are made of.
            for byte in bytes.iter_mut().take(random.below(40)) {
                *byte &= 3;
            }
            check(&decoder, &bytes);
        }
    }
}

/// The same from proptest, whose shrinking gives a readable counterexample.
mod properties {
    use super::{check, decoders};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            for decoder in decoders::all() {
                check(&decoder, &bytes);
            }
        }
    }
}
