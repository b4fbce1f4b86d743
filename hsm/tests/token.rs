//! Keys in a token that are not what they must be. A module reads its environment and is initialised once a process, so
//! this test runs itself again in a process that has the environment.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::Attribute;
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use hsm::config::{Pkcs11Config, StoreConfig, consensus_label};
use hsm::{ConfigError, Fault, StoreError, pkcs11, provision, secret, softhsm};
use std::path::Path;
use std::process::Command;

#[test]
fn keys_that_are_extractable_ambiguous_or_without_a_public_half_are_refused() {
    if let Some(conf) = std::env::var_os(softhsm::CONF_VARIABLE) {
        return with_token(Path::new(&conf).parent().expect("in a directory"));
    }
    let dir = tempfile::tempdir().expect("temporary directory");
    let conf = softhsm::write_conf(dir.path()).expect("own directory");
    let mut again = Command::new(std::env::current_exe().expect("this test"));
    assert!(again.env(softhsm::CONF_VARIABLE, conf).status().expect("runs again").success());
}

fn with_token(dir: &Path) {
    let (pin_file, so_pin_file) = (dir.join("pin"), dir.join("so-pin"));
    secret::create_random(&pin_file).expect("new file");
    secret::create_random(&so_pin_file).expect("new file");
    let mut config = Pkcs11Config::new(
        softhsm::find_module().expect("SoftHSM2 is not installed: apt-get install softhsm2"),
        "stele-test",
        pin_file,
    );
    let public = provision::generate(&StoreConfig::Pkcs11(config.clone()), Some(&so_pin_file)).expect("a new token");
    add_unsuitable_keys(&config);
    let reason = |config: &Pkcs11Config| pkcs11::open(config).err().expect("refused").cause;
    for (label, expected) in [
        ("loose", ConfigError::KeyExtractable),
        ("lonely", ConfigError::KeyUnsuitable),
        ("twin", ConfigError::KeyAmbiguous),
        ("absent", ConfigError::KeyNotFound),
    ] {
        config.consensus_label = label.to_owned();
        assert_eq!(reason(&config), StoreError::Config(expected), "{label}");
    }
    config.consensus_label = "sm2".to_owned();
    assert_eq!(reason(&config), StoreError::Config(ConfigError::CurveUnmapped));
    // Whoever maps SM2 to plain ECDSA is told by the signature.
    let profile = "name = 'wrong'\nabout = ''\nsources = []\n[mechanisms.sm2]\nnumber = 0x1041\ninput = 'digest'";
    std::fs::write(dir.join("profile.toml"), profile).expect("own directory");
    config.profile_file = Some(dir.join("profile.toml"));
    assert_eq!(reason(&config), StoreError::Fault(Fault::WrongSignature));
    config.profile_file = None;
    config.consensus_label = consensus_label();
    assert_eq!(pkcs11::open(&config).expect("the good keys are still there").public(), public);
}

fn add_unsuitable_keys(config: &Pkcs11Config) {
    let module = Pkcs11::new(&config.module).expect("a module");
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("finalised before");
    let slot = module.get_slots_with_initialized_token().expect("slots")[0];
    let session = module.open_rw_session(slot).expect("a session");
    let pin = std::fs::read_to_string(&config.pin_file).expect("own file");
    session.login(UserType::User, Some(&AuthPin::new(pin.into()))).expect("the right PIN");
    make(&session, "loose", true, true);
    make(&session, "lonely", false, false);
    make(&session, "twin", false, true);
    make(&session, "twin", false, true);
    make_on_sm2_curve(&session, "sm2");
    drop(session);
    module.finalize().expect("initialised");
}

/// SoftHSM2 makes such a key, and signs plain ECDSA with it.
fn make_on_sm2_curve(session: &Session, label: &str) {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let curve = Attribute::EcParams(vec![0x06, 0x08, 0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d]);
    let public = [label.clone(), curve, Attribute::Token(true), Attribute::Verify(true)];
    let private = [
        label,
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
    ];
    session.generate_key_pair(&Mechanism::EccKeyPairGen, &public, &private).expect("room in the token");
}

/// `stays`: whether the public half is kept in the token.
fn make(session: &Session, label: &str, extractable: bool, stays: bool) {
    let label = Attribute::Label(label.as_bytes().to_vec());
    let ed25519 = Attribute::EcParams(vec![0x06, 0x03, 0x2b, 0x65, 0x70]);
    let public = [label.clone(), ed25519, Attribute::Token(stays), Attribute::Verify(true)];
    let private = [
        label,
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(extractable),
        Attribute::Sign(true),
    ];
    session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).expect("room in the token");
}
