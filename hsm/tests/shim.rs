//! The module with faults on demand, in front of SoftHSM2: each of its faults is seen by a caller as it was asked for.
//! A module is one a process, so each scenario runs this program again in an environment of its own.

#[path = "support/alone.rs"]
mod alone;

use alone::alone;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use hsm::config::{Pkcs11Config, StoreConfig};
use hsm::{provision, secret, softhsm};
use pkcs11_faults::{Answer, Control, Fault, PointEncoding, RandomFaults, Return, Stats};
use std::path::{Path, PathBuf};

/// PKCS#11 v3.0 §2.3.14.
const CKM_EDDSA: u64 = 0x1057;

/// A token with two keys behind the shim.
struct Behind {
    control: Control,
    path: PathBuf,
    pin: AuthPin,
    module: Pkcs11,
}

impl Behind {
    fn new(dir: &Path) -> Self {
        let path = dir.join("faults.toml");
        let mut control = Control::through(softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2"));
        control.stats = Some(dir.join("calls"));
        control.write(&path).expect("own directory");
        let (pin_file, so_pin_file) = (dir.join("pin"), dir.join("so-pin"));
        secret::create_random(&pin_file).expect("new file");
        secret::create_random(&so_pin_file).expect("new file");
        let module = pkcs11_faults::module();
        let store = Pkcs11Config::new(module.clone(), "stele-test", pin_file.clone());
        provision::generate(&StoreConfig::Pkcs11(store), Some(&so_pin_file)).expect("a new token");
        let pin = AuthPin::new(std::fs::read_to_string(pin_file).expect("own file").into());
        let module = Pkcs11::new(module).expect("the shim");
        let behind = Self { control, path, pin, module };
        behind.initialise();
        behind
    }

    fn initialise(&self) {
        self.module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("not initialised");
    }

    fn slot(&self) -> Slot {
        let slots = self.module.get_slots_with_token().expect("slots");
        let ours = |slot: &Slot| self.module.get_token_info(*slot).is_ok_and(|info| info.label() == "stele-test");
        slots.into_iter().find(ours).expect("the token")
    }

    fn session(&self) -> (Session, ObjectHandle) {
        let session = self.module.open_ro_session(self.slot()).expect("a session");
        match session.login(UserType::User, Some(&self.pin)) {
            Ok(()) | Err(Error::Pkcs11(RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => panic!("{error}"),
        }
        let key = find(&session, ObjectClass::PRIVATE_KEY);
        (session, key)
    }

    fn steer(&mut self, change: impl FnOnce(&mut Control)) {
        change(&mut self.control);
        self.control.write(&self.path).expect("own directory");
    }

    fn calls(&self) -> Stats {
        Stats::read(self.control.stats.as_ref().expect("set above")).expect("written by the shim")
    }
}

fn find(session: &Session, class: ObjectClass) -> ObjectHandle {
    let template = [Attribute::Class(class), Attribute::Label(b"stele-consensus".to_vec())];
    session.find_objects(&template).expect("a search")[0]
}

fn sign(session: &Session, key: ObjectHandle) -> Result<Vec<u8>, RvError> {
    let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
    session.sign(&mechanism, key, b"message").map_err(|error| match error {
        Error::Pkcs11(code, _) => code,
        other => panic!("{other}"),
    })
}

#[test]
fn calls_pass_through_are_counted_and_fail_as_asked() {
    alone("calls_pass_through_are_counted_and_fail_as_asked", |dir| {
        let mut behind = Behind::new(dir);
        let (session, key) = behind.session();
        let right = sign(&session, key).expect("nothing is wrong");
        let before = behind.calls();
        behind.steer(|control| control.fault = vec![Fault::nth("C_SignInit", 2, "CKR_DEVICE_ERROR")]);
        assert_eq!(sign(&session, key), Ok(right.clone()));
        assert_eq!(sign(&session, key), Err(RvError::DeviceError));
        assert_eq!(behind.calls().calls("C_Sign") - before.calls("C_Sign"), 1, "the other one did not come so far");
        behind.steer(|control| control.fault = vec![Fault::every("C_SignInit", "CKR_FUNCTION_FAILED")]);
        assert_eq!(sign(&session, key), Err(RvError::FunctionFailed));
        behind.steer(|control| {
            control.fault.clear();
            control.random = vec![RandomFaults::new("C_SignInit", 0.5, &["CKR_DEVICE_MEMORY"])];
        });
        let (session, key) = behind.session();
        let failures = (0..100).filter(|_| sign(&session, key) == Err(RvError::DeviceMemory)).count();
        assert!((20..80).contains(&failures), "{failures} of 100");
    });
}

#[test]
fn a_removed_token_needs_what_was_asked_after_its_return() {
    alone("a_removed_token_needs_what_was_asked_after_its_return", |dir| {
        let mut behind = Behind::new(dir);
        let (session, key) = behind.session();
        behind.steer(|control| control.token.present = false);
        assert_eq!(sign(&session, key), Err(RvError::DeviceRemoved));
        assert!(behind.module.get_slots_with_token().expect("an empty list").is_empty());
        behind.steer(|control| control.token.present = true);
        assert_eq!(sign(&session, key), Err(RvError::SessionHandleInvalid));
        let dead = behind.module.open_ro_session(behind.slot()).expect("opens");
        assert!(dead.login(UserType::User, Some(&behind.pin)).is_err(), "dead until C_Finalize");
        behind.module.clone().finalize().expect("initialised");
        behind.initialise();
        let (session, key) = behind.session();
        assert!(sign(&session, key).is_ok());

        behind.steer(|control| {
            control.token.returns = Return::Reopen;
            control.token.removals += 1;
        });
        assert_eq!(sign(&session, key), Err(RvError::SessionHandleInvalid));
        let (session, key) = behind.session();
        assert!(sign(&session, key).is_ok());
    });
}

#[test]
fn sessions_are_limited_points_encoded_and_signatures_falsified() {
    alone("sessions_are_limited_points_encoded_and_signatures_falsified", |dir| {
        let mut behind = Behind::new(dir);
        behind.steer(|control| (control.sessions_max, control.tells_sessions_max) = (Some(1), true));
        let (session, key) = behind.session();
        let second = behind.module.open_ro_session(behind.slot());
        assert!(matches!(second, Err(Error::Pkcs11(RvError::SessionCount, _))));
        let told = behind.module.get_token_info(behind.slot()).expect("a token").max_session_count();
        assert!(matches!(told, cryptoki::slot::Limit::Max(1)));

        let point = |session: &Session| {
            let public = find(session, ObjectClass::PUBLIC_KEY);
            let wanted = [AttributeType::Label, AttributeType::EcPoint, AttributeType::KeyType];
            match &session.get_attributes(public, &wanted).expect("attributes")[..] {
                [Attribute::Label(_), Attribute::EcPoint(point), Attribute::KeyType(_)] => point.clone(),
                other => panic!("{other:?}"),
            }
        };
        let octets = point(&session);
        assert_eq!((octets.len(), octets[0]), (34, 0x04));
        for (encoding, head) in [
            (PointEncoding::Raw, &[][..]),
            (PointEncoding::OctetString, &[0x04, 0x20]),
            (PointEncoding::BitString, &[0x03, 0x21, 0x00]),
        ] {
            behind.steer(|control| control.ec_point = Some(encoding));
            assert_eq!(point(&session), [head, &octets[2..]].concat());
        }

        let right = sign(&session, key).expect("nothing is wrong");
        behind.steer(|control| control.answer = Some(Answer::FlippedBit));
        assert_eq!(sign(&session, key).map(|wrong| wrong[0]), Ok(right[0] ^ 1));
        behind.steer(|control| control.answer = Some(Answer::Short));
        assert_eq!(sign(&session, key).map(|wrong| wrong.len()), Ok(right.len() - 1));
        behind.steer(|control| {
            control.answer = Some(Answer::OtherKey);
            control.other_key = "stele-transport".to_owned();
        });
        assert_ne!(sign(&session, key), Ok(right));
        behind.steer(|control| control.mechanisms_hidden = vec![CKM_EDDSA]);
        let listed = behind.module.get_mechanism_list(behind.slot()).expect("a list");
        assert!(!listed.contains(&cryptoki::mechanism::MechanismType::EDDSA));
    });
}

#[test]
fn a_login_after_a_rejected_pin_is_counted() {
    alone("a_login_after_a_rejected_pin_is_counted", |dir| {
        let mut behind = Behind::new(dir);
        let session = behind.module.open_ro_session(behind.slot()).expect("a session");
        let wrong = AuthPin::new("0000".into());
        assert!(session.login(UserType::User, Some(&wrong)).is_err());
        assert_eq!(behind.calls().logins_after_rejection(), 0);
        assert!(session.login(UserType::User, Some(&behind.pin)).is_ok());
        assert_eq!(behind.calls().logins_after_rejection(), 1);
        session.logout().expect("logged in");
        behind.steer(|control| control.incarnation += 1);
        assert!(session.login(UserType::User, Some(&behind.pin)).is_ok());
        assert_eq!(behind.calls().logins_after_rejection(), 1, "a new process may try");
    });
}
