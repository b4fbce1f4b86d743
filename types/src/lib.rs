//! What a key, signature, digest, transaction, block, committee and receipt *is*: the vocabulary of every other crate.
//!
//! Owns the algorithm registry, the canonical codec, the single-item reference verifier ([`PublicKey::verify`]) and
//! Merkle verification. Deliberately absent: clocks, randomness, files, sockets, threads; and signing for a validator,
//! which only `hsm` does.
//!
//! ```
//! use types::{Address, Amount, ChainId, Digest, SecretKey, Transaction, TransactionBody};
//!
//! let chain = ChainId(Digest::sha256(b"an example genesis"));
//! let alice = SecretKey::ed25519_from_seed([1; 32]);
//! let bob = SecretKey::ed25519_from_seed([2; 32]).public_key().address();
//! let transfer = TransactionBody::Transfer { to: bob, amount: Amount(25), memo: Default::default() };
//! let tx = Transaction::sign(&chain, &alice, 1_700_000_060_000, 7, transfer).unwrap();
//!
//! // What arrives on the wire is parsed once, and its signature covers its id.
//! let received = Transaction::parse(&chain, tx.raw().clone()).unwrap();
//! assert_eq!(received.id(), tx.id());
//! assert!(received.verify().is_ok());
//! ```

pub mod address;
pub mod alg;
pub mod amount;
pub mod block;
pub mod certificate;
pub mod codec;
pub mod committee;
pub mod contract;
pub mod digest;
pub mod epoch;
pub mod epoch_key;
pub mod event;
pub mod evidence;
pub mod genesis;
pub mod governance;
pub mod header;
pub mod key;
pub mod merkle;
pub mod object;
pub mod receipt;
pub mod reject;
pub mod snapshot;
pub mod state_key;
pub mod transaction;
pub mod units;

pub use address::{Address, AddressError};
pub use alg::{AlgId, AlgKind};
pub use amount::{Amount, ParseAmountError};
pub use block::{
    Block, BlockBody, BlockHeader, BlockRef, CommitRecord, HeaderVote, Payload, PayloadDescriptor, RoundStatement,
};
pub use certificate::{Certificate, CertificateError, HeaderStatement};
pub use codec::{Decode, DecodeError, Encode, Reader};
pub use committee::{Authority, Committee, CommitteeError};
pub use contract::{Call, Step};
pub use digest::{ChainId, Digest, Hasher, SigningMessage};
pub use epoch::{Anchor, EpochChain, EpochChange, EpochChangeError, EpochStart};
pub use epoch_key::{EpochKeyCertificate, KnownCertificates, StatementError, StatementSignature};
pub use event::LedgerEvent;
pub use evidence::{Evidence, InvalidTransaction};
pub use genesis::{Allocation, Genesis, GenesisError, Parameters};
pub use governance::{Change, ChangeError, Governance, GovernanceError};
pub use header::LedgerHeader;
pub use key::{InvalidSignature, KeyError, PublicKey, SecretKey, Signature, SignatureError};
pub use merkle::{MerkleProof, merkle_root};
pub use object::{Grant, Object, ObjectRights};
pub use receipt::{Outcome, Receipt};
pub use reject::Reject;
pub use snapshot::{SnapshotPlan, StateChunk, StateManifest, StateProof, StateProofError, StateSummary};
pub use state_key::{Access, GrantId, ObjectId, StateKey};
pub use transaction::{Draft, Transaction, TransactionBody, TransactionId};
pub use units::{AuthorityIndex, Epoch, Height, Round, ShardId, Stake, TimestampMs};
