//! Trees of every shape, against the standard's own words and the reference builder.

use super::*;
use types::merkle;

fn options() -> Options {
    Options { allow_software: true, launch_ms_max: 120_000, ..Options::default() }
}

/// RFC 6962 §2.1, transcribed.
fn naive(alg: AlgId, leaves: &[Vec<u8>]) -> [u8; 32] {
    match leaves {
        [] => hash(alg, &[]),
        [leaf] => hash(alg, &[&[0], leaf]),
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            hash(alg, &[&[1], &naive(alg, left), &naive(alg, right)])
        }
    }
}

fn leaves(count: usize) -> Vec<Vec<u8>> {
    // Lengths around the edges of a block, a few beyond what the device takes.
    let length = |leaf: usize| if leaf % 97 == 96 { 4090 + leaf % 13 } else { leaf * 5 % 131 };
    (0..count).map(|leaf| (0..length(leaf)).map(|byte| (leaf + byte * 3) as u8).collect()).collect()
}

#[test]
fn roots_of_any_number_of_leaves_are_those_of_the_standard() {
    let mut whole = TreeEngine::open(&options()).expect("a Vulkan adapter");
    let mut of_subtrees = TreeEngine::with_subtrees(&options(), 8).expect("a Vulkan adapter");
    for count in (0..40).chain([63, 64, 65, 255, 256, 257, 1000]) {
        let leaves = leaves(count);
        for alg in [AlgId::Sha256, AlgId::Sm3] {
            let expected = digest(alg, naive(alg, &leaves));
            assert_eq!(whole.merkle_root(alg, &leaves), Ok(expected), "{alg}, {count} leaves");
            assert_eq!(of_subtrees.merkle_root(alg, &leaves), Ok(expected), "{alg}, {count} leaves in subtrees");
        }
        let hashes: Vec<Digest> = leaves.iter().map(|leaf| merkle::leaf_hash(leaf)).collect();
        let expected = merkle::merkle_root(&leaves);
        assert_eq!(whole.root_of_hashes(AlgId::Sha256, &hashes), Ok(expected), "{count} hashes");
    }
}

#[test]
fn a_tree_of_many_uploads_and_many_rows_has_the_reference_root() {
    let mut engine = TreeEngine::open(&options()).expect("a Vulkan adapter");
    let leaves: Vec<[u8; 64]> =
        (0..300_000_u32).map(|leaf| std::array::from_fn(|byte| (leaf.rotate_left(byte as u32)) as u8)).collect();
    assert_eq!(engine.merkle_root(AlgId::Sha256, &leaves), Ok(merkle::merkle_root(&leaves)));
    let mut changed = leaves.clone();
    changed[299_999][63] ^= 1;
    assert_ne!(engine.merkle_root(AlgId::Sha256, &changed), engine.merkle_root(AlgId::Sha256, &leaves));
}

#[test]
fn a_hash_that_makes_no_trees_is_a_fault() {
    let mut engine = TreeEngine::open(&options()).expect("a Vulkan adapter");
    let fault = DeviceFault::Unsupported(AlgId::Ed25519);
    assert_eq!(engine.merkle_root(AlgId::Ed25519, &[[1u8]]), Err(fault));
}
