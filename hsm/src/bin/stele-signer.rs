//! The signer without the node: for a machine or user of its own, with the smallest program that holds the keys.
//! `stele signer` does the same. Takes paths only, never secrets.

use hsm::process::{self, Lifetime};
use hsm::{ConfigError, SignerConfig, StartError, StoreConfig, provision};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "usage:
  stele-signer run CONFIG                      until SIGTERM, SIGINT or SIGHUP
  stele-signer child CONFIG                    until SIGTERM or the end of standard input
  stele-signer generate STORE [SO_PIN_FILE]    make both keys, print the public ones (TOML)
  stele-signer guard CONFIG PUBLIC_KEYS        make the guard file of a validator that has never signed

CONFIG is a signer configuration, STORE its [pkcs11] or [keystore] table, PUBLIC_KEYS what `generate` printed.";

fn main() -> ExitCode {
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments[..] {
        ["run", config] => read(config).and_then(|config| process::run(&config, Lifetime::Service)),
        ["child", config] => read(config).and_then(|config| process::run(&config, Lifetime::Parent)),
        ["generate", store] => read(store).and_then(|store| generate(&store, None)),
        ["generate", store, so_pin_file] => {
            read(store).and_then(|store| generate(&store, Some(Path::new(so_pin_file))))
        }
        ["guard", config, keys] => {
            read::<SignerConfig>(config).and_then(|config| provision::guard(&config, &read(keys)?))
        }
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("stele-signer: {error}");
            ExitCode::from(error.cause.exit_status())
        }
    }
}

fn generate(store: &StoreConfig, so_pin_file: Option<&Path>) -> Result<(), StartError> {
    let keys = provision::generate(store, so_pin_file)?;
    print!("{}", toml::to_string(&keys).expect("two strings"));
    Ok(())
}

fn read<T: DeserializeOwned>(path: &str) -> Result<T, StartError> {
    let unreadable =
        |reason: &dyn std::fmt::Display| ConfigError::ConfigUnreadable.about(format_args!("{path} ({reason})"));
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
    toml::from_str(&text).map_err(|error| unreadable(&error.message()))
}
