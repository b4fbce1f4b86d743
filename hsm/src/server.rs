//! The signer's socket: who may connect, one thread a connection, frames in and out.

use crate::error::{ConfigError, Fault, StartError};
use crate::protocol::{Request, Response, read_frame, write_frame};
use crate::service::Service;
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Most connections at a time; further ones are closed at once. A node needs two.
pub const CONNECTIONS_MAX: usize = 8;
/// Longest time for the rest of a frame after its first byte, and for an answer to be taken.
const FRAME_TIMEOUT: Duration = Duration::from_secs(2);

/// Listens at `path`, where a socket that nobody listens on any more may lie. Call only while holding the guard's lock:
/// it proves that no other signer of this validator lives. Where `others` than its own user may connect, the file lets
/// everybody try, and [`serve`] asks the kernel who it is.
///
/// # Errors
/// [`ConfigError::SocketUnusable`] where the path is too long, or holds something else; faults of the disk.
pub fn listen(path: &Path, others: &[u32]) -> Result<UnixListener, StartError> {
    let unusable = || ConfigError::SocketUnusable.about(path.display());
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => return Err(unusable()),
        Ok(_) => std::fs::remove_file(path).map_err(|_| unusable())?,
        Err(_) => {}
    }
    let io = |error: io::Error| match error.kind() {
        ErrorKind::InvalidInput | ErrorKind::NotFound | ErrorKind::PermissionDenied | ErrorKind::AddrInUse => {
            unusable()
        }
        _ => Fault::Io.about(format_args!("{} ({error})", path.display())),
    };
    let listener = UnixListener::bind(path).map_err(io)?;
    let mode = if others.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode)).map_err(io)?;
    Ok(listener)
}

/// Answers requests of this user and `others` until accepting fails; connections that stand then are served on. Calls `end`
/// behind an answer after which only another process can go on ([`Service::is_stuck`]).
///
/// # Errors
/// Those of accept, other than running out of descriptors for a moment.
pub fn serve(service: &Arc<Service>, listener: &UnixListener, others: &[u32], end: fn()) -> io::Result<()> {
    let connections = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if let Err(uid) = is_allowed(&stream, others) {
            tracing::error!(?uid, "connection of another user refused");
            continue;
        }
        let place = Place::take(&connections);
        if place.number > CONNECTIONS_MAX {
            tracing::error!("connection refused: {CONNECTIONS_MAX} are open");
            continue;
        }
        let service = Arc::clone(service);
        let connection = move || {
            let _place = place;
            if let Err(error) = converse(&service, stream, end) {
                tracing::warn!(%error, "connection closed");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("signer-connection".to_owned()).spawn(connection) {
            tracing::error!(%error, "connection refused");
        }
    }
}

/// One of the connections that are counted; dropped with its thread, even where the thread panics.
struct Place {
    count: Arc<AtomicUsize>,
    number: usize,
}

impl Place {
    fn take(count: &Arc<AtomicUsize>) -> Self {
        Self { number: count.fetch_add(1, Ordering::Relaxed) + 1, count: Arc::clone(count) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Who it is, where he is not allowed.
fn is_allowed(stream: &UnixStream, others: &[u32]) -> Result<(), Option<u32>> {
    let uid = rustix::net::sockopt::socket_peercred(stream).map_err(|_| None)?.uid;
    let allowed = uid == rustix::process::geteuid() || others.contains(&uid.as_raw());
    if allowed { Ok(()) } else { Err(Some(uid.as_raw())) }
}

fn converse(service: &Service, mut stream: UnixStream, end: fn()) -> io::Result<()> {
    stream.set_read_timeout(Some(FRAME_TIMEOUT))?;
    stream.set_write_timeout(Some(FRAME_TIMEOUT))?;
    while let Some(length) = read_length(&mut stream)? {
        match read_frame::<Request>(&mut stream, length) {
            Ok(request) => {
                let written = write_frame(&mut stream, &service.answer(&request));
                if service.is_stuck() {
                    end();
                }
                written?;
                service.settle();
            }
            Err(error) => {
                // Best effort: whoever sends such a thing may not wait for an answer.
                let _ = write_frame(&mut stream, &Response::Fault(Fault::Protocol));
                return Err(error);
            }
        }
    }
    Ok(())
}

/// Waits for a frame for as long as it takes, but not for one that was begun. `None` where the peer closed in between.
fn read_length(stream: &mut UnixStream) -> io::Result<Option<[u8; 4]>> {
    let mut length = [0; 4];
    let begun = loop {
        match stream.read(&mut length) {
            Ok(0) => return Ok(None),
            Ok(count) => break count,
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    };
    stream.read_exact(&mut length[begun..])?;
    Ok(Some(length))
}
