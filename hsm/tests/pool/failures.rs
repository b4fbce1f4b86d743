//! Calls that fail, tokens that go and come back, answers that are wrong.

use crate::alone::alone;
use crate::fixture::{Behind, PATIENCE, fail_until_resting, sign, sign_when_back};
use hsm::{ConfigError, Fault, StoreError};
use pkcs11_faults::{Answer, Fault as Injected, PointEncoding, Return};
use std::time::Instant;

#[test]
fn what_a_session_loses_is_replaced_within_the_same_request() {
    alone("failures::what_a_session_loses_is_replaced_within_the_same_request", |dir| {
        let mut behind = Behind::new(dir);
        let mut keys = behind.open();
        for (function, code) in [
            ("C_SignInit", "CKR_SESSION_HANDLE_INVALID"),
            ("C_Sign", "CKR_SESSION_CLOSED"),
            ("C_SignInit", "CKR_OPERATION_ACTIVE"),
            ("C_SignInit", "CKR_KEY_HANDLE_INVALID"),
            ("C_SignInit", "CKR_OBJECT_HANDLE_INVALID"),
            ("C_SignInit", "CKR_USER_NOT_LOGGED_IN"),
            ("C_Sign", "CKR_DEVICE_MEMORY"),
        ] {
            behind.steer(|control| control.fault = vec![Injected::nth(function, 1, code)]);
            assert!(sign(&mut keys.consensus).is_ok(), "{function}: {code}");
        }
        // A second loss in one request is more than bad luck.
        behind.steer(|control| control.fault = vec![Injected::every("C_SignInit", "CKR_SESSION_HANDLE_INVALID")]);
        assert_eq!(sign(&mut keys.consensus), Err(Fault::SessionLost.into()));
        assert_eq!(sign(&mut keys.consensus), Err(Fault::TokenResting.into()));
        behind.heal();
        sign_when_back(&mut keys.consensus);
    });
}

#[test]
fn a_failing_token_is_left_alone_and_comes_back_by_itself() {
    alone("failures::a_failing_token_is_left_alone_and_comes_back_by_itself", |dir| {
        let mut behind = Behind::new(dir);
        let mut keys = behind.open();
        for code in
            ["CKR_DEVICE_ERROR", "CKR_GENERAL_ERROR", "CKR_FUNCTION_FAILED", "CKR_TOKEN_NOT_PRESENT", "0x80000bad"]
        {
            behind.steer(|control| control.fault = vec![Injected::every("C_SignInit", code)]);
            assert!(matches!(sign(&mut keys.consensus), Err(StoreError::Fault(_))), "{code}");
            let asked = behind.calls().calls("C_SignInit");
            assert_eq!(sign(&mut keys.transport), Err(Fault::TokenResting.into()), "{code}");
            assert!(behind.calls().calls("C_SignInit") <= asked + 1, "only recovery asks");
            behind.heal();
            sign_when_back(&mut keys.consensus);
            sign_when_back(&mut keys.transport);
        }
        assert_eq!(behind.calls().logins_after_rejection(), 0);
    });
}

#[test]
fn a_token_that_is_removed_and_put_back_signs_again_without_a_restart() {
    alone("failures::a_token_that_is_removed_and_put_back_signs_again_without_a_restart", |dir| {
        let mut behind = Behind::new(dir);
        let profile = dir.join("profile.toml");
        std::fs::write(&profile, "name = 'mild'\nabout = ''\nsources = []\nreinitialise_after_loss = false")
            .expect("own");
        for profile in [None, Some(profile)] {
            behind.config.profile_file = profile;
            let mut keys = behind.open();
            for returns in [Return::UntilFinalize, Return::Reopen] {
                behind.steer(|control| {
                    control.token.present = false;
                    control.token.returns = returns;
                });
                assert!(matches!(sign(&mut keys.consensus), Err(StoreError::Fault(_))));
                fail_until_resting(&mut keys.transport);
                behind.steer(|control| control.token.present = true);
                sign_when_back(&mut keys.consensus);
                sign_when_back(&mut keys.transport);
                // Gone and back between two requests.
                behind.steer(|control| control.token.removals += 1);
                sign_when_back(&mut keys.consensus);
            }
        }
    });
}

