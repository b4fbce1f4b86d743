//! The table of everything that is read from peers, clients and disks: a sample, and what reading and writing again
//! gives.

use crate::samples::contracts::transcribe_call;
use crate::samples::{Random, transcribe_transaction};
use bytes::Bytes;
use types::transaction::TransactionError;
use types::{
    Access, Address, AlgId, Authority, BlockBody, BlockHeader, BlockRef, Certificate, ChainId, Change, CommitRecord,
    Decode, DecodeError, Digest, Draft, Encode, EpochChange, Evidence, Grant, HeaderStatement, HeaderVote, LedgerEvent,
    LedgerHeader, MerkleProof, Object, Outcome, Payload, PayloadDescriptor, PublicKey, Receipt, Reject, Round,
    RoundStatement, Signature, StateManifest, StateProof, StatementSignature, Transaction, TransactionBody,
    TransactionId,
};

/// Most transactions of a payload that these tests read.
pub const PAYLOAD_COUNT_MAX: usize = 4096;

/// The ledger of all samples.
pub fn chain() -> ChainId {
    ChainId(Digest::sha256(b"the ledger of the decoding tests"))
}

pub struct Decoder {
    pub name: &'static str,
    /// A canonical encoding.
    pub sample: fn(&mut Random) -> Vec<u8>,
    /// Reads, and writes what was read from its fields alone.
    pub rewrite: fn(&[u8]) -> Result<Vec<u8>, DecodeError>,
    /// Whether a prefix of an encoding can be an encoding, as with a list that lasts until the input ends.
    pub open_ended: bool,
}

fn of<T: Decode + Encode>(name: &'static str, sample: fn(&mut Random) -> Vec<u8>) -> Decoder {
    Decoder { name, sample, rewrite: |bytes| T::from_bytes(bytes).map(|value| value.to_bytes()), open_ended: false }
}

fn transaction(raw: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match Transaction::parse(&chain(), Bytes::copy_from_slice(raw)) {
        Ok(tx) if matches!(tx.body(), TransactionBody::Call(_)) => Ok(transcribe_call(&tx, &chain())),
        Ok(tx) => {
            Ok(transcribe_transaction(&chain(), tx.valid_until(), tx.nonce(), tx.key(), tx.body(), tx.signature()))
        }
        Err(TransactionError::Decode(error)) => Err(error),
        Err(TransactionError::WrongChain(_)) => Err(DecodeError::NotCanonical { field: "chain" }),
    }
}

fn draft(raw: &[u8]) -> Result<Vec<u8>, DecodeError> {
    match Draft::parse(&chain(), Bytes::copy_from_slice(raw)) {
        Ok(draft) => {
            assert!((1..=8).contains(&draft.signers().len()));
            Ok(draft.unsigned().to_vec())
        }
        Err(TransactionError::Decode(error)) => Err(error),
        Err(TransactionError::WrongChain(_)) => Err(DecodeError::NotCanonical { field: "chain" }),
    }
}

fn block_header(raw: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let header = BlockHeader::parse(&chain(), Bytes::copy_from_slice(raw))?;
    let (body, votes) = (header.body().clone(), header.votes().to_vec());
    // The digests that parsing took from the raw bytes are those of the fields.
    let (epoch, round, author) = (header.epoch(), header.round(), header.author());
    let statement = BlockHeader::statement_for(chain(), epoch, round, author, &body, &votes);
    assert_eq!((&statement, statement.digest()), (header.statement(), header.digest()));
    Ok(BlockHeader::new(statement, body, votes, header.signature().clone()).raw().to_vec())
}

fn payload(raw: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let payload = Payload::parse(Bytes::copy_from_slice(raw), PAYLOAD_COUNT_MAX)?;
    Ok(Payload::build(payload.transactions()).raw().to_vec())
}

