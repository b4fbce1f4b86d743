//! Closing, with a clock cranked by hand.

use super::*;

const MS: Duration = Duration::from_millis(1);

struct Crank {
    queue: Queue<u32>,
    start: Instant,
    now: Instant,
}

impl Crank {
    fn new(batch_items_max: usize, linger: Duration, queue_items_max: usize) -> Self {
        let now = Instant::now() + Duration::from_secs(100);
        let mut queue = Queue::new(Limits { batch_items_max, linger, queue_items_max });
        // 10 µs an item, so that times below are round.
        queue.pace_ns = [10_000.0; 2];
        Self { queue, start: now, now }
    }

    fn push(&mut self, id: u32, origin: Origin, priority: Priority, items: usize, due_in: Duration) -> bool {
        self.push_as(id, origin, priority, items, due_in, false)
    }

    fn push_as(
        &mut self,
        job: u32,
        origin: Origin,
        priority: Priority,
        items: usize,
        due: Duration,
        suspect: bool,
    ) -> bool {
        let deadline = self.now + due;
        self.queue
            .push(
                self.now,
                Waiting { origin, priority, deadline, items, load: Load::default(), device: false, suspect, job },
            )
            .is_ok()
    }

    /// The jobs of the batch that closes now.
    fn close(&mut self) -> Option<Vec<u32>> {
        self.queue.close(self.now).map(|closed| closed.jobs.iter().map(|waiting| waiting.job).collect())
    }

    fn next_close_in(&self) -> Option<Duration> {
        self.queue.next_close().map(|at| at.saturating_duration_since(self.start))
    }
}

const A: Origin = Origin::Author(1);
const B: Origin = Origin::Author(2);

#[test]
fn a_full_batch_closes_at_once_and_a_job_is_never_split() {
    let mut crank = Crank::new(10, 5 * MS, 1000);
    for id in 0..3 {
        assert!(crank.push(id, A, Priority::Block, 4, 50 * MS));
    }
    assert_eq!(crank.close(), Some(vec![0, 1]), "12 items are enough, 8 of them fit");
    assert_eq!(crank.close(), None, "the third lingers");
    assert!(crank.push(3, B, Priority::Block, 25, 50 * MS));
    assert_eq!(crank.close(), Some(vec![3]), "larger than a batch, and whole");
}

#[test]
fn a_lone_job_lingers_and_no_longer() {
    let mut crank = Crank::new(1024, 5 * MS, 1000);
    assert!(crank.push(0, A, Priority::Block, 1, 50 * MS));
    crank.now += 2 * MS;
    assert!(crank.push(1, A, Priority::Block, 1, 50 * MS));
    assert_eq!(crank.close(), None);
    assert_eq!(crank.next_close_in(), Some(5 * MS));
    crank.now += 3 * MS;
    assert_eq!(crank.close(), Some(vec![0, 1]));
    assert_eq!(crank.next_close_in(), None);
}

#[test]
fn a_near_deadline_closes_the_batch_early_by_its_run_time() {
    let mut crank = Crank::new(1024, 50 * MS, 1000);
    assert!(crank.push(0, A, Priority::Block, 99, 40 * MS));
    assert!(crank.push(1, A, Priority::Block, 1, 11 * MS));
    assert_eq!(crank.next_close_in(), Some(10 * MS), "11 ms less 100 items of 10 µs");
    crank.now += 10 * MS;
    assert_eq!(crank.close(), Some(vec![0, 1]));
    crank.now += 90 * MS;
    assert!(crank.push(2, A, Priority::Block, 1, Duration::ZERO));
    assert_eq!(crank.close(), Some(vec![2]), "due already");
}

#[test]
fn authors_never_mix_and_clients_do() {
    let mut crank = Crank::new(1024, MS, 1000);
    for (id, origin) in [A, B, Origin::Client(1), A, Origin::Client(2)].into_iter().enumerate() {
        assert!(crank.push(id as u32, origin, Priority::Block, 1, 50 * MS));
    }
    crank.now += MS;
    let mut batches: Vec<_> = std::iter::from_fn(|| crank.close()).collect();
    batches.sort();
    assert_eq!(batches, [vec![0, 3], vec![1], vec![2, 4]]);
}

