//! What goes wrong, split by whose fault it is: ours ([`TransportError`]), a queue's ([`SendError`]), a link's
//! ([`LinkFault`]), a peer's ([`Violation`]).

use std::io;
use std::net::SocketAddr;

use quinn::{ConnectionError, VarInt};
use types::AlgId;

/// An endpoint could not be started.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The UDP port cannot be bound: in use, not permitted, or not an address of this machine.
    #[error("cannot bind UDP {addr}")]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The socket was bound and could not be driven.
    #[error("cannot drive the UDP socket")]
    Socket(#[from] io::Error),
    /// rustls refused the configuration.
    #[error("TLS configuration")]
    Tls(#[from] rustls::Error),
    /// The transport key is of an algorithm that TLS does not have for it.
    #[error("a transport key is Ed25519 or P-256, not {0}")]
    Identity(AlgId),
    /// The provider lacks the cipher suite of QUIC's initial packets.
    #[error("the TLS provider lacks TLS_AES_128_GCM_SHA256")]
    CipherSuite,
    /// Two roster entries share an index.
    #[error("the roster names peer {index} twice")]
    DuplicatePeer {
        /// The index.
        index: u16,
    },
    /// Two roster entries share a key.
    #[error("the roster gives peers {first} and {second} the same key")]
    DuplicateKey {
        /// One of them.
        first: u16,
        /// The other.
        second: u16,
    },
    /// A limit is zero, or larger than the field that carries it.
    #[error("limit `{name}` is out of range")]
    Limit {
        /// The field's name.
        name: &'static str,
    },
}

/// A frame was not queued. Nothing of it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The queue to this receiver is full in frames or in bytes.
    #[error("the queue is full")]
    Full,
    /// There is no link to this receiver now, or never was.
    #[error("the link is down")]
    Down,
    /// The frame is longer than the limit of its class.
    #[error("the frame is longer than its limit")]
    TooLarge,
}

/// A request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// As many requests to this peer as allowed are already open.
    #[error("too many requests to this peer are open")]
    Full,
    /// There is no link to this peer, or it was lost before the answer.
    #[error("the link is down")]
    Down,
    /// The request is longer than its limit.
    #[error("the request is longer than its limit")]
    TooLarge,
    /// The answer is longer than its limit; it was cut off.
    #[error("the answer is longer than its limit")]
    AnswerTooLarge,
    /// The peer declined to answer.
    #[error("the peer declined")]
    Declined,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
}

/// What a peer did that this protocol forbids. It costs the peer its connection and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// A frame announced more bytes than its class allows.
    #[error("oversize frame")]
    OversizeFrame,
    /// A request longer than its limit.
    #[error("oversize request")]
    OversizeRequest,
    /// A stream that did not open with a known class, or a second one of the same class.
    #[error("unexpected stream")]
    UnexpectedStream,
    /// A long-lived stream was ended while its connection lives.
    #[error("stream ended")]
    StreamEnded,
    /// A frame was begun and then nothing more of it came.
    #[error("frame stalled")]
    FrameStalled,
    /// The wrong end dialled.
    #[error("wrong direction")]
    WrongDirection,
    /// A datagram that is no piece of a copied frame.
    #[error("malformed copy")]
    MalformedCopy,
}

impl Violation {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 7] = [
        Self::OversizeFrame,
        Self::OversizeRequest,
        Self::UnexpectedStream,
        Self::StreamEnded,
        Self::FrameStalled,
        Self::WrongDirection,
        Self::MalformedCopy,
    ];

    /// A short stable name, for metric labels and close reasons.
    pub fn label(self) -> &'static str {
        match self {
            Self::OversizeFrame => "oversize_frame",
            Self::OversizeRequest => "oversize_request",
            Self::UnexpectedStream => "unexpected_stream",
            Self::StreamEnded => "stream_ended",
            Self::FrameStalled => "frame_stalled",
            Self::WrongDirection => "wrong_direction",
            Self::MalformedCopy => "malformed_copy",
        }
    }
}

