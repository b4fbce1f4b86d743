//! PE/COFF programs of EFI (64-bit): reading their sections, and appending sections to the loader stub. Absent: relocations,
//! resources, 32-bit programs; signatures are in the table of certificates, which is kept apart from what is hashed.

use image_formats::field::{bytes_at, text, u16_at, u32_at};
use thiserror::Error;

const SECTION_HEADER: usize = 40;
const SECTIONS_MAX: u16 = 40;
/// Where appended sections may begin in memory.
const PAGE: u32 = 4096;

/// Why a program is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeError {
    /// Something else, or damaged headers.
    #[error("this is no 64-bit EFI program, or its headers are damaged")]
    Headers,
    /// A section that is not in the file.
    #[error("section {0} points outside of the file")]
    Section(String),
    /// No room for another section's header.
    #[error("the stub has no room for another section")]
    Full,
}

/// A section.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its name, with the dot.
    pub name: String,
    /// Where it lies in memory.
    pub address: u32,
    /// Its bytes as they lie in memory, without the padding of the file.
    pub content: &'a [u8],
}

/// A parsed program.
#[derive(Clone, Debug)]
pub struct Pe<'a> {
    bytes: &'a [u8],
    /// Where the COFF header is.
    coff: usize,
    /// Where the headers of sections begin.
    headers: usize,
    /// The sections.
    pub sections: Vec<Section<'a>>,
}

