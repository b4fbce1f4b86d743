//! The firmware's list of what it measured into which register (TCG PC Client Platform Firmware Profile §10): the kernel
//! has it at [`KERNELS`].
//!
//! The list proves nothing by itself. Replayed, it gives the values that the registers have if it is true and complete, so
//! that a quote over them vouches for it.

use crate::pcr::{PCR_MAX, SHA256};
use crate::quote::Value;
use crate::wire::Reader;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use thiserror::Error;

/// Where the kernel has it; root alone may read it, unless it was given away.
pub const KERNELS: &str = "/sys/kernel/security/tpm0/binary_bios_measurements";
/// Longest log that is read, in bytes; those of real machines have 20 to 100 KiB.
pub const LOG_BYTES_MAX: usize = 1 << 20;
/// Most algorithms of digests in a log.
const ALGORITHMS_MAX: u32 = 16;
/// Bytes of the digest of the first entry, which is in the old format, of SHA-1.
const FIRST_DIGEST: usize = 20;
/// EV_NO_ACTION: says something, and is measured nowhere.
const NO_ACTION: u32 = 3;
const HEADER: &[u8] = b"Spec ID Event03\0";
const LOCALITY: &[u8] = b"StartupLocality\0";

/// One thing that was measured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Into which register.
    pub register: u8,
    /// What kind of thing (TCG_EVENTTYPE).
    pub kind: u32,
    /// What the register was extended with.
    pub digest: Value,
    /// What the firmware says that it was.
    pub data: Vec<u8>,
}

/// Why bytes are no such list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EventLogError {
    /// More than [`LOG_BYTES_MAX`].
    #[error("an event log has at most {LOG_BYTES_MAX} bytes, and this one {0}")]
    TooLong(usize),
    /// It does not begin as one.
    #[error("this is not an event log of a TPM 2.0")]
    NotALog,
    /// An entry is cut off, or names what there is not.
    #[error("the event log is damaged at byte {0}")]
    Damaged(usize),
    /// No digests of SHA-256.
    #[error("the event log has no digests of SHA-256")]
    NoSha256,
}

/// The bytes of a log, as the kernel has them; `None` where they cannot be read, or there are more than `most`.
pub fn read(path: &Path, most: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() <= most).then_some(bytes)
}

/// What was measured, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventLog {
    /// The events, without those that only say something.
    pub events: Vec<Event>,
    /// Locality that started the TPM: what register 0 began with.
    locality: u8,
}

impl EventLog {
    /// Reads a log.
    ///
    /// # Errors
    /// [`EventLogError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, EventLogError> {
        if bytes.len() > LOG_BYTES_MAX {
            return Err(EventLogError::TooLong(bytes.len()));
        }
        let mut reader = Reader(bytes);
        let sizes = read_first(&mut reader).ok_or(EventLogError::NotALog)?;
        if !sizes.contains_key(&SHA256) {
            return Err(EventLogError::NoSha256);
        }
        let mut log = Self::default();
        while !reader.is_empty() {
            let at = bytes.len() - reader.0.len();
            let (event, digest) = read_event(&mut reader, &sizes).ok_or(EventLogError::Damaged(at))?;
            match event {
                Event { kind: NO_ACTION, data, .. } => {
                    if let Some([locality]) = data.strip_prefix(LOCALITY) {
                        log.locality = *locality;
                    }
                }
                event if event.register > PCR_MAX => return Err(EventLogError::Damaged(at)),
                event => log.events.push(Event { digest: digest.ok_or(EventLogError::Damaged(at))?, ..event }),
            }
        }
        Ok(log)
    }

    /// The values of the registers in which something was measured.
    pub fn replay(&self) -> BTreeMap<u8, Value> {
        let mut registers = BTreeMap::new();
        for Event { register, digest, .. } in &self.events {
            let start = if *register == 0 { self.locality } else { 0 };
            let value: &mut Value = registers.entry(*register).or_insert_with(|| {
                let mut value = [0; 32];
                value[31] = start;
                value
            });
            *value = Sha256::new().chain_update(*value).chain_update(digest).finalize().into();
        }
        registers
    }
}

/// TCG_PCClientPCREvent with a TCG_EfiSpecIdEvent: how long the digests of each algorithm are.
fn read_first(reader: &mut Reader<'_>) -> Option<BTreeMap<u16, usize>> {
    let (_register, kind) = (reader.u32_le()?, reader.u32_le()?);
    reader.take(FIRST_DIGEST)?;
    let mut header = Reader(reader.sized_le()?);
    let fits = kind == NO_ACTION && header.take(HEADER.len())? == HEADER;
    // Platform class, three of version, size of a UINTN.
    header.take(8)?;
    let count = header.u32_le().filter(|count| fits && *count <= ALGORITHMS_MAX)?;
    (0..count).map(|_| Some((header.u16_le()?, header.u16_le()?.into()))).collect()
}

