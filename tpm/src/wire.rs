//! Reading what a TPM signed, which is big-endian, and what the firmware wrote down, which is little-endian; bounded by what
//! is there.

/// The rest of some bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    pub fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    pub fn take_all(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn u16_le(&mut self) -> Option<u16> {
        self.u16().map(u16::swap_bytes)
    }

    pub fn u32_le(&mut self) -> Option<u32> {
        self.u32().map(u32::swap_bytes)
    }

    /// Bytes behind their length, of four bytes.
    pub fn sized_le(&mut self) -> Option<&'a [u8]> {
        let length = self.u32_le()?;
        self.take(usize::try_from(length).ok()?)
    }

    /// A TPM2B.
    pub fn sized(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(length.into())
    }

    /// A TPM2B with a number of at most 32 bytes, which some TPMs write without its leading zeros.
    pub fn integer(&mut self) -> Option<[u8; 32]> {
        let bytes = self.sized()?;
        let mut number = [0; 32];
        number.get_mut(32usize.checked_sub(bytes.len())?..)?.copy_from_slice(bytes);
        Some(number)
    }
}
