//! Debian packages: an `ar` archive with `control.tar.xz` and `data.tar.xz` inside. Files are handed to a closure one after
//! another, so that a package of half a gigabyte never lies in memory whole. Long names come as GNU or PAX records.
//!
//! A package's maintainer scripts lie beside its `control` and are never read: a package is only unpacked.

use lzma_rust2::XzReader;
use std::io::Read;
use thiserror::Error;

/// Bytes of one file of a package at most.
const FILE_MAX: u64 = 512 << 20;
/// Bytes of what a package says of itself at most.
const CONTROL_MAX: u64 = 1 << 20;
const BLOCK: usize = 512;

/// Why a package cannot be read.
#[derive(Debug, Error)]
pub enum DebError {
    /// Not an `ar` archive with an xz-compressed `data.tar`.
    #[error("this is no Debian package with a data.tar.xz")]
    NoPackage,
    /// Damage inside the compressed part.
    #[error("its data cannot be decompressed: {0}")]
    Compressed(#[from] std::io::Error),
    /// Damage in the archive of files.
    #[error("its archive of files is malformed")]
    Archive,
    /// Without the name, version and architecture that every package has.
    #[error("its control file does not tell name, version and architecture")]
    Control,
}

/// What a package says of itself (Debian policy, section 5.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// Its name.
    pub name: String,
    /// Its version: `[epoch:]upstream[-revision]`.
    pub version: String,
    /// Which machines it is for: `amd64`, or `all`.
    pub architecture: String,
}

impl Control {
    /// Reads it out of a package.
    pub fn of(package: &[u8]) -> Result<Self, DebError> {
        let packed = member(package, "control.tar.xz").ok_or(DebError::NoPackage)?;
        let mut found = None;
        let reader = XzReader::new(packed, false).take(CONTROL_MAX);
        unpack_tar(reader, |path| path == "control", |_, item| found = Some(item))?;
        let Some(Item::File(bytes, _)) = found else { return Err(DebError::Control) };
        Self::parse(&String::from_utf8_lossy(&bytes)).ok_or(DebError::Control)
    }

    fn parse(text: &str) -> Option<Self> {
        let field = |name: &str| {
            let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?.trim();
            Some(value.to_owned()).filter(|value| !value.is_empty())
        };
        Some(Self { name: field("Package")?, version: field("Version")?, architecture: field("Architecture")? })
    }
}

/// What a package brings under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A file, and whether it may be executed.
    File(Vec<u8>, bool),
    /// A symbolic link.
    Link(String),
}

/// Hands every file and link for which `wanted` is true to `take`. Paths have no leading dot or slash.
pub fn unpack(package: &[u8], wanted: impl Fn(&str) -> bool, take: impl FnMut(String, Item)) -> Result<(), DebError> {
    unpack_xz(member(package, "data.tar.xz").ok_or(DebError::NoPackage)?, wanted, take)
}

/// The same for a `tar.xz` that stands alone.
pub fn unpack_xz(
    archive: &[u8],
    wanted: impl Fn(&str) -> bool,
    take: impl FnMut(String, Item),
) -> Result<(), DebError> {
    unpack_tar(XzReader::new(archive, false), wanted, take)
}

fn unpack_tar(
    mut tar: impl Read,
    wanted: impl Fn(&str) -> bool,
    mut take: impl FnMut(String, Item),
) -> Result<(), DebError> {
    let mut long_name = None;
    let mut header = [0; BLOCK];
    loop {
        tar.read_exact(&mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        let size = octal(&header[124..136]).filter(|size| *size <= FILE_MAX).ok_or(DebError::Archive)?;
        let kind = header[156];
        let name = match long_name.take() {
            Some(name) if kind != b'L' && kind != b'x' => name,
            _ => format!("{}{}", prefix(&header), text(&header[..100])),
        };
        let name = name.trim_start_matches("./").trim_end_matches('/').to_owned();
        let needed = matches!(kind, b'L' | b'x') || (matches!(kind, b'0' | 0) && wanted(&name));
        let padded = size.next_multiple_of(BLOCK as u64);
        let mut bytes = Vec::new();
        let mut part = tar.by_ref().take(padded);
        let read =
            if needed { part.read_to_end(&mut bytes)? as u64 } else { std::io::copy(&mut part, &mut std::io::sink())? };
        if read != padded {
            return Err(DebError::Archive);
        }
        bytes.truncate(size as usize);
        match kind {
            b'L' => long_name = Some(text(&bytes)),
            b'x' => long_name = pax_path(&bytes),
            b'0' | 0 if needed => {
                let executable = octal(&header[100..108]).is_some_and(|mode| mode & 0o111 != 0);
                take(name, Item::File(bytes, executable));
            }
            b'2' if wanted(&name) => take(name, Item::Link(text(&header[157..257]))),
            _ => {}
        }
    }
}

/// A member of an `ar` archive.
fn member<'a>(archive: &'a [u8], wanted: &str) -> Option<&'a [u8]> {
    let mut rest = archive.strip_prefix(b"!<arch>\n")?;
    while rest.len() >= 60 {
        let name = std::str::from_utf8(&rest[..16]).ok()?.trim_end().trim_end_matches('/');
        let size: usize = std::str::from_utf8(&rest[48..58]).ok()?.trim_end().parse().ok()?;
        let content = rest.get(60..)?.get(..size)?;
        if name == wanted {
            return Some(content);
        }
        rest = rest.get(60 + size.checked_next_multiple_of(2)?..)?;
    }
    None
}

