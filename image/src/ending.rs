//! What must not outlive this program: the emulators that it started, and what it made on this machine to work with. The
//! kernel ends the emulators, whatever ended this program. SIGTERM, SIGINT and SIGHUP take effect after the rest is tidied up;
//! SIGKILL leaves it.
//!
//! The one place of this crate that needs `unsafe`.
#![allow(unsafe_code)]

use crate::failure::Failure;
use std::fmt;
use std::io::{PipeReader, Read};
use std::os::fd::IntoRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};

/// Those that ask a program to end.
const SIGNALS: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Has a program that is about to be started end when the thread that starts it does. What is typed at a terminal, as Ctrl-C,
/// comes to this program alone.
pub fn with_us(command: &mut Command) -> &mut Command {
    let parent = std::process::id();
    let bind = move || {
        // SAFETY: the call takes two numbers.
        if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // Who has ended before that sends no signal any more.
        if std::os::unix::process::parent_id() != parent {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        Ok(())
    };
    // SAFETY: between fork and exec it makes two system calls, and takes no lock and no memory.
    unsafe { command.pre_exec(bind) }.process_group(0)
}

/// Something to be undone, once: when this value goes, or before a signal ends the program.
pub struct Tidy(u64);

type Undo = Box<dyn FnOnce() + Send>;

/// What is to be undone, in the order in which it was done.
static OPEN: Mutex<Vec<(u64, Undo)>> = Mutex::new(Vec::new());
static NEXT: AtomicU64 = AtomicU64::new(0);
/// Where the handler writes the signal that came.
static WAKE: AtomicI32 = AtomicI32::new(-1);

impl Tidy {
    /// Remembers how.
    ///
    /// # Errors
    /// [`Failure::Io`]: signals cannot be listened to.
    pub fn with(undo: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        listen().map_err(Failure::io("listening to signals"))?;
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        open().push((number, Box::new(undo)));
        Ok(Self(number))
    }
}

impl Drop for Tidy {
    fn drop(&mut self) {
        let undo = {
            let mut open = open();
            let place = open.iter().position(|(number, _)| *number == self.0);
            place.map(|place| open.remove(place).1)
        };
        if let Some(undo) = undo {
            undo();
        }
    }
}

impl fmt::Debug for Tidy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tidy").field(&self.0).finish()
    }
}

fn open() -> MutexGuard<'static, Vec<(u64, Undo)>> {
    OPEN.lock().unwrap_or_else(|poison| poison.into_inner())
}

/// Once for the program. A handler, and not a mask: programs that are started would inherit a mask, and not end when asked.
fn listen() -> std::io::Result<()> {
    static ONCE: Mutex<bool> = Mutex::new(false);
    let mut listening = ONCE.lock().unwrap_or_else(|poison| poison.into_inner());
    if *listening {
        return Ok(());
    }
    let (reader, writer) = std::io::pipe()?;
    std::thread::Builder::new().name("ending".into()).spawn(move || end_by_signal(reader))?;
    WAKE.store(writer.into_raw_fd(), Ordering::Relaxed);
    for signal in SIGNALS {
        let handler = tell as extern "C" fn(libc::c_int) as libc::sighandler_t;
        // SAFETY: the handler makes one system call, which may be made in one.
        let before = unsafe { libc::signal(signal, handler) };
        // As `nohup` has it.
        if before == libc::SIG_IGN {
            // SAFETY: the call takes two numbers.
            unsafe { libc::signal(signal, libc::SIG_IGN) };
        }
    }
    *listening = true;
    Ok(())
}

