//! What an NVMe controller says of its own wear and failures: the SMART / Health Information log page (NVM Express Base
//! Specification 2.0, §5.16.1.3, log identifier 02h).
//!
//! It takes an admin command to the device, which the kernel lets root alone give. A recorded tree has the page as the file
//! `/dev/nvme0.smart`. The one place of this crate that needs `unsafe`.
#![allow(unsafe_code)]

use serde::Serialize;
use std::fs::File;
use std::io;

/// Bytes of the page.
pub(crate) const PAGE: usize = 512;

/// Bits of the critical warning that speak of more than heat, with what they say.
const WARNINGS: [(u8, &str); 5] = [
    (0, "its spare blocks are below the maker's threshold"),
    (2, "it is no longer reliable"),
    (3, "it is read-only"),
    (4, "its volatile memory is not backed up any more"),
    (5, "its persistent memory region is unreliable or read-only"),
];

/// What is in the page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Smart {
    /// Share of its endurance that is used up, in percent; above 100 it is beyond what its maker vouches for, 255 at most.
    pub used_percent: u8,
    /// Spare blocks that are left, in percent.
    pub spare_percent: u8,
    /// Share of them below which the controller warns.
    pub spare_threshold_percent: u8,
    /// What it warns of, without its heat, which it has sensors for.
    pub warnings: Vec<&'static str>,
    /// Bytes written by the host; the page counts thousands of 512 bytes.
    pub written_bytes: u128,
    /// Bytes read by the host.
    pub read_bytes: u128,
    /// Times that data could not be read or written rightly.
    pub media_errors: u128,
    /// Times that the power went without a word before.
    pub unsafe_shutdowns: u128,
    /// Hours under power.
    pub power_on_hours: u128,
}

impl Smart {
    /// Reads a page; `None` where it is of another length, or all zeros or ones, which is no page.
    pub fn parse(page: &[u8]) -> Option<Self> {
        let page: &[u8; PAGE] = page.try_into().ok()?;
        let empty = |byte: u8| page.iter().all(|at| *at == byte);
        if empty(0) || empty(0xff) {
            return None;
        }
        let number = |at: usize| u128::from_le_bytes(*page[at..].first_chunk().expect("the page is longer"));
        let warns = |(bit, says): (u8, &'static str)| (page[0] >> bit & 1 == 1).then_some(says);
        Some(Self {
            used_percent: page[5],
            spare_percent: page[3],
            spare_threshold_percent: page[4],
            warnings: WARNINGS.into_iter().filter_map(warns).collect(),
            read_bytes: number(32).saturating_mul(512_000),
            written_bytes: number(48).saturating_mul(512_000),
            power_on_hours: number(128),
            unsafe_shutdowns: number(144),
            media_errors: number(160),
        })
    }
}

/// struct nvme_passthru_cmd of the kernel (linux/nvme_ioctl.h).
#[repr(C)]
#[derive(Default)]
struct AdminCommand {
    opcode: u8,
    flags: u8,
    reserved: u16,
    namespace: u32,
    dwords_2: [u32; 2],
    metadata: u64,
    data: u64,
    metadata_bytes: u32,
    data_bytes: u32,
    dwords_10: [u32; 6],
    timeout_ms: u32,
    result: u32,
}

const _: () = assert!(size_of::<AdminCommand>() == 72);

/// NVME_IOCTL_ADMIN_CMD: _IOWR('N', 0x41, struct nvme_admin_cmd).
const ADMIN_COMMAND: rustix::ioctl::Opcode = rustix::ioctl::opcode::read_write::<AdminCommand>(b'N', 0x41);
/// Get Log Page.
const GET_LOG_PAGE: u8 = 0x02;
/// SMART / Health Information.
const SMART: u32 = 0x02;
/// Of the whole controller.
const ALL_NAMESPACES: u32 = u32::MAX;
/// Longest wait for a controller.
const PATIENCE_MS: u32 = 2_000;

/// Asks a controller for its page.
pub(crate) fn ask(controller: &File) -> io::Result<Vec<u8>> {
    let mut page = vec![0; PAGE];
    let dwords = (PAGE / 4 - 1) as u32;
    let mut command = AdminCommand {
        opcode: GET_LOG_PAGE,
        namespace: ALL_NAMESPACES,
        data: page.as_mut_ptr().expose_provenance() as u64,
        data_bytes: PAGE as u32,
        dwords_10: [dwords << 16 | SMART, 0, 0, 0, 0, 0],
        timeout_ms: PATIENCE_MS,
        ..AdminCommand::default()
    };
    // SAFETY: the opcode is that of `AdminCommand`, which the kernel reads and writes. The command makes it write
    // `data_bytes` bytes at `data`, which is the page: it is that long, and lives until the call has returned.
    let asked = unsafe {
        rustix::ioctl::ioctl(controller, rustix::ioctl::Updater::<ADMIN_COMMAND, AdminCommand>::new(&mut command))
    };
    asked.map_err(io::Error::from)?;
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_page_is_read_as_the_specification_lays_it_out() {
        let mut page = [0; PAGE];
        page[0] = 0b1101;
        page[3..6].copy_from_slice(&[7, 10, 101]);
        page[32..48].copy_from_slice(&3u128.to_le_bytes());
        page[48..64].copy_from_slice(&u128::MAX.to_le_bytes());
        page[128..144].copy_from_slice(&40_000u128.to_le_bytes());
        page[144..160].copy_from_slice(&12u128.to_le_bytes());
        page[160..176].copy_from_slice(&1u128.to_le_bytes());
        let smart = Smart::parse(&page).expect("a page");
        assert_eq!((smart.used_percent, smart.spare_percent, smart.spare_threshold_percent), (101, 7, 10));
        assert_eq!(smart.warnings.len(), 3, "{:?}", smart.warnings);
        assert_eq!((smart.read_bytes, smart.written_bytes), (1_536_000, u128::MAX));
        assert_eq!((smart.power_on_hours, smart.unsafe_shutdowns, smart.media_errors), (40_000, 12, 1));
    }

    #[test]
    fn what_answers_no_such_command_gives_no_page() {
        assert_eq!(Smart::parse(&[]), None);
        assert_eq!(Smart::parse(&[0; PAGE]), None);
        assert_eq!(Smart::parse(&[0xff; PAGE]), None);
        assert_eq!(Smart::parse(&[1; PAGE - 1]), None);
        let null = File::open("/dev/null").expect("it is everywhere");
        assert!(ask(&null).is_err());
    }

    proptest! {
        #[test]
        fn no_page_makes_the_reader_panic(page in prop::collection::vec(any::<u8>(), PAGE)) {
            let _ = Smart::parse(&page);
        }
    }
}