/// Whether a path leads nowhere but below the folder that it is put behind.
pub fn is_plain(path: &str) -> bool {
    path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn text(field: &[u8]) -> String {
    let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
    String::from_utf8_lossy(&field[..end]).into_owned()
}

fn prefix(header: &[u8; BLOCK]) -> String {
    let prefix = if &header[257..263] == b"ustar\0" { text(&header[345..500]) } else { String::new() };
    if prefix.is_empty() { prefix } else { format!("{prefix}/") }
}

fn octal(field: &[u8]) -> Option<u64> {
    u64::from_str_radix(text(field).trim(), 8).ok()
}

fn pax_path(records: &[u8]) -> Option<String> {
    let records = std::str::from_utf8(records).ok()?;
    records.lines().find_map(|line| Some(line.split_once(' ')?.1.strip_prefix("path=")?.to_owned()))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use lzma_rust2::{XzOptions, XzWriter};
    use proptest::prelude::*;
    use std::io::Write;

    fn archive(data: &[u8]) -> Vec<u8> {
        packed(&[("debian-binary", &b"2.0\n"[..]), ("data.tar.xz", data)])
    }

    fn packed(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut out = b"!<arch>\n".to_vec();
        for (name, content) in members {
            out.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, "100644", content.len()).bytes());
            out.extend(*content);
            out.resize(out.len().next_multiple_of(2), b'\n');
        }
        out
    }

    /// A `tar.xz` with files, each with its mode.
    pub(crate) fn tar_xz(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let mut tar = Vec::new();
        for (name, mode, content) in files {
            let mut header = [0; BLOCK];
            header[..name.len()].copy_from_slice(name.as_bytes());
            header[100..107].copy_from_slice(format!("{mode:07o}").as_bytes());
            header[124..135].copy_from_slice(format!("{:011o}", content.len()).as_bytes());
            header[156] = b'0';
            tar.extend(header);
            tar.extend(*content);
            tar.resize(tar.len().next_multiple_of(BLOCK), 0);
        }
        tar.resize(tar.len() + 2 * BLOCK, 0);
        let mut xz = XzWriter::new(Vec::new(), XzOptions::with_preset(0)).unwrap();
        xz.write_all(&tar).unwrap();
        xz.finish().unwrap()
    }

    /// A package.
    pub(crate) fn package(name: &str, version: &str, architecture: &str, files: &[(&str, u32, &[u8])]) -> Vec<u8> {
        let control = format!("Package: {name}\nVersion: {version}\nArchitecture: {architecture}\n");
        let control =
            tar_xz(&[("./control", 0o644, control.as_bytes()), ("./postinst", 0o755, b"#!/bin/sh\nexit 1\n")]);
        let (data, version) = (tar_xz(files), &b"2.0\n"[..]);
        packed(&[("debian-binary", version), ("control.tar.xz", &control), ("data.tar.xz", &data)])
    }

    #[test]
    fn a_package_tells_its_name_and_gives_its_files() {
        let bytes = package("liba", "1:2.0-3", "amd64", &[("./usr/lib/a.so", 0o755, b"a"), ("./b", 0o4755, b"b")]);
        let told = Control { name: "liba".into(), version: "1:2.0-3".into(), architecture: "amd64".into() };
        assert_eq!(Control::of(&bytes).unwrap(), told);
        let mut files = Vec::new();
        unpack(&bytes, |_| true, |path, item| files.push((path, item))).unwrap();
        assert_eq!(files[0], ("usr/lib/a.so".to_owned(), Item::File(b"a".to_vec(), true)));
        assert!(matches!(Control::of(&package("", "1", "all", &[])), Err(DebError::Control)));
        assert!(matches!(Control::of(&archive(b"")), Err(DebError::NoPackage)));
    }

    #[test]
    fn paths_that_lead_elsewhere_are_told() {
        assert!(is_plain("usr/lib/a..b"));
        assert!(["/etc/passwd", "a/../b", "..", "a//b", "a/./b", ""].iter().all(|path| !is_plain(path)));
    }

    #[test]
    fn members_are_found_by_name() {
        assert_eq!(member(&archive(b"abc"), "data.tar.xz"), Some(&b"abc"[..]));
        assert_eq!(member(&archive(b"abc")[..130], "data.tar.xz"), None);
    }

    #[test]
    fn a_package_without_data_is_refused() {
        assert!(matches!(unpack(b"!<arch>\n", |_| true, |_, _| ()), Err(DebError::NoPackage)));
        assert!(matches!(unpack(&archive(b"no xz"), |_| true, |_, _| ()), Err(DebError::Compressed(_))));
    }

    proptest! {
        #[test]
        fn noise_is_an_error(bytes: Vec<u8>) {
            let _ = member(&[b"!<arch>\n", &bytes[..]].concat(), "data.tar.xz");
            prop_assert!(unpack(&archive(&bytes), |_| true, |_, _| ()).is_err());
        }
    }
}