impl<'a> Pe<'a> {
    /// Reads the headers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, PeError> {
        let (coff, headers, count) = Self::headers_of(bytes).ok_or(PeError::Headers)?;
        let mut pe = Self { bytes, coff, headers, sections: Vec::new() };
        for index in 0..usize::from(count) {
            let header = bytes_at(bytes, headers + index * SECTION_HEADER, SECTION_HEADER).ok_or(PeError::Headers)?;
            let field = |at| u32_at(header, at).map(|value| value as usize).unwrap_or_default();
            let name = text(&header[..8]).ok_or(PeError::Headers)?.to_owned();
            let length = field(8).min(field(16));
            let content = bytes_at(bytes, field(20), length).ok_or_else(|| PeError::Section(name.clone()))?;
            pe.sections.push(Section { name, address: field(12) as u32, content });
        }
        Ok(pe)
    }

    fn headers_of(bytes: &[u8]) -> Option<(usize, usize, u16)> {
        let start = u32_at(bytes, 60)? as usize;
        let signature = bytes_at(bytes, start, 4)?;
        let coff = start + 4;
        let optional = usize::from(u16_at(bytes, coff + 16)?);
        let count = u16_at(bytes, coff + 2)?;
        let sound = bytes.starts_with(b"MZ")
            && signature == b"PE\0\0"
            && u16_at(bytes, coff) == Some(0x8664)
            && u16_at(bytes, coff + 20) == Some(0x20B)
            && optional >= 112 + 5 * 8
            && count <= SECTIONS_MAX;
        sound.then_some((coff, coff + 20 + optional, count))
    }

    /// The only section of a name.
    pub fn section(&self, name: &str) -> Option<&'a [u8]> {
        let mut found = self.sections.iter().filter(|section| section.name == name);
        match (found.next(), found.next()) {
            (Some(section), None) => Some(section.content),
            _ => None,
        }
    }

    /// Whether a table of certificates is there.
    pub fn is_signed(&self) -> bool {
        self.certificates().is_some_and(|(_, length)| length > 0)
    }

    /// The only signature in the table of certificates (PKCS #7), if there is exactly one.
    pub fn signature(&self) -> Option<&'a [u8]> {
        let (at, length) = self.certificates()?;
        let table = bytes_at(self.bytes, at, length)?;
        // Length, revision 2.0, PKCS #7; the length tells of the padding as well.
        let alone = u32_at(table, 0)? as usize == table.len() && table.get(4..8)? == [0, 2, 2, 0];
        alone.then(|| &table[8..])
    }

    /// Offset and length of the table of certificates.
    fn certificates(&self) -> Option<(usize, usize)> {
        let directory = self.coff + 20 + 112 + 4 * 8;
        Some((u32_at(self.bytes, directory)? as usize, u32_at(self.bytes, directory + 4)? as usize))
    }

    /// The program without its signature: what two builds must agree on.
    pub fn unsigned(&self) -> Vec<u8> {
        let mut out = self.bytes.to_vec();
        // Certificates are the end of the file; what claims to have them elsewhere is left as it is.
        let end = self.headers + self.sections.len() * SECTION_HEADER;
        let behind =
            |place: &(usize, usize)| place.1 > 0 && place.0 >= end && place.0.checked_add(place.1) == Some(out.len());
        if let Some((offset, _)) = self.certificates().filter(behind) {
            out.truncate(offset);
            let directory = self.coff + 20 + 112 + 4 * 8;
            out[directory..directory + 8].fill(0);
            out[self.coff + 20 + 64..self.coff + 20 + 68].fill(0);
        }
        out
    }

    /// Where the checksum and the entry for certificates are: what a signature does not cover.
    pub fn unhashed(&self) -> (usize, usize) {
        (self.coff + 20 + 64, self.coff + 20 + 112 + 4 * 8)
    }

    /// A copy with a table of one certificate (PKCS #7) in place of any that it had.
    pub fn with_certificate(&self, certificate: &[u8]) -> Result<Vec<u8>, PeError> {
        let mut out = self.unsigned();
        out.resize(out.len().next_multiple_of(8), 0);
        let start = u32::try_from(out.len()).map_err(|_| PeError::Full)?;
        let length = u32::try_from(8 + certificate.len()).map_err(|_| PeError::Full)?.next_multiple_of(8);
        // Length, revision 2.0, PKCS #7.
        out.extend(length.to_le_bytes());
        out.extend([0, 2, 2, 0]);
        out.extend(certificate);
        out.resize((start + length) as usize, 0);
        let (_, directory) = self.unhashed();
        out[directory..directory + 4].copy_from_slice(&start.to_le_bytes());
        out[directory + 4..directory + 8].copy_from_slice(&length.to_le_bytes());
        Ok(out)
    }

    /// A copy with more sections behind the others, in the order given.
    pub fn with_sections(&self, more: &[(&str, &[u8])]) -> Result<Vec<u8>, PeError> {
        let optional = self.coff + 20;
        let number = |at| u32_at(self.bytes, at).ok_or(PeError::Headers);
        let alignment = number(optional + 36)?;
        let header_bytes = number(optional + 60)? as usize;
        let count = self.sections.len() + more.len();
        if self.headers + count * SECTION_HEADER > header_bytes
            || header_bytes > self.bytes.len()
            || !alignment.is_power_of_two()
            || alignment > PAGE
        {
            return Err(PeError::Full);
        }
        let mut out = self.unsigned();
        // Symbols behind the last section would be a gap between sections, over which signatures are computed in two ways.
        let raw_end = |index: usize| {
            let header = self.headers + index * SECTION_HEADER;
            Some(u32_at(self.bytes, header + 16)? as usize + u32_at(self.bytes, header + 20)? as usize)
        };
        out.truncate((0..self.sections.len()).filter_map(raw_end).max().unwrap_or_default().max(header_bytes));
        out.resize(out.len().next_multiple_of(alignment as usize).max(header_bytes), 0);
        out[self.coff + 8..self.coff + 16].fill(0);
        let mut address = number(optional + 56)?.next_multiple_of(PAGE);
        for (index, (name, content)) in more.iter().enumerate() {
            let length = u32::try_from(content.len()).map_err(|_| PeError::Full)?;
            let raw = length.next_multiple_of(alignment);
            let mut header = [0; SECTION_HEADER];
            header[..name.len().min(8)].copy_from_slice(&name.as_bytes()[..name.len().min(8)]);
            for (at, value) in [(8, length), (12, address), (16, raw), (20, out.len() as u32), (36, 0x4000_0040)] {
                header[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
            let at = self.headers + (self.sections.len() + index) * SECTION_HEADER;
            out[at..at + SECTION_HEADER].copy_from_slice(&header);
            out.extend(*content);
            out.resize(out.len().next_multiple_of(alignment as usize), 0);
            address = (address + length).next_multiple_of(PAGE);
        }
        out[self.coff + 2..self.coff + 4].copy_from_slice(&(count as u16).to_le_bytes());
        out[optional + 56..optional + 60].copy_from_slice(&address.to_le_bytes());
        // The checksum is that of drivers; firmware does not look at it.
        out[optional + 64..optional + 68].fill(0);
        Ok(out)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The smallest program with one section.
    pub(crate) fn stub() -> Vec<u8> {
        let mut out = vec![0; 1024];
        out[..2].copy_from_slice(b"MZ");
        out[60] = 64;
        out[64..68].copy_from_slice(b"PE\0\0");
        let mut put = |at: usize, bytes: &[u8]| out[at..at + bytes.len()].copy_from_slice(bytes);
        put(68, &0x8664_u16.to_le_bytes());
        put(70, &1_u16.to_le_bytes());
        put(84, &240_u16.to_le_bytes());
        put(88, &0x20B_u16.to_le_bytes());
        put(88 + 36, &512_u32.to_le_bytes());
        put(88 + 56, &8192_u32.to_le_bytes());
        put(88 + 60, &1024_u32.to_le_bytes());
        put(328, b".text\0\0\0");
        put(336, &100_u32.to_le_bytes());
        put(340, &4096_u32.to_le_bytes());
        put(344, &512_u32.to_le_bytes());
        put(348, &1024_u32.to_le_bytes());
        out.resize(1536, 0xCC);
        out
    }

    #[test]
    fn appended_sections_are_read_back_in_their_true_length() {
        let stub = stub();
        let made = Pe::parse(&stub).unwrap().with_sections(&[(".osrel", b"ID=x"), (".linux", &[7; 700])]).unwrap();
        let pe = Pe::parse(&made).unwrap();
        assert_eq!(pe.section(".osrel"), Some(&b"ID=x"[..]));
        assert_eq!(pe.section(".linux"), Some(&[7; 700][..]));
        assert_eq!(pe.section(".text").map(<[u8]>::len), Some(100));
        assert_eq!(pe.sections.iter().map(|s| s.address).collect::<Vec<_>>(), [4096, 8192, 12_288]);
        assert!(!pe.is_signed());
    }

    #[test]
    fn a_section_that_is_there_twice_is_none() {
        let stub = stub();
        let made = Pe::parse(&stub).unwrap().with_sections(&[(".linux", b"a"), (".linux", b"b")]).unwrap();
        assert_eq!(Pe::parse(&made).unwrap().section(".linux"), None);
    }

    proptest! {
        #[test]
        fn damage_is_an_error_or_a_program(at in 0_usize..1024, value: u8, cut in 0_usize..1536, noise: Vec<u8>) {
            let mut bytes = stub();
            bytes[at] = value;
            for bytes in [&bytes[..], &bytes[..cut], &noise] {
                if let Ok(pe) = Pe::parse(bytes) {
                    let _ = (pe.unsigned(), pe.with_sections(&[(".a", b"b")]));
                }
            }
        }
    }
}
