//! Reading an index of the TPM's own memory that anybody may read.

use crate::command::Command;
use crate::device::{RC_NO_HANDLE, RC_UNWRITTEN, Tpm, TpmError};
use crate::loaded::Hierarchy;
use crate::wire::Reader;

const CC_NV_READ: u32 = 0x14e;
const CC_NV_READ_PUBLIC: u32 = 0x169;
/// TPM_RC_NV_AUTHORIZATION: the index does not let itself be read by its own password.
const RC_NOT_SO: u32 = 0x149;
/// Bytes that are asked for at a time: no TPM gives fewer (TPM_PT_NV_BUFFER_MAX).
const CHUNK: u16 = 512;

/// All bytes of an index. `None` where there is none, or it was never written.
///
/// # Errors
/// [`TpmError`].
pub(crate) fn read(tpm: &mut Tpm, index: u32) -> Result<Option<Vec<u8>>, TpmError> {
    let size = match size(tpm, index) {
        Err(error) if error.code() == Some(RC_NO_HANDLE) => return Ok(None),
        size => size?,
    };
    let mut bytes = Vec::with_capacity(size.into());
    // By its own password, which is empty, so that the owner's does not matter; some let only the owner read.
    let mut reader = index;
    while bytes.len() < usize::from(size) {
        let at = bytes.len() as u16;
        let command =
            Command::new("TPM2_NV_Read", CC_NV_READ, &[reader, index], true).u16(CHUNK.min(size - at)).u16(at);
        match tpm.run(&command) {
            Err(error) if error.code() == Some(RC_UNWRITTEN) => return Ok(None),
            Err(error) if error.code() == Some(RC_NOT_SO) && reader == index => reader = Hierarchy::Owner as u32,
            answer => {
                let mut answer = answer?;
                let chunk = answer.sized()?;
                if chunk.is_empty() {
                    return Err(TpmError::Malformed);
                }
                bytes.extend_from_slice(chunk);
            }
        }
    }
    Ok(Some(bytes))
}

/// TPMS_NV_PUBLIC: index, algorithm, attributes, policy, size.
fn size(tpm: &mut Tpm, index: u32) -> Result<u16, TpmError> {
    let command = Command::new("TPM2_NV_ReadPublic", CC_NV_READ_PUBLIC, &[index], false);
    let mut answer = tpm.run(&command)?;
    let mut public = Reader(answer.sized()?);
    let size = (|| {
        public.take(4 + 2 + 4)?;
        public.sized()?;
        public.u16()
    })();
    size.ok_or(TpmError::Malformed)
}