/// TCG_PCR_EVENT2, and its digest of SHA-256 if it has one.
fn read_event(reader: &mut Reader<'_>, sizes: &BTreeMap<u16, usize>) -> Option<(Event, Option<Value>)> {
    let (register, kind) = (reader.u32_le()?, reader.u32_le()?);
    let count = reader.u32_le().filter(|count| *count <= ALGORITHMS_MAX)?;
    let mut ours = None;
    for _ in 0..count {
        let algorithm = reader.u16_le()?;
        let digest = reader.take(*sizes.get(&algorithm)?)?;
        if algorithm == SHA256 {
            ours = Some(digest.try_into().ok()?);
        }
    }
    // Some firmware says nothing about register 0xffffffff.
    let register = u8::try_from(register).unwrap_or(u8::MAX);
    Some((Event { register, kind, digest: [0; 32], data: reader.sized_le()?.to_vec() }, ours))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SHA1: u16 = 4;

    fn header(algorithms: &[(u16, u16)]) -> Vec<u8> {
        let mut data = [HEADER, &[0, 0, 0, 0, 0, 2, 0, 2]].concat();
        data.extend((algorithms.len() as u32).to_le_bytes());
        algorithms.iter().for_each(|(id, size)| data.extend([id.to_le_bytes(), size.to_le_bytes()].concat()));
        data.push(0);
        let mut bytes = [&0u32.to_le_bytes()[..], &NO_ACTION.to_le_bytes(), &[0; FIRST_DIGEST]].concat();
        bytes.extend((data.len() as u32).to_le_bytes());
        [bytes, data].concat()
    }

    fn event(register: u32, kind: u32, digest: u8, data: &[u8]) -> Vec<u8> {
        let mut bytes = [register.to_le_bytes(), kind.to_le_bytes(), 2u32.to_le_bytes()].concat();
        bytes.extend([&SHA1.to_le_bytes()[..], &[digest; 20], &SHA256.to_le_bytes(), &[digest; 32]].concat());
        bytes.extend((data.len() as u32).to_le_bytes());
        [&bytes, data].concat()
    }

    fn log() -> Vec<u8> {
        [
            header(&[(SHA1, 20), (SHA256, 32)]),
            event(0, NO_ACTION, 0, &[LOCALITY, &[3]].concat()),
            event(0, 8, 1, b"firmware"),
            event(11, 13, 2, b".linux"),
            event(11, 13, 3, b".osrel"),
        ]
        .concat()
    }

    fn extended(start: Value, with: &[u8]) -> Value {
        with.iter().fold(start, |value, digest| Sha256::digest([value, [*digest; 32]].concat()).into())
    }

    #[test]
    fn what_is_replayed_is_what_a_tpm_would_hold() {
        let log = EventLog::parse(&log()).expect("a log");
        let kinds: Vec<_> = log.events.iter().map(|event| (event.register, event.kind)).collect();
        assert_eq!(kinds, [(0, 8), (11, 13), (11, 13)]);
        let mut locality = [0; 32];
        locality[31] = 3;
        let registers = log.replay();
        assert_eq!(registers, BTreeMap::from([(0, extended(locality, &[1])), (11, extended([0; 32], &[2, 3]))]));
    }

    #[test]
    fn what_is_no_log_is_told() {
        assert_eq!(EventLog::parse(&[]), Err(EventLogError::NotALog));
        assert_eq!(EventLog::parse(&log()[1..]), Err(EventLogError::NotALog));
        assert_eq!(EventLog::parse(&header(&[(SHA1, 20)])), Err(EventLogError::NoSha256));
        assert_eq!(EventLog::parse(&vec![0; LOG_BYTES_MAX + 1]), Err(EventLogError::TooLong(LOG_BYTES_MAX + 1)));
        let whole = header(&[(SHA1, 20), (SHA256, 32)]).len();
        let strange = [log(), event(24, 13, 1, b"no such register")].concat();
        assert_eq!(EventLog::parse(&strange), Err(EventLogError::Damaged(log().len())));
        let mut unknown = log();
        unknown[whole + 12] = 0xff;
        assert_eq!(EventLog::parse(&unknown), Err(EventLogError::Damaged(whole)));
        assert!(matches!(EventLog::parse(&log()[..log().len() - 1]), Err(EventLogError::Damaged(_))));
    }

    proptest! {
        #[test]
        fn no_log_makes_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8u8), 0..4)) {
            let _ = EventLog::parse(&[header(&[(SHA1, 20), (SHA256, 32)]), bytes].concat());
            let mut flipped = log();
            for (at, bit) in flips {
                let at = at.index(flipped.len());
                flipped[at] ^= 1 << bit;
            }
            let _ = EventLog::parse(&flipped).map(|log| log.replay());
        }
    }
}
