//! The unified kernel image: loader stub, kernel, initial file system and command line in one EFI program, and what the stub
//! measures of it into PCR 11 (systemd-stub 252: for each section in a fixed order its name with a zero byte, then its
//! content). A machine's PCR 11 can so be told from the file alone.

use crate::pe::{Pe, PeError};
use image_formats::boot_line::{BootLine, BootLineError};
use sha2::{Digest, Sha256};
use thiserror::Error;

/// In the order in which the stub measures them.
const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
/// Sections of ours that the stub passes over, or that are the stub's own.
const UNMEASURED: [&str; 10] =
    [".text", ".reloc", ".data", ".dynamic", ".rela", ".dynsym", ".sbat", ".sdmagic", ".rodata", ".pcrsig"];

/// Why a program is not a kernel image of ours.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UkiError {
    /// Not an EFI program.
    #[error(transparent)]
    Pe(#[from] PeError),
    /// A section is missing or there twice.
    #[error("the kernel image must have section {0} once")]
    Section(&'static str),
    /// A section that ours never have.
    #[error("the kernel image has a section {0} that does not belong there")]
    Foreign(String),
    /// Not text.
    #[error("the command line is no text")]
    NoText,
    /// The command line does not name a root.
    #[error(transparent)]
    Line(#[from] BootLineError),
}

/// What goes into a kernel image.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The loader stub.
    pub stub: &'a [u8],
    /// The kernel.
    pub linux: &'a [u8],
    /// The initial file system.
    pub initrd: &'a [u8],
    /// The command line.
    pub line: &'a str,
    /// What boot menus show and sort by.
    pub os_release: &'a str,
}

/// Assembles a kernel image.
pub fn assemble(parts: &Parts<'_>) -> Result<Vec<u8>, UkiError> {
    let sections: [(&str, &[u8]); 4] = [
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", parts.line.as_bytes()),
        (".initrd", parts.initrd),
        (".linux", parts.linux),
    ];
    Ok(Pe::parse(parts.stub)?.with_sections(&sections)?)
}

/// What a kernel image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uki<'a> {
    /// Our part of the command line.
    pub line: BootLine,
    /// All of the command line.
    pub text: &'a str,
    /// The initial file system.
    pub initrd: &'a [u8],
    /// What PCR 11 is after the stub has measured it, where nothing else extends it.
    pub pcr11: [u8; 32],
    /// The SHA-256 of the program without a signature.
    pub unsigned_sha256: [u8; 32],
    /// Whether it carries a signature.
    pub signed: bool,
}

impl<'a> Uki<'a> {
    /// Reads a kernel image.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, UkiError> {
        let pe = Pe::parse(bytes)?;
        let known = |name: &str| MEASURED.contains(&name) || UNMEASURED.contains(&name);
        if let Some(foreign) = pe.sections.iter().find(|section| !known(&section.name)) {
            return Err(UkiError::Foreign(foreign.name.clone()));
        }
        let one = |name| pe.section(name).ok_or(UkiError::Section(name));
        one(".linux")?;
        one(".osrel")?;
        let text = std::str::from_utf8(one(".cmdline")?).map_err(|_| UkiError::NoText)?;
        Ok(Self {
            line: BootLine::parse(text)?,
            text,
            initrd: one(".initrd")?,
            pcr11: pcr11(&pe),
            unsigned_sha256: Sha256::digest(pe.unsigned()).into(),
            signed: pe.is_signed(),
        })
    }
}

fn pcr11(pe: &Pe<'_>) -> [u8; 32] {
    let extend = |pcr: [u8; 32], event: &[u8]| {
        Sha256::new().chain_update(pcr).chain_update(Sha256::digest(event)).finalize().into()
    };
    MEASURED.iter().fold([0; 32], |pcr, name| match pe.section(name) {
        Some(content) if !content.is_empty() => extend(extend(pcr, format!("{name}\0").as_bytes()), content),
        _ => pcr,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pe::tests::stub;
    use image_formats::boot_line::Flavour;

    fn line() -> BootLine {
        BootLine { flavour: Flavour::Dev, root: [5; 32], data_blocks: 9, release: 4 }
    }

    fn made(text: &str) -> Vec<u8> {
        let parts = Parts { stub: &stub(), linux: b"kernel", initrd: b"files", line: text, os_release: "ID=stele" };
        assemble(&parts).unwrap()
    }

    #[test]
    fn an_image_tells_its_root_and_any_change_its_pcr() {
        let first = made(&format!("quiet {}", line()));
        let uki = Uki::parse(&first).unwrap();
        assert_eq!((&uki.line, uki.initrd, uki.signed), (&line(), &b"files"[..], false));
        let second = made(&format!("loud {}", line()));
        assert_ne!(Uki::parse(&second).unwrap().pcr11, uki.pcr11);
    }

    /// Four sections: names and contents hashed and chained by hand.
    #[test]
    fn pcr_11_is_the_chain_of_names_and_contents() {
        let text = line().to_string();
        let mut pcr = [0; 32];
        for event in [
            &b".linux\0"[..],
            b"kernel",
            b".osrel\0",
            b"ID=stele",
            b".cmdline\0",
            text.as_bytes(),
            b".initrd\0",
            b"files",
        ] {
            let digest = Sha256::digest(event);
            pcr = Sha256::digest([&pcr[..], &digest[..]].concat()).into();
        }
        assert_eq!(Uki::parse(&made(&text)).unwrap().pcr11, pcr);
    }

    #[test]
    fn foreign_sections_and_a_line_without_root_are_refused() {
        assert!(matches!(Uki::parse(&made("quiet")), Err(UkiError::Line(_))));
        let good = made(&line().to_string());
        let more = Pe::parse(&good).unwrap().with_sections(&[(".extra", b"x")]).unwrap();
        assert_eq!(Uki::parse(&more), Err(UkiError::Foreign(".extra".into())));
    }
}
