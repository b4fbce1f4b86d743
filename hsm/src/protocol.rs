//! Requests and answers between node and signer, and their frames: a u32 length, a version byte, a canonical encoding.
//! There is no request to sign bytes of the caller's choice.

use crate::attestation::{Attestation, Nonce};
use crate::endorsement::{Activated, Asked, Endorsement};
use crate::error::{ConfigError, Fault, SignError};
use crate::handshake;
use crate::process::Protections;
use crate::refusal::Refusal;
use crate::signer::PublicKeys;
use crate::stats::Stats;
use std::io::{self, Read, Write};
use types::block::VOTES_MAX;
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use types::{HeaderVote, RoundStatement, Signature, StatementSignature};

/// Longest frame without its length, in bytes.
pub const FRAME_MAX: usize = 32 << 10;

/// Version of the protocol; node and signer come from one release.
pub const VERSION: u8 = 4;

// The largest request, 100 votes of 41 bytes and a statement, fits.
const _: () = assert!(VOTES_MAX * 41 + 256 < FRAME_MAX);

/// What a node can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The signature of a round's statement, whose votes come along.
    SignRound {
        /// The statement.
        statement: RoundStatement,
        /// The votes that it names.
        votes: Vec<HeaderVote>,
    },
    /// The signature of a TLS 1.3 CertificateVerify.
    SignHandshake {
        /// Its content, see [`handshake::check`].
        transcript: Vec<u8>,
    },
    /// What this machine's TPM says of its state, signed.
    Attest {
        /// The asker's.
        nonce: Nonce,
    },
    /// What the TPM's maker says of it.
    Endorse,
    /// That the TPM gives back a secret that was made for it.
    Activate(Asked),
    /// The two public keys.
    PublicKeys,
    /// Figures.
    Stats,
    /// What protects the process.
    Protections,
}

impl Encode for Request {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::SignRound { statement, votes } => {
                out.push(1);
                statement.encode(out);
                put_list(out, votes);
            }
            Self::SignHandshake { transcript } => {
                out.push(2);
                put_bytes(out, transcript);
            }
            Self::Attest { nonce } => {
                out.push(5);
                out.extend(nonce);
            }
            Self::Endorse => out.push(6),
            Self::Activate(challenge) => {
                out.push(7);
                challenge.encode(out);
            }
            Self::PublicKeys => out.push(3),
            Self::Stats => out.push(4),
            Self::Protections => out.push(20),
        }
    }
}

impl Decode for Request {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(reader)? {
            1 => {
                Self::SignRound { statement: RoundStatement::decode(reader)?, votes: reader.list("votes", VOTES_MAX)? }
            }
            2 => Self::SignHandshake { transcript: reader.bytes("transcript", handshake::CONTENT_MAX)?.to_vec() },
            3 => Self::PublicKeys,
            4 => Self::Stats,
            5 => Self::Attest { nonce: reader.array()? },
            6 => Self::Endorse,
            7 => Self::Activate(Asked::decode(reader)?),
            20 => Self::Protections,
            tag => return Err(DecodeError::UnknownTag { field: "request", value: tag.into() }),
        })
    }
}

/// What the signer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To [`Request::SignRound`].
    Statement(StatementSignature),
    /// To [`Request::SignHandshake`].
    Handshake(Signature),
    /// To [`Request::Attest`].
    Attestation(Box<Attestation>),
    /// To [`Request::Endorse`].
    Endorsement(Endorsement),
    /// To [`Request::Activate`].
    Activated(Activated),
    /// To [`Request::PublicKeys`].
    PublicKeys(PublicKeys),
    /// To [`Request::Stats`].
    Stats(Stats),
    /// To [`Request::Protections`].
    Protections(Protections),
    /// Never.
    Refused(Refusal),
    /// Not now.
    Fault(Fault),
    /// Not before a human came.
    Config(ConfigError),
}

impl From<SignError> for Response {
    fn from(error: SignError) -> Self {
        match error {
            SignError::Refused(refusal) => Self::Refused(refusal),
            SignError::Fault(fault) => Self::Fault(fault),
            SignError::Config(config) => Self::Config(config),
        }
    }
}

