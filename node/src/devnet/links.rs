//! Links between the validators of a devnet that are not those of one machine: each validator gets a network namespace
//! of its own, and what passes between two of them is delayed, lost and slowed. The load and RPC stay beside them, so
//! that the latency in the report is that of consensus on such links.

use clap::Args;
use miette::miette;
use netem::{Counts, Emulation, Path};
use serde::Serialize;
use std::str::FromStr;
use std::time::Duration;

/// Longest wait at a bottleneck before a packet is dropped: what routers are commonly made for.
const QUEUE: Duration = Duration::from_millis(50);

/// What to make of the links.
#[derive(Clone, Debug, Args)]
pub struct LinkArgs {
    /// Milliseconds from one validator to another, each way: half of the round trip. Any of these five options puts every
    /// validator into a network namespace of its own, which takes root, or `unshare --user --map-root-user --net`.
    #[arg(long, value_name = "MS", default_value = "0", help_heading = "Emulated links")]
    delay_ms: Millis,
    /// Milliseconds that are added to the delay at random, up to this; it reorders packets.
    #[arg(long, value_name = "MS", default_value = "0", help_heading = "Emulated links")]
    jitter_ms: Millis,
    /// Packets lost between validators, in percent, with up to four decimals.
    #[arg(long, value_name = "PERCENT", default_value = "0", help_heading = "Emulated links")]
    loss: Percent,
    /// Megabits a second from one validator to another.
    #[arg(long, value_name = "MBIT/S", help_heading = "Emulated links")]
    link_mbps: Option<u32>,
    /// Which packets are lost; the same for the same seed.
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Emulated links")]
    link_seed: u64,
}

/// Milliseconds, with decimals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Millis(Duration);

impl FromStr for Millis {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<f64>() {
            Ok(ms) if (0.0..=10_000.0).contains(&ms) => Ok(Self(Duration::from_secs_f64(ms / 1e3))),
            _ => Err("expected milliseconds from 0 to 10000"),
        }
    }
}

/// Parts of a million, written in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Percent(u32);

impl FromStr for Percent {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim_end_matches('%').parse::<f64>() {
            // At most a million, and whole.
            Ok(percent) if (0.0..=100.0).contains(&percent) => Ok(Self((percent * 1e4).round() as u32)),
            _ => Err("expected a percentage from 0 to 100, such as 0.1"),
        }
    }
}

/// What the report says of the links.
#[derive(Clone, Debug, Serialize)]
pub struct LinksReport {
    /// Each way.
    pub delay_ms: f64,
    /// Added at random, up to this.
    pub jitter_ms: f64,
    /// Of packets between validators.
    pub loss_percent: f64,
    /// Of each direction; null is no limit.
    pub mbps: Option<u32>,
    /// Packets that arrived, the clients' included.
    pub delivered: u64,
    /// Packets lost, or dropped at a bottleneck.
    pub dropped: u64,
    /// Packets that this machine delivered more than a millisecond late: with many of them the figures are its own.
    pub late: u64,
    /// The latest of them, in milliseconds.
    pub latest_ms: f64,
}

impl LinkArgs {
    /// The path from one validator to another, or `None` where nothing is asked for and loopback does.
    fn path(&self) -> Option<Path> {
        let path = Path {
            delay: self.delay_ms.0,
            jitter: self.jitter_ms.0,
            loss_ppm: self.loss.0,
            bits_per_second: u64::from(self.link_mbps.unwrap_or(0)) * 1_000_000,
            ..Path::default()
        };
        (path != Path::default()).then_some(Path { queue: QUEUE, ..path })
    }

    /// Makes the namespaces and the links between them, if any are asked for.
    pub fn emulate(&self, validators: u16) -> miette::Result<Option<Emulation>> {
        let Some(path) = self.path() else { return Ok(None) };
        let emulation = Emulation::start(validators.into(), self.link_seed).map_err(|error| {
            let help = match error.is_unsupported() {
                true => "leave out --delay-ms, --jitter-ms, --loss and --link-mbps to run over loopback",
                false => "see the cause",
            };
            let source = std::error::Error::source(&error).map_or(String::new(), |cause| format!(": {cause}"));
            miette!(help = help, "{error}{source}")
        })?;
        emulation.set_all(path);
        Ok(Some(emulation))
    }

    /// For the report.
    pub fn report(&self, counts: Counts) -> LinksReport {
        let ms = |duration: Duration| (duration.as_secs_f64() * 1e6).round() / 1e3;
        LinksReport {
            delay_ms: ms(self.delay_ms.0),
            jitter_ms: ms(self.jitter_ms.0),
            loss_percent: f64::from(self.loss.0) / 1e4,
            mbps: self.link_mbps,
            delivered: counts.delivered,
            dropped: counts.dropped,
            late: counts.late,
            latest_ms: ms(counts.latest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        links: LinkArgs,
    }

    fn path(words: &str) -> Option<Path> {
        Command::try_parse_from(std::iter::once("devnet").chain(words.split_whitespace())).ok()?.links.path()
    }

    #[test]
    fn links_are_emulated_where_something_is_asked_of_them() {
        assert_eq!(path(""), None);
        assert_eq!(path("--delay-ms 0 --loss 0"), None);
        let asked = path("--delay-ms 25 --loss 0.1% --link-mbps 100").expect("something is asked for");
        assert_eq!((asked.delay, asked.loss_ppm), (Duration::from_millis(25), 1000));
        assert_eq!((asked.bits_per_second, asked.queue), (100_000_000, QUEUE));
        assert_eq!(path("--delay-ms 0.5").expect("half a millisecond").delay, Duration::from_micros(500));
    }

    #[test]
    fn nonsense_is_refused() {
        for wrong in ["101", "-1", "NaN", "inf", "much", ""] {
            assert!(wrong.parse::<Percent>().is_err(), "{wrong}");
            assert!(wrong.parse::<Millis>().is_err() || wrong == "101", "{wrong}");
        }
    }
}
