//! Which faults come when: an endless sequence of episodes, each a function of the seed and its number alone.

use crate::network::VALIDATORS;
use netem::Path;
use std::fmt;
use std::time::Duration;

/// Something that is wrong for as long as an episode lasts.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// SIGSTOP, and SIGCONT at the end.
    Hang { node: usize },
    /// `kill -9`, and a start at the end.
    Kill { nodes: Vec<usize> },
    /// Nobody hears it.
    Muted { node: usize },
    /// It hears nobody.
    Deafened { node: usize },
    /// One link, one way.
    OneWay { from: usize, to: usize },
    /// Both ways, between one side and the other.
    Partition { side: Vec<usize> },
    /// All links are as bad as this.
    Storm { path: Path },
    /// The wall clock of one is off by so many seconds.
    Clock { node: usize, seconds: i64 },
}

/// What is wrong, and for how long.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    pub number: u64,
    /// What all links are like in fair weather.
    pub fair: Path,
    pub faults: Vec<Fault>,
    pub lasts: Duration,
}

impl Episode {
    /// The episode with this number. Without `clocks`, no wall clock is touched.
    pub fn new(seed: u64, number: u64, clocks: bool) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let fair = Path {
            delay: dice.micros(500, 60_000),
            jitter: dice.micros(0, 1_000),
            loss_ppm: dice.upto(20_000) as u32,
            duplication_ppm: dice.upto(5_000) as u32,
            ..Path::default()
        };
        let first = dice.fault(clocks);
        let mut faults = vec![first];
        // Every third time two things go wrong together, but not two with the same process.
        if dice.upto(3) == 0 {
            let second = dice.fault(clocks);
            let of_a_process =
                |fault: &Fault| matches!(fault, Fault::Hang { .. } | Fault::Kill { .. } | Fault::Clock { .. });
            let same_process = of_a_process(&faults[0]) && of_a_process(&second);
            if !same_process && !faults[0].same_kind(&second) {
                faults.push(second);
            }
        }
        Self { number, fair, faults, lasts: dice.micros(300_000, 9_000_000) }
    }
}

impl Fault {
    fn same_kind(&self, other: &Self) -> bool {
        std::mem::discriminant(self) == std::mem::discriminant(other)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hang { node } => write!(f, "{node} hangs"),
            Self::Kill { nodes } => write!(f, "{nodes:?} killed"),
            Self::Muted { node } => write!(f, "nobody hears {node}"),
            Self::Deafened { node } => write!(f, "{node} hears nobody"),
            Self::OneWay { from, to } => write!(f, "{to} does not hear {from}"),
            Self::Partition { side } => write!(f, "{side:?} apart from the others"),
            Self::Storm { path } => write!(
                f,
                "storm of {} ms + {} ms, {} % loss, {} Mbit/s",
                path.delay.as_millis(),
                path.jitter.as_millis(),
                path.loss_ppm / 10_000,
                path.bits_per_second / 1_000_000
            ),
            Self::Clock { node, seconds } => write!(f, "the clock of {node} jumps by {seconds} s"),
        }
    }
}

impl fmt::Display for Episode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<_> = self.faults.iter().map(Fault::to_string).collect();
        write!(
            f,
            "{:>3}: {} for {:.1} s ({} ms and {:.1} % of loss apart)",
            self.number,
            faults.join("; "),
            self.lasts.as_secs_f64(),
            self.fair.delay.as_millis(),
            f64::from(self.fair.loss_ppm) / 1e4
        )
    }
}

/// SplitMix64.
struct Dice(u64);

impl Dice {
    /// Less than this.
    fn upto(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn micros(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_micros(from + self.upto(to - from))
    }

    fn node(&mut self) -> usize {
        self.upto(VALIDATORS as u64) as usize
    }

    /// At least one of them, in order.
    fn nodes(&mut self) -> Vec<usize> {
        let mask = 1 + self.upto((1 << VALIDATORS) - 1);
        (0..VALIDATORS).filter(|node| mask >> node & 1 == 1).collect()
    }

    fn fault(&mut self, clocks: bool) -> Fault {
        match self.upto(if clocks { 8 } else { 7 }) {
            0 => Fault::Hang { node: self.node() },
            1 => Fault::Kill { nodes: self.nodes() },
            2 => Fault::Muted { node: self.node() },
            3 => Fault::Deafened { node: self.node() },
            4 => {
                let (from, further) = (self.node(), 1 + self.upto(VALIDATORS as u64 - 1) as usize);
                Fault::OneWay { from, to: (from + further) % VALIDATORS }
            }
            5 => Fault::Partition { side: vec![self.node(), self.node()] },
            6 => Fault::Storm {
                path: Path {
                    delay: self.micros(1_000, 200_000),
                    jitter: self.micros(0, 30_000),
                    loss_ppm: self.upto(150_000) as u32,
                    duplication_ppm: self.upto(50_000) as u32,
                    bits_per_second: (2 + self.upto(20)) * 1_000_000,
                    queue: Duration::from_millis(50),
                    cut: false,
                },
            },
            _ => {
                let size = [2, 60, 3_600, 86_400][self.upto(4) as usize];
                Fault::Clock { node: self.node(), seconds: if self.upto(2) == 0 { size } else { -size } }
            }
        }
    }
}

#[test]
fn a_seed_gives_the_same_schedule_and_each_fault_has_its_turn() {
    let schedule = |seed| (0..60).map(|number| Episode::new(seed, number, true)).collect::<Vec<_>>();
    assert_eq!(schedule(1), schedule(1));
    assert_ne!(schedule(1), schedule(2));
    let mut kinds: Vec<_> = schedule(1).iter().flat_map(|episode| episode.faults.clone()).collect();
    assert!(kinds.len() > 65, "some episodes have two");
    kinds.dedup_by(|a, b| a.same_kind(b));
    let mut found: Vec<Fault> = Vec::new();
    for kind in kinds {
        if !found.iter().any(|known| known.same_kind(&kind)) {
            found.push(kind);
        }
    }
    assert_eq!(found.len(), 8, "{found:?}");
}
