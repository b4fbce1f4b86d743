//! Records of the log: read back, cut, flipped, random. A rotten disk never panics the node, and what is accepted has one
//! encoding.

use super::*;
use crate::wire::tests::samples::Random;
use types::{Digest, Payload};

type Sample = fn(&mut Random) -> Bytes;
type Rewrite = fn(&Bytes) -> Result<Bytes, DecodeError>;

fn chain() -> ChainId {
    ChainId(Digest::sha256(b"the ledger of the decoding tests"))
}

fn join(part: &Bytes, payload: &Bytes) -> Bytes {
    [&part[..], payload].concat().into()
}

fn proposal(random: &mut Random) -> Proposal {
    let header = random.block_header(chain());
    Proposal { statement: *header.statement(), body: header.body().clone(), votes: header.votes().to_vec() }
}

fn commit(random: &mut Random) -> Commit {
    let record = random.commit_record();
    let verdicts = pack_verdicts(random.list(40, |random| random.below(2) == 1));
    Commit { record, verdicts }
}

const PROPOSALS: Rewrite =
    |record| Proposal::parse(record).map(|(proposal, payload)| join(&proposal.to_part(), &payload));
const BLOCKS: Rewrite =
    |record| parse_block(&chain(), record).map(|(header, payload)| join(&block_part(&header), &payload));
const COMMITS: Rewrite = |record| Commit::from_bytes(record).map(|commit| commit.to_bytes().into());

/// Kind, sample, and reading and writing again.
fn kinds() -> [(u8, Sample, Rewrite); 3] {
    [
        (PROPOSAL, |random| join(&proposal(random).to_part(), random.payload().raw()), PROPOSALS),
        (BLOCK, |random| join(&block_part(&random.block_header(chain())), random.payload().raw()), BLOCKS),
        (COMMIT, |random| commit(random).to_bytes().into(), COMMITS),
    ]
}

/// Accepted bytes are canonical; refused ones do not panic.
fn check(kind: u8, rewrite: Rewrite, record: Bytes) -> bool {
    match rewrite(&record) {
        Ok(written) => {
            assert!(written == record, "kind {kind}: a second encoding of {}", hex::encode(record));
            true
        }
        Err(_) => false,
    }
}

#[test]
fn decoding_gives_back_every_record() {
    let mut random = Random::new(1);
    for _ in 0..100 {
        for (kind, sample, rewrite) in kinds() {
            let record = sample(&mut random);
            assert!(check(kind, rewrite, record), "kind {kind}");
        }
        let (proposal, payload) = (proposal(&mut random), random.payload());
        let record = join(&proposal.to_part(), payload.raw());
        assert_eq!(Proposal::parse(&record), Ok((proposal, payload.raw().clone())));
    }
}

#[test]
fn decoding_refuses_records_cut_before_their_payload() {
    let mut random = Random::new(2);
    for _ in 0..4 {
        for (kind, sample, rewrite) in kinds() {
            let record = sample(&mut random);
            // The payload lasts until the record ends; the log's checksums see to it. Everything before it is needed.
            let head = match kind {
                COMMIT => record.len(),
                _ => 4 + u32::from_le_bytes(record[..4].try_into().expect("four bytes")) as usize,
            };
            for length in 0..head {
                assert!(!check(kind, rewrite, record.slice(..length)), "kind {kind}: {length} of {head} bytes");
            }
        }
        let extended: Bytes = [&commit(&mut random).to_bytes()[..], &[0]].concat().into();
        assert_eq!(COMMITS(&extended), Err(DecodeError::TrailingBytes { count: 1 }));
    }
}