#[test]
fn the_earliest_deadline_goes_first_and_among_the_late_ones_the_priority_decides() {
    let mut crank = Crank::new(1024, MS, 1000);
    assert!(crank.push(0, Origin::Client(1), Priority::Ingress, 1, 5 * MS));
    assert!(crank.push(1, A, Priority::Block, 1, 9 * MS));
    assert!(crank.push(2, B, Priority::Sync, 1, 3 * MS));
    crank.now += MS;
    assert_eq!(crank.close(), Some(vec![2]), "nobody is late: the sync job is due first");
    assert!(crank.push(3, B, Priority::Sync, 1, MS));
    crank.now += 20 * MS;
    assert_eq!(crank.close(), Some(vec![1]));
    assert_eq!(crank.close(), Some(vec![0]));
    assert_eq!(crank.close(), Some(vec![3]));
}

#[test]
fn suspects_go_last_and_one_by_one_but_are_not_starved() {
    let mut crank = Crank::new(1024, MS, 1_000_000);
    for id in 0..2 {
        assert!(crank.push_as(id, A, Priority::Block, 5, Duration::ZERO, true));
    }
    let mut before = 0;
    loop {
        assert!(crank.push(100, B, Priority::Block, 1, MS));
        crank.now += MS;
        match crank.close() {
            Some(jobs) if jobs == [100] => before += 1,
            other => {
                assert_eq!(other, Some(vec![0]), "never two suspect jobs in a batch");
                break;
            }
        }
    }
    assert_eq!(before, PASSES_MAX);
}

#[test]
fn a_late_sync_job_is_served_under_endless_blocks() {
    let mut crank = Crank::new(1024, MS, 1_000_000);
    assert!(crank.push(0, A, Priority::Sync, 5, Duration::ZERO));
    let served = (0..=PASSES_MAX).any(|_| {
        assert!(crank.push(100, B, Priority::Block, 1, Duration::ZERO));
        crank.now += MS;
        crank.close() == Some(vec![0])
    });
    assert!(served);
}

#[test]
fn the_queue_is_bounded_in_all_by_priority_and_by_origin() {
    let mut crank = Crank::new(1024, MS, 100);
    assert!(crank.push(0, A, Priority::Block, 50, MS));
    assert!(!crank.push(1, A, Priority::Block, 1, MS), "half of the queue is one author's most");
    assert!(crank.push(2, Origin::Client(1), Priority::Ingress, 30, MS));
    assert!(!crank.push(3, Origin::Client(2), Priority::Ingress, 21, MS), "half of the queue is ingress's most");
    assert!(crank.push(4, B, Priority::Block, 20, MS));
    let full = crank.queue.push(
        crank.now,
        Waiting {
            origin: Origin::Author(3),
            priority: Priority::Block,
            deadline: crank.now,
            items: 1,
            load: Load::default(),
            device: false,
            suspect: false,
            job: 5,
        },
    );
    let full = full.expect_err("100 items wait");
    assert_eq!((full.waiting.job, full.retry_after), (5, Duration::from_micros(500)));
    assert_eq!(crank.queue.items(), 100);
    crank.now += MS;
    while crank.close().is_some() {}
    assert_eq!(crank.queue.items(), 0);
    assert!(crank.push(6, A, Priority::Block, 1000, MS), "too large for any queue, but alone");
    assert_eq!(crank.queue.drain().len(), 1);
    assert_eq!(crank.queue.next_close(), None);
}

#[test]
fn the_pace_follows_what_is_measured() {
    let mut crank = Crank::new(1024, 50 * MS, 10_000);
    (0..40).for_each(|_| crank.queue.observe(1024, false, 20 * MS));
    assert!(crank.push(0, A, Priority::Block, 512, 30 * MS));
    let at = crank.next_close_in().expect("one waits");
    assert!(at > 19 * MS && at < 21 * MS, "30 ms less 512 items at about 19.5 µs, not {at:?}");
}

