//! Tokens and modules that cannot be used: each is told by its reason, and none costs a PIN.

use crate::alone::alone;
use crate::fixture::Behind;
use hsm::config::StoreConfig;
use hsm::{ConfigError, provision, secret};
use pkcs11_faults::Fault as Injected;

/// PKCS#11 v3.1 §3.2, CK_TOKEN_INFO.flags, and §2.3.14.
const CKF_WRITE_PROTECTED: u64 = 0x2;
const CKF_USER_PIN_INITIALIZED: u64 = 0x8;
const CKF_TOKEN_INITIALIZED: u64 = 0x400;
const CKF_USER_PIN_FINAL_TRY: u64 = 0x2_0000;
const CKF_USER_PIN_LOCKED: u64 = 0x4_0000;
const CKM_EDDSA: u64 = 0x1057;

#[test]
fn what_a_token_says_of_itself_is_heeded_before_the_pin_is_given() {
    alone("wrong_setup::what_a_token_says_of_itself_is_heeded_before_the_pin_is_given", |dir| {
        let mut behind = Behind::new(dir);
        let logins = behind.calls().logins();
        for (set, clear, expected) in [
            (CKF_USER_PIN_LOCKED, 0, ConfigError::PinLocked),
            (CKF_USER_PIN_FINAL_TRY, 0, ConfigError::PinLastTry),
            (0, CKF_TOKEN_INITIALIZED, ConfigError::TokenUninitialised),
            (0, CKF_USER_PIN_INITIALIZED, ConfigError::TokenUninitialised),
        ] {
            behind.steer(|control| (control.token.flags_set, control.token.flags_clear) = (set, clear));
            assert_eq!(behind.refusal(), expected.into());
        }
        assert_eq!(behind.calls().logins(), logins);
        behind.heal();
        behind.steer(|control| control.mechanisms_hidden = vec![CKM_EDDSA]);
        assert_eq!(behind.refusal(), ConfigError::MechanismMissing.into());
        behind.heal();
        secret::create_random(&dir.join("wrong-pin")).expect("new file");
        let right = std::mem::replace(&mut behind.config.pin_file, dir.join("wrong-pin"));
        assert_eq!(behind.refusal(), ConfigError::PinIncorrect.into());
        assert_eq!(behind.calls().logins_after_rejection(), 0);
        behind.config.pin_file = right;
        assert_eq!(behind.open().public(), behind.public);
    });
}

#[test]
fn a_write_protected_or_full_token_takes_no_keys() {
    alone("wrong_setup::a_write_protected_or_full_token_takes_no_keys", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.consensus_label = "another".to_owned();
        let store = StoreConfig::Pkcs11(behind.config.clone());
        for (code, expected) in [
            ("CKR_TOKEN_WRITE_PROTECTED", ConfigError::TokenWriteProtected.into()),
            ("CKR_DEVICE_MEMORY", hsm::StoreError::from(hsm::Fault::TokenExhausted)),
        ] {
            behind.steer(|control| {
                control.token.flags_set = CKF_WRITE_PROTECTED;
                control.fault = vec![Injected::every("C_GenerateKeyPair", code)];
            });
            let refused = provision::generate(&store, None).expect_err("refused").cause;
            assert_eq!(refused, expected, "{code}");
        }
    });
}

#[test]
fn a_library_for_another_machine_is_told_without_loading_it() {
    alone("wrong_setup::a_library_for_another_machine_is_told_without_loading_it", |dir| {
        let mut behind = Behind::new(dir);
        let module = std::fs::read(&behind.config.module).expect("the shim");
        // EI_CLASS and e_machine; and a head that ends too early.
        for (name, offset, value, expected) in [
            ("32-bit.so", 4, 1, ConfigError::ModuleForeign),
            ("other.so", 18, 0xf3, ConfigError::ModuleForeign),
            ("text.so", 0, b'#', ConfigError::NotAModule),
        ] {
            let mut altered = module.clone();
            altered[offset] = value;
            behind.config.module = dir.join(name);
            std::fs::write(&behind.config.module, altered).expect("own directory");
            assert_eq!(behind.refusal(), expected.into(), "{name}");
        }
        behind.config.module = dir.join("short.so");
        std::fs::write(&behind.config.module, &module[..19]).expect("own directory");
        assert_eq!(behind.refusal(), ConfigError::NotAModule.into());
        behind.config.module = dir.join("absent.so");
        assert_eq!(behind.refusal(), ConfigError::ModuleMissing.into());
    });
}
