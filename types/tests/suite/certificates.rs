//! What proves that a quorum voted for a ledger header, and each way of not proving it.

use crate::decoders::chain;
use crate::samples::Random;
use std::sync::Arc;
use types::key::SignatureError;
use types::{
    AlgId, AuthorityIndex, BlockHeader, Certificate, CertificateError, ChainId, Committee, Decode, Digest, Encode,
    Epoch, EpochKeyCertificate, HeaderStatement, HeaderVote, Height, InvalidSignature, Round, RoundStatement,
    SecretKey, Signature, Stake, StatementError, StatementSignature,
};

struct Network {
    committee: Committee,
    secrets: Vec<SecretKey>,
    random: Random,
}

impl Network {
    /// Validators with these stakes, in epoch 5.
    fn new(stakes: &[u64]) -> Self {
        let mut random = Random::new(1);
        let secrets: Vec<SecretKey> = stakes.iter().map(|_| random.secret()).collect();
        let mut authorities = random.authorities(stakes.len());
        for (index, authority) in authorities.iter_mut().enumerate() {
            authority.consensus_key = secrets[index].public_key();
            authority.stake = Stake(stakes[index]);
        }
        Self { committee: Committee::new(Epoch(5), authorities).unwrap(), secrets, random }
    }

    /// The statement of a block of `author` with these votes, signed as `signer`.
    fn signed_as(
        &mut self,
        signer: usize,
        author: u16,
        chain: ChainId,
        epoch: u64,
        votes: &[HeaderVote],
    ) -> HeaderStatement {
        let (body, round) = (self.random.block_body(), Round(self.random.number()));
        let statement = BlockHeader::statement_for(chain, Epoch(epoch), round, AuthorityIndex(author), &body, votes);
        let signature = self.secrets[signer].sign(&statement.message());
        let signature = if signer % 2 == 1 { self.certified(signer, &statement) } else { signature.into() };
        HeaderStatement::from(&BlockHeader::new(statement, body, votes.to_vec(), signature))
    }

    /// By an epoch key that the signer has certified.
    fn certified(&mut self, signer: usize, statement: &RoundStatement) -> StatementSignature {
        let (epoch_key, from, until) = (self.random.secret(), statement.round, Round(u64::MAX));
        let key = epoch_key.public_key();
        let RoundStatement { chain, epoch, author, .. } = *statement;
        let message = EpochKeyCertificate::message(chain, epoch, author, &key, from, until);
        let signature = self.secrets[signer].sign(&message);
        let certificate = Arc::new(EpochKeyCertificate { key, from, until, signature });
        StatementSignature::Certified { certificate, signature: epoch_key.sign(&statement.message()) }
    }

    /// An honest statement with other votes around the one that counts.
    fn statement(&mut self, author: u16, vote: HeaderVote) -> HeaderStatement {
        let votes = [self.random.vote(), vote, self.random.vote()];
        self.signed_as(author.into(), author, chain(), 5, &votes)
    }

    fn certificate(&mut self, authors: &[u16]) -> Certificate {
        let vote = vote();
        Certificate { vote, statements: authors.iter().map(|author| self.statement(*author, vote)).collect() }
    }

    fn verify(&self, certificate: &Certificate) -> Result<(), CertificateError> {
        certificate.verify(chain(), &self.committee)
    }
}

fn vote() -> HeaderVote {
    HeaderVote { height: Height(9), header: Digest::sha256(b"the header of height 9") }
}

fn wrong_signature(author: u16) -> CertificateError {
    let source = SignatureError::Invalid(InvalidSignature).into();
    CertificateError::Signature { author: AuthorityIndex(author), source }
}

#[test]
fn a_quorum_of_votes_certifies() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    for authors in [&[0, 1, 2][..], &[0, 1, 3], &[1, 2, 3], &[0, 1, 2, 3]] {
        let certificate = network.certificate(authors);
        assert_eq!(network.verify(&certificate), Ok(()));
        assert_eq!(certificate.height(), Height(9));
        let read = Certificate::from_bytes(&certificate.to_bytes()).unwrap();
        assert_eq!(network.verify(&read), Ok(()));
    }
}

#[test]
fn less_than_a_quorum_does_not() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    for authors in [&[][..], &[0], &[2, 3]] {
        let certificate = network.certificate(authors);
        let error = CertificateError::NoQuorum { stake: authors.len() as u64, quorum: 3 };
        assert_eq!(network.verify(&certificate), Err(error));
    }
    // Stake counts, not heads: f of 100 is 33, so that 67 are needed.
    let mut network = Network::new(&[60, 20, 13, 7]);
    let three = network.certificate(&[1, 2, 3]);
    assert_eq!(network.verify(&three), Err(CertificateError::NoQuorum { stake: 40, quorum: 67 }));
    let two = network.certificate(&[0, 3]);
    assert_eq!(network.verify(&two), Ok(()));
}

