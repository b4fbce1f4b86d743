//! Requests and answers between node and signer, and their frames: a u32 length, a version byte, a canonical encoding.
//! There is no request to sign bytes of the caller's choice.

use crate::error::{ConfigError, Fault, SignError};
use crate::handshake;
use crate::refusal::Refusal;
use crate::signer::PublicKeys;
use crate::stats::Stats;
use std::io::{self, Read, Write};
use types::block::VOTES_MAX;
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes, put_list};
use types::{HeaderVote, RoundStatement, Signature};

/// Longest frame without its length, in bytes.
pub const FRAME_MAX: usize = 8192;

const VERSION: u8 = 1;

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
    /// The two public keys.
    PublicKeys,
    /// Figures.
    Stats,
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
            Self::PublicKeys => out.push(3),
            Self::Stats => out.push(4),
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
            tag => return Err(DecodeError::UnknownTag { field: "request", value: tag.into() }),
        })
    }
}

/// What the signer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// To a request to sign.
    Signature(Signature),
    /// To [`Request::PublicKeys`].
    PublicKeys(PublicKeys),
    /// To [`Request::Stats`].
    Stats(Stats),
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
            Self::Signature(signature) => {
                out.push(1);
                signature.encode(out);
            }
            Self::PublicKeys(keys) => {
                out.push(2);
                keys.encode(out);
            }
            Self::Stats(stats) => {
                out.push(3);
                stats.encode(out);
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
            1 => Self::Signature(Signature::decode(reader)?),
            2 => Self::PublicKeys(PublicKeys::decode(reader)?),
            3 => Self::Stats(Stats::decode(reader)?),
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
