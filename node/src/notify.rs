//! Says to the service manager that the node is ready, gets on, or stops: datagrams to the socket in `NOTIFY_SOCKET`
//! (sd_notify(3)). The watchdog of the service (`WatchdogSec=`) is fed as long as the node makes progress; without a service
//! manager nothing is said.

use crate::progress::{Progress, Pulse};
use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Pause between two looks where no watchdog asks for shorter ones.
const LOOK: Duration = Duration::from_secs(1);

/// A service manager that listens.
#[derive(Debug)]
pub struct Manager {
    socket: UnixDatagram,
    /// The service is ended when nothing is said for so long.
    watchdog: Option<Duration>,
}

impl Manager {
    /// The one that started this process, if it asked to be told.
    ///
    /// # Errors
    /// Where there is one and it cannot be reached.
    pub fn of_this_process() -> io::Result<Option<Self>> {
        let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
        let Some(path) = variable("NOTIFY_SOCKET") else { return Ok(None) };
        // The variables are inherited; they may be meant for a parent.
        let own = std::process::id().to_string();
        let for_us = variable("WATCHDOG_PID").is_none_or(|pid| pid == OsString::from(own));
        let micros = variable("WATCHDOG_USEC").and_then(|text| text.to_str()?.parse().ok()).filter(|_| for_us);
        Ok(Some(Self { socket: connect(path.as_bytes())?, watchdog: micros.map(Duration::from_micros) }))
    }

    /// Tells until the process ends: readiness once, progress as often as it is asked for, and every change of it.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn follow(self, pulse: Arc<Pulse>) -> io::Result<()> {
        let pause = self.watchdog.map_or(LOOK, |limit| limit / 4).min(LOOK).max(Duration::from_millis(10));
        let follow = move || {
            let (mut said, mut ready) = (None, false);
            loop {
                let progress = pulse.judge(Instant::now());
                ready |= self.tell(progress, &mut said, ready);
                thread::sleep(pause);
            }
        };
        thread::Builder::new().name("notify".into()).spawn(follow).map(drop)
    }

    /// Whether the node has been told to be ready.
    fn tell(&self, progress: Progress, said: &mut Option<Progress>, ready: bool) -> bool {
        let becomes_ready = !ready && matches!(progress, Progress::Advancing | Progress::Idle);
        let mut message = String::new();
        if becomes_ready {
            message += "READY=1\n";
        }
        if said.replace(progress) != Some(progress) {
            if !progress.is_alive() {
                tracing::error!(%progress, "the node does not get on; its watchdog is no longer fed");
            }
            message += &format!("STATUS={progress}\n");
        }
        if self.watchdog.is_some() && progress.is_alive() {
            message += "WATCHDOG=1\n";
        }
        if !message.is_empty()
            && let Err(error) = self.socket.send(message.as_bytes())
        {
            tracing::warn!(%error, "the service manager does not listen");
        }
        ready || becomes_ready
    }
}

/// A path, or a name of the abstract kind behind an at sign.
fn connect(path: &[u8]) -> io::Result<UnixDatagram> {
    let address = match path {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path => SocketAddr::from_pathname(std::path::Path::new(std::ffi::OsStr::from_bytes(path)))?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use types::Round;

    fn manager(watchdog: Option<Duration>) -> (UnixDatagram, Manager) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let listener = UnixDatagram::bind(&path).unwrap();
        listener.set_nonblocking(true).unwrap();
        (listener, Manager { socket: connect(path.as_os_str().as_bytes()).unwrap(), watchdog })
    }

    fn heard(listener: &UnixDatagram) -> String {
        let mut buffer = [0; 256];
        listener
            .recv(&mut buffer)
            .map_or_else(|_| String::new(), |count| String::from_utf8(buffer[..count].to_vec()).unwrap())
    }

    #[test]
    fn readiness_is_told_once_and_the_watchdog_starves_when_rounds_end() {
        let (listener, manager) = manager(Some(Duration::from_secs(30)));
        let (pulse, start, mut said) = (Pulse::default(), Instant::now(), None);
        let mut ready = manager.tell(pulse.judge(start), &mut said, false);
        assert_eq!((ready, heard(&listener).as_str()), (false, "STATUS=starting\nWATCHDOG=1\n"));
        pulse.pass(start, Round(1), true);
        ready |= manager.tell(pulse.judge(start), &mut said, ready);
        assert_eq!((ready, heard(&listener).as_str()), (true, "READY=1\nSTATUS=advancing\nWATCHDOG=1\n"));
        manager.tell(pulse.judge(start), &mut said, ready);
        assert_eq!(heard(&listener), "WATCHDOG=1\n");
        let later = start + Duration::from_secs(100);
        manager.tell(pulse.judge(later), &mut said, ready);
        assert_eq!(heard(&listener), "STATUS=hung\n");
        manager.tell(pulse.judge(later), &mut said, ready);
        assert_eq!(heard(&listener), "", "nothing is said any more");
    }

    #[test]
    fn names_of_the_abstract_kind_are_found() {
        let name = format!("stele-notify-{}", std::process::id());
        let listener = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        connect(format!("@{name}").as_bytes()).unwrap().send(b"READY=1").unwrap();
        let mut buffer = [0; 16];
        assert_eq!(listener.recv(&mut buffer).unwrap(), 7);
    }
}
