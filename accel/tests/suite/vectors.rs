//! Every public vector, on every arithmetic, in every company: alone, with its like, among valid signatures.

use crate::cases::{self, Case};
use accel::Path;
use accel::ed25519::{Ed25519, Entry};
use std::collections::HashSet;

fn engines() -> Vec<Ed25519> {
    vec![Ed25519::portable(64).unwrap(), Ed25519::new(64).unwrap()]
}

fn check(cases: &[&Case], company: &str) {
    let entries: Vec<Entry<'_>> = cases.iter().map(|case| case.entry()).collect();
    for engine in engines() {
        for path in [Path::Together, Path::Singly] {
            let verdicts = engine.verify(&entries, path);
            for (case, valid) in cases.iter().zip(verdicts) {
                let expected = case.zebra();
                assert_eq!(valid, expected, "{} {company}, {path:?} on {}", case.name, engine.name());
            }
        }
    }
}

/// Checks what the source expects against the oracle, and each case in each company against the oracle.
fn check_in_all_company(cases: &[Case]) {
    assert!(!cases.is_empty());
    for case in cases {
        if let Some(expected) = case.expected {
            assert_eq!(case.zebra(), expected, "{}: the oracle disagrees with the source", case.name);
        }
    }
    let all: Vec<&Case> = cases.iter().collect();
    check(&all, "among its like");
    let honest: Vec<Case> = (0..200).map(cases::valid).collect();
    let mut mixed: Vec<&Case> = honest.iter().collect();
    for (position, case) in cases.iter().enumerate() {
        mixed.insert(position * 7919 % (mixed.len() + 1), case);
    }
    check(&mixed, "among valid ones");
    for case in cases {
        check(&[case], "alone");
        check(&[case; 9], "nine times");
    }
    // Each alone among valid ones: only then does a wrong accept of the equation show.
    for case in cases {
        let mut group: Vec<&Case> = honest[..23].iter().collect();
        group.insert(11, case);
        check(&group, "as the only one among valid ones");
    }
}

#[test]
fn rfc8032_and_djb_vectors_are_valid() {
    check_in_all_company(&cases::rfc8032_and_djb());
}

#[test]
fn speccheck_cases_have_their_zip215_verdicts() {
    check_in_all_company(&cases::speccheck());
}

#[test]
fn wycheproof_cases_have_their_zip215_verdicts() {
    let cases = cases::wycheproof();
    assert!(cases.iter().any(|case| case.name == "wycheproof 151" && case.expected == Some(true)));
    check_in_all_company(&cases);
}

#[test]
fn the_small_order_matrix_is_all_valid() {
    let encodings: HashSet<[u8; 32]> = cases::small_order_encodings().into_iter().collect();
    assert_eq!(encodings.len(), 14);
    let cases = cases::small_order_matrix();
    assert_eq!(cases.len(), 196);
    check_in_all_company(&cases);
}

#[test]
fn encodings_at_every_edge_decode_as_the_oracle_says() {
    check_in_all_company(&cases::edge_encodings());
}
