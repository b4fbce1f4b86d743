//! Where a TPM is reached, and one exchange with it.

use crate::command::{Answer, Command};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;
use thiserror::Error;
use zeroize::Zeroizing;

/// Longest answer, part 2, TPM_PT_MAX_RESPONSE_SIZE of all known devices.
const ANSWER_MAX: usize = 4096;
/// Longest wait for an answer of a simulator; the kernel has its own for devices.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often a TPM that is busy is asked again, and how long it is left alone in between.
const ATTEMPTS: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// Why a TPM does not do what it is asked for.
#[derive(Debug, Error)]
pub enum TpmError {
    /// It cannot be reached.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What it answers is no answer.
    #[error("the answer is not one of a TPM 2.0")]
    Malformed,
    /// It says no. The code is that of part 2, TPM_RC.
    #[error("{command} failed with TPM_RC {code:#05x}{}", meaning(*code))]
    Code {
        /// The command.
        command: &'static str,
        /// TPM_RC.
        code: u32,
    },
}

/// TPM_RC_HANDLE for the first handle: there is no such index.
pub const RC_NO_HANDLE: u32 = 0x18b;
/// TPM_RC_NV_UNINITIALIZED: the index was never written.
pub const RC_UNWRITTEN: u32 = 0x14a;

fn meaning(code: u32) -> &'static str {
    match code {
        RC_NO_HANDLE => ": there is no such NV index",
        RC_UNWRITTEN => ": the NV index was never written",
        0x14b => ": no NV space is left (undefine what is not used)",
        0x14c => ": the NV index is taken",
        0x921 => ": locked out after wrong authorisations",
        0x98e | 0x9a2 => ": it asks for an authorisation (the owner hierarchy's password has to be empty)",
        0x185 => ": the owner hierarchy is disabled",
        0x99d => ": the policy does not hold: the measured state (PCR) is another one",
        0x100 => ": the TPM was not started (TPM2_Startup)",
        0x1df => ": the challenge is for another attestation key, or was altered",
        _ => "",
    }
}

impl TpmError {
    /// The code with which it says no.
    pub fn code(&self) -> Option<u32> {
        match self {
            Self::Code { code, .. } => Some(*code),
            Self::Io(_) | Self::Malformed => None,
        }
    }

    /// Whether it may do the same a moment later.
    pub fn is_busy(&self) -> bool {
        self.code().is_some_and(is_busy)
    }
}

/// TPM_RC_YIELDED, _TESTING, _NV_RATE, _RETRY, _NV_UNAVAILABLE.
fn is_busy(code: u32) -> bool {
    [0x908, 0x90a, 0x920, 0x922, 0x923].contains(&code)
}

/// A connection to a TPM.
#[derive(Debug)]
pub struct Tpm(Link);

#[derive(Debug)]
enum Link {
    Device(File),
    Socket(UnixStream),
}

impl Tpm {
    /// Opens a device as `/dev/tpmrm0`, or a simulator's Unix socket.
    ///
    /// # Errors
    /// [`TpmError::Io`].
    pub fn open(path: &Path) -> Result<Self, TpmError> {
        if std::fs::metadata(path)?.file_type().is_socket() {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            return Ok(Self(Link::Socket(stream)));
        }
        let no_follow = libc::O_CLOEXEC | libc::O_NOCTTY;
        Ok(Self(Link::Device(OpenOptions::new().read(true).write(true).custom_flags(no_follow).open(path)?)))
    }

    /// Whether others reach the TPM while this connection is held.
    pub fn is_shared(&self) -> bool {
        matches!(self.0, Link::Device(_))
    }

    /// One command and its answer; again where the TPM is busy.
    ///
    /// # Errors
    /// [`TpmError`].
    pub fn run(&mut self, command: &Command) -> Result<Answer, TpmError> {
        let mut attempts = 0;
        loop {
            let answer = Answer::parse(&self.exchange(command.as_bytes())?, command)?;
            match answer {
                Ok(answer) => return Ok(answer),
                Err(code) if is_busy(code) && attempts < ATTEMPTS => {
                    attempts += 1;
                    std::thread::sleep(PAUSE);
                }
                Err(code) => return Err(TpmError::Code { command: command.name(), code }),
            }
        }
    }

    fn exchange(&mut self, command: &[u8]) -> Result<Zeroizing<Vec<u8>>, TpmError> {
        match &mut self.0 {
            // The driver takes a command with one write and gives its answer with one read.
            Link::Device(file) => {
                file.write_all(command)?;
                let mut answer = Zeroizing::new(vec![0; ANSWER_MAX]);
                let length = file.read(&mut answer)?;
                answer.truncate(length);
                Ok(answer)
            }
            Link::Socket(stream) => {
                stream.write_all(command)?;
                let mut answer = Zeroizing::new(vec![0; 10]);
                stream.read_exact(&mut answer)?;
                let length = answer.get(2..6).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes);
                let length = length as usize;
                if !(10..=ANSWER_MAX).contains(&length) {
                    return Err(TpmError::Malformed);
                }
                answer.resize(length, 0);
                stream.read_exact(&mut answer[10..])?;
                Ok(answer)
            }
        }
    }
}
