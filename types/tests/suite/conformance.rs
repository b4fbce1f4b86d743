//! One pinned hash a wire type, over thousands of seeded encodings and of the digests made of them.
//!
//! A test that fails here says that old bytes would be read differently, or that two versions of the node would not
//! agree. That needs a new version number in the encoding, never a new pin alone.

use crate::samples::Random;
use sha2::{Digest as _, Sha256};
use types::{
    BlockHeader, Committee, Encode, Epoch, EpochKeyCertificate, EpochStart, Grant, GrantId, LedgerEvent, Object,
    ObjectId, Outcome, Payload, Receipt, RoundStatement, SigningMessage, StatementSignature, Transaction,
    TransactionId,
};

const SAMPLES: usize = 3000;

/// Hashes what `sample` makes of as many seeded values; each answer may have several parts.
fn hash(seed: u64, samples: usize, mut sample: impl FnMut(&mut Random) -> Vec<Vec<u8>>) -> String {
    let (mut random, mut hasher) = (Random::new(seed), Sha256::new());
    for _ in 0..samples {
        for part in sample(&mut random) {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(&part);
        }
    }
    hex::encode(hasher.finalize())
}

macro_rules! pinned {
    ($($(#[$doc:meta])* $name:ident: $seed:literal, $samples:expr, $hex:literal, $sample:expr;)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            assert_eq!(hash($seed, $samples, $sample), $hex);
        }
    )*};
}

