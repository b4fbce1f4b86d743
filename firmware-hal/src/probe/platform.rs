//! The platform: who made it, its clock, its watchdogs.

use super::each;
use crate::inventory::{Clock, Identity, Watchdog};
use crate::listed::Listed;
use crate::root::Root;

pub(crate) fn identity(root: &Root) -> Identity {
    let of = |name: &str| root.text(&format!("/sys/class/dmi/id/{name}"));
    Identity {
        vendor: of("sys_vendor"),
        product: of("product_name"),
        serial: of("product_serial"),
        board_vendor: of("board_vendor"),
        board: of("board_name"),
        firmware_vendor: of("bios_vendor"),
        firmware_version: of("bios_version"),
        firmware_date: of("bios_date"),
    }
}

pub(crate) fn clock(root: &Root) -> Clock {
    const DIR: &str = "/sys/devices/system/clocksource/clocksource0";
    Clock {
        source: root.text(&format!("{DIR}/current_clocksource")),
        available: root
            .text(&format!("{DIR}/available_clocksource"))
            .parsed(|text| Some(text.split_whitespace().map(str::to_owned).collect())),
    }
}

pub(crate) fn watchdogs(root: &Root) -> Listed<Watchdog> {
    each(
        root,
        "/sys/class/watchdog",
        |_| true,
        |path| Watchdog {
            identity: root.text(&format!("{path}/identity")),
            timeout_s: root.number(&format!("{path}/timeout")),
            active: root.text(&format!("{path}/state")).parsed(|text| match text.as_str() {
                "active" => Some(true),
                "inactive" => Some(false),
                _ => None,
            }),
            no_way_out: root.flag(&format!("{path}/nowayout")),
        },
    )
}
