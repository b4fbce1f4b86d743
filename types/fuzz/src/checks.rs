//! What each decoder of `types` promises for any bytes: no panic, and what is accepted can be written again, byte for
//! byte. The fuzz targets call these, and so does the replay of the corpora in `types/tests`.

use bytes::Bytes;
use types::{
    Address, AlgId, BlockHeader, Certificate, ChainId, CommitRecord, Decode, Digest, Draft, Encode, EpochChange,
    Genesis, Grant, LedgerEvent, Object, Payload, PublicKey, Reader, Signature, StateKey, StateManifest, StateProof,
    Transaction,
};

/// The ledger that every input is read for; its encoding starts the transactions of the corpus.
pub fn chain() -> ChainId {
    ChainId(Digest::sha256(b"the ledger of the decoding tests"))
}

fn canonical<T: Decode + Encode>(data: &[u8]) {
    if let Ok(value) = T::from_bytes(data) {
        assert_eq!(value.to_bytes(), data);
    }
}

/// [`Transaction::parse`].
pub fn transaction(data: &[u8]) {
    let raw = Bytes::copy_from_slice(data);
    if let Ok(transaction) = Transaction::parse(&chain(), raw) {
        assert_eq!(transaction.raw(), data);
        let mut signatures = Vec::new();
        transaction.claims().for_each(|(_, signature)| signature.encode(&mut signatures));
        assert!(data.ends_with(&signatures));
        // What stands before the signatures is a draft, and with them it is the transaction again.
        let unsigned = Bytes::copy_from_slice(&data[..data.len() - signatures.len()]);
        let draft = Draft::parse(&chain(), unsigned).expect("the head of a transaction is a draft");
        assert_eq!(draft.id(), transaction.id());
        let signatures: Vec<Signature> = transaction.claims().map(|(_, signature)| signature.clone()).collect();
        assert_eq!(draft.finish(&signatures).as_ref(), Ok(&transaction));
        // A verdict, whichever: no key or signature panics.
        let _ = transaction.verify();
    }
}

/// [`Object`], [`Grant`], and the events of a transaction.
pub fn contract_values(data: &[u8]) {
    canonical::<Object>(data);
    canonical::<Grant>(data);
    if let Ok(events) = LedgerEvent::list_from_bytes(data) {
        assert_eq!(LedgerEvent::list_to_bytes(&events), data);
    }
}

/// [`BlockHeader::parse`].
pub fn block_header(data: &[u8]) {
    if let Ok(header) = BlockHeader::parse(&chain(), Bytes::copy_from_slice(data)) {
        let (body, votes) = (header.body().clone(), header.votes().to_vec());
        let statement =
            BlockHeader::statement_for(chain(), header.epoch(), header.round(), header.author(), &body, &votes);
        assert_eq!(statement.digest(), header.digest());
        let again = BlockHeader::new(statement, body, votes, header.signature().clone());
        assert_eq!(again.raw(), data);
    }
}

/// [`Payload::parse`].
pub fn payload(data: &[u8]) {
    if let Ok(payload) = Payload::parse(Bytes::copy_from_slice(data), 4096) {
        let again = Payload::build(payload.transactions());
        assert_eq!(again.raw(), data);
        assert_eq!(again.descriptor(), payload.descriptor());
    }
}

/// [`CommitRecord`].
pub fn commit_record(data: &[u8]) {
    canonical::<CommitRecord>(data);
}

/// [`Certificate`].
pub fn certificate(data: &[u8]) {
    canonical::<Certificate>(data);
}

/// [`EpochChange`]; its proof is looked at, whatever it proves.
pub fn epoch_change(data: &[u8]) {
    canonical::<EpochChange>(data);
    if let Ok(change) = EpochChange::from_bytes(data) {
        let _ = change.verify(chain(), &change.start);
    }
}

/// [`StateManifest`] and [`StateProof`]; the proof is looked at, whatever it proves.
pub fn snapshot(data: &[u8]) {
    canonical::<StateManifest>(data);
    canonical::<StateProof>(data);
    if let Ok(proof) = StateProof::from_bytes(data) {
        let _ = proof.verify(&StateKey::Account(Address::from_bytes([7; 32])), &proof.summary.root());
    }
}

/// [`Genesis::from_toml`].
pub fn genesis(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(genesis) = Genesis::from_toml(text) {
        let again = Genesis::from_toml(&genesis.to_toml()).expect("what was read can be written and read again");
        assert_eq!(again.chain_id(), genesis.chain_id());
    }
}

/// A key, a signature, and the rest as message: there is a verdict, over the prehash the same one. The bytes of the key
/// are also read as other programs write points; one that is accepted is kept in the one form of the ledger.
pub fn signature(data: &[u8]) {
    let mut reader = Reader::new(data);
    let (Ok(key), Ok(signature)) = (PublicKey::decode(&mut reader), Signature::decode(&mut reader)) else { return };
    let message = &data[reader.position()..];
    let verdict = key.verify_bytes(message, &signature);
    if let Some(prehash) = key.prehash(message) {
        assert_eq!(key.verify_prehashed(&prehash, &signature), verdict);
    }
    for alg in AlgId::signing() {
        let same = PublicKey::from_point_bytes(alg, key.as_bytes());
        assert!(same.is_err() || same == PublicKey::from_parts(alg, key.as_bytes()), "compressed already");
        for length in [64, 65] {
            let Some(bytes) = data.get(1..1 + length) else { continue };
            if let Ok(key) = PublicKey::from_point_bytes(alg, bytes) {
                assert_eq!(PublicKey::from_point_bytes(alg, key.as_bytes()), Ok(key));
            }
        }
    }
    if key.alg() != AlgId::Ed25519 && PublicKey::from_point_bytes(key.alg(), key.as_bytes()).is_err() {
        assert!(verdict.is_err(), "valid under a key that is no point");
    }
}
