//! Twins (Bano et al., OPODIS 2021): one identity runs two honest cores, and the network is split anew in each round.
//!
//! A scenario is a twinned validator, leaders for the contested rounds, and for each contested round a partition of the
//! five cores into two sides. Within a side everything is exchanged until nobody makes another block; between sides
//! nothing is. Then the network heals for some rounds. Scenarios that differ by exchanging the twins, or two
//! validators that lead no contested round and are not twinned, are run once.

use crate::replica::{Header, Replica, chain_led_by, disagreement, small_keys};
use consensus::sim::Keys;
use std::collections::BTreeSet;
use std::sync::Arc;
use types::{ChainId, Round};

/// Rounds after the network healed: enough for a slot of the last contested round to get its anchor and for that to be
/// decided.
const HEALED: u64 = 7;

/// For each core, its side in a round: bits of 0 to 3 for the validators' first cores, 4 for the second twin.
type Partition = u8;

struct Scenario {
    twinned: u16,
    leaders: Vec<u16>,
    partitions: Vec<Partition>,
}

impl Scenario {
    /// The least of all scenarios that are this one with cores renamed.
    fn representative(&self) -> Vec<Partition> {
        let free: Vec<u8> = (0..4)
            .filter(|validator| *validator != self.twinned && !self.leaders.contains(validator))
            .map(|v| v as u8)
            .collect();
        let mut forms = vec![self.partitions.clone()];
        let mut exchange = |a: u8, b: u8| {
            for form in forms.clone() {
                forms.push(form.into_iter().map(|partition| exchanged(partition, a, b)).collect());
            }
        };
        exchange(self.twinned as u8, 4);
        match free[..] {
            [a, b] => exchange(a, b),
            [a, b, c] => {
                exchange(a, b);
                exchange(b, c);
                exchange(a, b);
            }
            _ => {}
        }
        let named = |form: Vec<Partition>| -> Vec<Partition> { form.into_iter().map(one_name).collect() };
        forms.into_iter().map(named).min().unwrap_or_default()
    }

    /// Runs it; the heights reached by the honest.
    fn run(&self, keys: &Arc<Keys>, chain: ChainId) -> Result<u64, String> {
        let mut cores: Vec<Replica> = (0..4).map(|me| Replica::new(keys, chain, me, 0, &[self.twinned])).collect();
        cores.push(Replica::new(keys, chain, self.twinned, 1, &[self.twinned]));
        let contested = self.partitions.len() as u64;
        for round in 1..=contested + HEALED {
            let partition = if round <= contested { self.partitions[round as usize - 1] } else { 0 };
            for side in [0, 1] {
                let members: Vec<usize> = (0..5).filter(|core| partition >> core & 1 == side).collect();
                exchange_until_quiet(&mut cores, &members, Round(round));
            }
        }
        let honest: Vec<&Replica> = cores.iter().filter(|core| core.me().0 != self.twinned).collect();
        for core in &honest {
            if let Some(wrong) = &core.wrong {
                return Err(wrong.clone());
            }
            for other in &honest {
                if let Some(height) = disagreement(&core.commits, &other.commits) {
                    return Err(format!("{} and {} differ at height {height}", core.me(), other.me()));
                }
            }
        }
        Ok(honest.iter().map(|core| core.commits.len() as u64).min().unwrap_or(0))
    }
}

fn exchanged(partition: Partition, a: u8, b: u8) -> Partition {
    let (bit_a, bit_b) = (partition >> a & 1, partition >> b & 1);
    partition & !(1 << a) & !(1 << b) | bit_b << a | bit_a << b
}

/// Which side is called 0 makes no difference: the first core's is.
fn one_name(partition: Partition) -> Partition {
    if partition & 1 == 1 { !partition & 0b1_1111 } else { partition }
}

