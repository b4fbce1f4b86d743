//! When a batch closes, and which one is next. Pure: the clock is handed in, nothing is verified here.
//!
//! Jobs wait in lanes. Clients share one lane for each priority; every author has lanes of its own, so that a batch never
//! mixes authors, while several blocks of one author join; origins whose signatures failed lately wait in one lane from
//! which jobs leave one by one. A job is never split. A lane's batch closes when it is full, when its oldest job has
//! lingered, or when waiting longer would miss its earliest deadline; it is asked for only while the engine is idle.
//!
//! A device takes another cut through the same lanes. For it each item stands by itself, so that authors may share a batch
//! and suspects need not go one by one: it takes the lane that is next, and then of all others what still fits. Jobs that
//! are not for it (an algorithm that it does not take, a job that it lost) wait in lanes of their own. Who is to have what
//! is decided elsewhere and handed in as a predicate over [`Lot`]s.
//!
//! Which lane is next: the earliest deadline; among lanes that are late already [`Priority`] decides; the lane of failed
//! origins comes last. A ready lane that was passed over [`PASSES_MAX`] times goes first, so nothing starves.
//!
//! Bounds, in items: `queue_items_max` in all; ingress, sync and each origin at most half of that, so that no one of them
//! shuts out blocks; the lane of failed origins an eighth.

mod load;

pub use load::{Load, SIGNATURES};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// How often a ready lane lets others go first.
pub const PASSES_MAX: u32 = 16;

/// Who answers for the items of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// A client's connection.
    Client(u64),
    /// The validator with this index in the committee.
    Author(u16),
}

/// What the verdicts are for; decides among jobs that are late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Priority {
    /// Blocks whose execution waits. First.
    Block,
    /// Clients' new transactions. Second.
    Ingress,
    /// Old blocks, while catching up. Last.
    Sync,
}

/// The knobs.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// A batch closes at once with this many items.
    pub batch_items_max: usize,
    /// How long the oldest job waits for company while the engine is idle.
    pub linger: Duration,
    /// Items that may wait in all.
    pub queue_items_max: usize,
}

/// A job on its way in, with `J` for whatever comes back out.
#[derive(Debug)]
pub struct Waiting<J> {
    /// Who answers for it.
    pub origin: Origin,
    /// What it is for.
    pub priority: Priority,
    /// When its verdicts are wanted.
    pub deadline: Instant,
    /// Number of its items.
    pub items: usize,
    /// The same by algorithm.
    pub load: Load,
    /// Whether a device may have it.
    pub device: bool,
    /// Whether its origin's signatures failed lately.
    pub suspect: bool,
    /// The job itself.
    pub job: J,
}

/// A refusal, with the job.
#[derive(Debug)]
pub struct Full<J> {
    /// When there is room again, by the present speed.
    pub retry_after: Duration,
    /// What was refused.
    pub waiting: Waiting<J>,
}

/// Jobs that form one batch.
#[derive(Debug)]
pub struct Closed<J> {
    /// From the lane of failed origins: to be verified one by one.
    pub suspect: bool,
    /// The jobs, oldest first.
    pub jobs: Vec<Waiting<J>>,
}

/// What waits in one lane, for those who decide who takes it.
#[derive(Clone, Copy, Debug)]
pub struct Lot {
    /// Whether a device may have it.
    pub device: bool,
    /// Whether it is a lane of failed origins.
    pub suspect: bool,
    /// Its items by algorithm.
    pub load: Load,
    /// The earliest deadline.
    pub due: Instant,
}

/// A lane; the flag says whether it is for a device too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LaneId {
    Author(u16, Priority, bool),
    Clients(Priority, bool),
    Suspects(bool),
}

impl LaneId {
    fn is_suspect(self) -> bool {
        matches!(self, Self::Suspects(_))
    }

    fn is_for_device(self) -> bool {
        let (Self::Author(_, _, device) | Self::Clients(_, device) | Self::Suspects(device)) = self;
        device
    }
}

struct Lane<J> {
    jobs: VecDeque<(Instant, Waiting<J>)>,
    items: usize,
    load: Load,
    /// Earliest deadline of all its jobs.
    due: Instant,
    passes: u32,
}

/// The jobs that wait, and the measured speed by which it is known when they must start.
pub struct Queue<J> {
    limits: Limits,
    lanes: BTreeMap<LaneId, Lane<J>>,
    items: usize,
    items_by_priority: [usize; 3],
    items_by_origin: HashMap<Origin, usize>,
    /// What waits in the lanes that are for a device too.
    for_device: Load,
    /// Nanoseconds an item: of batches, and of single checks.
    pace_ns: [f64; 2],
}