extern "C" fn tell(signal: libc::c_int) {
    let byte = signal as u8;
    // SAFETY: the pointer is to a byte that lives through the call.
    unsafe { libc::write(WAKE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

fn end_by_signal(mut told: PipeReader) {
    let mut signal = [0];
    if told.read_exact(&mut signal).is_err() {
        return;
    }
    let undone = std::mem::take(&mut *open());
    undone.into_iter().rev().for_each(|(_, undo)| undo());
    let signal = libc::c_int::from(signal[0]);
    // SAFETY: both calls take numbers. Without a handler the signal ends the program, which whoever sent it can see.
    unsafe {
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::BufRead;
    use std::os::unix::process::ExitStatusExt;
    use std::path::{Path, PathBuf};
    use std::process::{Child, Stdio};
    use std::time::{Duration, Instant};

    /// Names the folder that the test, run again in a process of its own, has to tidy up.
    const AGAIN: &str = "STELE_TEST_ENDING";

    /// Started again by the other tests: a program with a child and something to be undone.
    #[test]
    fn a_program_that_waits() {
        let Some(folder) = std::env::var_os(AGAIN).map(PathBuf::from) else { return };
        let _tidy = Tidy::with(move || std::fs::remove_dir(folder).unwrap()).unwrap();
        let mut sleep = Command::new("sleep");
        // Nobody waits for the end of an output that it would have.
        sleep.arg("600").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = with_us(&mut sleep).spawn().unwrap();
        println!("\nchild={}", child.id());
        child.wait().unwrap();
    }

    /// That program, its child, and the folder.
    fn started(folder: &Path) -> (Child, u32) {
        std::fs::create_dir(folder).unwrap();
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", "ending::tests::a_program_that_waits", "--nocapture"]).env(AGAIN, folder);
        let listen = || {
            // Who runs the tests may ignore some of them, as a shell does for what it starts in the background.
            // SAFETY: between fork and exec it makes system calls alone.
            SIGNALS.into_iter().for_each(|signal| _ = unsafe { libc::signal(signal, libc::SIG_DFL) });
            Ok(())
        };
        // SAFETY: as above.
        unsafe { again.pre_exec(listen) };
        let mut program = again.stdout(Stdio::piped()).spawn().unwrap();
        let lines = std::io::BufReader::new(program.stdout.take().unwrap()).lines();
        let child = lines.map_while(Result::ok).find_map(|line| line.strip_prefix("child=")?.parse().ok());
        (program, child.unwrap())
    }

    fn is_over(process: u32) -> bool {
        let deadline = Instant::now() + Duration::from_secs(20);
        let runs = || {
            // Its parent is gone, and whoever comes after may be slow to collect it.
            let stat = std::fs::read_to_string(format!("/proc/{process}/stat"));
            stat.is_ok_and(|stat| !stat.contains(") Z "))
        };
        while runs() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
        }
        !runs()
    }

    #[test]
    fn a_signal_ends_the_children_and_tidies_up_and_is_the_status() {
        let scratch = tempfile::tempdir().unwrap();
        for signal in SIGNALS {
            let folder = scratch.path().join(signal.to_string());
            let (mut program, child) = started(&folder);
            // SAFETY: the call takes two numbers.
            unsafe { libc::kill(program.id() as i32, signal) };
            assert_eq!(program.wait().unwrap().signal(), Some(signal));
            assert!(is_over(child), "signal {signal}");
            assert!(!folder.exists(), "signal {signal}");
        }
    }

    #[test]
    fn a_program_that_is_killed_leaves_no_children() {
        let scratch = tempfile::tempdir().unwrap();
        let (mut program, child) = started(&scratch.path().join("left"));
        program.kill().unwrap();
        program.wait().unwrap();
        assert!(is_over(child));
    }

    #[test]
    fn what_goes_before_is_undone_once() {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let tidy = || {
            Tidy::with(|| {
                COUNT.fetch_add(1, Ordering::Relaxed);
            })
            .unwrap()
        };
        let (first, second) = (tidy(), tidy());
        drop(first);
        assert_eq!(COUNT.load(Ordering::Relaxed), 1);
        drop(second);
        assert_eq!(COUNT.load(Ordering::Relaxed), 2);
    }
}
