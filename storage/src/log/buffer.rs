//! Page-aligned memory for direct I/O. The only thing here that is not safe Rust is the view of pages as bytes.
#![allow(unsafe_code)]

use super::format::PAGE;

#[derive(Clone)]
#[repr(C, align(4096))]
struct Page([u8; PAGE]);

/// Whole pages of zeroed memory, aligned to a page.
pub struct PageBuffer {
    pages: Vec<Page>,
    registered: Option<u16>,
}

impl PageBuffer {
    /// At least `bytes` bytes of zeroes.
    pub fn zeroed(bytes: usize) -> Self {
        Self { pages: vec![Page([0; PAGE]); bytes.div_ceil(PAGE)], registered: None }
    }

    /// A buffer that the ring may know under this index.
    pub fn indexed(bytes: usize, index: u16) -> Self {
        Self { registered: Some(index), ..Self::zeroed(bytes) }
    }

    /// Index under which it is registered, if it is one of the pool.
    pub fn index(&self) -> Option<u16> {
        self.registered
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `Page` is `repr(C)` around an array of bytes with size and alignment equal, so the vector's
        // `len() * PAGE` initialised bytes are contiguous; the lifetime is that of `&self`.
        unsafe { std::slice::from_raw_parts(self.pages.as_ptr().cast(), self.pages.len() * PAGE) }
    }

    /// Its bytes, to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`; `&mut self` makes the view exclusive, and any byte is a valid `u8`.
        unsafe { std::slice::from_raw_parts_mut(self.pages.as_mut_ptr().cast(), self.pages.len() * PAGE) }
    }
}

impl AsRef<[u8]> for PageBuffer {
    fn as_ref(&self) -> &[u8] {
        self.bytes()
    }
}