/// Why a link went down or did not come up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkFault {
    /// This side shut down.
    #[error("this side shut down")]
    Shutdown,
    /// The peer shut down in good order.
    #[error("the peer shut down")]
    PeerShutdown,
    /// A newer connection of the same peer took its place.
    #[error("replaced by a newer connection")]
    Replaced,
    /// Nothing was heard for the idle timeout, or the handshake did not finish in time.
    #[error("timed out")]
    TimedOut,
    /// The peer restarted and no longer knows the connection.
    #[error("the peer restarted")]
    PeerRestarted,
    /// The peer broke the protocol and was cut off.
    #[error("the peer misbehaved: {0}")]
    PeerMisbehaved(Violation),
    /// The peer says that this side broke the protocol.
    #[error("the peer cut us off: {0}")]
    CutOff(Violation),
    /// The key presented at the handshake is not the one expected, or not in the roster. `by_peer` tells who refused.
    #[error("key refused ({})", if *.by_peer { "by the peer" } else { "by us" })]
    KeyRefused {
        /// The other side refused ours.
        by_peer: bool,
    },
    /// The identity key did not sign.
    #[error("the identity key did not sign")]
    Identity,
    /// The peer is shedding load or refuses connections for now.
    #[error("the peer is busy")]
    Busy,
    /// This receiver was too slow and lost its connection.
    #[error("too slow")]
    TooSlow,
    /// The address cannot be dialled from this socket.
    #[error("the address cannot be dialled")]
    BadAddress,
    /// A task of this side failed; the link starts over.
    #[error("internal failure of this side")]
    Internal,
    /// Another transport error; the QUIC error code.
    #[error("transport error {0:#x}")]
    Quic(u64),
}

impl From<Violation> for LinkFault {
    fn from(violation: Violation) -> Self {
        Self::PeerMisbehaved(violation)
    }
}

/// Application close codes. Stable on the wire.
pub(crate) mod code {
    use super::{VarInt, Violation};

    pub(crate) const SHUTDOWN: VarInt = VarInt::from_u32(0);
    pub(crate) const REPLACED: VarInt = VarInt::from_u32(1);
    pub(crate) const BUSY: VarInt = VarInt::from_u32(2);
    pub(crate) const TOO_SLOW: VarInt = VarInt::from_u32(3);
    /// A stream whose answer will not come.
    pub(crate) const DECLINED: VarInt = VarInt::from_u32(4);
    const VIOLATION: u32 = 0x100;

    pub(crate) fn violation(v: Violation) -> VarInt {
        let at = Violation::ALL.iter().position(|x| *x == v).expect("ALL holds every violation");
        VarInt::from_u32(VIOLATION + at as u32)
    }

    pub(crate) fn violation_of(code: VarInt) -> Option<Violation> {
        let at = code.into_inner().checked_sub(u64::from(VIOLATION))?;
        Violation::ALL.get(usize::try_from(at).ok()?).copied()
    }
}

/// TLS alerts that mean "not with this key" (RFC 8446 §6.2), as QUIC crypto error codes.
const CRYPTO_BASE: u64 = 0x100;
const ALERT_BAD_CERTIFICATE: u64 = 42;
const ALERT_ACCESS_DENIED: u64 = 49;
const ALERT_DECRYPT_ERROR: u64 = 51;
const ALERT_INTERNAL_ERROR: u64 = 80;
const ALERT_CERTIFICATE_REQUIRED: u64 = 116;

fn from_quic(code: u64, by_peer: bool) -> LinkFault {
    match code.wrapping_sub(CRYPTO_BASE) {
        ALERT_ACCESS_DENIED | ALERT_DECRYPT_ERROR | ALERT_BAD_CERTIFICATE | ALERT_CERTIFICATE_REQUIRED => {
            LinkFault::KeyRefused { by_peer }
        }
        ALERT_INTERNAL_ERROR if !by_peer => LinkFault::Identity,
        // CONNECTION_REFUSED, RFC 9000 §20.1.
        _ if code == 2 => LinkFault::Busy,
        _ => LinkFault::Quic(code),
    }
}

impl From<&ConnectionError> for LinkFault {
    fn from(error: &ConnectionError) -> Self {
        match error {
            ConnectionError::TransportError(e) => from_quic(e.code.into(), false),
            ConnectionError::ConnectionClosed(close) => from_quic(close.error_code.into(), true),
            ConnectionError::ApplicationClosed(close) => match close.error_code {
                code::SHUTDOWN => Self::PeerShutdown,
                code::REPLACED => Self::Replaced,
                code::BUSY => Self::Busy,
                code::TOO_SLOW => Self::TooSlow,
                other => code::violation_of(other).map_or(Self::Quic(other.into_inner()), Self::CutOff),
            },
            ConnectionError::Reset => Self::PeerRestarted,
            ConnectionError::TimedOut => Self::TimedOut,
            ConnectionError::LocallyClosed => Self::Shutdown,
            // The registered codes nearest in meaning: VERSION_NEGOTIATION_ERROR and CONNECTION_ID_LIMIT_ERROR.
            ConnectionError::VersionMismatch => Self::Quic(0x11),
            ConnectionError::CidsExhausted => Self::Quic(0x09),
        }
    }
}
