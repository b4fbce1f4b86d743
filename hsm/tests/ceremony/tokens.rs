//! Real tokens that are not as a ceremony wants them: SoftHSM2, with our module of faults before it where it has none of
//! its own.

use crate::alone::alone;
use crate::rehearsals::shipped;
use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use hsm::ceremony::unattended::Unattended;
use hsm::ceremony::{Attester, Mode, Report, verify};
use pkcs11_faults::{Control, Fault};
use std::path::{Path, PathBuf};

/// A rehearsal whose token is behind the module of faults.
struct Scene {
    directory: PathBuf,
    script: Vec<u8>,
    answers: PathBuf,
}

impl Scene {
    fn new(name: &str, directory: &Path, faulty: bool) -> Self {
        let directory = directory.join("ceremony");
        std::fs::create_dir_all(&directory).expect("own directory");
        let script = std::fs::read(shipped().join(format!("{name}.toml"))).expect("ships");
        let mut text = std::fs::read_to_string(shipped().join(format!("{name}.answers.toml"))).expect("ships");
        if faulty {
            let module = pkcs11_faults::module();
            let place = text.find("[[officers]]").expect("officers");
            text.insert_str(place, &format!("[token]\nmodule = \"{}\"\n\n", module.display()));
        }
        let answers = directory.join("answers.toml");
        std::fs::write(&answers, text).expect("own file");
        Self { directory, script, answers }
    }

    fn run(&self) -> Result<(), String> {
        let (script, answers, directory) = (&self.script, &self.answers, &self.directory);
        let run = Unattended {
            script,
            answers,
            mode: Mode::Rehearsal,
            directory,
            program: "test",
            attester: &Attester::default(),
        };
        run.run(Box::new(std::io::sink())).map(drop).map_err(|error| error.to_string())
    }

    fn transcript(&self) -> String {
        std::fs::read_to_string(self.directory.join("transcript")).expect("written")
    }

    /// The next run, which has to succeed.
    fn goes_on(&self) {
        self.run().expect("goes on");
        let report = Report::of(&verify(self.transcript().as_bytes(), None));
        assert!(report.valid && report.exceptions.is_empty(), "{report:?}");
    }

    fn secret(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join("throw-away").join(name)).expect("made")
    }
}

