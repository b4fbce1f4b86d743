//! What processes use, as the kernel counts it (`proc(5)`).

use std::time::Duration;

/// Length of the kernel's tick in user space: USER_HZ is 100 on every Linux port that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// CPU time of a process so far, user and system; zero for one that is gone.
pub fn cpu(pid: u32) -> Duration {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| parse_cpu(&stat)).unwrap_or_default()
}

fn parse_cpu(stat: &str) -> Option<Duration> {
    // The name in parentheses may hold anything, so fields are counted from behind it: utime is the 14th, stime the 15th.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(TICK * user + TICK * system)
}

/// The most memory that a process had resident, in bytes; 0 for one that is gone.
pub fn rss_max(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Bytes that a process made the kernel write to disks so far; 0 for one that is gone.
pub fn written(pid: u32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_parenthesis_does_not_move_the_fields() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 100 1000 10";
        assert_eq!(parse_cpu(stat), Some(Duration::from_secs(3)));
        assert_eq!(parse_cpu("7 (a"), None);
    }

    #[test]
    fn this_process_uses_memory_and_a_missing_one_does_not() {
        assert!(rss_max(std::process::id()) > 1 << 20);
        assert_eq!((rss_max(u32::MAX), cpu(u32::MAX)), (0, Duration::ZERO));
    }
}
