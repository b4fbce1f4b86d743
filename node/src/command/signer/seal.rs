//! `stele signer seal`: a PIN or passphrase that only this machine's TPM gives back.

use super::SignerError;
use clap::Args;
use hsm::secret::{self, Secret};
use std::path::PathBuf;

#[derive(Clone, Debug, Args)]
pub(super) struct Seal {
    /// Where the PIN or passphrase comes from, of 1 to 128 bytes: a file of mode 0600, `prompt`, `fd:3` or
    /// `credential:NAME`. Never the secret itself.
    #[arg(long, value_name = "SOURCE", default_value = "prompt")]
    secret: PathBuf,
    /// The new file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Registers whose values have to be what they are now (SHA-256 bank, 0 to 23).
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "7,11")]
    pcrs: Vec<u8>,
    /// The TPM's device with a resource manager, or the Unix socket of a simulator.
    #[arg(long, value_name = "PATH", default_value_os_t = hsm::config::tpm_device())]
    device: PathBuf,
}

impl Seal {
    pub(super) fn run(&self) -> Result<(), SignerError> {
        secret::seal(&Secret::read(&self.secret)?, &self.device, &self.pcrs, &self.out)?;
        let out = self.out.display();
        println!(
            "sealed; name it as `sealed:{out}` in signer.toml, and keep the secret somewhere else than on this machine"
        );
        Ok(())
    }
}
