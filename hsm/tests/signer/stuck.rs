//! A module that does not return, in a real signer process: the requests fail, the process leaves with a status of its own,
//! and the next one goes on.

use crate::fixture::{Validator, certificate_verify};
use hsm::child::SpawnError;
use hsm::{Fault, SignError, SignerChild, SignerClient, StoreError};
use pkcs11_faults::{CONTROL_VARIABLE, Control};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const WITHIN: Duration = Duration::from_secs(60);
const STUCK: SignError = SignError::Fault(Fault::ModuleStuck);

struct Behind {
    validator: Validator,
    control: Control,
    path: PathBuf,
}

impl Behind {
    fn new() -> Self {
        let mut validator = Validator::with_softhsm();
        let path = validator.dir.path().join("faults.toml");
        let soft = std::mem::replace(&mut validator.pkcs11().module, pkcs11_faults::module());
        validator.pkcs11().call_timeout_ms = 1000;
        validator.config.process.allow_paths = vec![validator.dir.path().to_owned()];
        let behind = Self { validator, control: Control::through(soft), path };
        behind.steer(&[]);
        behind
    }

    fn steer(&self, hang: &[&str]) {
        let hang = hang.iter().map(|function| (*function).to_owned()).collect();
        Control { hang, ..self.control.clone() }.write(&self.path).expect("own directory");
    }

    fn spawn(&self) -> (Child, SignerClient) {
        let mut command = self.validator.command();
        command.env(CONTROL_VARIABLE, &self.path).stdin(Stdio::piped());
        let child = command.spawn().expect("the signer runs");
        let start = Instant::now();
        loop {
            match SignerClient::connect(&self.validator.config.socket) {
                Ok(client) => return (child, client),
                _ => assert!(start.elapsed() < WITHIN, "the signer does not come up"),
            }
            std::thread::yield_now();
        }
    }
}

#[test]
fn a_signer_whose_module_never_returns_answers_and_leaves_and_the_next_one_signs() {
    let behind = Behind::new();
    let validator = &behind.validator;
    let (mut child, client) = behind.spawn();
    client.sign_round(&validator.statement(1, 1, &[]), &[]).expect("nothing is wrong");
    let other = client.another().expect("another connection");
    behind.steer(&["C_Sign"]);
    let (round, handshake) = std::thread::scope(|scope| {
        let handshake = scope.spawn(|| other.sign_handshake(&certificate_verify()));
        (client.sign_round(&validator.statement(2, 1, &[]), &[]), handshake.join().expect("no panic"))
    });
    // The one that comes second may find the process gone.
    let gone = SignError::Fault(Fault::SignerUnreachable);
    let (round, handshake) = (round.expect_err("it hangs"), handshake.expect_err("it hangs"));
    assert!(round == STUCK || handshake == STUCK, "{round} {handshake}");
    assert!([&round, &handshake].iter().all(|error| **error == STUCK || **error == gone), "{round} {handshake}");
    let status = child.wait().expect("our child");
    assert_eq!(status.code(), Some(Fault::ModuleStuck.exit_status().into()), "for a supervisor to start it again");

    behind.steer(&[]);
    let (_child, client) = behind.spawn();
    assert_eq!(client.stats().expect("figures").modules_stuck, 0);
    client.sign_round(&validator.statement(2, 1, &[]), &[]).expect("approved before, never signed");
    let second = client.sign_round(&validator.statement(2, 2, &[]), &[]);
    assert!(matches!(second, Err(SignError::Refused(_))), "{second:?}");
}

#[test]
fn a_signer_that_cannot_start_because_its_module_never_returns_says_so() {
    let behind = Behind::new();
    behind.steer(&["C_Login"]);
    let mut command = behind.validator.command();
    command.env(CONTROL_VARIABLE, &behind.path);
    let told = SignerChild::spawn(&mut command, &behind.validator.config.socket, WITHIN).err().expect("no start");
    assert!(matches!(told, SpawnError::Start(StoreError::Fault(Fault::ModuleStuck))), "{told}");
}
