//! What a link does to messages, and how long they take: integers only, so that every machine draws the same delays.

use crate::sim::rng::Rng;

/// Shape of a delay between its shortest and longest value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Distribution {
    /// Every value alike.
    #[default]
    Uniform,
    /// Bell-shaped around the middle: the mean of twelve uniform draws (Irwin–Hall), so that the ends are six standard
    /// deviations away.
    Normal,
}

/// One direction of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Links {
    /// Shortest one-way delay in microseconds.
    pub delay_us_min: u64,
    /// Longest one.
    pub delay_us_max: u64,
    /// How delays spread between them.
    pub distribution: Distribution,
    /// Messages lost of a thousand; nobody is told.
    pub loss_permille: u64,
    /// A lost message is sent again by the transport and comes three delays later, instead of never.
    pub retransmit: bool,
    /// Messages that come twice, of a thousand.
    pub duplicate_permille: u64,
    /// Whether messages overtake each other.
    pub reorder: bool,
    /// How much later than its header a payload comes, at most, in microseconds.
    pub payload_us_max: u64,
}

impl Default for Links {
    fn default() -> Self {
        Self {
            delay_us_min: 4_000,
            delay_us_max: 8_000,
            distribution: Distribution::Uniform,
            loss_permille: 0,
            retransmit: false,
            duplicate_permille: 0,
            reorder: false,
            payload_us_max: 3_000,
        }
    }
}

impl Links {
    /// Always the same delay, payloads with their headers, nothing lost.
    pub fn constant(delay_us: u64) -> Self {
        Self { delay_us_min: delay_us, delay_us_max: delay_us, payload_us_max: 0, ..Self::default() }
    }

    /// The delay of one message, in microseconds.
    pub(crate) fn delay_us(&self, rng: &mut Rng) -> u64 {
        let (min, max) = (self.delay_us_min, self.delay_us_max);
        if min == max {
            return min;
        }
        match self.distribution {
            Distribution::Uniform => rng.between(min, max),
            Distribution::Normal => min + (0..12).map(|_| rng.between(0, max - min)).sum::<u64>() / 12,
        }
    }

    /// The middle of the delays, in microseconds.
    pub(crate) fn typical_us(&self) -> u64 {
        (self.delay_us_min + self.delay_us_max) / 2
    }
}