impl Encode for Response {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Statement(signature) => {
                out.push(1);
                signature.encode(out);
            }
            Self::Handshake(signature) => {
                out.push(7);
                signature.encode(out);
            }
            Self::Attestation(attestation) => {
                out.push(8);
                attestation.encode(out);
            }
            Self::Endorsement(endorsement) => {
                out.push(9);
                endorsement.encode(out);
            }
            Self::Activated(activated) => {
                out.push(10);
                activated.encode(out);
            }
            Self::PublicKeys(keys) => {
                out.push(2);
                keys.encode(out);
            }
            Self::Stats(stats) => {
                out.push(3);
                stats.encode(out);
            }
            Self::Protections(protections) => {
                out.push(20);
                protections.encode(out);
            }
            Self::Refused(refusal) => {
                out.push(4);
                refusal.encode(out);
            }
            Self::Fault(fault) => {
                out.push(5);
                fault.encode(out);
            }
            Self::Config(config) => {
                out.push(6);
                config.encode(out);
            }
        }
    }
}

impl Decode for Response {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(match u8::decode(reader)? {
            1 => Self::Statement(StatementSignature::decode(reader)?),
            7 => Self::Handshake(Signature::decode(reader)?),
            8 => Self::Attestation(Box::new(Attestation::decode(reader)?)),
            9 => Self::Endorsement(Endorsement::decode(reader)?),
            10 => Self::Activated(Activated::decode(reader)?),
            2 => Self::PublicKeys(PublicKeys::decode(reader)?),
            3 => Self::Stats(Stats::decode(reader)?),
            20 => Self::Protections(Protections::decode(reader)?),
            4 => Self::Refused(Refusal::decode(reader)?),
            5 => Self::Fault(Fault::decode(reader)?),
            6 => Self::Config(ConfigError::decode(reader)?),
            tag => return Err(DecodeError::UnknownTag { field: "response", value: tag.into() }),
        })
    }
}

/// Writes one frame with one write.
pub(crate) fn write_frame(stream: &mut impl Write, message: &impl Encode) -> io::Result<()> {
    let mut frame = vec![0, 0, 0, 0, VERSION];
    message.encode(&mut frame);
    let length = frame.len() - 4;
    assert!(length <= FRAME_MAX, "every message of the protocol fits into a frame");
    frame[..4].copy_from_slice(&(length as u32).to_le_bytes());
    stream.write_all(&frame)
}

