//! Short turns on the processor for the thread that writes: on a machine with more to run than cores, the kernel lets a
//! thread with short turns run as soon as it wakes, where another waits for the next tick of the clock, 4 ms. For the
//! same reason it is taken off sooner; it has little to do at a time, so it loses nothing.
//!
//! Needs no privilege. Kernels before 6.12 take the wish and ignore it. Deliberately absent: priorities, real-time
//! scheduling; a thread that an operator has given one keeps it.
#![allow(unsafe_code)]

use std::io;

/// Length of a turn in nanoseconds, the shortest that the kernel takes.
const TURN_NS: u64 = 100_000;

/// `struct sched_attr` of `sched_setattr(2)`, first version.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Attributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SIZE: u32 = size_of::<Attributes>() as u32;

/// Asks for short turns for the calling thread and those that it starts.
pub(super) fn shorten() -> io::Result<()> {
    let mut attributes = read()?;
    if attributes.policy != libc::SCHED_OTHER.cast_unsigned() {
        return Ok(());
    }
    attributes.runtime = TURN_NS;
    // SAFETY: the pointer is to a live value of the size that the value itself says; 0 is the calling thread.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn read() -> io::Result<Attributes> {
    let mut attributes = Attributes { size: SIZE, ..Attributes::default() };
    // SAFETY: the kernel writes at most `SIZE` bytes, all of them plain integers, to a live value of that size.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attributes, SIZE, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(attributes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asks_gets_short_turns() {
        let short = std::thread::spawn(|| {
            shorten().expect("no privilege is needed");
            read().expect("of this thread").runtime
        });
        let short = short.join().expect("it does not panic");
        let ordinary = read().expect("of this thread").runtime;
        // A kernel that has no such wish says 0 for both.
        assert!(short == TURN_NS || (short, ordinary) == (0, 0), "{short} {ordinary}");
        assert_ne!(ordinary, TURN_NS);
    }
}