/// Members of a side make at most the block of `round` (or what they lag behind), give each other all they hold, and
/// wait their timeouts out.
fn exchange_until_quiet(cores: &mut [Replica], members: &[usize], round: Round) {
    for timed_out in [false, true] {
        loop {
            let before: usize =
                members.iter().map(|core| cores[*core].made.len() + cores[*core].core.status().dag_blocks).sum();
            for member in members {
                cores[*member].allow(round);
                if timed_out && cores[*member].last_made() < round {
                    cores[*member].time_out();
                }
            }
            // The tips bring their history along.
            let tips: Vec<(usize, Header)> = members
                .iter()
                .filter_map(|member| cores[*member].made.last().cloned().map(|tip| (*member, tip)))
                .collect();
            for (from, tip) in tips {
                for to in members {
                    if *to != from {
                        let (sender, receiver) = pair(cores, from, *to);
                        pull(sender, receiver, &tip);
                    }
                }
            }
            let after: usize =
                members.iter().map(|core| cores[*core].made.len() + cores[*core].core.status().dag_blocks).sum();
            if after == before {
                break;
            }
        }
    }
}

fn pair(cores: &mut [Replica], from: usize, to: usize) -> (&Replica, &mut Replica) {
    if from < to {
        let (low, high) = cores.split_at_mut(to);
        (&low[from], &mut high[0])
    } else {
        let (low, high) = cores.split_at_mut(from);
        (&high[0], &mut low[to])
    }
}

/// Delivers a block after what the receiver lacks of its history.
fn pull(sender: &Replica, receiver: &mut Replica, header: &Header) {
    if receiver.holds(&header.block_ref()) {
        return;
    }
    for ancestor in header.ancestors() {
        if let Some(below) = sender.core.header(ancestor).cloned() {
            pull(sender, receiver, &below);
        }
    }
    receiver.deliver(header);
}

/// Every partition of five cores into two sides of which one has three identities, so that something moves.
fn partitions(twinned: u16) -> Vec<Partition> {
    let identities = |side: Partition| {
        let twin = u32::from(side >> 4 & 1 == 1 && side >> twinned & 1 == 0);
        (side & 0b1111).count_ones() + twin
    };
    (0..1 << 5)
        .filter(|partition| one_name(*partition) == *partition)
        .filter(|partition| identities(*partition) >= 3 || identities(!*partition & 0b1_1111) >= 3)
        .collect()
}

/// Runs every scenario of some contested rounds; returns how many.
fn run_all(rounds: usize, leaders_of: &[&[u16]], twinned: &[u16]) -> u64 {
    let keys = Arc::new(small_keys());
    let mut runs = 0;
    for twinned in twinned {
        for leaders in leaders_of {
            let chain = chain_led_by(&keys, leaders);
            let choices = partitions(*twinned);
            let mut seen: BTreeSet<Vec<Partition>> = BTreeSet::new();
            for number in 0..choices.len().pow(rounds as u32) {
                let digit = |place: usize| choices[number / choices.len().pow(place as u32) % choices.len()];
                let partitions = (0..rounds).map(digit).collect();
                let scenario = Scenario { twinned: *twinned, leaders: leaders.to_vec(), partitions };
                if !seen.insert(scenario.representative()) {
                    continue;
                }
                runs += 1;
                let sides: Vec<String> = scenario.partitions.iter().map(|side| format!("{side:05b}")).collect();
                let shown = || format!("twins of {twinned}, leaders {leaders:?}, sides {sides:?}");
                match scenario.run(&keys, chain) {
                    Err(wrong) => panic!("{wrong}: {}", shown()),
                    Ok(height) => assert!(height >= 3, "no more than {height} commits after healing: {}", shown()),
                }
            }
        }
    }
    runs
}

#[test]
fn no_split_of_a_committee_with_twins_makes_the_honest_differ() {
    // The twins lead all contested rounds, none, or every other one.
    let mut runs = run_all(3, &[&[3, 3, 3], &[0, 0, 0], &[3, 0, 3], &[0, 1, 3], &[0, 3, 3], &[3, 3, 0]], &[3]);
    runs += run_all(4, &[&[3, 0, 3, 3]], &[3]);
    if std::env::var_os("STELE_TORTURE").is_some() {
        runs += run_all(4, &[&[3, 3, 3, 3], &[0, 3, 1, 3], &[3, 0, 0, 3], &[0, 1, 2, 0]], &[3]);
        runs += run_all(5, &[&[3, 3, 3, 3, 3]], &[3]);
    }
    println!("{runs} scenarios");
    assert!(runs > 10_000, "{runs}");
}
