//! The signer's decisions: checks a request against the configuration, asks the guard, signs, checks the signature.
//! Knows nothing of sockets or processes.

use crate::attestation::{Attestation, Nonce};
use crate::config::{AttestationConfig, SignerConfig, SigningMode};
use crate::delayed;
use crate::endorsement::{Activated, Asked, Endorsement};
use crate::epoch_key::EpochKeys;
use crate::error::{ConfigError, Fault, SignError, StartError, StoreError};
use crate::evidence::Evidence;
use crate::guard::{Approval, Guard, Identity};
use crate::handshake;
use crate::process::Protections;
use crate::protocol::{Request, Response};
use crate::provision;
use crate::refusal::Refusal;
use crate::signer::{Keys, PublicKeys, Signer};
use crate::stats::{Recorder, Stats};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use types::block::votes_digest;
use types::{AuthorityIndex, ChainId, Epoch, HeaderVote, RoundStatement, Signature, StatementSignature};

/// Guard and key: one statement at a time.
struct Rounds {
    guard: Guard,
    key: RoundKey,
}

/// What signs the rounds.
enum RoundKey {
    /// The consensus key.
    Direct(Box<dyn Signer>),
    /// Keys that the consensus key has certified.
    Certified(Box<EpochKeys>),
}

impl RoundKey {
    /// Signs an approved statement.
    fn sign(&mut self, statement: &RoundStatement) -> Result<StatementSignature, StoreError> {
        match self {
            Self::Direct(key) => Ok(key.sign(statement.message().as_bytes())?.into()),
            Self::Certified(keys) => keys.sign(statement),
        }
    }
}

/// A running signer. The two keys have a lock each, so that peers who connect do not hold up a round.
pub struct Service {
    chain: ChainId,
    author: AuthorityIndex,
    epoch: Epoch,
    keys: PublicKeys,
    module: String,
    rounds: Mutex<Rounds>,
    transport: Mutex<Box<dyn Signer>>,
    recorder: Mutex<Recorder>,
    /// One at a time: a TPM takes tenths of a second, and nothing else waits for it.
    attestation: Option<Mutex<AttestationConfig>>,
    evidence: Mutex<Evidence>,
    modules_stuck: Arc<AtomicU32>,
    /// A request failed since no module is left that returns.
    stuck: AtomicBool,
}

/// What a start expects of the guard file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuardFile {
    /// It is there.
    Kept,
    /// It is not there, and is made first, as [`provision::guard`] does: for a validator that has never signed.
    New,
}

impl Service {
    /// Opens and tests the keys, and opens and locks the guard file.
    ///
    /// # Errors
    /// [`StartError`] names the path or label and the reason.
    pub fn open(config: &SignerConfig, guard: GuardFile) -> Result<Self, StartError> {
        let rounds = config.signing.certificate_rounds().ok_or_else(|| {
            ConfigError::ConfigUnreadable
                .about(format_args!("signing.certificate_rounds = {}", config.signing.certificate_rounds))
        })?;
        let latency = Duration::from_millis(config.signing.added_latency_ms.into());
        let keys = delayed::by(latency, Keys::open(&config.store)?);
        let public = keys.public();
        if guard == GuardFile::New {
            provision::guard(config, &public)?;
        }
        let identity = Identity { chain: config.chain, author: config.author, key: public.consensus.clone() };
        let guard = Guard::open(&config.guard, &identity, &config.fence)?;
        let module = keys.consensus.module().to_owned();
        let key = match config.signing.mode {
            SigningMode::Direct => RoundKey::Direct(keys.consensus),
            SigningMode::Certified => RoundKey::Certified(Box::new(EpochKeys::new(keys.consensus, rounds))),
        };
        Ok(Self {
            chain: config.chain,
            author: config.author,
            epoch: config.epoch,
            attestation: config.attestation.clone().map(Mutex::new),
            evidence: Mutex::new(Evidence::beside(&config.guard)),
            keys: public,
            module,
            recorder: Mutex::new(Recorder::new(&guard)),
            rounds: Mutex::new(Rounds { guard, key }),
            transport: Mutex::new(keys.transport),
            modules_stuck: keys.modules_stuck,
            stuck: AtomicBool::new(false),
        })
    }

    /// Answers one request.
    pub fn answer(&self, request: &Request) -> Response {
        let answer = match request {
            Request::SignRound { statement, votes } => self.sign_round(statement, votes).map(Response::Statement),
            Request::SignHandshake { transcript } => self.sign_handshake(transcript).map(Response::Handshake),
            Request::Attest { nonce } => self.attest(nonce).map(Box::new).map(Response::Attestation),
            Request::Endorse => self.endorsement().map(Response::Endorsement),
            Request::Activate(challenge) => self.activate(challenge).map(Response::Activated),
            Request::PublicKeys => return Response::PublicKeys(self.keys.clone()),
            Request::Stats => return Response::Stats(self.stats()),
            Request::Protections => return Response::Protections(Protections::now()),
        };
        answer.unwrap_or_else(|error| self.failed(error))
    }

