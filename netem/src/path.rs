//! One direction from one host to another: its properties, and what becomes of each packet on it.

use std::time::Duration;

/// The properties of one direction. The default changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Path {
    /// Time on the way.
    pub delay: Duration,
    /// Added to it, evenly from zero up to this; larger than the distance of two packets, it reorders them.
    pub jitter: Duration,
    /// Packets lost, of a million.
    pub loss_ppm: u32,
    /// Packets delivered twice, of a million.
    pub duplication_ppm: u32,
    /// Bits a second that pass; 0 is no limit.
    pub bits_per_second: u64,
    /// With a limit, the longest wait for it; what would wait longer is dropped.
    pub queue: Duration,
    /// Nothing passes.
    pub cut: bool,
}

/// A direction at work.
#[derive(Clone, Debug)]
pub(crate) struct Direction {
    pub(crate) path: Path,
    random: u64,
    /// When the bottleneck is free again, since the start.
    free_at: Duration,
}

/// When the copies of a packet arrive, since the start. A lost one has none.
pub(crate) type Arrivals = [Option<Duration>; 2];

impl Direction {
    /// The direction with this number, of all that `seed` decides on.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let random = mix(seed ^ mix(number.wrapping_add(1)));
        Self { path: Path::default(), random, free_at: Duration::ZERO }
    }

    /// A packet of `bytes` sets out at `now`.
    pub(crate) fn carry(&mut self, now: Duration, bytes: usize) -> Arrivals {
        let path = self.path;
        // As many draws whatever happens, so that a change of one property does not change what the others do.
        let (lost, doubled) = (self.chance(path.loss_ppm), self.chance(path.duplication_ppm));
        let (first, second) = (self.upto(path.jitter), self.upto(path.jitter));
        if lost || path.cut {
            return [None, None];
        }
        let mut leaves = now;
        if let Some(nanos) = (bytes as u64 * 8_000_000_000).checked_div(path.bits_per_second) {
            let starts = now.max(self.free_at);
            if starts - now > path.queue {
                return [None, None];
            }
            leaves = starts + Duration::from_nanos(nanos);
            self.free_at = leaves;
        }
        [Some(leaves + path.delay + first), doubled.then(|| leaves + path.delay + second)]
    }

    fn chance(&mut self, ppm: u32) -> bool {
        self.draw() % 1_000_000 < u64::from(ppm)
    }

    fn upto(&mut self, longest: Duration) -> Duration {
        let draw = self.draw();
        Duration::from_nanos(draw % (u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX - 1) + 1))
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random)
    }
}

/// The finaliser of SplitMix64.
fn mix(value: u64) -> u64 {
    let mut z = value;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn direction(path: Path) -> Direction {
        Direction { path, ..Direction::new(7, 3) }
    }

    fn fates(path: Path, packets: usize) -> Vec<Arrivals> {
        let mut direction = direction(path);
        (0..packets).map(|turn| direction.carry(turn as u32 * MS, 1000)).collect()
    }

    #[test]
    fn an_untouched_direction_passes_everything_at_once() {
        assert_eq!(fates(Path::default(), 3), [[Some(Duration::ZERO), None], [Some(MS), None], [Some(2 * MS), None]]);
    }

    #[test]
    fn one_in_a_hundred_is_lost_and_the_same_ones_every_time() {
        let path = Path { loss_ppm: 10_000, delay: 25 * MS, ..Path::default() };
        let first = fates(path, 100_000);
        let lost = first.iter().filter(|arrivals| arrivals[0].is_none()).count();
        assert!((900..1100).contains(&lost), "{lost}");
        assert_eq!(first, fates(path, 100_000));
        // Another property leaves the losses where they were.
        let cut_in_half = fates(Path { jitter: 5 * MS, duplication_ppm: 500_000, ..path }, 100_000);
        assert!(first.iter().zip(&cut_in_half).all(|(a, b)| a[0].is_none() == b[0].is_none()));
        assert_ne!(first, {
            let mut other = Direction { path, ..Direction::new(7, 4) };
            (0..100_000).map(|turn| other.carry(turn * MS, 1000)).collect::<Vec<_>>()
        });
    }

    #[test]
    fn jitter_reorders_and_duplicates_arrive_on_their_own() {
        let arrivals = fates(Path { jitter: 10 * MS, duplication_ppm: 100_000, ..Path::default() }, 10_000);
        let firsts: Vec<_> = arrivals.iter().map(|arrivals| arrivals[0].expect("none is lost")).collect();
        assert!(firsts.windows(2).any(|pair| pair[1] < pair[0]));
        assert!(firsts.iter().zip(0..).all(|(at, turn)| (turn * MS..=(turn + 10) * MS).contains(at)));
        let doubled = arrivals.iter().filter(|arrivals| arrivals[1].is_some()).count();
        assert!((900..1100).contains(&doubled), "{doubled}");
    }

    #[test]
    fn a_bottleneck_spaces_packets_and_drops_what_would_wait_too_long() {
        // 1,000 bytes at 8 Mbit/s take a millisecond.
        let mut direction = direction(Path { bits_per_second: 8_000_000, queue: 3 * MS, ..Path::default() });
        let burst: Vec<_> = (0..6).map(|_| direction.carry(Duration::ZERO, 1000)[0]).collect();
        assert_eq!(burst, [Some(MS), Some(2 * MS), Some(3 * MS), Some(4 * MS), None, None]);
        assert_eq!(direction.carry(4 * MS, 1000)[0], Some(5 * MS));
    }

    #[test]
    fn a_cut_passes_nothing_and_heals() {
        let mut direction = direction(Path { cut: true, ..Path::default() });
        assert_eq!(direction.carry(MS, 1000), [None, None]);
        direction.path.cut = false;
        assert_eq!(direction.carry(MS, 1000), [Some(MS), None]);
    }
}
