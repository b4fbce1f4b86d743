//! Epoch keys: what signs the rounds where the token is too slow to (`signing.mode = "certified"`).
//!
//! The key is made in this process, lives in its memory alone and dies with it. The consensus key, in the token, certifies it
//! for some rounds of one epoch ([`EpochKeyCertificate`]). Half way through those rounds the next key is made and certified
//! beside the signing, so that a token may take its time, or be away for as long as the other half lasts. Only the first
//! round of a process and of an epoch waits for the token.
//!
//! Deliberately absent: what may be signed. The guard has approved a statement before it comes here, whichever key signs it.

use crate::error::{Fault, StoreError};
use crate::refusal::Slot;
use crate::signer::Signer;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use types::{
    AuthorityIndex, Epoch, EpochKeyCertificate, PublicKey, Round, RoundStatement, SecretKey, StatementSignature,
};
use zeroize::Zeroizing;

/// Pause after a failed renewal.
const PAUSE: Duration = Duration::from_secs(1);

/// The consensus key, for whoever certifies.
type Certifier = Arc<Mutex<Box<dyn Signer>>>;

/// Signs approved statements with epoch keys.
pub(crate) struct EpochKeys {
    certifier: Certifier,
    consensus_key: PublicKey,
    /// Rounds that a certificate is for.
    rounds: u64,
    current: Option<EpochKey>,
    renewal: Renewal,
}

/// The making of the next key, beside the signing.
enum Renewal {
    /// Nothing is being made, nor before the given time.
    Idle(Option<Instant>),
    /// Asked for; the answer appears here.
    Running(Arc<Mutex<Option<Result<EpochKey, StoreError>>>>),
}

/// A key and its certificate.
struct EpochKey {
    epoch: Epoch,
    author: AuthorityIndex,
    secret: SecretKey,
    certificate: Arc<EpochKeyCertificate>,
}

impl EpochKey {
    /// Makes a key and has it certified for `rounds` rounds from the statement's on. Takes as long as the token takes.
    fn certified(
        certifier: &Certifier,
        consensus_key: &PublicKey,
        statement: &RoundStatement,
        rounds: u64,
    ) -> Result<Self, StoreError> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(|_| Fault::Randomness)?;
        let secret = SecretKey::ed25519_from_seed(*seed);
        let RoundStatement { chain, epoch, author, round: from, .. } = *statement;
        let (key, until) = (secret.public_key(), Round(from.0.saturating_add(rounds)));
        let message = EpochKeyCertificate::message(chain, epoch, author, &key, from, until);
        let signature = certifier.lock().unwrap_or_else(PoisonError::into_inner).sign(message.as_bytes())?;
        let certificate = EpochKeyCertificate { key, from, until, signature };
        certificate.verify(statement, consensus_key).map_err(|_| Fault::WrongSignature)?;
        Ok(Self { epoch, author, secret, certificate: Arc::new(certificate) })
    }

    fn serves(&self, statement: &RoundStatement) -> bool {
        (self.epoch, self.author) == (statement.epoch, statement.author) && self.certificate.covers(statement.round)
    }
}

impl EpochKeys {
    /// Certificates are for `rounds` rounds each.
    pub(crate) fn new(consensus: Box<dyn Signer>, rounds: u64) -> Self {
        let consensus_key = consensus.public_key().clone();
        let certifier = Arc::new(Mutex::new(consensus));
        Self { certifier, consensus_key, rounds, current: None, renewal: Renewal::Idle(None) }
    }

