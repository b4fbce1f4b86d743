//! A second token with the same keys.

use crate::alone::alone;
use crate::fixture::{Behind, fail_until_resting, sign, sign_when_back, soft_module};
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::object::{Attribute, KeyType, ObjectClass};
use cryptoki::session::UserType;
use cryptoki::types::AuthPin;
use hsm::config::{Pkcs11Config, StandbyConfig};
use hsm::{ConfigError, pkcs11};
use pkcs11_faults::Fault as Injected;
use std::path::Path;
use std::sync::atomic::Ordering;
use types::{AlgId, SecretKey};

/// Imports two Ed25519 keys, which only a soft token lets us do.
fn import(config: &Pkcs11Config, seeds: [u8; 2]) {
    let module = Pkcs11::new(soft_module()).expect("SoftHSM2");
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("finalised before");
    let slots = module.get_slots_with_initialized_token().expect("slots");
    let ours =
        slots.into_iter().find(|slot| module.get_token_info(*slot).expect("a token").label() == config.token_label);
    let session = module.open_rw_session(ours.expect("the token")).expect("a session");
    let pin = std::fs::read_to_string(&config.pin_file).expect("own file");
    session.login(UserType::User, Some(&AuthPin::new(pin.into()))).expect("the right PIN");
    for (seed, label) in seeds.into_iter().zip(["both-consensus", "both-transport"]) {
        let key = SecretKey::from_seed(AlgId::Ed25519, [seed; 32]).expect("a seed");
        let common = [
            Attribute::KeyType(KeyType::EC_EDWARDS),
            Attribute::EcParams(vec![0x06, 0x03, 0x2b, 0x65, 0x70]),
            Attribute::Label(label.as_bytes().to_vec()),
            Attribute::Token(true),
        ];
        let private = [
            Attribute::Class(ObjectClass::PRIVATE_KEY),
            Attribute::Value(vec![seed; 32]),
            Attribute::Private(true),
            Attribute::Sensitive(true),
            Attribute::Extractable(false),
            Attribute::Sign(true),
        ];
        session.create_object(&[&common[..], &private].concat()).expect("room in the token");
        let point = [&[0x04, 0x20], key.public_key().as_bytes()].concat();
        let public = [Attribute::Class(ObjectClass::PUBLIC_KEY), Attribute::EcPoint(point), Attribute::Verify(true)];
        session.create_object(&[&common[..], &public].concat()).expect("room in the token");
    }
    drop(session);
    module.finalize().expect("initialised");
}

/// The first token is behind the shim, the second one behind a copy of SoftHSM2.
fn with_standby(dir: &Path, second_seeds: [u8; 2]) -> Behind {
    let second = Behind::labelled(dir, "second");
    let mut first = Behind::labelled(dir, "first");
    import(&second.config, second_seeds);
    import(&first.config, [1, 2]);
    let module = dir.join("another-softhsm.so");
    std::fs::copy(soft_module(), &module).expect("own directory");
    first.config.consensus_label = "both-consensus".to_owned();
    first.config.transport_label = "both-transport".to_owned();
    first.config.standby = Some(StandbyConfig {
        module,
        token_label: second.config.token_label,
        pin_file: second.config.pin_file,
        profile: Some("softhsm2".to_owned()),
        profile_file: None,
    });
    first
}

