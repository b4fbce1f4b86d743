//! Reads the log over and over while the node runs, slowly: a start looks at its end alone, and bytes that the disk has changed
//! since are better known while other validators still have the same heights than when somebody asks for them.
//!
//! What is damaged is told, and nothing else is done about it: a log is made whole by `stele fsck --repair-from`, while the
//! node stands still.

use crate::status::Status;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use storage::log::Log;
use storage::log::check::Seen;

/// Pause between two passes.
const REST: Duration = Duration::from_secs(24 * 60 * 60);
/// Shorter ones are saved up.
const NAP: Duration = Duration::from_millis(20);
/// Places of a pass that are told one by one.
const TOLD_MAX: u64 = 16;

/// The thread. Ends when it is dropped.
pub struct Scrubber {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Scrubber {
    /// Reads so many bytes a second, more than none.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn start(log: Arc<Log>, status: Arc<Status>, bytes_per_second: u64) -> io::Result<Self> {
        let (stop, stopped) = bounded(0);
        let run = move || while pass(&log, &status, bytes_per_second, &stopped) && rests(&stopped, REST) {};
        let thread = std::thread::Builder::new().name("log-scrub".into()).spawn(run)?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Scrubber {
    fn drop(&mut self) {
        drop(self.stop.take());
        drop(self.thread.take().map(JoinHandle::join));
    }
}

/// Waits; whether it goes on then.
fn rests(stopped: &Receiver<()>, pause: Duration) -> bool {
    matches!(stopped.recv_timeout(pause), Err(RecvTimeoutError::Timeout))
}

/// One pass; whether it came to its end.
fn pass(log: &Log, status: &Status, bytes_per_second: u64, stopped: &Receiver<()>) -> bool {
    let (begun, mut bytes, mut damaged, mut ended) = (Instant::now(), 0, 0, false);
    let outcome = log.scrub(&mut |seen| {
        match seen {
            Seen::Segment { .. } => {}
            Seen::Record { payload, .. } => {
                bytes += payload.len() as u64;
                status.log_scrubbed(payload.len() as u64);
            }
            Seen::Damage(damage) => {
                damaged += 1;
                status.log_damaged_at_least(damaged);
                if damaged <= TOLD_MAX {
                    tracing::error!(
                        segment = damage.segment, offset = damage.offset, kind = damage.kind.name(),
                        "the log is damaged here; stop the node and run `stele fsck --repair-from` while its peers have the same heights"
                    );
                }
            }
        }
        let due = Duration::from_secs_f64(bytes as f64 / bytes_per_second as f64);
        let early = Some(due.saturating_sub(begun.elapsed())).filter(|early| *early >= NAP);
        ended = !rests(stopped, early.unwrap_or_default());
        if ended { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    match outcome {
        Err(error) => tracing::warn!(%error, "the log could not be read again to its end"),
        Ok(()) if !ended => {
            status.log_damaged(damaged);
            tracing::info!(
                bytes,
                damaged,
                ms = begun.elapsed().as_millis() as u64,
                "the full segments of the log were read again"
            );
        }
        Ok(()) => {}
    }
    !ended
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LOG;
    use crate::fixtures::open_log;
    use std::os::unix::fs::FileExt;

    /// A log of a few full segments; bytes of its records.
    fn log(dir: &std::path::Path) -> Arc<Log> {
        let log = open_log(dir, [1; 32]);
        while log.append_durable(1, &[&[7; 4_000]]).expect("room").segment < 3 {}
        Arc::new(log)
    }

    #[test]
    fn what_is_damaged_is_counted_until_a_pass_finds_it_whole() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let log = log(dir.path());
        let status = Status::new();
        let (_stop, stopped) = bounded(0);
        assert!(pass(&log, &status, 1 << 40, &stopped));
        let all = status.log_scrub().0;
        assert!(all > 3 * 40_000 && status.log_scrub().1 == 0, "{all}");
        let path = dir.path().join(LOG).join(format!("{:020}.seg", 1));
        let file = std::fs::File::options().write(true).open(path).expect("a segment");
        file.write_all_at(&[8], 8_192 + 1_000).expect("room");
        assert!(pass(&log, &status, 1 << 40, &stopped));
        assert_eq!(status.log_scrub(), (2 * all - 4_000, 1));
        file.write_all_at(&[7], 8_192 + 1_000).expect("room");
        assert!(pass(&log, &status, 1 << 40, &stopped));
        assert_eq!(status.log_scrub(), (3 * all - 4_000, 0));
    }

    #[test]
    fn it_keeps_its_pace_and_ends_at_once_when_it_is_told() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let log = log(dir.path());
        let status = Arc::new(Status::new());
        // A second a record.
        let scrubber = Scrubber::start(Arc::clone(&log), Arc::clone(&status), 4_000).expect("a thread");
        while status.log_scrub().0 == 0 {
            std::thread::yield_now();
        }
        drop(scrubber);
        assert!(status.log_scrub().0 < 60_000, "{:?}", status.log_scrub());
        assert_eq!(Arc::strong_count(&log), 1);
    }
}