    /// Waits for what is being certified and lets nothing begin, ever.
    pub(crate) fn stop(&self) {
        std::mem::forget(self.certifier.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// The epoch, and the round up to which the present certificate lasts, not in it.
    pub(crate) fn certified_until(&self) -> Option<Slot> {
        self.current.as_ref().map(|current| Slot { epoch: current.epoch, round: current.certificate.until })
    }

    /// Signs an approved statement.
    ///
    /// # Errors
    /// [`StoreError`] of the token, where there is no key for this round.
    pub(crate) fn sign(&mut self, statement: &RoundStatement) -> Result<StatementSignature, StoreError> {
        self.take_renewed(statement);
        if !self.current.as_ref().is_some_and(|current| current.serves(statement)) {
            let made = EpochKey::certified(&self.certifier, &self.consensus_key, statement, self.rounds)?;
            self.current = Some(made);
        }
        let current = self.current.as_ref().expect("there is one that serves");
        let signature = current.secret.sign(&statement.message());
        let certificate = Arc::clone(&current.certificate);
        if certificate.until.0 - statement.round.0 <= self.rounds / 2 {
            self.renew(statement);
        }
        Ok(StatementSignature::Certified { certificate, signature })
    }

    /// Takes over the next key if it is there and lasts longer than the present one.
    fn take_renewed(&mut self, statement: &RoundStatement) {
        let Renewal::Running(answer) = &self.renewal else { return };
        let Some(answer) = answer.lock().unwrap_or_else(PoisonError::into_inner).take() else { return };
        self.renewal = match answer {
            Ok(next) => {
                if next.serves(statement) {
                    self.current = Some(next);
                }
                Renewal::Idle(None)
            }
            Err(error) => {
                tracing::error!(%error, "the next epoch key was not certified; trying again");
                Renewal::Idle(Some(Instant::now() + PAUSE))
            }
        };
    }

    fn renew(&mut self, statement: &RoundStatement) {
        let Renewal::Idle(not_before) = &self.renewal else { return };
        if not_before.is_some_and(|time| Instant::now() < time) {
            return;
        }
        let answer = Arc::new(Mutex::new(None));
        let place = Arc::clone(&answer);
        let (certifier, consensus_key) = (Arc::clone(&self.certifier), self.consensus_key.clone());
        let (statement, rounds) = (*statement, self.rounds);
        let work = move || {
            let made = EpochKey::certified(&certifier, &consensus_key, &statement, rounds);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(made);
        };
        match thread::Builder::new().name("epoch-key".to_owned()).spawn(work) {
            Ok(_) => self.renewal = Renewal::Running(answer),
            Err(error) => tracing::error!(%error, "no thread for the next epoch key"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use types::{AlgId, ChainId, Digest, Signature};

    /// A token that signs when it is told to, as often as it is told to.
    struct Token {
        secret: SecretKey,
        public: PublicKey,
        turns: Receiver<Result<(), StoreError>>,
    }

    impl Signer for Token {
        fn public_key(&self) -> &PublicKey {
            &self.public
        }

        fn module(&self) -> &'static str {
            "token"
        }

        fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
            self.turns.recv().expect("the test tells what happens")?;
            Ok(self.secret.sign_bytes(message))
        }
    }

    fn keys(rounds: u64) -> (EpochKeys, PublicKey, Sender<Result<(), StoreError>>) {
        let (turn, turns) = channel();
        let secret = SecretKey::from_seed(AlgId::EcdsaP256, [7; 32]).expect("a scalar");
        let public = secret.public_key();
        (EpochKeys::new(Box::new(Token { secret, public: public.clone(), turns }), rounds), public, turn)
    }

    fn statement(epoch: u64, round: u64) -> RoundStatement {
        let digest = Digest::sha256(&round.to_le_bytes());
        RoundStatement {
            chain: ChainId(digest),
            epoch: Epoch(epoch),
            round: Round(round),
            author: AuthorityIndex(1),
            body_digest: digest,
            votes_digest: digest,
        }
    }

    fn of(round: u64) -> RoundStatement {
        RoundStatement { chain: ChainId(Digest::sha256(b"chain")), ..statement(0, round) }
    }

    fn key_of(signature: &StatementSignature) -> PublicKey {
        match signature {
            StatementSignature::Certified { certificate, .. } => certificate.key.clone(),
            StatementSignature::Direct(_) => panic!("by the consensus key itself"),
        }
    }

    /// Waits until the renewal has answered.
    fn settle(keys: &EpochKeys) {
        if let Renewal::Running(answer) = &keys.renewal {
            while answer.lock().expect("no panic").is_none() {
                thread::yield_now();
            }
        }
    }

    #[test]
    fn the_token_is_asked_once_for_many_rounds() {
        let (mut keys, public, turn) = keys(1_000);
        turn.send(Ok(())).expect("listens");
        let first = keys.sign(&of(10)).expect("certified");
        for round in 10..500 {
            let signature = keys.sign(&of(round)).expect("needs no token");
            assert_eq!(signature.verify(&of(round), &public), Ok(()));
            assert_eq!(key_of(&signature), key_of(&first));
        }
        assert_eq!(keys.certified_until(), Some(Slot { epoch: Epoch(0), round: Round(1_010) }));
    }

    #[test]
    fn the_next_key_is_made_beside_the_signing_and_a_slow_token_holds_up_nothing() {
        let (mut keys, public, turn) = keys(100);
        turn.send(Ok(())).expect("listens");
        let first = key_of(&keys.sign(&of(0)).expect("certified"));
        // Half way through the token is asked, and does not answer yet.
        for round in 1..90 {
            assert_eq!(key_of(&keys.sign(&of(round)).expect("the first key lasts")), first);
        }
        turn.send(Ok(())).expect("asked");
        settle(&keys);
        let next = keys.sign(&of(90)).expect("either key");
        assert_ne!(key_of(&next), first);
        assert_eq!(next.verify(&of(90), &public), Ok(()));
        assert_eq!(
            keys.certified_until(),
            Some(Slot { epoch: Epoch(0), round: Round(150) }),
            "from the fiftieth round on"
        );
    }

    #[test]
    fn a_token_that_fails_is_asked_again_and_the_key_lasts_to_its_last_round() {
        let (mut keys, public, turn) = keys(100);
        turn.send(Ok(())).expect("listens");
        keys.sign(&of(0)).expect("certified");
        turn.send(Err(Fault::TokenGone.into())).expect("listens");
        for round in 1..100 {
            keys.sign(&of(round)).expect("the first key lasts");
            settle(&keys);
        }
        turn.send(Err(Fault::TokenGone.into())).expect("listens");
        assert_eq!(keys.sign(&of(100)), Err(Fault::TokenGone.into()), "its rounds are over");
        turn.send(Ok(())).expect("listens");
        assert_eq!(keys.sign(&of(100)).expect("the token is back").verify(&of(100), &public), Ok(()));
    }

    #[test]
    fn a_new_epoch_and_an_earlier_round_take_a_certificate_of_their_own() {
        let (mut keys, public, turn) = keys(100);
        let chain = of(0).chain;
        for (epoch, round) in [(0, 50), (1, 51), (1, 7)] {
            turn.send(Ok(())).expect("listens");
            let statement = RoundStatement { chain, ..statement(epoch, round) };
            let signature = keys.sign(&statement).expect("certified");
            assert_eq!(signature.verify(&statement, &public), Ok(()));
            assert_eq!(keys.certified_until(), Some(Slot { epoch: Epoch(epoch), round: Round(round + 100) }));
        }
    }

    #[test]
    fn a_wrong_signature_of_the_token_certifies_nothing() {
        struct Wrong(PublicKey);
        impl Signer for Wrong {
            fn public_key(&self) -> &PublicKey {
                &self.0
            }
            fn module(&self) -> &'static str {
                "wrong"
            }
            fn sign(&mut self, message: &[u8]) -> Result<Signature, StoreError> {
                Ok(SecretKey::ed25519_from_seed([1; 32]).sign_bytes(message))
            }
        }
        let public = SecretKey::ed25519_from_seed([2; 32]).public_key();
        let mut keys = EpochKeys::new(Box::new(Wrong(public)), 10);
        assert_eq!(keys.sign(&of(0)), Err(Fault::WrongSignature.into()));
    }

    #[test]
    fn the_last_rounds_of_all_can_be_certified() {
        let (mut keys, public, turn) = keys(100);
        turn.send(Ok(())).expect("listens");
        let last = of(u64::MAX - 1);
        assert_eq!(keys.sign(&last).expect("certified").verify(&last, &public), Ok(()));
    }
}
