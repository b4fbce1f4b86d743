//! One schedule after the other, over one token and one guard.

use hsm::config::{Pkcs11Config, SigningConfig, SigningMode, StoreConfig};
use hsm::protocol::{Request, Response};
use hsm::service::{GuardFile, Service};
use hsm::{ConfigError, PublicKeys, SignerConfig, StoreError, provision, secret, softhsm};
use pkcs11_faults::{Answer, CONTROL_VARIABLE, Control, Fault, RandomFaults, Return, Stats, Token};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use types::block::votes_digest;
use types::{AlgId, AuthorityIndex, ChainId, Digest, Epoch, Round, RoundStatement};

/// Longest wait for the signer after the faults have stopped; it needs 2 s at most on a machine that is not loaded.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a token can answer, less what is about the PIN.
const CODES: [&str; 16] = [
    "CKR_SESSION_HANDLE_INVALID",
    "CKR_SESSION_CLOSED",
    "CKR_OPERATION_ACTIVE",
    "CKR_OBJECT_HANDLE_INVALID",
    "CKR_KEY_HANDLE_INVALID",
    "CKR_USER_NOT_LOGGED_IN",
    "CKR_DEVICE_ERROR",
    "CKR_DEVICE_REMOVED",
    "CKR_TOKEN_NOT_PRESENT",
    "CKR_GENERAL_ERROR",
    "CKR_FUNCTION_FAILED",
    "CKR_DEVICE_MEMORY",
    "CKR_HOST_MEMORY",
    "CKR_SESSION_COUNT",
    "CKR_MECHANISM_INVALID",
    "0x80000bad",
];
const PIN_CODES: [&str; 3] = ["CKR_PIN_INCORRECT", "CKR_PIN_LOCKED", "CKR_PIN_EXPIRED"];
const FUNCTIONS: [&str; 14] = [
    "C_SignInit",
    "C_Sign",
    "C_Sign",
    "C_OpenSession",
    "C_Login",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_GetAttributeValue",
    "C_GetTokenInfo",
    "C_GetSlotList",
    "C_GetMechanismList",
    "C_CloseSession",
    "C_Initialize",
    "C_Finalize",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }
}

struct Bench {
    config: SignerConfig,
    keys: PublicKeys,
    control: Control,
    path: PathBuf,
    service: Option<Service>,
    round: u64,
    /// What was signed, by round.
    signed: BTreeMap<u64, Digest>,
    random: Random,
    seed: u64,
    seen: Seen,
}

/// What a worker came across: that the rare branches were reached.
#[derive(Debug, Default)]
struct Seen {
    schedules: u64,
    signatures: u64,
    repeated: u64,
    refused: u64,
    faults: u64,
    latched: u64,
    failed_starts: u64,
    handshakes: u64,
}

impl Seen {
    fn check(&self) {
        let all = [
            self.signatures,
            self.repeated,
            self.refused,
            self.faults,
            self.latched,
            self.failed_starts,
            self.handshakes,
        ];
        assert!(self.schedules < 25 || all.iter().all(|count| *count > 0), "a branch was never reached: {self:?}");
    }
}

/// Runs the schedules of these seeds.
pub fn run(seeds: impl Iterator<Item = u64>) {
    let mut seeds = seeds.peekable();
    let Some(first) = seeds.peek() else { return };
    let mut bench = Bench::new(if first.is_multiple_of(2) { AlgId::Ed25519 } else { AlgId::EcdsaP256 });
    for seed in seeds {
        bench.schedule(seed);
    }
    bench.seen.check();
    println!("{:?}", bench.seen);
}

