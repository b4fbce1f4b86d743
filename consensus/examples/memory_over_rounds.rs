//! A core over many rounds, to see its speed and that its memory stays flat: every tenth of the way it prints accepted
//! blocks, blocks a second of the core alone, and the resident memory of the process.
//!
//! `cargo run -p stele-consensus --example memory_over_rounds -- 10 1000000` (validators, rounds).

use consensus::sim::Keys;
use consensus::{Core, Effect, Input};
use std::error::Error;
use std::time::{Duration, Instant};
use types::{AuthorityIndex, Round};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let size: u16 = arguments.next().map_or(Ok(4), |text| text.parse())?;
    let rounds: u64 = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let keys = Keys::generate(size);
    let configs: Vec<_> = keys.committee().indices().map(|author| keys.config(author)).collect();
    let (mut core, mut effects) = (Core::new(configs[0].clone(), 0), Vec::new());
    let mut below = consensus::genesis_refs(&configs[0]);
    let (mut busy, mut commits, mut blocks) = (Duration::ZERO, 0u64, 0u64);
    for round in 1..=rounds {
        let block = |me: AuthorityIndex| {
            let mut ancestors = below.clone();
            let own = ancestors.remove(me.index());
            ancestors.insert(0, own);
            keys.block(&configs[me.index()], Round(round), ancestors, Vec::new(), round * 5, 0)
        };
        let row: Vec<_> = keys.committee().indices().map(block).collect();
        below = row.iter().map(|header| header.block_ref()).collect();
        let (now, started) = (round * 5, Instant::now());
        core.step(now, Input::Pending { local: true }, &mut effects);
        core.step(now, Input::Proposed { header: row[0].clone() }, &mut effects);
        for header in &row[1..] {
            core.step(now, Input::Header { header: header.clone(), from: header.author() }, &mut effects);
        }
        core.step(now + 5, Input::Tick, &mut effects);
        busy += started.elapsed();
        blocks += row.len() as u64;
        commits += effects.iter().filter(|effect| matches!(effect, Effect::Commit { .. })).count() as u64;
        effects.clear();
        if round % (rounds / 10).max(1) == 0 {
            let (memory_kib, speed) = (resident_kib()?, blocks as f64 / busy.as_secs_f64());
            println!("round {round}: {blocks} blocks, {commits} commits, {speed:.0} blocks/s, {memory_kib} KiB");
        }
    }
    Ok(())
}

/// Resident memory of this process (Linux).
fn resident_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS in /proc/self/status")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
