//! The command line as a newcomer meets it: help without set-up, and refusals that say what to do. `cargo xtask devnet` also names this
//! program in its build, so that cargo resolves features with development dependencies and shares every artefact with `cargo xtask test`.

use std::process::{Command, Output};

fn xtask(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_xtask")).args(arguments).output().expect("cargo built the program for this test")
}

#[test]
fn every_command_in_the_help_explains_itself() {
    let help = String::from_utf8(xtask(&["--help"]).stdout).expect("help is UTF-8");
    for command in ["test", "torture", "bench", "setup", "licences", "clean-cache"] {
        assert!(help.contains(&format!("\n  {command}")), "{command} is not in the help");
        let own = xtask(&[command, "--help"]);
        let text = String::from_utf8(own.stdout).expect("help is UTF-8");
        assert!(own.status.success() && text.contains("cargo xtask"), "{command} has no help");
    }
}

#[test]
fn a_mistake_is_named_with_the_next_step() {
    for mistake in
        [&["tset"][..], &["setup", "--chekc"], &["test", "--only", "units"], &["bench", "devnet", "--rates", "fast"]]
    {
        let output = xtask(mistake);
        let text = String::from_utf8(output.stderr).expect("errors are UTF-8");
        assert!(!output.status.success(), "{mistake:?} was accepted");
        assert!(text.contains("error:") && text.contains("next:"), "{mistake:?} gave {text}");
    }
}
