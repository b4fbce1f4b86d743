//! As much of ELF (64-bit, little-endian) as the builder asks: which libraries a program needs, what a library is called,
//! what would be writable and executable at once, a kernel module's `.modinfo`, and a copy without what is never loaded.

use image_formats::field::{bytes_at, text, u16_at, u32_at, u64_at};
use thiserror::Error;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const GNU_STACK: u32 = 0x6474_E551;
const NEEDED: u64 = 1;
const SONAME: u64 = 14;
const HEADERS_MAX: u16 = 64;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;

/// A file that is not an ELF file that we understand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("this is not a 64-bit ELF file, or it is damaged")]
pub struct ElfError;

/// A segment.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    length: u64,
}

/// A parsed file.
#[derive(Clone, Debug)]
pub struct Elf<'a> {
    bytes: &'a [u8],
    segments: Vec<Segment>,
}

impl<'a> Elf<'a> {
    /// Whether some bytes claim to be an ELF file.
    pub fn is_one(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\x7FELF")
    }

    /// Reads the headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ElfError> {
        Self::segments_of(bytes).map(|segments| Self { bytes, segments }).ok_or(ElfError)
    }

    fn segments_of(bytes: &[u8]) -> Option<Vec<Segment>> {
        if !bytes.starts_with(b"\x7FELF\x02\x01") {
            return None;
        }
        let (start, count) = (usize::try_from(u64_at(bytes, 32)?).ok()?, u16_at(bytes, 56)?);
        if count > HEADERS_MAX {
            return None;
        }
        let segment = |n: u16| {
            let at = start.checked_add(usize::from(n) * 56)?;
            let header = bytes_at(bytes, at, 56)?;
            Some(Segment {
                kind: u32_at(header, 0)?,
                flags: u32_at(header, 4)?,
                offset: u64_at(header, 8)?,
                address: u64_at(header, 16)?,
                length: u64_at(header, 32)?,
            })
        };
        (0..count).map(segment).collect()
    }

    /// The names of the libraries that it needs.
    pub fn needed(&self) -> Result<Vec<String>, ElfError> {
        self.tagged(NEEDED).ok_or(ElfError)
    }

    /// The name by which other files need this one.
    pub fn soname(&self) -> Option<String> {
        self.tagged(SONAME)?.pop()
    }

    /// The names that the dynamic section has under a tag.
    fn tagged(&self, wanted: u64) -> Option<Vec<String>> {
        let Some(dynamic) = self.segments.iter().find(|segment| segment.kind == DYNAMIC) else {
            return Some(Vec::new());
        };
        let content =
            bytes_at(self.bytes, usize::try_from(dynamic.offset).ok()?, usize::try_from(dynamic.length).ok()?)?;
        let tags: Vec<(u64, u64)> = content
            .chunks_exact(16)
            .map_while(|entry| Some((u64_at(entry, 0)?, u64_at(entry, 8)?)))
            .take_while(|entry| entry.0 != 0)
            .collect();
        let strings = self.file_offset(tags.iter().find(|tag| tag.0 == 5)?.1)?;
        let name = |offset: u64| {
            let at = usize::try_from(strings.checked_add(offset)?).ok()?;
            text(self.bytes.get(at..at.checked_add(256)?.min(self.bytes.len()))?).map(str::to_owned)
        };
        tags.iter().filter(|tag| tag.0 == wanted).map(|tag| name(tag.1)).collect()
    }

    fn file_offset(&self, address: u64) -> Option<u64> {
        let inside = |s: &&Segment| s.kind == LOAD && address >= s.address && address - s.address < s.length;
        let segment = self.segments.iter().find(inside)?;
        segment.offset.checked_add(address - segment.address)
    }

    /// Whether a segment, or the stack, would be writable and executable.
    pub fn writable_and_executable(&self) -> bool {
        let both = |segment: &Segment| segment.flags & (WRITE | EXECUTE) == WRITE | EXECUTE;
        self.segments.iter().any(|segment| matches!(segment.kind, LOAD | GNU_STACK) && both(segment))
    }

    /// The file without all that lies behind the last segment: symbols, debug information, the table of sections.
    pub fn stripped(&self) -> Result<Vec<u8>, ElfError> {
        let end = self.segments.iter().map(|s| s.offset.saturating_add(s.length)).max().unwrap_or_default();
        let end = usize::try_from(end).map_err(|_| ElfError)?;
        let mut copy = self.bytes.get(..end).filter(|bytes| bytes.len() >= 64).ok_or(ElfError)?.to_vec();
        // Offset, number and name table of sections.
        copy[40..48].fill(0);
        copy[60..64].fill(0);
        Ok(copy)
    }

    /// The content of a section.
    pub fn section(&self, wanted: &str) -> Option<&'a [u8]> {
        let start = usize::try_from(u64_at(self.bytes, 40)?).ok()?;
        let (count, names) = (u16_at(self.bytes, 60)?, u16_at(self.bytes, 62)?);
        let header = |n: u16| bytes_at(self.bytes, start.checked_add(usize::from(n) * 64)?, 64);
        let content = |header: &[u8]| {
            let (at, length) = (u64_at(header, 24)?, u64_at(header, 32)?);
            bytes_at(self.bytes, usize::try_from(at).ok()?, usize::try_from(length).ok()?)
        };
        let names = content(header(names)?)?;
        (0..count).filter_map(header).find_map(|header| {
            let name = text(names.get(u32_at(header, 0)? as usize..)?)?;
            if name == wanted { content(header) } else { None }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Vec<u8> {
        std::fs::read("/proc/self/exe").unwrap()
    }

    #[test]
    fn a_library_has_a_name_and_a_program_has_none() {
        let libc = std::fs::read("/usr/lib/x86_64-linux-gnu/libc.so.6").unwrap();
        assert_eq!(Elf::parse(&libc).unwrap().soname().as_deref(), Some("libc.so.6"));
        assert_eq!(Elf::parse(&own()).unwrap().soname(), None);
    }

    #[test]
    fn this_program_needs_libc_and_loses_its_symbols() {
        let bytes = own();
        let elf = Elf::parse(&bytes).unwrap();
        assert!(elf.needed().unwrap().iter().any(|name| name == "libc.so.6"));
        assert!(!elf.writable_and_executable());
        assert!(elf.section(".text").is_some_and(|text| !text.is_empty()));
        let stripped = elf.stripped().unwrap();
        assert!(stripped.len() < bytes.len());
        assert_eq!(Elf::parse(&stripped).unwrap().needed(), elf.needed());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]
        #[test]
        fn damaged_headers_are_errors_or_answers(at in 0_usize..4096, value: u8, length in 0_usize..8192) {
            let mut bytes = own();
            bytes.truncate(1 << 16);
            bytes[at] = value;
            for bytes in [&bytes[..], &bytes[..length]] {
                if let Ok(elf) = Elf::parse(bytes) {
                    let _ = (elf.needed(), elf.section(".modinfo"), elf.stripped(), elf.soname(), elf.writable_and_executable());
                }
            }
        }
    }
}
