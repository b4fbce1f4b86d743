//! The behaviour matrix, on SoftHSM2, on SoftHSM2 behind the module with faults, and on one more module where
//! `STELE_TEST_PKCS11_MODULE` names one (with its own environment set, and a slot free).

#[path = "support/alone.rs"]
mod alone;

use alone::alone;
use hsm::pkcs11::conformance::{self, Options, Report, Standing};
use hsm::{ConfigError, softhsm};
use pkcs11_faults::{Answer, Control, Fault, PointEncoding};
use std::path::{Path, PathBuf};
use types::AlgId;

fn soft_module() -> PathBuf {
    softhsm::find_module().expect("SoftHSM2: apt-get install softhsm2")
}

fn examine(module: PathBuf) -> Report {
    let options = Options { module, slot: None, pin_file: None, so_pin_file: None };
    let mut told = Vec::new();
    let report = conformance::run(&options, &mut |what| told.push(what.to_owned())).expect("a module with a free slot");
    assert!(told.iter().any(|what| what.contains("initialises a token")), "{told:?}");
    report
}

fn found<'a>(report: &'a Report, case: &str) -> (&'a str, Standing) {
    let row = report.rows.iter().find(|row| row.case == case).unwrap_or_else(|| panic!("no row {case:?}: {report:#?}"));
    (&row.found, row.standing)
}

fn shim(dir: &Path, change: impl FnOnce(&mut Control)) -> PathBuf {
    let mut control = Control::through(soft_module());
    control.stats = Some(dir.join("calls"));
    change(&mut control);
    control.write(&dir.join("faults.toml")).expect("own directory");
    pkcs11_faults::module()
}

#[test]
fn softhsm_is_usable_and_its_traps_are_named() {
    alone("softhsm_is_usable_and_its_traps_are_named", |_| {
        let report = examine(soft_module());
        assert!(report.usable, "{report:#?}");
        assert_eq!(
            (&report.algorithms[..], &report.profile[..]),
            (&[AlgId::Ed25519, AlgId::EcdsaP256][..], "softhsm2")
        );
        assert!(found(&report, "Ed25519ctx").0.starts_with("silently ignored"));
        assert!(found(&report, "the curve of SM2").0.starts_with("a trap"));
        assert!(found(&report, "a key handle after a new login").0.contains("Invalid"));
        assert_eq!(found(&report, "a wrong PIN").1, Standing::Fine);
        assert_eq!(report.left, ["token \"stele-conformance\", without keys"]);
        assert_eq!(report.made.len(), 3, "{:?}", report.made);
    });
}

#[test]
fn what_a_module_does_otherwise_is_seen() {
    alone("what_a_module_does_otherwise_is_seen", |dir| {
        let report = examine(shim(dir, |control| {
            control.ec_point = Some(PointEncoding::BitString);
            control.mechanisms_hidden = vec![0x1044];
            control.sessions_max = Some(3);
        }));
        assert!(report.usable, "{report:#?}");
        assert!(found(&report, "Ed25519").0.contains("BitString"));
        assert_eq!(found(&report, "CKA_EC_POINT as the profile says").1, Standing::Note);
        assert!(found(&report, "sessions, as found").0.contains("SessionCount"));

        let report = examine(shim(dir, |control| {
            control.fault = vec![Fault::nth("C_GenerateKeyPair", 1, "CKR_TEMPLATE_INCONSISTENT")];
        }));
        assert!(report.usable && found(&report, "choosing CKA_ID").0.contains("cka_id_free"), "{report:#?}");

        for change in [(|control| control.answer = Some(Answer::FlippedBit)) as fn(&mut Control), |control| {
            control.fault = vec![Fault::every("C_GenerateKeyPair", "CKR_MECHANISM_INVALID")]
        }] {
            let report = examine(shim(dir, change));
            assert!(!report.usable && report.algorithms.is_empty(), "{report:#?}");
        }
    });
}

#[test]
fn a_named_slot_is_left_as_it_was_and_its_pin_is_not_tried_wrongly() {
    alone("a_named_slot_is_left_as_it_was_and_its_pin_is_not_tried_wrongly", |dir| {
        let module = shim(dir, |_| {});
        let pin_file = dir.join("pin");
        hsm::secret::create_random(&pin_file).expect("new file");
        let first = Options { module: module.clone(), slot: None, pin_file: Some(pin_file.clone()), so_pin_file: None };
        conformance::run(&first, &mut |_| {}).expect("a free slot");
        let handle = cryptoki::context::Pkcs11::new(&module).expect("the shim");
        let arguments = cryptoki::context::CInitializeArgs::new(cryptoki::context::CInitializeFlags::OS_LOCKING_OK);
        handle.initialize(arguments).expect("finalised before");
        let slot = handle.get_slots_with_initialized_token().expect("slots")[0].id();
        handle.finalize().expect("initialised");

        let second = Options { slot: Some(slot), ..first.clone() };
        let report = conformance::run(&second, &mut |_| {}).expect("the token of before");
        assert!(report.usable && report.left.is_empty(), "{report:#?}");
        assert!(report.rows.iter().all(|row| row.case != "a wrong PIN"));
        let nobody = Options { slot: Some(slot + 1000), ..second };
        let refused = conformance::run(&nobody, &mut |_| {}).expect_err("no such slot");
        assert_eq!(refused.cause, ConfigError::TokenAbsent.into());
    });
}

#[test]
fn one_more_module_where_the_environment_names_one() {
    if let Some(module) = std::env::var_os("STELE_TEST_PKCS11_MODULE") {
        let report = examine(module.into());
        assert!(report.usable, "{report:#?}");
    }
}