#[test]
fn an_author_counts_once_and_in_order() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    for authors in [&[0, 1, 1][..], &[0, 0, 0, 0], &[1, 0, 2], &[0, 2, 1, 3]] {
        let certificate = network.certificate(authors);
        assert_eq!(network.verify(&certificate), Err(CertificateError::Order), "{authors:?}");
    }
}

#[test]
fn a_stranger_does_not_count() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    let mut certificate = network.certificate(&[0, 1]);
    certificate.statements.push(network.signed_as(0, 4, chain(), 5, &[vote()]));
    assert_eq!(network.verify(&certificate), Err(CertificateError::UnknownAuthor(AuthorityIndex(4))));
}

#[test]
fn a_statement_for_another_ledger_or_epoch_does_not_count() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    let certificate = network.certificate(&[0, 1, 2]);
    let other = ChainId(Digest::sha256(b"another ledger"));
    assert_eq!(certificate.verify(other, &network.committee), Err(wrong_signature(0)));
    let next = Committee::new(Epoch(6), network.committee.authorities().to_vec()).unwrap();
    assert_eq!(certificate.verify(chain(), &next), Err(wrong_signature(0)));
    for (chain, epoch) in [(other, 5), (chain(), 6)] {
        let mut mixed = certificate.clone();
        mixed.statements[1] = network.signed_as(1, 1, chain, epoch, &[vote()]);
        let source = StatementError::Certificate(SignatureError::Invalid(InvalidSignature));
        let author = AuthorityIndex(1);
        assert_eq!(network.verify(&mixed), Err(CertificateError::Signature { author, source }));
    }
}

#[test]
fn a_statement_without_the_vote_does_not_count() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    let certificate = network.certificate(&[0, 1, 2]);
    let other_header = HeaderVote { header: Digest::sha256(b"a fork"), ..vote() };
    let other_height = HeaderVote { height: Height(10), ..vote() };
    for votes in [&[][..], &[other_header], &[other_height], &[other_header, other_height]] {
        let mut broken = certificate.clone();
        broken.statements[2] = network.signed_as(2, 2, chain(), 5, votes);
        assert_eq!(network.verify(&broken), Err(CertificateError::NoVote(AuthorityIndex(2))));
    }
    let forked = Certificate { vote: other_header, ..certificate };
    assert_eq!(network.verify(&forked), Err(CertificateError::NoVote(AuthorityIndex(0))));
}

#[test]
fn everything_of_a_statement_is_under_its_signature() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    let certificate = network.certificate(&[0, 1, 2]);
    let breaks: [fn(&mut HeaderStatement); 6] = [
        |statement| statement.round = statement.round.next(),
        |statement| statement.body_digest = Digest::sha256(b"another body"),
        |statement| statement.votes.swap(0, 2),
        |statement| statement.votes.truncate(2),
        |statement| statement.votes.push(vote()),
        |statement| {
            let mut bytes = statement.signature.to_bytes();
            let end = bytes.len();
            bytes[end - 24] ^= 1;
            statement.signature = StatementSignature::from_bytes(&bytes).unwrap();
        },
    ];
    for (index, broken) in breaks.into_iter().enumerate() {
        let mut certificate = certificate.clone();
        broken(&mut certificate.statements[1]);
        assert_eq!(network.verify(&certificate), Err(wrong_signature(1)), "break {index}");
    }
    // One validator cannot speak for another.
    let mut certificate = certificate.clone();
    certificate.statements[2] = network.signed_as(0, 2, chain(), 5, &[vote()]);
    assert_eq!(network.verify(&certificate), Err(wrong_signature(2)));
}

#[test]
fn a_signature_of_another_algorithm_is_named() {
    let mut network = Network::new(&[1, 1, 1, 1]);
    let mut certificate = network.certificate(&[0, 1, 2]);
    certificate.statements[0].signature = Signature::from_parts(AlgId::Sm2Sm3, &[1; 64]).unwrap().into();
    let source = SignatureError::AlgorithmMismatch { key: AlgId::Ed25519, signature: AlgId::Sm2Sm3 }.into();
    let error = CertificateError::Signature { author: AuthorityIndex(0), source };
    assert_eq!(network.verify(&certificate), Err(error));
}
