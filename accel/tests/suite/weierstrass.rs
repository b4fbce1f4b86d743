//! SM2 and ECDSA: every arithmetic against the reference verifier, on public vectors and on what an attacker would try.

mod attacks;
mod properties;
mod vectors;

use accel::weierstrass::{Entry, Weierstrass};
use accel::{Batch, CpuEngine, Engine, Item, Path};
use types::AlgId;

/// The algorithms that are here.
pub(crate) const ALGS: [AlgId; 3] = [AlgId::Sm2Sm3, AlgId::EcdsaP256, AlgId::EcdsaSecp256k1];

pub(crate) fn entry(item: &Item) -> Entry<'_> {
    Entry {
        key: item.key.as_bytes().try_into().unwrap(),
        message: &item.message,
        signature: item.signature.as_bytes().try_into().unwrap(),
    }
}

/// Each item's verdict on each arithmetic is the reference's, alone and all together; that of the whole engine too.
/// The items' keys and signatures are all of one algorithm. Returns the verdicts.
pub(crate) fn check(alg: AlgId, names: &[String], items: &[Item]) -> Vec<bool> {
    let expected: Vec<bool> = items.iter().map(Item::verify_alone).collect();
    let entries: Vec<Entry<'_>> = items.iter().map(entry).collect();
    for engine in [Weierstrass::portable(alg, 64).unwrap(), Weierstrass::new(alg, 64).unwrap()] {
        let agree = |verdicts: &[bool], company: &str| {
            for (index, name) in names.iter().enumerate() {
                assert_eq!(verdicts[index], expected[index], "{alg} {name}, {company} on {}", engine.name());
            }
        };
        agree(&engine.verify(&entries), "among its like");
        let alone: Vec<bool> = entries.iter().map(|entry| engine.verify(&[*entry])[0]).collect();
        agree(&alone, "alone");
        let eight: Vec<bool> = entries.iter().map(|entry| engine.verify(&[*entry; 8]) == [true; 8]).collect();
        agree(&eight, "eight times");
    }
    let mut engine = CpuEngine::new(1, 1024).unwrap();
    let verdicts = engine.verify(&Batch::new(items.to_vec(), Path::Together)).unwrap();
    assert_eq!(verdicts.iter().collect::<Vec<_>>(), expected);
    assert_eq!(crate::gpu_weierstrass::verdicts(items), expected, "{alg} on the GPU");
    expected
}