#[test]
fn a_pin_that_is_rejected_is_never_given_again_whatever_happens_later() {
    alone("failures::a_pin_that_is_rejected_is_never_given_again_whatever_happens_later", |dir| {
        for (code, reason) in [
            ("CKR_PIN_INCORRECT", ConfigError::PinIncorrect),
            ("CKR_PIN_LOCKED", ConfigError::PinLocked),
            ("CKR_PIN_EXPIRED", ConfigError::PinExpired),
        ] {
            let mut behind = Behind::labelled(dir, code);
            let mut keys = behind.open();
            behind.steer(|control| {
                control.token.removals += 1;
                control.fault = vec![Injected::every("C_Login", code)];
            });
            // The login of the next session, or of the recovery, is rejected, and that is the last one.
            let start = Instant::now();
            while matches!(sign(&mut keys.consensus), Err(StoreError::Fault(_))) {
                assert!(start.elapsed() < PATIENCE, "{code}: the rejection closes nothing");
            }
            let logins = behind.calls().logins();
            behind.heal();
            for _ in 0..20 {
                assert_eq!(sign(&mut keys.consensus), Err(reason.into()));
                assert_eq!(sign(&mut keys.transport), Err(reason.into()));
            }
            behind.steer(|control| control.token.removals += 1);
            assert_eq!(sign(&mut keys.consensus), Err(reason.into()));
            assert_eq!((behind.calls().logins(), behind.calls().logins_after_rejection()), (logins, 0));
        }
    });
}

#[test]
fn a_wrong_signature_never_comes_out() {
    alone("failures::a_wrong_signature_never_comes_out", |dir| {
        let mut behind = Behind::new(dir);
        let mut keys = behind.open();
        for answer in [Answer::FlippedBit, Answer::Short, Answer::OtherKey] {
            behind.steer(|control| {
                control.answer = Some(answer);
                control.other_key = "stele-transport".to_owned();
            });
            assert_eq!(sign(&mut keys.consensus), Err(Fault::WrongSignature.into()), "{answer:?}");
            fail_until_resting(&mut keys.consensus);
            behind.heal();
            sign_when_back(&mut keys.consensus);
        }
    });
}

#[test]
fn a_token_with_few_sessions_serves_both_keys() {
    alone("failures::a_token_with_few_sessions_serves_both_keys", |dir| {
        let mut behind = Behind::new(dir);
        for tells in [true, false] {
            behind.steer(|control| (control.sessions_max, control.tells_sessions_max) = (Some(1), tells));
            let mut keys = behind.open();
            behind.steer(|control| control.latency_ms = [("C_Sign".to_owned(), 5)].into());
            std::thread::scope(|scope| {
                for key in [&mut keys.consensus, &mut keys.transport] {
                    scope.spawn(|| (0..20).for_each(|_| assert!(sign(key).is_ok())));
                }
            });
            behind.heal();
        }
    });
}

#[test]
fn a_consensus_signature_does_not_wait_for_a_handshake() {
    alone("failures::a_consensus_signature_does_not_wait_for_a_handshake", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.sessions_max = 2;
        let mut keys = behind.open();
        assert!(sign(&mut keys.consensus).is_ok());
        let before = behind.calls().calls("C_Sign");
        behind.steer(|control| control.latency_ms = [("C_Sign".to_owned(), 3000)].into());
        std::thread::scope(|scope| {
            let transport = &mut keys.transport;
            let handshake = scope.spawn(|| sign(transport));
            while behind.calls().calls("C_Sign") == before {
                std::thread::yield_now();
            }
            behind.heal();
            assert!(sign(&mut keys.consensus).is_ok());
            assert!(!handshake.is_finished(), "it takes three seconds");
            assert!(handshake.join().expect("no panic").is_ok());
        });
    });
}

#[test]
fn every_encoding_of_a_point_is_the_same_key() {
    alone("failures::every_encoding_of_a_point_is_the_same_key", |dir| {
        let mut behind = Behind::new(dir);
        for encoding in [PointEncoding::Raw, PointEncoding::OctetString, PointEncoding::BitString] {
            behind.steer(|control| control.ec_point = Some(encoding));
            assert_eq!(behind.open().public(), behind.public);
        }
    });
}
