//! Public implementations over the same items, on one thread, in the same run. Keys are decoded before the clock starts,
//! except in zebra's batches, which take bytes.

use super::openssl;
use super::stopwatch;
use super::workload::Workload;
use accel::Item;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P256K1_SHA256_FIXED, ED25519, ParsedPublicKey};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;
use types::AlgId;

/// What zebra's batches hold.
const ZEBRA_BATCH: usize = 1024;
/// Keys that are decoded for a peer.
const ITEMS_MAX: usize = 4096;

/// Items a second by implementation; one that is missing stands in the notes.
pub(super) fn measure(
    alg: AlgId,
    workload: &Workload,
    budget: Duration,
    notes: &mut Vec<String>,
) -> BTreeMap<String, f64> {
    super::note(&format!("{alg}: peers"));
    let items = &workload.items()[..workload.items().len().min(ITEMS_MAX)];
    let mut found = BTreeMap::new();
    let mut add = |name: &str, verify: Box<dyn Fn(usize) -> bool + '_>| {
        found.insert(name.to_owned(), rate(items.len(), budget, verify));
    };
    match alg {
        AlgId::Ed25519 => {
            add("ed25519-dalek", dalek(items));
            add("ed25519-zebra", zebra(items));
            add("aws-lc-rs", aws_lc(items, &ED25519));
        }
        AlgId::Sm2Sm3 => add("sm2", sm2_crate(items)),
        AlgId::EcdsaP256 => {
            add("p256", p256_crate(items));
            add("aws-lc-rs", aws_lc(items, &ECDSA_P256_SHA256_FIXED));
        }
        _ => {
            add("k256", k256_crate(items));
            add("aws-lc-rs", aws_lc(items, &ECDSA_P256K1_SHA256_FIXED));
        }
    }
    if alg == AlgId::Ed25519 {
        found.insert(format!("ed25519-zebra ×{ZEBRA_BATCH}"), zebra_batches(items, budget));
    }
    match openssl::verify_per_s(alg, budget.as_secs()) {
        Some(rate) => drop(found.insert("openssl".into(), rate)),
        None => notes.push(format!("`openssl speed` measures no {alg} here")),
    }
    found
}

fn rate(items: usize, budget: Duration, verify: impl Fn(usize) -> bool) -> f64 {
    let measured = stopwatch::measure(budget, |run| {
        black_box(verify(run % items));
        Ok::<_, std::convert::Infallible>(())
    });
    measured.map_or(0.0, |measured| measured.per_s)
}

fn bytes(item: &Item) -> &[u8] {
    item.message.bytes().unwrap_or_default()
}

/// Decodes the keys and signatures of all items, and verifies one of them at a time.
fn prepared<'a, K: 'a>(
    items: &'a [Item],
    prepare: impl Fn(&Item) -> Option<K>,
    verify: impl Fn(&K, &[u8]) -> bool + 'a,
) -> Box<dyn Fn(usize) -> bool + 'a> {
    let ready: Vec<_> = items.iter().map(|item| (prepare(item), bytes(item))).collect();
    Box::new(move |place| {
        let (key, message) = &ready[place];
        key.as_ref().is_some_and(|key| verify(key, message))
    })
}

fn dalek(items: &[Item]) -> Box<dyn Fn(usize) -> bool + '_> {
    use ed25519_dalek::Verifier;
    let prepare = |item: &Item| {
        let key = ed25519_dalek::VerifyingKey::try_from(item.key.as_bytes()).ok()?;
        Some((key, ed25519_dalek::Signature::from_slice(item.signature.as_bytes()).ok()?))
    };
    prepared(items, prepare, |(key, signature), message| key.verify(message, signature).is_ok())
}

fn zebra(items: &[Item]) -> Box<dyn Fn(usize) -> bool + '_> {
    let prepare = |item: &Item| {
        let key = ed25519_zebra::VerificationKey::try_from(item.key.as_bytes()).ok()?;
        Some((key, ed25519_zebra::Signature::try_from(item.signature.as_bytes()).ok()?))
    };
    prepared(items, prepare, |(key, signature), message| key.verify(signature, message).is_ok())
}