    /// Does what can be done while nobody waits for an answer.
    pub fn settle(&self) {
        // It comes up again with the statement that cannot do without it.
        if let Err(error) = lock(&self.rounds).guard.settle() {
            tracing::warn!(%error, "no further rounds reserved yet");
        }
    }

    /// Figures since the start.
    pub fn stats(&self) -> Stats {
        Stats { modules_stuck: self.modules_stuck.load(Ordering::Relaxed), ..lock(&self.recorder).stats(&self.module) }
    }

    /// Whether a request failed because no PKCS#11 module is left that returns from calls: only a new process helps.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::Relaxed)
    }

    /// The two public keys.
    pub fn public_keys(&self) -> &PublicKeys {
        &self.keys
    }

    /// Waits for what is being signed, closes the guard, and lets nothing begin, ever: the process can end while other
    /// threads live.
    pub(crate) fn stop(&self) {
        let mut rounds = lock(&self.rounds);
        if let Err(error) = rounds.guard.close() {
            tracing::error!(%error, "reserved rounds are not given back and will be left out");
        }
        if let RoundKey::Certified(keys) = &rounds.key {
            keys.stop();
        }
        std::mem::forget(rounds);
        std::mem::forget(lock(&self.transport));
    }

    fn sign_round(&self, statement: &RoundStatement, votes: &[HeaderVote]) -> Result<StatementSignature, SignError> {
        let start = Instant::now();
        self.check(statement, votes)?;
        let mut rounds = lock(&self.rounds);
        let Rounds { guard, key } = &mut *rounds;
        let approval = guard.approve(statement, votes)?;
        lock(&self.recorder).guarded(guard);
        let guarded = start.elapsed();
        if let Approval::Known(Some(signature)) = approval {
            return Ok(signature.into());
        }
        let signature = key.sign(statement)?;
        // A wrong answer of the token must not be remembered as this round's signature. Certificates were checked when made.
        signature.verify_with(statement, &self.keys.consensus, |_| Ok(())).map_err(|_| Fault::WrongSignature)?;
        let certified_until = match key {
            RoundKey::Direct(_) => None,
            RoundKey::Certified(keys) => keys.certified_until(),
        };
        // An epoch key dies with the process; the identical statement is signed again by the next one.
        if let StatementSignature::Direct(signature) = &signature {
            guard.signed(statement, signature);
        }
        drop(rounds);
        lock(&self.recorder).signed(start.elapsed(), guarded, certified_until);
        Ok(signature)
    }

    fn check(&self, statement: &RoundStatement, votes: &[HeaderVote]) -> Result<(), Refusal> {
        if statement.chain != self.chain {
            return Err(Refusal::WrongChain { ours: self.chain, asked: statement.chain });
        }
        if statement.epoch < self.epoch {
            return Err(Refusal::WrongEpoch { ours: self.epoch, asked: statement.epoch });
        }
        // In later epochs the committee may have moved the validator. A statement for another's place would be worthless:
        // it verifies under that one's key alone. What counts is one statement a round, and that the guard sees to.
        if statement.epoch == self.epoch && statement.author != self.author {
            return Err(Refusal::WrongAuthor);
        }
        let given = votes_digest(votes);
        if statement.votes_digest != given {
            return Err(Refusal::WrongVotes { named: statement.votes_digest, given });
        }
        Ok(())
    }

    fn sign_handshake(&self, transcript: &[u8]) -> Result<Signature, SignError> {
        handshake::check(transcript)?;
        let signature = lock(&self.transport).sign(transcript)?;
        lock(&self.recorder).handshakes += 1;
        Ok(signature)
    }

    fn attest(&self, nonce: &Nonce) -> Result<Attestation, SignError> {
        let config = lock(self.attestation.as_ref().ok_or(ConfigError::AttestationOff)?);
        let about = (self.chain, self.keys.clone(), *nonce);
        Attestation::make(&config.device, &config.registers, about, |message| {
            Ok(lock(&self.transport).sign(message.as_bytes())?)
        })
    }

    fn endorsement(&self) -> Result<Endorsement, SignError> {
        Endorsement::read(&lock(self.attestation.as_ref().ok_or(ConfigError::AttestationOff)?).device)
    }

    fn activate(&self, challenge: &Asked) -> Result<Activated, SignError> {
        let config = lock(self.attestation.as_ref().ok_or(ConfigError::AttestationOff)?);
        Activated::make(&config.device, &challenge.0)
    }

    fn failed(&self, error: SignError) -> Response {
        let mut recorder = lock(&self.recorder);
        match &error {
            SignError::Refused(refusal) => {
                recorder.refused += 1;
                tracing::error!(%refusal, "refused to sign");
                drop(recorder);
                lock(&self.evidence).take(refusal);
            }
            SignError::Fault(_) | SignError::Config(_) => {
                recorder.faults += 1;
                tracing::error!(%error, "did not sign");
                if error == SignError::Fault(Fault::ModuleStuck) {
                    self.stuck.store(true, Ordering::Relaxed);
                }
            }
        }
        error.into()
    }
}

/// A thread that panicked left the state as the guard's file has it, since memory changes last.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
