//! The calls that are made, against a library with known answers (`double.rs`), which is loaded as the real one is.

use super::*;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// Compiles the library with the compiler that these tests are compiled with.
fn library(dir: &TempDir, options: &[&str]) -> PathBuf {
    let path = dir.path().join("libnvidia-ml.so.1");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args(["--edition", "2024", "--crate-type", "cdylib", "--crate-name", "double", "-o"]).arg(&path);
    command.env("RELEASED_BY", dir.path().join("released"));
    command.args(options).arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/nvml/double.rs"));
    let made = command.output().expect("the compiler is there");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    path
}

#[test]
fn each_answer_is_read_and_each_refusal_told_from_the_others() {
    let dir = TempDir::new().expect("temporary directory");
    let asker = Asker::start(Some(library(&dir, &[])));
    let card = asker.ask("0000:01:00.0");
    let text = |text: &str| Reading::Value(text.to_owned());
    let expected = Card {
        driver_version: text("580.95.05"),
        name: text("NVIDIA H200"),
        uuid: text("GPU-0f3b1c2d-0000-1111-2222-333344445555"),
        vbios: Reading::Unknown(Why::Unsupported),
        memory_bytes: Reading::Value(150_754_820_096),
        memory_used_bytes: Reading::Value(4096),
        ecc: Reading::Value(true),
        ecc_corrected: Reading::Value(12),
        ecc_uncorrected: Reading::Value(3),
        temperature: Reading::Value(67),
        temperature_slowdown: Reading::Value(92),
        slowed: Reading::Value(0x48),
        power_mw: Reading::Value(512_345),
        power_limit_mw: Reading::Value(700_000),
    };
    assert_eq!(card, expected);
    let json = serde_json::to_string(&card).expect("plain values");
    assert_eq!(serde_json::from_str::<Card>(&json).expect("as it was written"), card);

    let known = |why| Card { driver_version: text("580.95.05"), ..Card::unknown(why) };
    assert_eq!(asker.ask("0000:02:00.0"), Card { vbios: Reading::Unknown(Why::Unsupported), ..known(Why::Lost) });
    assert_eq!(asker.ask("0000:03:00.0"), Card { name: text("Bare"), ..known(Why::Unsupported) });
    assert_eq!(asker.ask("0000:04:00.0"), known(Why::Absent));
}

#[test]
fn without_the_library_everything_is_unknown() {
    let asker = Asker::start(Some("/nonexistent/libnvidia-ml.so.1".into()));
    assert_eq!(asker.ask("0000:01:00.0"), Card::unknown(Why::Absent));
    let dir = TempDir::new().expect("temporary directory");
    let path = dir.path().join("libnvidia-ml.so.1");
    std::fs::write(&path, "no library").expect("own directory");
    assert_eq!(Asker::start(Some(path)).ask("0000:01:00.0"), Card::unknown(Why::Absent));
}

#[test]
fn a_library_that_hangs_is_waited_for_once_and_asked_again_when_it_is_back() {
    let dir = TempDir::new().expect("temporary directory");
    let asker = Asker::start(Some(library(&dir, &["--cfg", "hangs"])));
    assert_eq!(asker.ask_within("0000:01:00.0", Duration::from_millis(1)), Card::unknown(Why::Silent));
    // Told at once, without another wait.
    assert_eq!(asker.ask("0000:01:00.0"), Card::unknown(Why::Silent));
    std::fs::write(dir.path().join("released"), "").expect("own directory");
    while asker.is_busy.load(Ordering::Acquire) {
        thread::yield_now();
    }
    assert_eq!(asker.ask("0000:01:00.0").temperature, Reading::Value(67));
}
