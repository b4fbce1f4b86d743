//! What a kernel module says of itself: the section `.modinfo` of its file, `key=value` with a zero byte behind each
//! (`include/linux/moduleparam.h`).

use crate::elf::Elf;
use crate::failure::Failure;
use image_formats::field::u16_at;
use lzma_rust2::XzReader;
use std::borrow::Cow;
use std::io::Read;

/// Bytes of a decompressed module at most.
const MODULE_MAX: u64 = 64 << 20;
/// `ET_REL` and `EM_X86_64`.
const RELOCATABLE: u16 = 1;
const X86_64: u16 = 62;

/// The fields, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modinfo {
    fields: Vec<(String, String)>,
}

impl Modinfo {
    /// Reads them out of a file, `NAME.ko.xz` or `NAME.ko`.
    pub fn read(file: &str, bytes: &[u8]) -> Result<Self, Failure> {
        let module = if file.ends_with(".xz") {
            let mut unpacked = Vec::new();
            let reader = XzReader::new(bytes, false);
            reader.take(MODULE_MAX).read_to_end(&mut unpacked).map_err(|error| Failure::content(file, error))?;
            Cow::from(unpacked)
        } else {
            Cow::from(bytes)
        };
        let elf = Elf::parse(&module).map_err(|error| Failure::content(file, error))?;
        if !is_module(&module) {
            return Err(Failure::content(file, "it is no kernel module for this kind of machine"));
        }
        let section = elf.section(".modinfo").ok_or_else(|| Failure::content(file, "it has no .modinfo"))?;
        let field = |field: &[u8]| {
            let (key, value) = std::str::from_utf8(field).ok()?.split_once('=')?;
            Some((key.to_owned(), value.to_owned()))
        };
        Ok(Self { fields: section.split(|byte| *byte == 0).filter_map(field).collect() })
    }

    /// All values of a key.
    pub fn all<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |field| field.0 == key).map(|field| &field.1[..])
    }

    /// The first value of a key; empty where there is none.
    pub fn first(&self, key: &str) -> &str {
        self.fields.iter().find(|field| field.0 == key).map_or("", |field| &field.1)
    }
}

/// Whether some bytes are what the kernel could link to itself.
pub fn is_module(bytes: &[u8]) -> bool {
    Elf::is_one(bytes) && u16_at(bytes, 16) == Some(RELOCATABLE) && u16_at(bytes, 18) == Some(X86_64)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file that has nothing but a `.modinfo`.
    pub(crate) fn module(fields: &[(&str, &str)]) -> Vec<u8> {
        let information: Vec<u8> =
            fields.iter().flat_map(|(key, value)| format!("{key}={value}\0").into_bytes()).collect();
        let names = b"\0.modinfo\0";
        let mut file = vec![0; 64];
        file[..7].copy_from_slice(b"\x7FELF\x02\x01\x01");
        file[16..18].copy_from_slice(&RELOCATABLE.to_le_bytes());
        file[18..20].copy_from_slice(&X86_64.to_le_bytes());
        let places = [(64, information.len(), 1_u32), (64 + information.len(), names.len(), 0)];
        file.extend(&information);
        file.extend(names);
        let table = file.len() as u64;
        for (at, length, name) in places {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[24..32].copy_from_slice(&(at as u64).to_le_bytes());
            header[32..40].copy_from_slice(&(length as u64).to_le_bytes());
            file.extend(header);
        }
        file[40..48].copy_from_slice(&table.to_le_bytes());
        file[60..64].copy_from_slice(&[2, 0, 1, 0]);
        file
    }

    #[test]
    fn fields_are_read_in_their_order() {
        let bytes = module(&[("version", "1"), ("alias", "pci:a"), ("alias", "pci:b")]);
        let read = Modinfo::read("a.ko", &bytes).unwrap();
        assert_eq!((read.first("version"), read.first("license")), ("1", ""));
        assert_eq!(read.all("alias").collect::<Vec<_>>(), ["pci:a", "pci:b"]);
        let program = std::fs::read("/proc/self/exe").unwrap();
        assert!(Modinfo::read("a.ko", &program).unwrap_err().to_string().contains("no kernel module"));
        let mut foreign = bytes;
        foreign[18] = 183;
        assert!(Modinfo::read("a.ko", &foreign).unwrap_err().to_string().contains("this kind of machine"));
    }

    proptest! {
        #[test]
        fn damaged_modules_are_errors_or_answers(at in 0_usize..300, value: u8, length in 0_usize..300) {
            let mut bytes = module(&[("version", "1"), ("alias", "pci:a")]);
            let (at, length) = (at % bytes.len(), length % bytes.len());
            bytes[at] = value;
            let _ = (Modinfo::read("a.ko", &bytes), Modinfo::read("a.ko", &bytes[..length]));
            let _ = Modinfo::read("a.ko.xz", &bytes);
        }
    }
}
