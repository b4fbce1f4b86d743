//! Facts about this machine and checkout that make a measurement comparable, and the date without a calendar library.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::workspace::{Workspace, output_of};

/// What stands above every table of results.
#[derive(Debug)]
pub struct Machine {
    /// `model name` of the first processor.
    pub cpu: String,
    /// Threads that this process may use at once.
    pub cores: usize,
    /// Whole mebibytes of memory.
    pub memory_mib: u64,
    /// Kernel release.
    pub kernel: String,
    /// `rustc --version`.
    pub rustc: String,
    /// Short commit, with `-dirty` when the tree differs from it.
    pub commit: String,
    /// UTC, `2026-01-31T12:00:00Z`.
    pub time: String,
}

impl Machine {
    /// Reads them; what cannot be read says `unknown`.
    pub fn read(workspace: &Workspace) -> Self {
        let unknown = || "unknown".to_owned();
        let file = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, value)| value.trim().to_owned()))
        };
        let memory = field(&file("/proc/meminfo"), "MemTotal").unwrap_or_default();
        let kibibytes = memory.split_whitespace().next().and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        let git = |arguments: &[&str]| output_of(Command::new("git").current_dir(&workspace.root).args(arguments));
        let commit = git(&["rev-parse", "--short=10", "HEAD"]);
        let dirty = git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
        Self {
            cpu: field(&file("/proc/cpuinfo"), "model name").unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kibibytes / 1024,
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            rustc: output_of(Command::new("rustc").arg("--version")).unwrap_or_else(unknown),
            commit: commit.map_or_else(unknown, |commit| if dirty { commit + "-dirty" } else { commit }),
            time: utc(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())),
        }
    }

    /// For the JSON file.
    pub fn to_json(&self) -> Value {
        json!({
            "cpu": self.cpu, "cores": self.cores, "memory_mib": self.memory_mib, "kernel": self.kernel,
            "rustc": self.rustc, "commit": self.commit, "time": self.time,
        })
    }

    /// For the head of the Markdown file.
    pub fn to_markdown(&self) -> String {
        format!(
            "- machine: {}, {} cores, {} MiB, Linux {}\n- build: {}, commit {}\n- time: {}\n",
            self.cpu, self.cores, self.memory_mib, self.kernel, self.rustc, self.commit, self.time
        )
    }
}

/// Seconds since 1970 as an ISO 8601 time. Days to civil date after Hinnant, "chrono-compatible low-level date algorithms".
pub fn utc(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right_across_leap_days() {
        assert_eq!(utc(0), "1970-01-01T00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(utc(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(utc(1_709_251_200), "2024-03-01T00:00:00Z");
        assert_eq!(utc(1_767_225_599), "2025-12-31T23:59:59Z");
    }
}
