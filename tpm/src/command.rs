//! Commands and answers byte for byte (part 1, chapter 18): big-endian, a header, handles, sessions, parameters.

use crate::device::TpmError;
use zeroize::Zeroizing;

const TAG_NO_SESSIONS: u16 = 0x8001;
const TAG_SESSIONS: u16 = 0x8002;
/// TPM_RS_PW: authorisation by a password, an empty one.
pub(crate) const PASSWORD: u32 = 0x4000_0009;

/// More than the longest command, so that none leaves parts of itself behind as it grows.
const COMMAND_MAX: usize = 2048;

/// A command in the making.
#[derive(Debug)]
pub struct Command {
    name: &'static str,
    /// Some carry a secret.
    bytes: Zeroizing<Vec<u8>>,
    sessions: bool,
    returns_handle: bool,
}

impl Command {
    /// TPM_CC and the handles that come with it. `authorised` handles get an empty password.
    pub fn new(name: &'static str, code: u32, handles: &[u32], authorised: bool) -> Self {
        Self::with_session(name, code, handles, authorised.then_some(PASSWORD))
    }

    /// The same, with the first handle authorised by a session that needs no more than its own state.
    pub fn with_session(name: &'static str, code: u32, handles: &[u32], session: Option<u32>) -> Self {
        Self::with_sessions(name, code, handles, session.as_slice())
    }

    /// The same, with as many handles from the first on, each by its own: a session, or a password.
    pub fn with_sessions(name: &'static str, code: u32, handles: &[u32], sessions: &[u32]) -> Self {
        let tag = if sessions.is_empty() { TAG_NO_SESSIONS } else { TAG_SESSIONS };
        let mut command = Self {
            name,
            bytes: Zeroizing::new(Vec::with_capacity(COMMAND_MAX)),
            sessions: !sessions.is_empty(),
            returns_handle: false,
        };
        command = command.u16(tag).u32(0).u32(code);
        for handle in handles {
            command = command.u32(*handle);
        }
        if !sessions.is_empty() {
            command = command.u32(9 * sessions.len() as u32);
        }
        for session in sessions {
            // Handle, nonce, attributes (continueSession where it is a real one), password.
            let attributes = u8::from(*session != PASSWORD);
            command = command.u32(*session).u16(0).raw(&[attributes]).u16(0);
        }
        command
    }

    /// The answer begins with the handle of what was loaded.
    pub fn returning_a_handle(mut self) -> Self {
        self.returns_handle = true;
        self
    }

    /// A number of two bytes.
    pub fn u16(self, value: u16) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// A number of four bytes.
    pub fn u32(self, value: u32) -> Self {
        self.raw(&value.to_be_bytes())
    }

    /// Bytes as they are.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() >= 6 {
            let length = (self.bytes.len() as u32).to_be_bytes();
            self.bytes[2..6].copy_from_slice(&length);
        }
        self
    }

    /// A TPM2B: its length, then the bytes.
    pub fn sized(self, bytes: &[u8]) -> Self {
        let length = u16::try_from(bytes.len()).expect("what is sent has at most a few hundred bytes");
        self.u16(length).raw(bytes)
    }

    /// What goes to the TPM.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What the standard calls it.
    pub fn name(&self) -> &'static str {
        self.name
    }
}

/// The parameters of an answer that says yes.
pub struct Answer {
    handle: Option<u32>,
    /// Some are a secret.
    parameters: Zeroizing<Vec<u8>>,
    at: usize,
}

impl Answer {
    /// `Ok(Err(code))` where the TPM says no.
    ///
    /// # Errors
    /// [`TpmError::Malformed`].
    pub fn parse(bytes: &[u8], command: &Command) -> Result<Result<Self, u32>, TpmError> {
        let mut header = Self { handle: None, parameters: Zeroizing::new(bytes.to_vec()), at: 0 };
        let (tag, length, code) = (header.u16()?, header.u32()?, header.u32()?);
        if length as usize != bytes.len() || ![TAG_NO_SESSIONS, TAG_SESSIONS].contains(&tag) {
            return Err(TpmError::Malformed);
        }
        if code != 0 {
            return Ok(Err(code));
        }
        let handle = command.returns_handle.then(|| header.u32()).transpose()?;
        let parameters = if command.sessions {
            let length = header.u32()? as usize;
            header.take(length)?.to_vec()
        } else {
            bytes.get(header.at..).unwrap_or_default().to_vec()
        };
        Ok(Ok(Self { handle, parameters: Zeroizing::new(parameters), at: 0 }))
    }

    /// Of what was loaded, where the command loads something.
    pub fn handle(&self) -> Option<u32> {
        self.handle
    }

    /// A number of two bytes.
    ///
    /// # Errors
    /// [`TpmError::Malformed`] where the answer ends before.
    pub fn u16(&mut self) -> Result<u16, TpmError> {
        Ok(u16::from_be_bytes(self.take(2)?.try_into().map_err(|_| TpmError::Malformed)?))
    }

    /// A number of four bytes.
    ///
    /// # Errors
    /// [`TpmError::Malformed`] where the answer ends before.
    pub fn u32(&mut self) -> Result<u32, TpmError> {
        Ok(u32::from_be_bytes(self.take(4)?.try_into().map_err(|_| TpmError::Malformed)?))
    }

    /// A TPM2B.
    ///
    /// # Errors
    /// [`TpmError::Malformed`] where the answer ends before.
    pub fn sized(&mut self) -> Result<&[u8], TpmError> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// All that is left.
    pub fn rest(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.at, self.parameters.len());
        &self.parameters[from..]
    }

    /// So many bytes.
    ///
    /// # Errors
    /// [`TpmError::Malformed`] where the answer ends before.
    pub fn take(&mut self, count: usize) -> Result<&[u8], TpmError> {
        let end = self.at.checked_add(count).ok_or(TpmError::Malformed)?;
        let bytes = self.parameters.get(self.at..end).ok_or(TpmError::Malformed)?;
        self.at = end;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_answer_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..80), ok in any::<bool>(), handle in any::<bool>()) {
            let mut bytes = bytes;
            if ok && bytes.len() >= 10 {
                let length = (bytes.len() as u32).to_be_bytes();
                bytes[..2].copy_from_slice(&TAG_SESSIONS.to_be_bytes());
                bytes[2..6].copy_from_slice(&length);
                bytes[6..10].fill(0);
            }
            let command = Command::new("any", 1, &[1], true);
            let command = if handle { command.returning_a_handle() } else { command };
            if let Ok(Ok(mut answer)) = Answer::parse(&bytes, &command) {
                while answer.sized().is_ok_and(|part| !part.is_empty()) {}
            }
        }
    }
}