impl Bench {
    fn new(alg: AlgId) -> Self {
        let path = PathBuf::from(std::env::var_os(CONTROL_VARIABLE).expect("set by the parent"));
        let dir = path.parent().expect("in a directory").to_owned();
        let mut control = Control::through(softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2"));
        control.stats = Some(dir.join("calls"));
        control.write(&path).expect("own directory");
        let (pin_file, so_pin_file) = (dir.join("pin"), dir.join("so-pin"));
        secret::create_random(&pin_file).expect("new file");
        secret::create_random(&so_pin_file).expect("new file");
        let store = StoreConfig::Pkcs11(Pkcs11Config::new(pkcs11_faults::module(), "stele-test", pin_file));
        let keys = provision::generate_with(&store, Some(&so_pin_file), alg).expect("a new token");
        let config = SignerConfig {
            chain: ChainId(Digest::sha256(b"chain")),
            author: AuthorityIndex(0),
            epoch: Epoch(0),
            guard: dir.join("guard"),
            socket: dir.join("unused.sock"),
            signing: SigningConfig::default(),
            fence: Default::default(),
            attestation: None,
            process: Default::default(),
            store,
        };
        provision::guard(&config, &keys).expect("new guard");
        let (service, random) = (None, Random(0));
        Self {
            config,
            keys,
            control,
            path,
            service,
            round: 0,
            signed: BTreeMap::new(),
            random,
            seed: 0,
            seen: Seen::default(),
        }
    }

    fn schedule(&mut self, seed: u64) {
        self.seed = seed;
        self.random = Random(seed);
        self.control.seed = seed;
        self.restart();
        for _ in 0..3 + self.random.below(8) {
            self.disturb();
            for _ in 0..1 + self.random.below(4) {
                self.request();
            }
        }
        self.heal();
        self.sign_again();
        let calls = Stats::read(self.control.stats.as_ref().expect("set")).expect("written by the shim");
        assert_eq!(calls.logins_after_rejection(), 0, "seed {seed}: a PIN was tried again after its rejection");
        self.seen.schedules += 1;
    }

    fn steer(&self) {
        self.control.write(&self.path).expect("own directory");
    }

    /// A new process as far as the token can tell; one that does not come up is tried again later.
    fn restart(&mut self) {
        self.service = None;
        self.control.incarnation += 1;
        self.steer();
        self.config.signing.mode = self.random.pick(&[SigningMode::Direct, SigningMode::Certified]);
        match Service::open(&self.config, GuardFile::Kept) {
            Ok(service) => self.service = Some(service),
            Err(error) => {
                self.seen.failed_starts += 1;
                assert!(
                    !matches!(error.cause, StoreError::Config(ConfigError::GuardLocked | ConfigError::GuardDamaged)),
                    "seed {}: {error}",
                    self.seed
                );
            }
        }
    }

    fn disturb(&mut self) {
        match self.random.below(16) {
            0..=3 => {
                let (function, code) = (self.random.pick(&FUNCTIONS), self.random.pick(&CODES));
                self.control.fault.push(Fault::nth(function, 1 + self.random.below(3), code));
            }
            4 => {
                let (function, code) = (self.random.pick(&FUNCTIONS), self.random.pick(&CODES));
                self.control.fault.push(Fault::every(function, code));
            }
            5 | 6 => {
                let (function, rate) =
                    (self.random.pick(&["*", "C_SignInit", "C_Sign"]), self.random.below(30) as f64 / 100.0);
                self.control.random.push(RandomFaults::new(function, rate, &CODES));
            }
            7 => self.control.token.present = !self.control.token.present,
            8 => {
                self.control.token.removals += 1;
                self.control.token.returns = self.random.pick(&[Return::UntilFinalize, Return::Reopen]);
            }
            9 => self.control.sessions_max = Some(self.random.below(4)),
            10 => {
                self.control.latency_ms = [("C_Sign".to_owned(), self.random.below(3))].into();
            }
            11 => {
                self.control.answer = Some(self.random.pick(&[Answer::FlippedBit, Answer::Short, Answer::OtherKey]));
                self.control.other_key = "stele-transport".to_owned();
            }
            12 => {
                let code = self.random.pick(&PIN_CODES);
                self.control.fault.push(Fault::every("C_Login", code));
                // The next session is a new one, and its login is rejected.
                self.control.token.removals += 1;
                self.control.token.returns = Return::Reopen;
            }
            13 => return self.restart(),
            _ => return self.heal(),
        }
        self.steer();
    }

    fn heal(&mut self) {
        self.control = Control {
            stats: self.control.stats.clone(),
            seed: self.control.seed,
            incarnation: self.control.incarnation,
            token: Token { removals: self.control.token.removals, ..Token::default() },
            ..Control::through(self.control.module.clone())
        };
        self.steer();
    }

    fn statement(&self, round: u64, variant: u8) -> RoundStatement {
        RoundStatement {
            chain: self.config.chain,
            epoch: self.config.epoch,
            round: Round(round),
            author: self.config.author,
            body_digest: Digest::sha256(&[variant]),
            votes_digest: votes_digest(&[]),
        }
    }

    fn request(&mut self) {
        let round = match self.random.below(8) {
            0..=3 => {
                self.round += 1;
                self.round
            }
            4 | 5 => self.round,
            6 => self.round.saturating_sub(self.random.below(4)),
            _ => return self.handshake(),
        };
        let variant = self.random.below(2) as u8;
        self.ask(round, variant);
    }

    /// Whether a statement was signed; all that may never happen is checked here.
    fn ask(&mut self, round: u64, variant: u8) -> Option<Response> {
        let statement = self.statement(round, variant);
        let service = self.service.as_ref()?;
        let response = service.answer(&Request::SignRound { statement, votes: Vec::new() });
        match &response {
            Response::Statement(_) if self.signed.contains_key(&round) => self.seen.repeated += 1,
            Response::Statement(_) => self.seen.signatures += 1,
            Response::Refused(_) => self.seen.refused += 1,
            Response::Fault(_) => self.seen.faults += 1,
            Response::Config(_) => self.seen.latched += 1,
            _ => {}
        }
        if let Response::Statement(signature) = &response {
            assert!(
                signature.verify(&statement, &self.keys.consensus).is_ok(),
                "seed {}: a wrong signature",
                self.seed
            );
            let digest = statement.digest();
            let first = *self.signed.entry(round).or_insert(digest);
            assert_eq!(first, digest, "seed {}: two statements signed for round {round}", self.seed);
        }
        Some(response)
    }

    fn handshake(&mut self) {
        let transcript = [&[0x20; 64][..], b"TLS 1.3, server CertificateVerify", &[0], &[9; 48]].concat();
        let Some(service) = &self.service else { return };
        if let Response::Handshake(signature) =
            service.answer(&Request::SignHandshake { transcript: transcript.clone() })
        {
            let right = self.keys.transport.verify_bytes(&transcript, &signature).is_ok();
            assert!(right, "seed {}: a wrong handshake signature", self.seed);
            self.seen.handshakes += 1;
        }
    }

    /// Nothing is wrong any more: the same process signs, unless its PIN was rejected, which takes a human and a restart.
    fn sign_again(&mut self) {
        let start = Instant::now();
        self.round += 1;
        let round = self.round;
        loop {
            assert!(start.elapsed() < PATIENCE, "seed {}: the signer does not sign again", self.seed);
            match self.ask(round, 1) {
                Some(Response::Statement(_)) => return,
                // A look every millisecond; what is waited for is a state, not a time.
                Some(Response::Fault(_)) => std::thread::sleep(Duration::from_millis(1)),
                Some(Response::Config(
                    ConfigError::PinIncorrect | ConfigError::PinLocked | ConfigError::PinExpired,
                )) => {
                    for _ in 0..3 {
                        let again = self.ask(round, 1);
                        assert!(matches!(again, Some(Response::Config(_))), "seed {}: {again:?}", self.seed);
                    }
                    self.restart();
                }
                None => self.restart(),
                Some(other) => panic!("seed {}: {other:?}", self.seed),
            }
        }
    }
}
