//! The TPM of the machine on which a ceremony is held, as the conductor sees it. Nothing is stored in it; a quote takes tenths
//! of a second.

use super::entry::{Attested, EVENT_LOG_BYTES_MAX, MachineQuote};
use super::state::{Ceremony, Moment, Order};
use std::path::{Path, PathBuf};
use thiserror::Error;
use tpm::event_log::{self, KERNELS};
use tpm::{Tpm, TpmError};

/// Where the TPM is, if nobody says otherwise: behind the kernel's resource manager.
pub const DEVICE: &str = "/dev/tpmrm0";

/// Where the machine's TPM and event log are.
#[derive(Clone, Debug)]
pub struct Attester {
    device: PathBuf,
    event_log: PathBuf,
}

/// The script insists on an attestation, and there is none.
#[derive(Debug, Error)]
#[error("the script wants this machine attested, and its TPM ({}) does not do it: {source}", device.display())]
pub struct NoAttestation {
    device: PathBuf,
    #[source]
    source: TpmError,
}

impl Default for Attester {
    fn default() -> Self {
        Self::new(Path::new(DEVICE), Path::new(KERNELS))
    }
}

impl Attester {
    /// With a TPM's device, or a simulator's socket, and the kernel's file with the event log.
    pub fn new(device: &Path, event_log: &Path) -> Self {
        Self { device: device.to_owned(), event_log: event_log.to_owned() }
    }

    /// What is due from the machine; `None` where nothing is.
    ///
    /// # Errors
    /// [`NoAttestation`] where the ceremony cannot do without.
    pub(super) fn attest(&self, ceremony: &Ceremony) -> Result<Option<Attested>, NoAttestation> {
        let Order::Attest { moment, registers, qualifying } = ceremony.order() else { return Ok(None) };
        let quoted = Tpm::open(&self.device).and_then(|mut tpm| tpm::quote::quote(&mut tpm, registers, &qualifying));
        match quoted {
            Ok(quote) => {
                // It is the same at the close, and long.
                let log = (moment != Moment::Close).then(|| event_log::read(&self.event_log, EVENT_LOG_BYTES_MAX));
                Ok(Some(Attested::Quote(MachineQuote::of(&quote, log.flatten()))))
            }
            Err(source) if ceremony.insists_on_machine() => Err(NoAttestation { device: self.device.clone(), source }),
            Err(source) => {
                let reason = super::conduct::short(&format!("{}: {source}", self.device.display()));
                Ok(Some(Attested::None { reason }))
            }
        }
    }
}
