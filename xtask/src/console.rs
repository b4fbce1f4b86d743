//! How lines look on the terminal: headings, durations, and one line that is rewritten while something long runs (plain lines at a
//! slower pace where the output is no terminal).

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Prints the heading of a step.
pub fn heading(text: &str) {
    println!("\n== {text}");
}

/// `0.4 s`, `12 s`, `3 min 05 s`.
pub fn duration(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", elapsed.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// A status line for one long step.
#[derive(Debug)]
pub struct Progress {
    started: Instant,
    last: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Between two plain lines when the output is a file or a pipe.
    const PLAIN_INTERVAL: Duration = Duration::from_secs(20);

    /// Starts the clock.
    pub fn start() -> Self {
        Self { started: Instant::now(), last: None, terminal: std::io::stdout().is_terminal() }
    }

    /// Shows `text` and the time since the start.
    pub fn show(&mut self, text: &str) {
        let now = Instant::now();
        if !self.terminal && self.last.is_some_and(|last| now - last < Self::PLAIN_INTERVAL) {
            return;
        }
        self.last = Some(now);
        let line = format!("  {text}, {}", duration(now - self.started));
        if self.terminal {
            // Carriage return and "erase to the end of the line".
            print!("\r{line}\x1b[K");
            std::io::stdout().flush().ok();
        } else {
            println!("{line}");
        }
    }

    /// Leaves the status line and returns the time that passed.
    pub fn finish(self) -> Duration {
        if self.terminal && self.last.is_some() {
            println!();
        }
        self.started.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_like_speech() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }
}