fn control(directory: &Path, change: impl FnOnce(&mut Control)) {
    let mut control = Control::through(hsm::softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2"));
    change(&mut control);
    control.write(&directory.join("faults.toml")).expect("own directory");
}

#[test]
fn full_protected_and_failing_tokens_leave_their_reason_and_the_ceremony_goes_on() {
    alone("tokens::full_protected_and_failing_tokens_leave_their_reason_and_the_ceremony_goes_on", |directory| {
        control(directory, |_| {});
        let scene = Scene::new("validator-genesis", directory, true);
        for (function, code, reason) in [
            ("C_InitToken", "CKR_TOKEN_WRITE_PROTECTED", "the token is write-protected"),
            ("C_InitPIN", "CKR_DEVICE_ERROR", "the module failed in InitPIN with DeviceError"),
            ("C_GenerateKeyPair", "CKR_DEVICE_MEMORY", "the token is full"),
            ("C_Sign", "CKR_DEVICE_REMOVED", "the token is gone"),
        ] {
            control(directory, |control| control.fault = vec![Fault::every(function, code)]);
            let error = scene.run().expect_err(code);
            assert!(error.contains(reason), "{code}: {error}");
            assert!(scene.transcript().contains(&format!("\"reason\":\"{reason}\"")), "{code}");
        }
        control(directory, |_| {});
        scene.goes_on();
        let text = scene.transcript();
        assert_eq!(text.matches("{\"failure\":").count(), 4);
        for secret in ["pin", "so-pin", "officer-1.passphrase"] {
            assert!(!text.contains(&scene.secret(secret)), "{secret} is in the transcript");
        }
    });
}

#[test]
fn a_wrong_pin_is_tried_once_and_a_human_decides() {
    alone("tokens::a_wrong_pin_is_tried_once_and_a_human_decides", |directory| {
        let calls = directory.join("calls");
        control(directory, |control| control.stats = Some(calls.clone()));
        let scene = Scene::new("custody-drill", directory, true);
        // As far as the token, so that it is there.
        control(directory, |control| control.fault = vec![Fault::every("C_Sign", "CKR_DEVICE_REMOVED")]);
        scene.run().expect_err("stops at the challenge");
        let pin = directory.join("ceremony/throw-away/pin");
        let right = std::fs::read(&pin).expect("made");
        std::fs::write(&pin, "000000000").expect("own file");
        control(directory, |_| {});
        let error = scene.run().expect_err("wrong PIN");
        assert!(error.contains("the PIN was not accepted"), "{error}");
        assert!(!error.contains("000000000"));
        std::fs::write(&pin, right).expect("own file");
        scene.goes_on();
    });
}

#[test]
fn a_key_that_can_leave_and_two_keys_with_one_label_are_told() {
    alone("tokens::a_key_that_can_leave_and_two_keys_with_one_label_are_told", |directory| {
        let scene = Scene::new("custody-drill", directory, false);
        // The token is made and opened, and then somebody puts other keys in.
        let text = std::fs::read_to_string(&scene.answers).expect("own file");
        let start = text.find("prepare = [").expect("prepares");
        let end = start + text[start..].find("]\n").expect("ends") + 2;
        std::fs::write(&scene.answers, format!("{}{}", &text[..start], &text[end..])).expect("own file");
        let error = scene.run().expect_err("no key");
        assert!(error.contains("no key with this label"), "{error}");
        let pin = scene.secret("pin");
        put_key(&pin, true);
        let error = scene.run().expect_err("it can leave");
        assert!(error.contains("does not stay in the token"), "{error}");
        put_key(&pin, false);
        let error = scene.run().expect_err("two");
        assert!(error.contains("more than one key with this label"), "{error}");
        assert!(!Report::of(&verify(scene.transcript().as_bytes(), None)).valid);
    });
}

fn put_key(pin: &str, extractable: bool) {
    let label = Attribute::Label(b"stele-consensus".to_vec());
    let ed25519 = Attribute::EcParams(vec![0x06, 0x03, 0x2b, 0x65, 0x70]);
    let public = [label.clone(), ed25519, Attribute::Token(true), Attribute::Verify(true)];
    let private = [
        label,
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Sensitive(!extractable),
        Attribute::Extractable(extractable),
        Attribute::Sign(true),
    ];
    with_token(pin, |session| {
        session.generate_key_pair(&Mechanism::EccEdwardsKeyPairGen, &public, &private).expect("room in the token");
    });
}

/// The process dies while the token makes a key pair, and one half is there.
fn one_half_is_there(test: &str, missing: ObjectClass) {
    alone(test, |directory| {
        control(directory, |control| control.fault = vec![Fault::every("C_GetAttributeValue", "CKR_DEVICE_ERROR")]);
        let scene = Scene::new("validator-genesis", directory, true);
        scene.run().expect_err("behind the making of the first key");
        control(directory, |_| {});
        with_token(&scene.secret("pin"), |session| {
            let half = [Attribute::Class(missing), Attribute::Label(b"stele-consensus".to_vec())];
            let found = session.find_objects(&half).expect("finds");
            assert_eq!(found.len(), 1, "it was made");
            session.destroy_object(found[0]).expect("destroys");
        });
        scene.goes_on();
    });
}

#[test]
fn a_key_whose_private_half_was_not_made_is_made_anew() {
    one_half_is_there("tokens::a_key_whose_private_half_was_not_made_is_made_anew", ObjectClass::PRIVATE_KEY);
}

#[test]
fn a_key_whose_public_half_was_not_made_is_made_anew() {
    one_half_is_there("tokens::a_key_whose_public_half_was_not_made_is_made_anew", ObjectClass::PUBLIC_KEY);
}

fn with_token(pin: &str, act: impl FnOnce(&Session)) {
    let module = Pkcs11::new(hsm::softhsm::find_module().expect("SoftHSM2")).expect("a module");
    module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)).expect("finalised before");
    let slot = module.get_slots_with_initialized_token().expect("slots")[0];
    let session = module.open_rw_session(slot).expect("a session");
    session.login(UserType::User, Some(&AuthPin::new(pin.into()))).expect("the right PIN");
    act(&session);
    drop(session);
    module.finalize().expect("initialised");
}