pinned! {
    signed_transactions: 1, 1000, "27df1429274f63f531ac8b8faf1d98b2b6f045757cc69afedc93d364b8fe8b00", |random| {
        let chain = random.chain();
        let transaction = random.transaction(&chain);
        vec![transaction.raw().to_vec(), transaction.id().to_bytes(), transaction.sender().to_bytes()]
    };
    transactions_of_every_algorithm: 2, SAMPLES, "ebeedea448bb31c9d38e8468811389f0b9c41e012f5db695f28f1bb37051d462", |random| {
        let chain = random.chain();
        let raw = random.transaction_of_any_algorithm(&chain);
        let transaction = Transaction::parse(&chain, raw.clone().into()).unwrap();
        vec![raw, transaction.id().to_bytes(), transaction.sender().to_bytes(), transaction.message().as_bytes().to_vec()]
    };
    block_headers: 3, SAMPLES, "b673b3d1a923cffa2d4050e81eb00edddf9d1526f88909e352b4556bb3077eda", |random| {
        let chain = random.chain();
        let header = random.block_header(chain);
        let message = header.statement().message();
        vec![header.raw().to_vec(), header.digest().to_bytes(), header.statement().to_bytes(), message.as_bytes().to_vec()]
    };
    payloads: 4, SAMPLES, "6948f3e0d76388f36efc8c71f0d2b09be62658cc18d14ca7c98d0b6a949044b0", |random| {
        let payload = random.payload();
        vec![payload.raw().to_vec(), payload.descriptor().to_bytes(), Payload::empty().descriptor().to_bytes()]
    };
    commit_records: 5, SAMPLES, "f29c1c66a8b9d3babcf9a2c9aa4dc82a71c8be05e156244c271e03fa3a212c58", |random| {
        let record = random.commit_record();
        vec![record.to_bytes(), record.digest().to_bytes()]
    };
    ledger_headers: 6, SAMPLES, "72433b5e60e9688425b3cddc7fe5a8ef3bbdf53344e7dc768f726b6245cedac3", |random| {
        let header = random.ledger_header();
        vec![header.to_bytes(), header.digest().to_bytes()]
    };
    receipts: 7, SAMPLES, "a9ebc6608e7cf58c72fe352eace1a6c018575469dcbe3a5a83fb8bd1fec5c9dc", |random| vec![random.receipt().to_bytes()];
    certificates: 8, SAMPLES, "26bca23635df60edd977c55b0b98675f3124d05bcd8bd616dbb6b4ebcdbdb71e", |random| vec![random.certificate().to_bytes()];
    merkle_proofs: 9, SAMPLES, "11bc886a79169f8adac817cf84aeae9b2ab1c0cbf5e4472eec52ef98a892b534", |random| {
        let leaves = random.list(40, |random| random.bytes(9));
        vec![random.merkle_proof().to_bytes(), types::merkle_root(leaves).to_bytes()]
    };
    evidence: 10, SAMPLES, "46cd2a8d0a9e5d6b63b8ba20e9ff2397d1f76b3b08cf60f96e7c76b23cdeb53d", |random| vec![random.evidence().to_bytes()];
    chain_ids: 11, 500, "62f2023bb09f8cdffea7d3c6c9b6ec47a8f47a541718cdbed532aa41ef8f92a8", |random| vec![random.genesis().chain_id().to_bytes()];
    committees: 12, 500, "5a45adb274e02eb7fe9fdc5cfd25d7c8b3b9ee79f707b8527e60607d44fc0c7d", |random| {
        let count = 1 + random.below(6);
        let authorities = random.authorities(count);
        let committee = Committee::new(Epoch(random.number()), authorities.clone()).unwrap();
        authorities.iter().map(Encode::to_bytes).chain([committee.digest().to_bytes()]).collect()
    };
    changes: 16, SAMPLES, "9cd6790bf1f868f274ea70d7c25aade22c529c13880554a23cfd13acf07f251e", |random| {
        let change = random.change();
        vec![change.to_bytes(), change.digest().to_bytes()]
    };
    epoch_changes: 17, 200, "f9945d31df8af82e10cc2b3f4550281e34ea397a38fc34dcda2bdd81128f13f7", |random| {
        let change = random.epoch_change();
        let named = EpochStart::digest_of(&change.start.committee, &change.start.parameters);
        vec![change.to_bytes(), named.to_bytes()]
    };
    addresses: 13, SAMPLES, "e99b943e87aa60937a936a252d751f75446e4021d130dbafbab15d16254358a6", |random| {
        vec![random.address().to_string().into_bytes(), random.public_key().address().to_string().into_bytes()]
    };
    signing_messages: 14, SAMPLES, "5789e31fad291b273596ced008478181096717e4aa534b8beda5141271521f89", |random| {
        let digest = random.digest();
        let messages = [SigningMessage::transaction(&digest), SigningMessage::round(&digest)];
        messages.iter().map(|message| message.as_bytes().to_vec()).collect()
    };
    epoch_key_certificates: 18, SAMPLES, "8a4693a3258c45b9883e5abddaa0855e3d9f9f096e1c99d5f2a33b47eb86753c", |random| {
        let (signature, chain) = (random.certified_signature(), random.chain());
        let header = random.block_header(chain);
        let certified = BlockHeader::new(*header.statement(), header.body().clone(), header.votes().to_vec(), signature.clone());
        let StatementSignature::Certified { certificate, .. } = &signature else { unreachable!() };
        let RoundStatement { chain, epoch, author, .. } = *header.statement();
        let message = EpochKeyCertificate::message(chain, epoch, author, &certificate.key, certificate.from, certificate.until);
        vec![signature.to_bytes(), certified.raw().to_vec(), message.as_bytes().to_vec()]
    };
    texts_of_keys_and_digests: 15, SAMPLES, "731c6753c724d3e4c9e6e8b8559e4efa2b84f3a36f0a74e41d4b358db46bcc2b", |random| {
        let texts = [random.public_key().to_string(), random.signature().to_string(), random.digest().to_string()];
        texts.into_iter().map(String::into_bytes).collect()
    };
    signed_calls: 21, 1000, "ec0ca7093c2fe2b508c5bed2078e9870291ba323880735e2439326d9dacadd1c", |random| {
        let chain = random.chain();
        let call = random.call(&chain);
        vec![call.raw().to_vec(), call.id().to_bytes(), call.sender().to_bytes(), call.message().as_bytes().to_vec()]
    };
    values_of_contracts: 22, SAMPLES, "f6056056a40deabad9be5458b8e2f4cc84a94ce4dd81b60ea6dc367cf84d63ab", |random| {
        let (object, grant, event) = (random.object(), random.grant(), random.event());
        let (chain, key) = (TransactionId(random.digest()), random.state_key());
        let audited = Grant::audited(&grant.audit, &chain, &event);
        let ids = [
            ObjectId::issued(&object.owner, grant.entries).to_bytes(),
            ObjectId::part(&ObjectId::from_bytes(*object.owner.as_bytes()), grant.entries).to_bytes(),
            GrantId::of(&grant.grantor, &grant.grantee, &grant.resource).to_bytes(),
            Object::asset_of(&chain, 3).to_bytes(),
        ];
        let events = LedgerEvent::digest(std::slice::from_ref(&event));
        let values = [object.to_bytes(), grant.to_bytes(), event.to_bytes(), audited.to_bytes(), events.to_bytes()];
        values.into_iter().chain(ids).chain([key.to_bytes(), key.to_row_key()]).collect()
    };
    receipts_with_events: 23, SAMPLES, "312b1dd4b2f9db2f2ffbe2078ff42babab5b46a96808252a055a02ddaf58660a", |random| {
        let (transaction, outcome) = (TransactionId(random.digest()), Outcome::Emitted(random.digest()));
        vec![Receipt { transaction, outcome }.to_bytes()]
    };
}