/// Reads what follows a frame's length.
pub(crate) fn read_frame<T: Decode>(stream: &mut impl Read, length: [u8; 4]) -> io::Result<T> {
    let invalid = |error: DecodeError| io::Error::new(io::ErrorKind::InvalidData, error);
    let length = u32::from_le_bytes(length) as usize;
    if length > FRAME_MAX {
        return Err(invalid(DecodeError::TooLong { field: "frame", length, limit: FRAME_MAX }));
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    match frame.split_first() {
        Some((&VERSION, body)) => T::from_bytes(body).map_err(invalid),
        Some((&version, _)) => {
            Err(invalid(DecodeError::UnknownTag { field: "protocol version", value: version.into() }))
        }
        None => Err(invalid(DecodeError::Truncated { needed: 1, left: 0 })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::Slot as RoundSlot;
    use proptest::prelude::*;
    use std::sync::Arc;
    use tpm::endorsement::{Certificate, Challenge, Slot};
    use types::block::votes_digest;
    use types::{AuthorityIndex, ChainId, Digest, Epoch, EpochKeyCertificate, Height, Round, SecretKey};

    fn requests() -> Vec<Request> {
        let digest = Digest::sha256(b"any");
        let votes = vec![HeaderVote { height: Height(1), header: digest }; VOTES_MAX];
        let statement = RoundStatement {
            chain: ChainId(digest),
            epoch: Epoch(1),
            round: Round(2),
            author: AuthorityIndex(3),
            body_digest: digest,
            votes_digest: votes_digest(&votes),
        };
        vec![
            Request::SignRound { statement, votes },
            Request::SignHandshake { transcript: vec![1; handshake::CONTENT_MAX] },
            Request::Attest { nonce: [7; 32] },
            Request::Endorse,
            Request::Activate(Asked(Challenge { slot: Slot::P256, identity: vec![1; 68], seed: vec![2; 68] })),
            Request::PublicKeys,
            Request::Stats,
            Request::Protections,
        ]
    }

    fn responses() -> Vec<Response> {
        let (one, two) = (Digest::sha256(b"one"), Digest::sha256(b"two"));
        let slot = RoundSlot { epoch: Epoch(1), round: Round(2) };
        let key = SecretKey::ed25519_from_seed([1; 32]);
        let refusals = [
            Refusal::SecondStatement { slot, approved: one, asked: two },
            Refusal::BelowMark { slot, mark: slot, approved: one, asked: two },
            Refusal::SecondHeader { height: Height(1), voted: one, asked: two },
            Refusal::ForgottenHeight { height: Height(1), floor: Height(2) },
            Refusal::Fenced { slot, from: slot, asked: two },
            Refusal::WrongChain { ours: ChainId(one), asked: ChainId(two) },
            Refusal::WrongEpoch { ours: Epoch(1), asked: Epoch(2) },
            Refusal::WrongAuthor,
            Refusal::WrongVotes { named: one, given: two },
            Refusal::NotAHandshake,
        ];
        let mut responses = vec![
            Response::Statement(key.sign_bytes(b"any").into()),
            Response::Statement(StatementSignature::Certified {
                certificate: Arc::new(EpochKeyCertificate {
                    key: key.public_key(),
                    from: Round(1),
                    until: Round(2),
                    signature: key.sign_bytes(b"any"),
                }),
                signature: key.sign_bytes(b"any"),
            }),
            Response::Handshake(key.sign_bytes(b"any")),
            Response::PublicKeys(PublicKeys { consensus: key.public_key(), transport: key.public_key() }),
            Response::Stats(Stats { module: "any".to_owned(), refused: 7, ..Stats::default() }),
            Response::Protections(Protections { pid: 7, undumpable: true, ..Protections::default() }),
            Response::Endorsement(Endorsement {
                tpm_key: vec![3; 90],
                certificates: vec![Certificate { slot: Slot::Rsa2048, der: vec![4; 300] }],
                chain: vec![vec![6; 20], vec![7; 30]],
            }),
            Response::Activated(Activated(Some(vec![5; 32]))),
            Response::Activated(Activated(None)),
            Response::Fault(Fault::Timeout),
            Response::Config(ConfigError::PinLocked),
        ];
        responses.extend(refusals.map(Response::Refused));
        responses
    }

    /// Reads back, and no part of it does.
    fn check<T: Encode + Decode + PartialEq + std::fmt::Debug>(message: &T) {
        let mut frame = Vec::new();
        write_frame(&mut frame, message).expect("a vector takes all");
        let (length, mut rest) = frame.split_first_chunk().expect("a length");
        assert_eq!(&read_frame::<T>(&mut rest, *length).expect("a whole frame"), message);
        let bytes = message.to_bytes();
        for cut in 0..bytes.len() {
            assert!(T::from_bytes(&bytes[..cut]).is_err());
        }
        assert!(T::from_bytes(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn every_message_reads_back_and_no_part_of_it_does() {
        requests().iter().for_each(check);
        responses().iter().for_each(check);
    }

    proptest! {
        #[test]
        fn altered_and_random_bytes_are_errors_or_canonical(
            which in any::<prop::sample::Index>(),
            flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            noise in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let alter = |mut bytes: Vec<u8>| {
                for (at, mask) in &flips {
                    let at = at.index(bytes.len());
                    bytes[at] ^= mask;
                }
                bytes
            };
            let (requests, responses) = (requests(), responses());
            for bytes in [alter(which.get(&requests).to_bytes()), alter(which.get(&responses).to_bytes()), noise] {
                if let Ok(request) = Request::from_bytes(&bytes) {
                    prop_assert_eq!(request.to_bytes(), bytes.clone());
                }
                if let Ok(response) = Response::from_bytes(&bytes) {
                    prop_assert_eq!(response.to_bytes(), bytes);
                }
            }
        }
    }
}