impl<J> Queue<J> {
    /// An empty queue.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            lanes: BTreeMap::new(),
            items: 0,
            items_by_priority: [0; 3],
            items_by_origin: HashMap::new(),
            for_device: Load::default(),
            pace_ns: [10_000.0, 25_000.0],
        }
    }

    /// Takes a job in.
    ///
    /// # Errors
    /// [`Full`] where a bound would be passed; a job that is larger than a bound passes where nothing else waits there.
    pub fn push(&mut self, now: Instant, waiting: Waiting<J>) -> Result<(), Box<Full<J>>> {
        let id = lane_of(&waiting);
        let max = self.limits.queue_items_max;
        let fits = |held: usize, max: usize| held == 0 || held + waiting.items <= max;
        let by_origin = self.items_by_origin.get(&waiting.origin).copied().unwrap_or(0);
        let by_priority = self.items_by_priority[waiting.priority as usize];
        let in_lane = self.lanes.get(&id).map_or(0, |lane| lane.items);
        let room = fits(self.items, max)
            && fits(by_origin, max / 2)
            && (waiting.priority == Priority::Block || fits(by_priority, max / 2))
            && (!id.is_suspect() || fits(in_lane, max / 8));
        if !room {
            let retry_after = self.run_time(self.items, false) / 2;
            return Err(Box::new(Full { retry_after, waiting }));
        }
        self.insert(now, waiting, false);
        Ok(())
    }

    /// Takes back jobs that a device lost, for the CPU, beyond all bounds: they were in before. Ready at once.
    pub fn give_back(&mut self, now: Instant, waiting: Vec<Waiting<J>>) {
        let arrived = now.checked_sub(self.limits.linger).unwrap_or(now);
        for waiting in waiting.into_iter().rev() {
            self.insert(arrived, Waiting { device: false, ..waiting }, true);
        }
    }

    /// The batch to verify now, if one is ready. Call when the engine is idle.
    pub fn close(&mut self, now: Instant) -> Option<Closed<J>> {
        self.close_where(now, |_| true)
    }

    /// [`Queue::close`] over the lanes that are `mine`.
    pub fn close_where(&mut self, now: Instant, mine: impl Fn(&Lot) -> bool) -> Option<Closed<J>> {
        let full = self.limits.batch_items_max;
        let mut ready = self.lanes_where(|id, lane| self.ready_at(id, lane, full) <= now && mine(&lane.lot(id)));
        let next = ready.iter().copied().min_by_key(|id| self.rank(*id, now))?;
        ready.retain(|id| *id != next);
        self.pass(&ready);
        let (suspect, mut jobs) = (next.is_suspect(), Vec::new());
        self.take(next, self.limits.batch_items_max, suspect, &mut 0, &mut jobs);
        Some(Closed { suspect, jobs })
    }

    /// The batch for a device: of all lanes for it that are `mine`, as much as fits into `items_max`, once one of them is ready;
    /// a lane is full with `full` items. The first job goes whatever its size.
    pub fn close_for_device(
        &mut self,
        now: Instant,
        full: usize,
        items_max: usize,
        mine: impl Fn(&Lot) -> bool,
    ) -> Option<Closed<J>> {
        let mut all = self.lanes_where(|id, lane| id.is_for_device() && mine(&lane.lot(id)));
        let is_full = all.iter().map(|id| self.lanes[id].items).sum::<usize>() >= full;
        let ready: Vec<LaneId> =
            all.iter().copied().filter(|id| is_full || self.ready_at(*id, &self.lanes[id], full) <= now).collect();
        if ready.is_empty() {
            return None;
        }
        all.sort_by_key(|id| self.rank(*id, now));
        let (mut jobs, mut held) = (Vec::new(), 0);
        for id in all {
            self.take(id, items_max, false, &mut held, &mut jobs);
        }
        self.pass(&ready);
        Some(Closed { suspect: false, jobs })
    }

    /// What a device could have.
    pub fn for_device(&self) -> Load {
        self.for_device
    }

    /// When the next batch is ready; `None` while nothing waits.
    pub fn next_close(&self) -> Option<Instant> {
        self.lanes.iter().map(|(id, lane)| self.ready_at(*id, lane, self.limits.batch_items_max)).min()
    }

    /// Learns from a batch that took `elapsed`.
    pub fn observe(&mut self, items: usize, suspect: bool, elapsed: Duration) {
        if items == 0 {
            return;
        }
        // Small batches have a fixed cost that says little about large ones, so each counts by its size.
        let weight = items as f64 / (items as f64 + 1024.0);
        let pace = &mut self.pace_ns[usize::from(suspect)];
        *pace += (elapsed.as_nanos() as f64 / items as f64 - *pace) * weight;
    }

    /// Everything that waits, to be given back.
    pub fn drain(&mut self) -> Vec<Waiting<J>> {
        let lanes = std::mem::take(&mut self.lanes);
        (self.items, self.items_by_priority) = (0, [0; 3]);
        self.items_by_origin.clear();
        self.for_device = Load::default();
        lanes.into_values().flat_map(|lane| lane.jobs).map(|(_, waiting)| waiting).collect()
    }

    /// Items that wait.
    pub fn items(&self) -> usize {
        self.items
    }

    fn run_time(&self, items: usize, suspect: bool) -> Duration {
        Duration::from_nanos((self.pace_ns[usize::from(suspect)] * items as f64) as u64)
    }

    fn lanes_where(&self, mine: impl Fn(LaneId, &Lane<J>) -> bool) -> Vec<LaneId> {
        self.lanes.iter().filter(|(id, lane)| mine(**id, lane)).map(|(id, _)| *id).collect()
    }

    /// These let others go first. Some may have been emptied.
    fn pass(&mut self, ready: &[LaneId]) {
        for id in ready {
            if let Some(lane) = self.lanes.get_mut(id) {
                lane.passes += 1;
            }
        }
    }

    fn insert(&mut self, arrived: Instant, waiting: Waiting<J>, first: bool) {
        self.items += waiting.items;
        self.items_by_priority[waiting.priority as usize] += waiting.items;
        *self.items_by_origin.entry(waiting.origin).or_insert(0) += waiting.items;
        if waiting.device {
            self.for_device.add(&waiting.load);
        }
        let lane = self.lanes.entry(lane_of(&waiting)).or_insert_with(|| Lane {
            jobs: VecDeque::new(),
            items: 0,
            load: Load::default(),
            due: waiting.deadline,
            passes: 0,
        });
        lane.items += waiting.items;
        lane.load.add(&waiting.load);
        lane.due = lane.due.min(waiting.deadline);
        if first {
            lane.jobs.push_front((arrived, waiting));
        } else {
            lane.jobs.push_back((arrived, waiting));
        }
    }

    fn ready_at(&self, id: LaneId, lane: &Lane<J>, full: usize) -> Instant {
        let (arrived, oldest) = lane.jobs.front().expect("a lane without jobs is removed");
        if lane.items >= full || id.is_suspect() {
            return *arrived;
        }
        let lingered = *arrived + self.limits.linger;
        // Checked: a deadline may lie so early that no Instant is before it.
        let start_by = lane.due.checked_sub(self.run_time(lane.items, oldest.suspect)).unwrap_or(*arrived);
        lingered.min(start_by)
    }

    /// The lane with the smallest rank goes first.
    fn rank(&self, id: LaneId, now: Instant) -> (bool, bool, bool, Option<Priority>, Instant) {
        let lane = &self.lanes[&id];
        let late = now + self.run_time(lane.items, false) >= lane.due;
        let priority = match id {
            LaneId::Author(_, priority, _) | LaneId::Clients(priority, _) => Some(priority).filter(|_| late),
            LaneId::Suspects(_) => None,
        };
        (lane.passes < PASSES_MAX, id.is_suspect(), !late, priority, lane.due)
    }

    /// Moves jobs from a lane to the `held` items while they fit, and the first one always; `singly` no other.
    fn take(&mut self, id: LaneId, items_max: usize, singly: bool, held: &mut usize, jobs: &mut Vec<Waiting<J>>) {
        let Some(lane) = self.lanes.get_mut(&id) else { return };
        while let Some((_, next)) = lane.jobs.front() {
            if !jobs.is_empty() && (singly || *held + next.items > items_max) {
                break;
            }
            let (_, waiting) = lane.jobs.pop_front().expect("seen at the front");
            *held += waiting.items;
            self.items -= waiting.items;
            lane.items -= waiting.items;
            lane.load.subtract(&waiting.load);
            lane.passes = 0;
            if waiting.device {
                self.for_device.subtract(&waiting.load);
            }
            self.items_by_priority[waiting.priority as usize] -= waiting.items;
            let of_origin = self.items_by_origin.get_mut(&waiting.origin).expect("counted when it came");
            *of_origin -= waiting.items;
            if *of_origin == 0 {
                self.items_by_origin.remove(&waiting.origin);
            }
            jobs.push(waiting);
        }
        match lane.jobs.iter().map(|(_, waiting)| waiting.deadline).min() {
            Some(due) => lane.due = due,
            None => drop(self.lanes.remove(&id)),
        }
    }
}

impl<J> Lane<J> {
    fn lot(&self, id: LaneId) -> Lot {
        Lot { device: id.is_for_device(), suspect: id.is_suspect(), load: self.load, due: self.due }
    }
}

fn lane_of<J>(waiting: &Waiting<J>) -> LaneId {
    match waiting.origin {
        _ if waiting.suspect => LaneId::Suspects(waiting.device),
        Origin::Author(author) => LaneId::Author(author, waiting.priority, waiting.device),
        Origin::Client(_) => LaneId::Clients(waiting.priority, waiting.device),
    }
}

#[cfg(test)]
mod tests;
