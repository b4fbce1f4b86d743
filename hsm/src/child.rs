//! A signer process as a node's child: started, waited for, and ended with the node.

use crate::client::SignerClient;
use crate::error::{ConfigError, Fault, SignError, StoreError};
use crate::signer::PublicKeys;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Pause between two looks at whether the child listens.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for a signer to end that was asked to.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a signer process did not come up.
#[derive(Debug, Error)]
pub enum SpawnError {
    /// The command could not be run.
    #[error("cannot run the signer: {0}")]
    NotRun(#[source] std::io::Error),
    /// It stopped, and its exit status says why; it wrote to which thing this applies on its standard error.
    #[error("the signer did not start: {0}")]
    Start(StoreError),
    /// It stopped with an exit status that says nothing.
    #[error("the signer did not start: {0}")]
    Died(ExitStatus),
    /// It does not listen in time.
    #[error("the signer does not listen after {0:?}")]
    Silent(Duration),
    /// It ended well and printed no public keys.
    #[error("the command is not a generation of keys")]
    NoKeys,
    /// It listens, and answers wrongly.
    #[error(transparent)]
    Answer(SignError),
}

/// Runs a command that is a [`crate::command::Command::Generate`], and reads the public keys that it prints. A token's
/// keys are made so, because a process can load its module once.
///
/// # Errors
/// [`SpawnError`].
pub fn generate(command: &mut Command) -> Result<PublicKeys, SpawnError> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
    let output = command.output().map_err(SpawnError::NotRun)?;
    if !output.status.success() {
        return Err(ended(output.status));
    }
    let text = String::from_utf8(output.stdout).map_err(|_| SpawnError::NoKeys)?;
    toml::from_str(&text).map_err(|_| SpawnError::NoKeys)
}

fn ended(status: ExitStatus) -> SpawnError {
    let reason = status.code().and_then(StoreError::from_exit_status);
    reason.map_or(SpawnError::Died(status), SpawnError::Start)
}

/// A running signer process. It ends when this is dropped, and also when the process that holds this dies, since its
/// standard input closes then (see [`crate::process::Lifetime::Parent`]).
pub struct SignerChild {
    child: Child,
}

impl SignerChild {
    /// Runs the command, which must start a signer of [`crate::process::Lifetime::Parent`] that listens on `socket`,
    /// and connects. For SoftHSM2 the command carries [`crate::softhsm::CONF_VARIABLE`] in its environment.
    ///
    /// The signer of a node that was killed takes a moment to end, and holds the guard file until then: that is waited
    /// for, and its socket is never taken for the new one's.
    ///
    /// # Errors
    /// [`SpawnError`]; nothing is left running.
    pub fn spawn(command: &mut Command, socket: &Path, within: Duration) -> Result<(Self, SignerClient), SpawnError> {
        const LOCKED: StoreError = StoreError::Config(ConfigError::GuardLocked);
        let start = Instant::now();
        loop {
            match Self::spawn_once(command, socket, within) {
                Err(SpawnError::Start(LOCKED)) if start.elapsed() < PATIENCE => std::thread::sleep(POLL),
                outcome => return outcome,
            }
        }
    }

    fn spawn_once(command: &mut Command, socket: &Path, within: Duration) -> Result<(Self, SignerClient), SpawnError> {
        let start = Instant::now();
        let child = command.stdin(Stdio::piped()).spawn().map_err(SpawnError::NotRun)?;
        let mut signer = Self { child };
        loop {
            match SignerClient::connect(socket) {
                Ok(client) if client.signer_id() == Some(signer.id()) => return Ok((signer, client)),
                Ok(_) | Err(SignError::Fault(Fault::SignerUnreachable)) => {}
                Err(error) => return Err(SpawnError::Answer(error)),
            }
            if let Some(status) = signer.child.try_wait().map_err(SpawnError::NotRun)? {
                return Err(ended(status));
            }
            if start.elapsed() > within {
                return Err(SpawnError::Silent(within));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it still runs.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn is_running(&mut self) -> std::io::Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Ends it at once, as a crash does.
    ///
    /// # Errors
    /// Those of the system call.
    pub fn kill(&mut self) -> std::io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }
}

impl Drop for SignerChild {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        tracing::warn!("the signer does not end by itself and is killed");
        // Best effort: it is our child and has not been waited for, so this can only fail if it just ended.
        let _ = self.kill();
    }
}