/// A job that a device may have.
fn push_for_device(crank: &mut Crank, job: u32, origin: Origin, items: usize, due: Duration) {
    let (load, deadline) = (Load::single(types::AlgId::Ed25519, items), crank.now + due);
    let waiting =
        Waiting { origin, priority: Priority::Block, deadline, items, load, device: true, suspect: false, job };
    assert!(crank.queue.push(crank.now, waiting).is_ok());
}

fn jobs(closed: Option<Closed<u32>>) -> Option<Vec<u32>> {
    closed.map(|closed| closed.jobs.iter().map(|waiting| waiting.job).collect())
}

#[test]
fn a_device_takes_the_next_lane_and_of_the_others_what_fits() {
    let mut crank = Crank::new(100, MS, 100_000);
    push_for_device(&mut crank, 0, A, 60, 9 * MS);
    push_for_device(&mut crank, 1, B, 30, 5 * MS);
    push_for_device(&mut crank, 2, Origin::Client(1), 30, 7 * MS);
    assert!(crank.push(3, B, Priority::Block, 1, MS), "not for it");
    let now = crank.now;
    assert_eq!(jobs(crank.queue.close_for_device(now, 200, 100, |_| true)), None, "all linger");
    assert_eq!(jobs(crank.queue.close_for_device(now, 120, 100, |_| true)), Some(vec![1, 2]), "full; 60 do not fit");
    assert_eq!(crank.queue.for_device().items(), 60);
    crank.now += MS;
    let now = crank.now;
    assert_eq!(jobs(crank.queue.close_for_device(now, 200, 10, |lot| !lot.device)), None);
    assert_eq!(jobs(crank.queue.close_for_device(now, 200, 10, |_| true)), Some(vec![0]), "larger, and whole");
    assert_eq!(crank.close(), Some(vec![3]));
    assert_eq!((crank.queue.items(), crank.queue.for_device().items()), (0, 0));
}

#[test]
fn what_a_device_lost_goes_first_in_its_order_beyond_all_bounds_and_not_to_the_device() {
    let mut crank = Crank::new(100, 5 * MS, 100);
    push_for_device(&mut crank, 0, A, 25, 50 * MS);
    push_for_device(&mut crank, 1, A, 25, 50 * MS);
    let lost = crank.queue.close_for_device(crank.now, 1, 100, |_| true).expect("full");
    for job in 2..4 {
        push_for_device(&mut crank, job, A, 25, 50 * MS);
        push_for_device(&mut crank, job + 10, B, 25, 50 * MS);
    }
    crank.queue.give_back(crank.now, lost.jobs);
    assert_eq!(crank.queue.items(), 150);
    assert_eq!(crank.close(), Some(vec![0, 1]), "without lingering");
    assert_eq!(crank.queue.for_device().items(), 100);
    assert_eq!(jobs(crank.queue.close_for_device(crank.now, 1, 1000, |_| true)).map(|jobs| jobs.len()), Some(4));
}

#[test]
fn lanes_that_are_not_mine_are_left_and_do_not_count_as_passed_over() {
    let mut crank = Crank::new(100, MS, 100_000);
    push_for_device(&mut crank, 0, A, 1, MS);
    assert!(crank.push(1, B, Priority::Block, 1, 9 * MS));
    crank.now += MS;
    for _ in 0..2 * PASSES_MAX {
        assert!(crank.push(1, B, Priority::Block, 1, 9 * MS));
        crank.now += MS;
        assert!(jobs(crank.queue.close_where(crank.now, |lot| !lot.device)).is_some_and(|jobs| !jobs.contains(&0)));
    }
    assert_eq!(jobs(crank.queue.close_for_device(crank.now, 100, 100, |_| true)), Some(vec![0]));
}