pub fn all() -> Vec<Decoder> {
    vec![
        Decoder {
            name: "Transaction",
            sample: |random| random.transaction_of_any_algorithm(&chain()),
            rewrite: transaction,
            open_ended: false,
        },
        Decoder {
            name: "Call",
            sample: |random| random.call(&chain()).raw().to_vec(),
            rewrite: transaction,
            open_ended: false,
        },
        Decoder {
            name: "Draft",
            sample: |random| {
                let call = random.call(&chain());
                let signatures: usize = call.claims().map(|(_, signature)| signature.to_bytes().len()).sum();
                call.raw()[..call.raw().len() - signatures].to_vec()
            },
            rewrite: draft,
            open_ended: false,
        },
        Decoder {
            name: "LedgerEvents",
            sample: |random| LedgerEvent::list_to_bytes(&random.list(8, Random::event)),
            rewrite: |bytes| LedgerEvent::list_from_bytes(bytes).map(|events| LedgerEvent::list_to_bytes(&events)),
            open_ended: false,
        },
        of::<Object>("Object", |random| random.object().to_bytes()),
        of::<Grant>("Grant", |random| random.grant().to_bytes()),
        of::<Access>("Access", |random| Access { key: random.state_key(), write: random.below(2) == 1 }.to_bytes()),
        of::<Receipt>("Emitted", |random| {
            let (transaction, outcome) = (TransactionId(random.digest()), Outcome::Emitted(random.digest()));
            Receipt { transaction, outcome }.to_bytes()
        }),
        Decoder {
            name: "BlockHeader",
            sample: |random| random.block_header(chain()).raw().to_vec(),
            rewrite: block_header,
            open_ended: false,
        },
        Decoder {
            name: "Payload",
            sample: |random| random.payload().raw().to_vec(),
            rewrite: payload,
            open_ended: true,
        },
        of::<u8>("u8", |random| random.bytes(1)),
        of::<u64>("u64", |random| random.bytes(8)),
        of::<Option<Round>>("Option", |random| (random.below(2) == 1).then(|| random.round()).to_bytes()),
        of::<AlgId>("AlgId", |random| AlgId::ALL[random.below(7)].to_bytes()),
        of::<Digest>("Digest", |random| random.digest().to_bytes()),
        of::<ChainId>("ChainId", |random| random.chain().to_bytes()),
        of::<Address>("Address", |random| random.address().to_bytes()),
        of::<PublicKey>("PublicKey", |random| random.public_key().to_bytes()),
        of::<Signature>("Signature", |random| random.signature().to_bytes()),
        of::<TransactionId>("TransactionId", |random| TransactionId(random.digest()).to_bytes()),
        of::<Reject>("Reject", |random| Reject::ALL[random.below(Reject::ALL.len())].to_bytes()),
        of::<Receipt>("Receipt", |random| random.receipt().to_bytes()),
        of::<BlockRef>("BlockRef", |random| random.block_ref().to_bytes()),
        of::<HeaderVote>("HeaderVote", |random| random.vote().to_bytes()),
        of::<RoundStatement>("RoundStatement", |random| random.statement().to_bytes()),
        of::<Evidence>("Evidence", |random| random.evidence().to_bytes()),
        of::<PayloadDescriptor>("PayloadDescriptor", |random| random.payload_descriptor().to_bytes()),
        of::<BlockBody>("BlockBody", |random| random.block_body().to_bytes()),
        of::<CommitRecord>("CommitRecord", |random| random.commit_record().to_bytes()),
        of::<LedgerHeader>("LedgerHeader", |random| random.ledger_header().to_bytes()),
        of::<HeaderStatement>("HeaderStatement", |random| random.header_statement().to_bytes()),
        of::<StatementSignature>("StatementSignature", |random| random.certified_signature().to_bytes()),
        of::<Certificate>("Certificate", |random| random.certificate().to_bytes()),
        of::<Change>("Change", |random| random.change().to_bytes()),
        of::<EpochChange>("EpochChange", |random| random.epoch_change().to_bytes()),
        of::<StateManifest>("StateManifest", |random| random.state_manifest().to_bytes()),
        of::<StateProof>("StateProof", |random| random.state_proof().to_bytes()),
        of::<MerkleProof>("MerkleProof", |random| random.merkle_proof().to_bytes()),
        of::<Authority>("Authority", |random| random.authority("a name".to_owned()).to_bytes()),
    ]
}
