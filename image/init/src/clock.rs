//! The machine's clock. A validator whose clock is half a second off those of a quorum makes no blocks (CONSENSUS.md §0.10), and
//! a firmware's clock has whole seconds and drifts by some a week: so chrony (<https://chrony-project.org>) keeps it, by the time
//! servers of the configuration. It steps the clock at the start alone; later errors are slewed away, at most 83 ms a second.
//!
//! The node waits for that step: a ledger's time never goes back, so that validators whose clocks all run ahead, as those with the
//! local time of the east, would have left it hours in the future, where every client's transaction has expired.
//!
//! Absent: serving time to others, names (there is nobody to ask for them), and time servers that DHCP tells of: what a
//! validator goes by is signed.

use crate::configuration::{TIME_USER, make_folder};
use crate::state::FOLDER;
use crate::{Fault, say};
use image_formats::machine::{TIME_AUTHORITY, TimeServer};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// The time service.
pub const PROGRAM: &str = "/usr/sbin/chronyd";
/// Where it finds what it is to do.
pub const CONFIGURATION: &str = "/run/stele-time/chrony.conf";
/// Where it says that it runs, and takes that back.
const RUNNING: &str = "/run/stele-time";
/// How long the node waits for a clock that is right.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name of [`TIME_USER`], which the service becomes as soon as it may set the clock.
const USER_NAME: &str = "stele-time";

/// Prepares the time service. Whether there is one.
pub fn prepare(servers: &[TimeServer]) -> Result<bool, Fault> {
    if servers.is_empty() {
        say("no time server: the clock is the firmware's, and nothing keeps it right");
        return Ok(false);
    }
    make_folder(&Path::new(FOLDER).join("time"), TIME_USER)?;
    make_folder(Path::new(RUNNING), TIME_USER)?;
    std::fs::write(CONFIGURATION, configuration(servers)).map_err(Fault::system(format!("writing {CONFIGURATION}")))?;
    Ok(true)
}

/// What the service reads. So many servers must agree that those who lie, or are wrong, are not most of them.
fn configuration(servers: &[TimeServer]) -> String {
    let mut text = format!(
        "user {USER_NAME}\nport 0\ncmdport 0\nbindcmdaddress /\npidfile {RUNNING}/chronyd.pid\n\
         makestep 0.1 3\nrtcsync\nlogchange 0.1\ndriftfile {FOLDER}/time/drift\nminsources {}\n\
         nosystemcert\nnocerttimecheck 1\n",
        servers.len() / 2 + 1
    );
    if servers.iter().any(|server| server.authenticated) {
        let _ = writeln!(text, "ntstrustedcerts {FOLDER}/{TIME_AUTHORITY}");
    }
    for TimeServer { address, authenticated } in servers {
        let port = if *authenticated { "nts ntsport" } else { "port" };
        let _ = writeln!(text, "server {} {port} {} iburst", address.ip(), address.port());
    }
    text
}

/// Whether the clock was right when it was last looked at, for the console and for the node.
#[derive(Debug)]
pub struct Clock {
    kept: bool,
    /// Until when it is waited for.
    awaited: Option<Instant>,
}

impl Clock {
    /// Of a machine that has a time service, or none.
    pub fn new(served: bool) -> Self {
        Self { kept: false, awaited: served.then(|| Instant::now() + PATIENCE) }
    }

    /// Looks, and tells of a change.
    pub fn look(&mut self) {
        let kept = is_kept();
        match (self.kept, kept) {
            (false, true) => say("STELE TIME the clock is kept by the time servers"),
            (true, false) => say("STELE TIME LOST no time server has been heard for long: the clock runs alone"),
            _ => {}
        }
        self.kept = kept;
        if kept {
            self.awaited = None;
        } else if self.awaited.is_some_and(|until| until < Instant::now()) {
            self.awaited = None;
            say(format_args!(
                "STELE TIME no answer to go by in {} s: the node goes by the firmware's clock",
                PATIENCE.as_secs()
            ));
        }
    }

    /// Whether it is worth to wait a little for a clock that is right.
    pub fn is_awaited(&self) -> bool {
        self.awaited.is_some()
    }
}

/// What the kernel says. It takes back that a clock is kept when nobody has confirmed it for hours.
fn is_kept() -> bool {
    // SAFETY: a structure of integers, for which zeros are values; no modes: it is only filled.
    let mut state: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live structure.
    let answer = unsafe { libc::adjtimex(&mut state) };
    answer >= 0 && state.status & libc::STA_UNSYNC == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(text: &str, authenticated: bool) -> TimeServer {
        TimeServer { address: text.parse().unwrap(), authenticated }
    }

    #[test]
    fn most_servers_must_agree() {
        for (count, agree) in [(1, 1), (2, 2), (3, 2), (4, 3), (8, 5)] {
            let text = configuration(&vec![server("192.0.2.1:123", false); count]);
            assert!(text.contains(&format!("\nminsources {agree}\n")), "{text}");
            assert_eq!(text.lines().filter(|line| *line == "server 192.0.2.1 port 123 iburst").count(), count);
        }
    }

    #[test]
    fn certificates_are_named_where_a_server_has_one() {
        let plain = configuration(&[server("[2001:db8::1]:123", false)]);
        assert!(plain.contains("server 2001:db8::1 port 123 iburst\n") && !plain.contains("ntstrustedcerts"));
        let text = configuration(&[server("192.0.2.1:4460", true)]);
        assert!(text.contains("server 192.0.2.1 nts ntsport 4460 iburst\n"), "{text}");
        assert!(text.contains("ntstrustedcerts /var/lib/stele/time/ca.pem\n"), "{text}");
    }

    #[test]
    fn nothing_is_served() {
        let text = configuration(&[server("192.0.2.1:123", false)]);
        for line in ["port 0", "cmdport 0", "bindcmdaddress /"] {
            assert!(text.lines().any(|one| one == line), "{line}");
        }
    }
}
