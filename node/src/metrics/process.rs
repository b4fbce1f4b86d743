//! What this process uses, as the kernel counts it (`proc(5)`): CPU time, by the stage that a thread's name tells, and
//! memory. Deliberately absent: other processes.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

/// Length of the kernel's tick in user space: USER_HZ is 100 on every Linux port that Rust supports.
const TICK: Duration = Duration::from_millis(10);
/// Stage of the CPU time of threads that have ended.
const ENDED: &str = "ended";

/// A reading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time so far, user and system.
    pub cpu: Duration,
    /// The same by stage; threads that differ only in a number are one stage.
    pub stages: BTreeMap<String, Duration>,
    /// Resident memory now.
    pub rss_bytes: u64,
    /// Most resident memory so far.
    pub rss_bytes_max: u64,
}

impl Usage {
    /// Reads `/proc/self`: two small files, and one for each thread. What cannot be read counts as nothing.
    pub fn now() -> Self {
        let mut stages = BTreeMap::new();
        for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
            // A thread may end between the listing and the reading.
            let Ok(stat) = fs::read_to_string(task.path().join("stat")) else { continue };
            if let Some((name, cpu)) = parse_stat(&stat) {
                *stages.entry(stage(name).to_owned()).or_default() += cpu;
            }
        }
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let cpu = parse_stat(&stat).map_or(Duration::ZERO, |(_, cpu)| cpu);
        let ended = cpu.saturating_sub(stages.values().sum());
        if !ended.is_zero() {
            stages.insert(ENDED.to_owned(), ended);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self {
            cpu,
            stages,
            rss_bytes: parse_kib(&status, "VmRSS:").unwrap_or(0),
            rss_bytes_max: parse_kib(&status, "VmHWM:").unwrap_or(0),
        }
    }
}

/// Name and CPU time in a `stat` file of a process or thread.
fn parse_stat(stat: &str) -> Option<(&str, Duration)> {
    // The name in parentheses may hold anything, so fields are counted from behind it: utime is the 14th, stime the 15th.
    let (head, fields) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((name, TICK * user + TICK * system))
}

/// The bytes of a line of a `status` file that counts in KiB.
fn parse_kib(status: &str, key: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// A thread's name without the number that tells it from others of its kind: `accel-3` is of stage `accel`.
fn stage(name: &str) -> &str {
    let kind = name.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end_matches(['-', ':']);
    if kind.is_empty() { name } else { kind }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_move_the_fields() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 10";
        assert_eq!(parse_stat(stat), Some(("a) b (c", Duration::from_secs(3))));
        for broken in ["", "7 (a", "7 (a) S 1", "7 a) S 1 7 7 0 -1 4194560 100 0 0 0 250 50", &stat.replace("250", "x")]
        {
            assert_eq!(parse_stat(broken), None, "{broken}");
        }
    }

    #[test]
    fn memory_is_read_in_bytes() {
        let status = "Name:\tstele\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\nThreads:\t9\n";
        assert_eq!(parse_kib(status, "VmRSS:"), Some(1 << 20));
        assert_eq!(parse_kib(status, "VmHWM:"), Some(2 << 20));
        assert_eq!(parse_kib(status, "VmSwap:"), None);
        assert_eq!(parse_kib(status, "Threads:"), None);
        assert_eq!(parse_kib("VmRSS: 18446744073709551615 kB", "VmRSS:"), None);
    }

    #[test]
    fn threads_that_differ_in_a_number_are_one_stage() {
        for (name, expected) in [
            ("accel-3", "accel"),
            ("accel-12", "accel"),
            ("rocksdb:low0", "rocksdb:low"),
            ("signer-desk", "signer-desk"),
            ("net", "net"),
            ("42", "42"),
            ("", ""),
        ] {
            assert_eq!(stage(name), expected);
        }
    }

    #[test]
    fn work_of_this_process_shows_under_the_name_of_its_thread() {
        let worker = std::thread::Builder::new().name("busy-7".into()).spawn(|| {
            let start = Usage::now();
            // Ends as soon as the kernel has counted a few ticks of it.
            loop {
                let now = Usage::now();
                let spent = |usage: &Usage| usage.stages.get("busy").copied().unwrap_or_default();
                if spent(&now) >= spent(&start) + 3 * TICK {
                    return now;
                }
            }
        });
        let usage = worker.expect("a thread").join().expect("no panic");
        assert!(usage.cpu >= usage.stages["busy"]);
        assert!(usage.rss_bytes > 1 << 20 && usage.rss_bytes_max >= usage.rss_bytes);
    }
}
