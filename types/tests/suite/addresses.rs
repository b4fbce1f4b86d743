//! The text form of addresses: every small typing error is caught, and an account has one spelling.

use crate::samples::Random;
use bech32::primitives::iter::{ByteIterExt, Fe32IterExt};
use bech32::{Bech32m, Fe32, Hrp};
use types::{Address, AddressError};

const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

fn refused(text: &[u8], original: &str) {
    let text = std::str::from_utf8(text).unwrap();
    assert!(text.parse::<Address>().is_err(), "{text} passes for {original}");
}

#[test]
fn every_single_substitution_is_caught() {
    let mut random = Random::new(1);
    for _ in 0..40 {
        let text = random.address().to_string();
        let mut typed = text.clone().into_bytes();
        for position in 0..typed.len() {
            let right = typed[position];
            for wrong in ALPHABET.iter().chain(b"bio1 -A").filter(|wrong| **wrong != right) {
                typed[position] = *wrong;
                refused(&typed, &text);
            }
            typed[position] = right;
        }
    }
}

#[test]
fn two_substitutions_and_swaps_are_caught() {
    let mut random = Random::new(2);
    for _ in 0..20_000 {
        let text = random.address().to_string();
        let mut typed = text.clone().into_bytes();
        let data = "stele1".len();
        let first = data + random.below(typed.len() - data);
        let second = data + random.below(typed.len() - data);
        typed[first] = ALPHABET[random.below(32)];
        if random.below(2) == 0 {
            typed[second] = ALPHABET[random.below(32)];
        } else {
            typed.swap(first, second);
        }
        if typed != text.as_bytes() {
            refused(&typed, &text);
        }
    }
}

#[test]
fn an_account_has_one_spelling() {
    let address = Random::new(3).address();
    let text = address.to_string();
    assert_eq!(text.parse(), Ok(address));
    // Upper case is the same spelling for scanners (BIP-173); mixed case is not one.
    assert_eq!(text.to_uppercase().parse(), Ok(address));
    assert!(text.replacen("stele", "Stele", 1).parse::<Address>().is_err());

    let hrp = Hrp::parse("stele").unwrap();
    let digits: Vec<Fe32> = address.as_bytes().iter().copied().bytes_to_fes().collect();
    for padding in 0..16 {
        let mut digits = digits.clone();
        let last = digits.pop().unwrap();
        digits.push(Fe32::try_from(last.to_u8() | padding).unwrap());
        let spelled: String = digits.into_iter().with_checksum::<Bech32m>(&hrp).chars().collect();
        let expected = if padding == 0 { Ok(address) } else { Err(AddressError::Padding) };
        assert_eq!(spelled.parse::<Address>(), expected, "{spelled}");
    }
}

#[test]
fn other_lengths_and_checksums_are_refused() {
    let hrp = Hrp::parse("stele").unwrap();
    for length in (0..64).filter(|length| *length != 32) {
        let text = bech32::encode::<Bech32m>(hrp, &vec![0; length]).unwrap();
        assert_eq!(text.parse::<Address>(), Err(AddressError::Length), "{length} bytes");
    }
    let old = bech32::encode::<bech32::Bech32>(hrp, &[7; 32]).unwrap();
    assert_eq!(old.parse::<Address>(), Err(AddressError::Checksum));
    for text in ["", "1", "stele1", "stele", "stele1é", "\0", &"q".repeat(5000)] {
        assert!(text.parse::<Address>().is_err(), "{text}");
    }
}
