//! A module that does not return from a call.

use crate::alone::alone;
use crate::fixture::{Behind, PATIENCE, sign};
use hsm::{Fault, StoreError, pkcs11};
use pkcs11_faults::Fault as Injected;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Longer than a call takes on a machine under load.
const TIMEOUT_MS: u32 = 1000;

const STUCK: StoreError = StoreError::Fault(Fault::ModuleStuck);

#[test]
fn a_call_that_never_returns_fails_its_request_and_all_that_follow_without_being_asked_again() {
    alone("stuck::a_call_that_never_returns_fails_its_request_and_all_that_follow_without_being_asked_again", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.call_timeout_ms = TIMEOUT_MS;
        let mut keys = behind.open();
        assert!(sign(&mut keys.consensus).is_ok());
        behind.steer(|control| control.hang = vec!["C_Sign".to_owned()]);
        assert_eq!(sign(&mut keys.consensus), Err(STUCK));
        let asked = behind.calls().calls("C_SignInit");
        assert_eq!((sign(&mut keys.consensus), sign(&mut keys.transport)), (Err(STUCK), Err(STUCK)));
        assert_eq!(behind.calls().calls("C_SignInit"), asked, "the module is left alone");
        assert_eq!(keys.modules_stuck.load(Ordering::Relaxed), 1);
        // A call that comes back later is no reason to trust the module again.
        behind.heal();
        assert_eq!(sign(&mut keys.consensus), Err(STUCK));
        behind.steer(|control| control.hang = vec!["*".to_owned()]);
        // Does not close what does not return.
        drop(keys);
    });
}

#[test]
fn requests_that_wait_when_the_module_is_given_up_wait_no_longer() {
    alone("stuck::requests_that_wait_when_the_module_is_given_up_wait_no_longer", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.call_timeout_ms = TIMEOUT_MS;
        behind.config.sessions_max = 1;
        let mut keys = behind.open();
        let before = behind.calls().calls("C_Sign");
        behind.steer(|control| control.hang = vec!["C_Sign".to_owned()]);
        std::thread::scope(|scope| {
            let consensus = &mut keys.consensus;
            let first = scope.spawn(|| sign(consensus));
            while behind.calls().calls("C_Sign") == before {
                std::thread::yield_now();
            }
            // There is one session, and the other request has it; either word says that nothing was signed.
            let waited = sign(&mut keys.transport);
            let either = [Err(STUCK), Err(Fault::TokenExhausted.into())];
            assert!(either.contains(&waited), "{waited:?}");
            assert_eq!(first.join().expect("no panic"), Err(STUCK));
        });
        assert_eq!(sign(&mut keys.transport), Err(STUCK));
    });
}

#[test]
fn a_recovery_that_never_returns_is_found_out() {
    alone("stuck::a_recovery_that_never_returns_is_found_out", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.call_timeout_ms = TIMEOUT_MS;
        let mut keys = behind.open();
        behind.steer(|control| {
            control.fault = vec![Injected::every("C_SignInit", "CKR_DEVICE_ERROR")];
            control.hang = vec!["C_Finalize".to_owned()];
        });
        let start = Instant::now();
        while sign(&mut keys.consensus) != Err(STUCK) {
            assert!(start.elapsed() < PATIENCE, "the token rests for ever");
            std::thread::yield_now();
        }
        assert_eq!(keys.modules_stuck.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_start_that_never_returns_is_told() {
    alone("stuck::a_start_that_never_returns_is_told", |dir| {
        let mut behind = Behind::new(dir);
        behind.config.call_timeout_ms = TIMEOUT_MS;
        behind.steer(|control| control.hang = vec!["C_Login".to_owned()]);
        let error = pkcs11::open(&behind.config).err().expect("the login hangs");
        assert_eq!(error.cause, STUCK);
        assert!(error.subject.contains("stele-test"), "{error}");
    });
}
