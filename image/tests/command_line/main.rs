//! The tool as a person or a script meets it: a program with outputs and a status.
#![allow(clippy::unwrap_used, missing_docs)]

use std::process::{Command, Output, Stdio};

fn image(arguments: &[&str], nobody_reads: bool) -> Output {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_stele-image"));
    tool.args(arguments).stderr(Stdio::piped());
    if nobody_reads {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        tool.stdout(writer).output().unwrap()
    } else {
        tool.stdout(Stdio::piped()).output().unwrap()
    }
}

/// `… | head -1` is how people look at what is long.
#[test]
fn an_output_that_nobody_reads_ends_the_tool_without_a_word() {
    let listing = ["test", "--list", "--binaries", "none", "--init", "none"];
    assert_eq!(image(&listing, false).status.code(), Some(0));
    let ended = image(&listing, true);
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    assert_eq!(ended.status.code(), Some(128 + 13));
}
