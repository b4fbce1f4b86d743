//! A token with a validator's two keys, behind the module with faults.

use hsm::config::{Pkcs11Config, StoreConfig};
use hsm::signer::Keys;
use hsm::{Fault, PublicKeys, Signer, StoreError, pkcs11, provision, secret, softhsm};
use pkcs11_faults::{Control, Stats};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use types::Signature;

/// Recovery has to come without a restart within 5 s; a machine under load gets more before a test fails.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Behind {
    pub control: Control,
    pub config: Pkcs11Config,
    pub public: PublicKeys,
    path: PathBuf,
}

impl Behind {
    pub fn new(dir: &Path) -> Self {
        Self::labelled(dir, "stele-test")
    }

    /// A token beside others of the same process; the shim takes its user for another process.
    pub fn labelled(dir: &Path, label: &str) -> Self {
        let path = dir.join("faults.toml");
        let mut control = Control::through(soft_module());
        control.stats = Some(dir.join(format!("calls-{label}")));
        control.incarnation = label.bytes().fold(0, |sum, byte| sum * 31 % (1 << 50) + u64::from(byte));
        control.write(&path).expect("own directory");
        let (pin_file, so_pin_file) = (dir.join(format!("pin-{label}")), dir.join(format!("so-pin-{label}")));
        secret::create_random(&pin_file).expect("new file");
        secret::create_random(&so_pin_file).expect("new file");
        let config = Pkcs11Config::new(pkcs11_faults::module(), label, pin_file);
        let public =
            provision::generate(&StoreConfig::Pkcs11(config.clone()), Some(&so_pin_file)).expect("a new token");
        Self { control, config, public, path }
    }

    pub fn open(&self) -> Keys {
        pkcs11::open(&self.config).expect("nothing is wrong")
    }

    pub fn refusal(&self) -> StoreError {
        pkcs11::open(&self.config).err().expect("refused").cause
    }

    pub fn steer(&mut self, change: impl FnOnce(&mut Control)) {
        change(&mut self.control);
        self.control.write(&self.path).expect("own directory");
    }

    pub fn heal(&mut self) {
        self.steer(|control| {
            let token = pkcs11_faults::Token { removals: control.token.removals, ..Default::default() };
            *control = Control {
                token,
                stats: control.stats.clone(),
                incarnation: control.incarnation,
                ..Control::through(control.module.clone())
            };
        });
    }

    pub fn calls(&self) -> Stats {
        Stats::read(self.control.stats.as_ref().expect("set above")).expect("written by the shim")
    }
}

/// SoftHSM2 without the shim.
pub fn soft_module() -> PathBuf {
    softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2")
}

pub fn sign(key: &mut Box<dyn Signer>) -> Result<Signature, StoreError> {
    let signature = key.sign(b"message")?;
    assert!(key.public_key().verify_bytes(b"message", &signature).is_ok(), "a wrong signature came out");
    Ok(signature)
}

/// Signs as soon as the token is back.
pub fn sign_when_back(key: &mut Box<dyn Signer>) -> Signature {
    let start = Instant::now();
    loop {
        match sign(key) {
            Ok(signature) => {
                // Seen with --nocapture in the environment that `alone` sets.
                println!("signs again after {:?}", start.elapsed());
                return signature;
            }
            // A look every millisecond; what is waited for is a state, not a time.
            Err(StoreError::Fault(_)) if start.elapsed() < PATIENCE => std::thread::sleep(Duration::from_millis(1)),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Asks until the token is left alone.
pub fn fail_until_resting(key: &mut Box<dyn Signer>) {
    let start = Instant::now();
    while sign(key) != Err(Fault::TokenResting.into()) {
        assert!(start.elapsed() < PATIENCE, "the token is still asked");
    }
}
