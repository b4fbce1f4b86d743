//! Puts the threads of a node where `firmware_hal::placement` wants them, by their names, which `topology.rs` lists. Threads come
//! and go as epochs end, so it looks again every few seconds. A thread that cannot be put somewhere runs where it likes: that
//! costs time and nothing else.

use firmware_hal::{Inventory, Role, Root, placement};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::thread;
use std::time::Duration;

/// Pause between two looks at the threads.
const LOOK: Duration = Duration::from_secs(3);
const TASKS: &str = "/proc/self/task";

/// Which part of the node a thread belongs to. Those that are not named here have next to nothing to do.
fn role(thread: &str) -> Option<Role> {
    let by_beginning = [
        ("replica", Role::Consensus),
        ("intake", Role::Intake),
        ("log-", Role::Storage),
        ("execution", Role::Execution),
        ("flush", Role::Execution),
        ("net", Role::Network),
        ("signer-desk", Role::Signer),
        ("accel.", Role::Verification),
    ];
    by_beginning.into_iter().find(|(beginning, _)| thread.starts_with(beginning)).map(|(_, role)| role)
}

/// Places this process's threads from now on, if the machine can be divided.
///
/// # Errors
/// Where the thread that looks cannot be started.
pub fn keep(root: &Root) -> io::Result<()> {
    let places = match placement::placement(&Inventory::take(root)) {
        Ok(places) => places,
        Err(why) => {
            tracing::info!(%why, "threads are not placed");
            return Ok(());
        }
    };
    for place in &places {
        tracing::info!(role = ?place.role, cpus = ?place.cpus, why = place.why, "placed");
    }
    let sets: BTreeMap<Role, CpuSet> = places.iter().map(|place| (place.role, set(&place.cpus))).collect();
    let look = move || {
        let mut placed = BTreeSet::new();
        loop {
            place_new(&sets, &mut placed);
            thread::sleep(LOOK);
        }
    };
    thread::Builder::new().name("pinning".into()).spawn(look).map(drop)
}

fn set(cpus: &[u32]) -> CpuSet {
    let mut set = CpuSet::new();
    cpus.iter().map(|cpu| *cpu as usize).filter(|cpu| *cpu < CpuSet::MAX_CPU).for_each(|cpu| set.set(cpu));
    set
}

/// Places the threads that have come since, and forgets those that are gone: their numbers come again.
fn place_new(sets: &BTreeMap<Role, CpuSet>, placed: &mut BTreeSet<i32>) {
    let Ok(tasks) = fs::read_dir(TASKS) else { return };
    let now: BTreeSet<i32> = tasks.flatten().filter_map(|task| task.file_name().to_str()?.parse().ok()).collect();
    placed.retain(|task| now.contains(task));
    for task in now {
        let Ok(name) = fs::read_to_string(format!("{TASKS}/{task}/comm")) else { continue };
        let Some(cpus) = role(name.trim()).and_then(|role| sets.get(&role)) else { continue };
        if !placed.insert(task) {
            continue;
        }
        if let Some(Err(error)) = Pid::from_raw(task).map(|task| sched_setaffinity(Some(task), cpus)) {
            tracing::warn!(%error, thread = name.trim(), "cannot be placed");
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rustix::thread::sched_getaffinity;
    use std::sync::mpsc::channel;

    #[test]
    fn threads_are_found_by_their_names() {
        for (name, wanted) in [
            ("replica", Some(Role::Consensus)),
            ("log-writer", Some(Role::Storage)),
            ("net", Some(Role::Network)),
            ("accel.cpu.3", Some(Role::Verification)),
            ("notify", None),
        ] {
            assert_eq!(role(name), wanted, "{name}");
        }
    }

    #[test]
    fn a_thread_is_put_where_its_part_belongs_and_others_are_left_alone() {
        let (stop, wait) = channel::<()>();
        let (say, told) = channel();
        let serve = move || {
            say.send(rustix::thread::gettid()).unwrap();
            let _ = wait.recv();
        };
        let thread = thread::Builder::new().name("log-pinned".into()).spawn(serve).unwrap();
        let task = told.recv().unwrap();
        let before = sched_getaffinity(None).unwrap();
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).unwrap();
        let mut placed = BTreeSet::new();
        place_new(&BTreeMap::from([(Role::Storage, set(&[first as u32]))]), &mut placed);
        assert!(placed.contains(&task.as_raw_nonzero().get()));
        let after = sched_getaffinity(Some(task)).unwrap();
        assert_eq!((after.count(), after.is_set(first)), (1, true));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        drop(stop);
        thread.join().unwrap();
        place_new(&BTreeMap::new(), &mut placed);
        assert!(!placed.contains(&task.as_raw_nonzero().get()), "its number may come again");
    }
}