#[test]
fn decoding_survives_flipped_bits_and_lying_lengths() {
    let mut random = Random::new(3);
    for _ in 0..3 {
        for (kind, sample, rewrite) in kinds() {
            let record = sample(&mut random);
            let stride = 1 + record.len() / 800;
            for bit in (0..record.len() * 8).step_by(stride) {
                let mut flipped = record.to_vec();
                flipped[bit / 8] ^= 1 << (bit % 8);
                check(kind, rewrite, flipped.into());
            }
            for start in (0..record.len().saturating_sub(3)).step_by(stride) {
                for lie in [u32::MAX, 1 << 20, 512, 100, 8] {
                    let mut lying = record.to_vec();
                    lying[start..start + 4].copy_from_slice(&lie.to_le_bytes());
                    check(kind, rewrite, lying.into());
                }
            }
        }
    }
}

#[test]
fn decoding_survives_random_bytes() {
    let mut random = Random::new(4);
    for _ in 0..5000 {
        let length = random.below(300);
        let mut bytes = random.bytes(length);
        for byte in bytes.iter_mut().take(random.below(30)) {
            *byte &= 3;
        }
        for (kind, _, rewrite) in kinds() {
            check(kind, rewrite, Bytes::copy_from_slice(&bytes));
        }
    }
}

#[test]
fn a_proposal_whose_statement_is_not_of_its_body_is_refused() {
    let mut random = Random::new(5);
    let honest = proposal(&mut random);
    let mut body = honest.clone();
    body.body.timestamp.0 ^= 1;
    let mut votes = honest.clone();
    votes.votes.push(random.vote());
    let mut statement = honest.clone();
    statement.statement.body_digest = random.digest();
    for broken in [body, votes, statement] {
        assert_eq!(Proposal::parse(&broken.to_part()), Err(DecodeError::NotCanonical { field: "proposal" }));
    }
    assert!(Proposal::parse(&honest.to_part()).is_ok());
}

#[test]
fn an_unsigned_header_has_the_digest_that_the_signed_one_will_have() {
    let proposal = proposal(&mut Random::new(6));
    let header = unsigned_header(&proposal);
    assert_eq!(header.digest(), proposal.statement.digest());
    let record = join(&block_part(&header), Payload::empty().raw());
    let (read, payload) = parse_block(&chain(), &record).expect("it is a header");
    assert_eq!((read, payload), (header, Bytes::new()));
}

#[test]
fn verdicts_are_read_as_they_were_packed() {
    let mut random = Random::new(7);
    for count in 0..40_usize {
        let verdicts: Vec<bool> = (0..count).map(|_| random.below(2) == 1).collect();
        let packed = pack_verdicts(verdicts.iter().copied());
        assert_eq!(packed.len(), count.div_ceil(8));
        for (index, expected) in verdicts.iter().enumerate() {
            assert_eq!(verdict(&packed, index), *expected);
        }
        // What is not there is not valid.
        assert!((count..count + 20).all(|index| !verdict(&packed, index)));
    }
}

/// Replay of `types/fuzz/corpus/log_records`, and the writing of its seeds.
mod corpus {
    use super::*;
    use std::path::PathBuf;

    fn folder() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../types/fuzz/corpus/log_records")
    }

    #[test]
    fn records_of_the_log() {
        let mut accepted = 0;
        for file in std::fs::read_dir(folder()).expect("the corpus is part of the sources") {
            let record: Bytes = std::fs::read(file.expect("a directory entry").path()).expect("an input").into();
            for (kind, _, rewrite) in kinds() {
                accepted += u32::from(check(kind, rewrite, record.clone()));
            }
        }
        assert!(accepted >= 3, "{accepted} inputs are records");
    }

    /// `cargo test -p stele -- --ignored write_the_seeds`.
    #[test]
    #[ignore = "writes into the source tree"]
    fn write_the_seeds() {
        let mut random = Random::new(8);
        std::fs::create_dir_all(folder()).expect("the folder");
        for (kind, sample, _) in kinds() {
            for number in 0..3 {
                let record = sample(&mut random);
                std::fs::write(folder().join(format!("kind-{kind}-{number}")), &record).expect("the seed");
            }
        }
    }
}
