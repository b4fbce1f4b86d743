//! Two cores with one identity (Bano et al., "Twins"): each keeps the rules, and together they equivocate. The network
//! decides which of the two a peer hears from and speaks to, and changes its mind from time to time.

use crate::sim::adversary::Adversary;
use crate::sim::rng::Rng;

/// Marks a core as one of two.
#[derive(Debug)]
pub(crate) struct Twin;

impl Adversary for Twin {}

/// Which of the two each peer is with: the first, the second, or both.
#[derive(Clone, Debug)]
pub(crate) struct Sides(Vec<u8>);

impl Sides {
    /// Draws.
    pub fn draw(size: usize, rng: &mut Rng) -> Self {
        Self((0..size).map(|_| rng.between(1, 3) as u8).collect())
    }

    /// Whether a peer is with the first or with the second.
    pub fn joins(&self, peer: usize, second: bool) -> bool {
        self.0.get(peer).is_some_and(|side| side & (1 << u8::from(second)) != 0)
    }
}
