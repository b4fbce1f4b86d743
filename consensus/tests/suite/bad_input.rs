//! Random sequences of inputs with everything that a faulty member may send: the fuzz target's, drawn by proptest.

#[path = "../../fuzz/src/sequence.rs"]
mod sequence;

use consensus::sim::Rng;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_as_inputs_break_no_promise(data in proptest::collection::vec(any::<u8>(), 0..3_000)) {
        sequence::run(&data);
    }
}

/// Sequences in which the committee gets far, so that there is something to disturb.
#[test]
fn a_working_committee_is_not_disturbed_by_bad_input() {
    let mut commits = 0;
    for seed in crate::seeds(10) {
        let mut rng = Rng::new(seed);
        let mut data = Vec::new();
        for _ in 0..60 {
            // A row, its three blocks in order from themselves, the own block.
            data.push(0);
            (1..4).for_each(|_| data.extend([4, 0, 1, 1]));
            data.extend([15, 10, 0, 7]);
            for _ in 0..rng.between(0, 6) {
                data.push(rng.between(8, 14) as u8);
                (0..rng.between(0, 16)).for_each(|_| data.push(rng.bits() as u8));
            }
        }
        commits += sequence::run(&data);
    }
    assert!(commits > 4_000, "{commits}");
}

#[test]
fn the_corpus_breaks_no_promise() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/inputs");
    for entry in std::fs::read_dir(corpus).unwrap() {
        sequence::run(&std::fs::read(entry.unwrap().path()).unwrap());
    }
}
