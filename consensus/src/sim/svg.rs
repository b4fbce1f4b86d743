//! A drawing of the DAG: rounds from left to right, members from top to bottom.
//!
//! Green: committed leaders. Blue: other blocks that a commit took. White: blocks that none took. Red, dashed: the slot of
//! a leader that was skipped. Orange: members with more than one block in a round. Lines go to parents of the round
//! below; thinner ones to older ancestors.

use crate::schedule::LeaderSchedule;
use crate::sim::Simulation;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;
use types::{AuthorityIndex, BlockHeader, BlockRef, Epoch, Round};

/// Widest drawing, in rounds.
const ROUNDS_MAX: u64 = 1_000;
const COLUMN: u64 = 80;
const ROW: u64 = 56;
const LEFT: u64 = 70;
const TOP: u64 = 56;

impl Simulation {
    /// Draws some rounds of the first epoch as SVG.
    pub fn svg(&self, rounds: Range<u64>) -> String {
        let rounds = rounds.start..rounds.end.min(rounds.start.saturating_add(ROUNDS_MAX));
        let size = self.scenario.keys.committee().size() as u64;
        let (width, height) = (LEFT + (rounds.end - rounds.start) * COLUMN, TOP + size * ROW);
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
             font-size=\"11\">\n<rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
        );
        let places = self.places(&rounds);
        let leaders: BTreeSet<BlockRef> = self.agreement.leaders().iter().copied().collect();
        let x = |round: u64| LEFT + (round - rounds.start) * COLUMN + COLUMN / 2;
        let y = |author: AuthorityIndex| TOP + u64::from(author.0) * ROW + ROW / 2;
        for author in self.scenario.keys.committee().indices() {
            let _ = writeln!(out, "<text x=\"8\" y=\"{}\">node {author}</text>", y(author) + 4);
        }
        for round in rounds.clone() {
            let _ = writeln!(out, "<text x=\"{}\" y=\"20\" text-anchor=\"middle\">{round}</text>", x(round));
        }
        for (round, leader) in self.skipped(&rounds) {
            let (x, y) = (x(round.0) - 22, y(leader) - 22);
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"44\" height=\"44\" rx=\"6\" fill=\"none\" stroke=\"#c62828\" \
                 stroke-width=\"2\" stroke-dasharray=\"5 3\"><title>round {round}: leader {leader} skipped</title></rect>"
            );
        }
        for (header, (cx, cy)) in places.values() {
            for ancestor in header.ancestors() {
                let Some((_, (px, py))) = places.get(ancestor) else { continue };
                let width = if ancestor.round.next() == header.round() { "1" } else { "0.4" };
                let _ = writeln!(
                    out,
                    "<line x1=\"{cx}\" y1=\"{cy}\" x2=\"{px}\" y2=\"{py}\" stroke=\"#90a4ae\" stroke-width=\"{width}\"/>"
                );
            }
        }
        for (block, (header, (cx, cy))) in &places {
            let twins =
                places.keys().filter(|other| (other.round, other.author) == (block.round, block.author)).count();
            let fill = match () {
                () if leaders.contains(block) => "#2e7d32",
                () if self.agreement.is_output(0, block) => "#64b5f6",
                () => "#ffffff",
            };
            let (stroke, wide) = if twins > 1 { ("#ef6c00", 4) } else { ("#455a64", 1) };
            let radius = if header.body().payload.is_empty() { 8 } else { 11 };
            let _ = writeln!(
                out,
                "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{stroke}\" \
                 stroke-width=\"{wide}\"><title>{block}, {} transactions</title></circle>",
                header.body().payload.count
            );
        }
        out.push_str("</svg>\n");
        out
    }

    /// Every block that any node holds, and where it is drawn.
    fn places(&self, rounds: &Range<u64>) -> BTreeMap<BlockRef, (Arc<BlockHeader>, (u64, u64))> {
        let mut places = BTreeMap::new();
        for round in rounds.clone() {
            let mut row: BTreeMap<BlockRef, Arc<BlockHeader>> = BTreeMap::new();
            for header in self.nodes.iter().flat_map(|node| node.disk.row(Round(round), Epoch(1))) {
                row.insert(header.block_ref(), header.clone());
            }
            let mut twins: BTreeMap<AuthorityIndex, u64> = BTreeMap::new();
            for (block, header) in row {
                let before = twins.entry(block.author).or_default();
                let x = LEFT + (round - rounds.start) * COLUMN + COLUMN / 2 + *before * 14;
                let y = TOP + u64::from(block.author.0) * ROW + ROW / 2 + *before * 10;
                *before += 1;
                places.insert(block, (header, (x, y)));
            }
        }
        places
    }

    /// The leaders of the slots between two committed ones, under the table of the commit below.
    fn skipped(&self, rounds: &Range<u64>) -> Vec<(Round, AuthorityIndex)> {
        let config = &self.scenario.keys.config(AuthorityIndex(0));
        let mut skipped = Vec::new();
        let (mut below, mut schedule) = (Round(0), Some(LeaderSchedule::new(config)));
        for (index, leader) in self.agreement.leaders().iter().enumerate() {
            for round in below.0 + 1..leader.round.0 {
                if let Some(schedule) = schedule.as_ref().filter(|_| rounds.contains(&round)) {
                    skipped.push((Round(round), schedule.leader(Round(round))));
                }
            }
            below = leader.round;
            if below.0 >= rounds.end {
                break;
            }
            let checkpoint = self.agreement.checkpoint(index);
            schedule = checkpoint.and_then(|behind| LeaderSchedule::restore(config, behind.schedule.clone()));
        }
        skipped
    }
}