#[test]
fn the_standby_signs_while_the_first_token_fails_and_no_longer() {
    alone("standby::the_standby_signs_while_the_first_token_fails_and_no_longer", |dir| {
        let mut behind = with_standby(dir, [1, 2]);
        let mut keys = behind.open();
        let right = sign(&mut keys.consensus).expect("the first token");
        behind.steer(|control| control.token.present = false);
        for _ in 0..5 {
            assert_eq!(sign(&mut keys.consensus), Ok(right.clone()), "the same key in the other token");
            assert!(sign(&mut keys.transport).is_ok());
        }
        let before = behind.calls().calls("C_Sign");
        behind.heal();
        while behind.calls().calls("C_Sign") <= before + 2 {
            sign(&mut keys.consensus).expect("by either token");
        }
        drop(keys);

        behind.steer(|control| control.fault = vec![Injected::every("C_OpenSession", "CKR_DEVICE_ERROR")]);
        let mut keys = behind.open();
        assert_eq!(sign(&mut keys.consensus), Ok(right), "started with the standby alone");
        drop(keys);
        behind.heal();
        let standby = behind.config.standby.take();
        let mut keys = behind.open();
        behind.steer(|control| control.token.present = false);
        fail_until_resting(&mut keys.consensus);
        behind.steer(|control| control.token.present = true);
        sign_when_back(&mut keys.consensus);
        drop(keys);

        behind.config.standby = standby;
        let standby = behind.config.standby.as_mut().expect("put back");
        standby.token_label = "no such token".to_owned();
        assert_eq!(behind.refusal(), ConfigError::TokenAbsent.into());
    });
}

#[test]
fn the_standby_takes_over_from_a_module_that_never_returns() {
    alone("standby::the_standby_takes_over_from_a_module_that_never_returns", |dir| {
        let mut behind = with_standby(dir, [1, 2]);
        behind.config.call_timeout_ms = 1000;
        let mut keys = behind.open();
        let right = sign(&mut keys.consensus).expect("the first token");
        behind.steer(|control| control.hang = vec!["C_Sign".to_owned()]);
        assert_eq!(sign(&mut keys.consensus), Ok(right.clone()), "in the same request");
        assert!(sign(&mut keys.transport).is_ok());
        assert_eq!(keys.modules_stuck.load(Ordering::Relaxed), 1);
        drop(keys);
    });
}

#[test]
fn a_signer_starts_with_the_standby_alone_where_the_first_module_never_returns() {
    alone("standby::a_signer_starts_with_the_standby_alone_where_the_first_module_never_returns", |dir| {
        let mut behind = with_standby(dir, [1, 2]);
        behind.config.call_timeout_ms = 1000;
        behind.steer(|control| control.hang = vec!["C_Initialize".to_owned()]);
        let mut keys = behind.open();
        assert!(sign(&mut keys.consensus).is_ok(), "started with the standby alone");
        assert_eq!(keys.modules_stuck.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_standby_with_other_keys_or_behind_the_same_library_is_refused() {
    alone("standby::a_standby_with_other_keys_or_behind_the_same_library_is_refused", |dir| {
        let mut behind = with_standby(dir, [1, 3]);
        assert_eq!(behind.refusal(), ConfigError::KeysDiffer.into());
        let module = behind.config.module.clone();
        behind.config.standby.as_mut().expect("set above").module = module;
        assert_eq!(behind.refusal(), ConfigError::ModuleShared.into());
    });
}

#[test]
fn keys_are_found_by_their_id_where_labels_are_not_unique() {
    alone("standby::keys_are_found_by_their_id_where_labels_are_not_unique", |dir| {
        let mut behind = Behind::new(dir);
        let id = |label: &str| Some(hex::encode(label));
        // `generate` gives each key its label as CKA_ID too.
        (behind.config.consensus_id, behind.config.transport_id) = (id("stele-consensus"), id("stele-transport"));
        (behind.config.consensus_label, behind.config.transport_label) = ("any".to_owned(), "any".to_owned());
        assert_eq!(behind.open().public(), behind.public);
        behind.config.consensus_id = Some("not hexadecimal".to_owned());
        assert_eq!(behind.refusal(), ConfigError::ConfigUnreadable.into());
        behind.config.consensus_id = id("nothing");
        assert_eq!(behind.refusal(), ConfigError::KeyNotFound.into());
        let error = pkcs11::open(&behind.config).err().expect("refused");
        assert!(error.to_string().contains("any"), "{error}");
    });
}
