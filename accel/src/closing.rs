//! When a batch closes, and which one is next. Pure: the clock is handed in, nothing is verified here.
//!
//! Jobs wait in lanes. Clients share one lane for each priority; every author has lanes of its own, so that a batch never
//! mixes authors, while several blocks of one author join; origins whose signatures failed lately wait in one lane from
//! which jobs leave one by one. A job is never split. A lane's batch closes when it is full, when its oldest job has
//! lingered, or when waiting longer would miss its earliest deadline; it is asked for only while the engine is idle.
//!
//! Which lane is next: the earliest deadline; among lanes that are late already [`Priority`] decides; the lane of failed
//! origins comes last. A ready lane that was passed over [`PASSES_MAX`] times goes first, so nothing starves.
//!
//! Bounds, in items: `queue_items_max` in all; ingress, sync and each origin at most half of that, so that no one of them
//! shuts out blocks; the lane of failed origins an eighth.

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

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum LaneId {
    Author(u16, Priority),
    Clients(Priority),
    Suspects,
}

struct Lane<J> {
    jobs: VecDeque<(Instant, Waiting<J>)>,
    items: usize,
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
            && (id != LaneId::Suspects || fits(in_lane, max / 8));
        if !room {
            let retry_after = self.run_time(self.items, false) / 2;
            return Err(Box::new(Full { retry_after, waiting }));
        }
        self.items += waiting.items;
        self.items_by_priority[waiting.priority as usize] += waiting.items;
        *self.items_by_origin.entry(waiting.origin).or_insert(0) += waiting.items;
        let lane = self.lanes.entry(id).or_insert_with(|| Lane {
            jobs: VecDeque::new(),
            items: 0,
            due: waiting.deadline,
            passes: 0,
        });
        lane.items += waiting.items;
        lane.due = lane.due.min(waiting.deadline);
        lane.jobs.push_back((now, waiting));
        Ok(())
    }

    /// The batch to verify now, if one is ready. Call when the engine is idle.
    pub fn close(&mut self, now: Instant) -> Option<Closed<J>> {
        let ready: Vec<LaneId> =
            self.lanes.iter().filter(|(id, lane)| self.ready_at(**id, lane) <= now).map(|(id, _)| *id).collect();
        let next = *ready.iter().min_by_key(|id| self.rank(**id, now))?;
        for id in ready.into_iter().filter(|id| *id != next) {
            self.lanes.get_mut(&id).expect("a ready lane exists").passes += 1;
        }
        Some(self.take(next))
    }

    /// When the next batch is ready; `None` while nothing waits.
    pub fn next_close(&self) -> Option<Instant> {
        self.lanes.iter().map(|(id, lane)| self.ready_at(*id, lane)).min()
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
        lanes.into_values().flat_map(|lane| lane.jobs).map(|(_, waiting)| waiting).collect()
    }

    /// Items that wait.
    pub fn items(&self) -> usize {
        self.items
    }

    fn run_time(&self, items: usize, suspect: bool) -> Duration {
        Duration::from_nanos((self.pace_ns[usize::from(suspect)] * items as f64) as u64)
    }

    fn ready_at(&self, id: LaneId, lane: &Lane<J>) -> Instant {
        let (arrived, oldest) = lane.jobs.front().expect("a lane without jobs is removed");
        if lane.items >= self.limits.batch_items_max || id == LaneId::Suspects {
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
            LaneId::Author(_, priority) | LaneId::Clients(priority) => Some(priority).filter(|_| late),
            LaneId::Suspects => None,
        };
        (lane.passes < PASSES_MAX, id == LaneId::Suspects, !late, priority, lane.due)
    }

    fn take(&mut self, id: LaneId) -> Closed<J> {
        let suspect = id == LaneId::Suspects;
        let lane = self.lanes.get_mut(&id).expect("a ready lane exists");
        let (mut jobs, mut items) = (Vec::new(), 0);
        while let Some((_, next)) = lane.jobs.front() {
            let joins = !suspect && items + next.items <= self.limits.batch_items_max;
            if !jobs.is_empty() && !joins {
                break;
            }
            let (_, waiting) = lane.jobs.pop_front().expect("seen at the front");
            items += waiting.items;
            self.items_by_priority[waiting.priority as usize] -= waiting.items;
            let of_origin = self.items_by_origin.get_mut(&waiting.origin).expect("counted when it came");
            *of_origin -= waiting.items;
            if *of_origin == 0 {
                self.items_by_origin.remove(&waiting.origin);
            }
            jobs.push(waiting);
        }
        self.items -= items;
        lane.items -= items;
        lane.passes = 0;
        match lane.jobs.iter().map(|(_, waiting)| waiting.deadline).min() {
            Some(due) => lane.due = due,
            None => drop(self.lanes.remove(&id)),
        }
        Closed { suspect, jobs }
    }
}

fn lane_of<J>(waiting: &Waiting<J>) -> LaneId {
    match waiting.origin {
        _ if waiting.suspect => LaneId::Suspects,
        Origin::Author(author) => LaneId::Author(author, waiting.priority),
        Origin::Client(_) => LaneId::Clients(waiting.priority),
    }
}

#[cfg(test)]
mod tests;