fn zebra_batches(items: &[Item], budget: Duration) -> f64 {
    let ready: Vec<_> = items
        .iter()
        .filter_map(|item| {
            let key = ed25519_zebra::VerificationKeyBytes::try_from(item.key.as_bytes()).ok()?;
            let signature = ed25519_zebra::Signature::try_from(item.signature.as_bytes()).ok()?;
            Some((key, signature, bytes(item)))
        })
        .collect();
    let batches: Vec<_> = ready.chunks(ZEBRA_BATCH).collect();
    let size = batches.first().map_or(0, |batch| batch.len());
    let per_s = rate(batches.len().max(1), budget, |place| {
        let mut verifier = ed25519_zebra::batch::Verifier::new();
        batches.get(place).into_iter().flat_map(|batch| batch.iter()).for_each(|item| verifier.queue(*item));
        verifier.verify(getrandom::rand_core::UnwrapErr(getrandom::SysRng)).is_ok()
    });
    per_s * size as f64
}

fn aws_lc<'a>(
    items: &'a [Item],
    algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm,
) -> Box<dyn Fn(usize) -> bool + 'a> {
    let prepare = |item: &Item| {
        let key = ParsedPublicKey::new(algorithm, item.key.as_bytes()).ok()?;
        Some((key, item.signature.clone()))
    };
    prepared(items, prepare, |(key, signature), message| key.verify_sig(message, signature.as_bytes()).is_ok())
}

fn sm2_crate(items: &[Item]) -> Box<dyn Fn(usize) -> bool + '_> {
    use p256::ecdsa::signature::Verifier;
    let prepare = |item: &Item| {
        let key = sm2::PublicKey::from_sec1_bytes(item.key.as_bytes()).ok()?;
        let key = sm2::dsa::VerifyingKey::new("1234567812345678", key).ok()?;
        Some((key, sm2::dsa::Signature::from_slice(item.signature.as_bytes()).ok()?))
    };
    prepared(items, prepare, |(key, signature), message| key.verify(message, signature).is_ok())
}

fn p256_crate(items: &[Item]) -> Box<dyn Fn(usize) -> bool + '_> {
    use p256::ecdsa::signature::Verifier;
    let prepare = |item: &Item| {
        let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(item.key.as_bytes()).ok()?;
        Some((key, p256::ecdsa::Signature::from_slice(item.signature.as_bytes()).ok()?))
    };
    prepared(items, prepare, |(key, signature), message| key.verify(message, signature).is_ok())
}

fn k256_crate(items: &[Item]) -> Box<dyn Fn(usize) -> bool + '_> {
    use k256::ecdsa::signature::Verifier;
    let prepare = |item: &Item| {
        let key = k256::ecdsa::VerifyingKey::from_sec1_bytes(item.key.as_bytes()).ok()?;
        Some((key, k256::ecdsa::Signature::from_slice(item.signature.as_bytes()).ok()?))
    };
    prepared(items, prepare, |(key, signature), message| key.verify(message, signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::super::workload::Mix;
    use super::*;

    /// A peer that rejects what is valid would be measured at nothing.
    #[test]
    fn every_peer_agrees_on_every_item() {
        for alg in crate::command::hw::known_answers::ALGORITHMS {
            let workload = Workload::make(Mix { alg, message_bytes: 60, keys: 5, invalid_percent: 50 }, 20);
            let items = workload.items();
            let peers = match alg {
                AlgId::Ed25519 => vec![dalek(items), zebra(items), aws_lc(items, &ED25519)],
                AlgId::Sm2Sm3 => vec![sm2_crate(items)],
                AlgId::EcdsaP256 => vec![p256_crate(items), aws_lc(items, &ECDSA_P256_SHA256_FIXED)],
                _ => vec![k256_crate(items), aws_lc(items, &ECDSA_P256K1_SHA256_FIXED)],
            };
            for (number, peer) in peers.iter().enumerate() {
                for (place, valid) in workload.valid().iter().enumerate() {
                    assert_eq!(peer(place), *valid, "{alg}, peer {number}, item {place}");
                }
            }
        }
    }
}
