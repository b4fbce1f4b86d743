//! Where the TPM and the event log of the machine are on which a command runs.

use clap::Args;
use hsm::ceremony::{Attester, attester};
use std::path::PathBuf;
use tpm::event_log;

/// This machine's TPM.
#[derive(Clone, Debug, Args)]
pub struct ThisMachine {
    /// Device of the TPM, which the user has to be able to read and write.
    #[arg(long, value_name = "PATH", default_value = attester::DEVICE)]
    pub tpm: PathBuf,
    /// What the firmware measured, as the kernel has it; root alone may read it, unless it was given away.
    #[arg(long, value_name = "PATH", default_value = event_log::KERNELS)]
    pub event_log: PathBuf,
}

impl ThisMachine {
    /// What attests it in a ceremony.
    pub fn attester(&self) -> Attester {
        Attester::new(&self.tpm, &self.event_log)
    }
}
