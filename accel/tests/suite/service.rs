//! The service's promises: bounded, one answer a job, faults are healed and never a verdict, suspects go alone.

use accel::{
    Batch, CpuEngine, DeviceFault, Engine, Item, Job, Origin, Path, Priority, Verdicts, Verifier, VerifierConfig,
};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use types::{AlgId, Digest, SecretKey, SigningMessage};

pub type Answer = (u32, Result<Verdicts, DeviceFault>);

pub fn items(count: u32, bad: &[u32]) -> Vec<Item> {
    let secret = SecretKey::ed25519_from_seed([5; 32]);
    let message = |number: u32| SigningMessage::transaction(&Digest::sha256(&number.to_le_bytes()));
    (0..count)
        .map(|i| {
            let signed = message(if bad.contains(&i) { i + 1 } else { i });
            Item { key: secret.public_key(), message: message(i).into(), signature: secret.sign(&signed) }
        })
        .collect()
}

pub fn job(id: u32, origin: Origin, items: Vec<Item>, answers: &Sender<Answer>) -> Job {
    let answers = answers.clone();
    let done = Box::new(move |result| answers.send((id, result)).unwrap());
    Job { origin, priority: Priority::Block, deadline: Instant::now() + Duration::from_secs(1), items, done }
}

fn config() -> VerifierConfig {
    VerifierConfig { linger_us: 0, queue_items_max: 100, ..VerifierConfig::default() }
}

/// Tells of each batch when it starts, waits for leave, and then does what it was told.
struct Gated {
    started: Sender<Batch>,
    leave: Receiver<Behaviour>,
    cpu: CpuEngine,
}

#[derive(Clone, Copy)]
enum Behaviour {
    Verify,
    Panic,
    TooFewVerdicts,
}

impl Engine for Gated {
    fn name(&self) -> &'static str {
        "gated"
    }

    fn supports(&self, alg: AlgId) -> bool {
        alg == AlgId::Ed25519
    }

    fn verify(&mut self, batch: &Batch) -> Result<Verdicts, DeviceFault> {
        self.started.send(batch.clone()).unwrap();
        match self.leave.recv().unwrap_or(Behaviour::Verify) {
            Behaviour::Verify => self.cpu.verify(batch),
            Behaviour::Panic => panic!("injected"),
            Behaviour::TooFewVerdicts => Ok(Verdicts::all_invalid(batch.len() - 1)),
        }
    }
}

fn gated(config: VerifierConfig) -> (Verifier, Receiver<Batch>, Sender<Behaviour>) {
    let ((started, batches), (leave, gate)) = (channel(), channel());
    let engine = Gated { started, leave: gate, cpu: CpuEngine::new(1, 64).unwrap() };
    (Verifier::start_on(config, Box::new(engine)).unwrap(), batches, leave)
}

#[test]
fn each_job_gets_its_own_part_of_the_verdicts() {
    let (verifier, batches, leave) = gated(config());
    let (answers, answered) = channel();
    verifier.submit(job(0, Origin::Author(1), items(1, &[]), &answers)).unwrap();
    batches.recv().unwrap();
    for (id, bad) in [(1, &[][..]), (2, &[2, 5][..]), (3, &[0][..])] {
        verifier.submit(job(id, Origin::Author(1), items(7, bad), &answers)).unwrap();
    }
    leave.send(Behaviour::Verify).unwrap();
    leave.send(Behaviour::Verify).unwrap();
    assert_eq!(batches.recv().unwrap().len(), 21, "the waiting jobs of one author form one batch");
    let mut results: Vec<Answer> = (0..4).map(|_| answered.recv().unwrap()).collect();
    results.sort_by_key(|(id, _)| *id);
    let invalid: Vec<Vec<usize>> = results.into_iter().map(|(_, v)| v.unwrap().invalid().collect()).collect();
    assert_eq!(invalid, [vec![], vec![], vec![2, 5], vec![0]]);
    let stats = verifier.stats();
    assert_eq!((stats.items, stats.batches, stats.invalid, stats.queued), (22, 2, 3, 0));
    assert_eq!((stats.batch_sizes[0], stats.batch_sizes[4]), (1, 1));
}

#[test]
fn batches_never_mix_authors() {
    let (verifier, batches, leave) = gated(config());
    let (answers, answered) = channel();
    verifier.submit(job(0, Origin::Author(0), items(1, &[]), &answers)).unwrap();
    batches.recv().unwrap();
    for (id, origin) in [Origin::Author(1), Origin::Author(2), Origin::Client(1), Origin::Author(1), Origin::Client(2)]
        .into_iter()
        .enumerate()
    {
        // The number of items tells whose they are: 10^0, 10^1 and so on cannot be told apart if mixed otherwise.
        verifier.submit(job(id as u32 + 1, origin, items([1, 10, 2, 1, 2][id], &[]), &answers)).unwrap();
    }
    (0..4).for_each(|_| leave.send(Behaviour::Verify).unwrap());
    let mut sizes: Vec<usize> = (0..3).map(|_| batches.recv().unwrap().len()).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4, 10], "author 1 twice, both clients, author 2");
    (0..6).for_each(|_| assert!(answered.recv().unwrap().1.unwrap().all_valid()));
}

#[test]
fn a_full_queue_gives_the_job_back_with_a_hint() {
    let (verifier, batches, leave) = gated(config());
    let (answers, answered) = channel();
    verifier.submit(job(0, Origin::Author(0), items(1, &[]), &answers)).unwrap();
    batches.recv().unwrap();
    for author in 1..=2 {
        verifier.submit(job(author.into(), Origin::Author(author), items(50, &[]), &answers)).unwrap();
    }
    let busy = verifier.submit(job(9, Origin::Author(3), items(1, &[]), &answers)).unwrap_err();
    assert!(busy.retry_after_ms >= 1);
    assert_eq!((busy.job.origin, busy.job.items.len()), (Origin::Author(3), 1));
    assert_eq!((verifier.stats().busy, verifier.stats().queued), (1, 100));
    drop(leave);
    let mut ids: Vec<u32> = (0..3).map(|_| answered.recv().unwrap().0).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
    verifier.submit(*busy.job).unwrap();
    assert_eq!(answered.recv().unwrap().0, 9);
}

#[test]
fn stopping_answers_every_job_once() {
    let (verifier, batches, leave) = gated(config());
    let (answers, answered) = channel();
    verifier.submit(job(0, Origin::Author(0), items(1, &[]), &answers)).unwrap();
    batches.recv().unwrap();
    for id in 1..=5 {
        verifier.submit(job(id, Origin::Author(id as u16), items(2, &[]), &answers)).unwrap();
    }
    let dropper = std::thread::spawn(move || drop(verifier));
    // The worker may take another batch before it sees the end: whatever it takes, it is given leave to verify.
    leave.send(Behaviour::Verify).unwrap();
    drop(leave);
    dropper.join().unwrap();
    drop(answers);
    let mut results: Vec<Answer> = answered.iter().collect();
    results.sort_by_key(|(id, _)| *id);
    assert_eq!(results.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5]);
    for (_, result) in results {
        assert!(matches!(result, Err(DeviceFault::Stopped)) || result.unwrap().all_valid());
    }
}

#[test]
fn an_engine_of_last_resort_that_fails_is_a_fault_and_never_a_verdict() {
    for (behaviour, fault) in
        [(Behaviour::Panic, DeviceFault::Panicked), (Behaviour::TooFewVerdicts, DeviceFault::WrongAnswer)]
    {
        let (verifier, batches, leave) = gated(config());
        let (answers, answered) = channel();
        verifier.submit(job(0, Origin::Author(0), items(9, &[4]), &answers)).unwrap();
        batches.recv().unwrap();
        leave.send(behaviour).unwrap();
        assert_eq!(answered.recv().unwrap().1, Err(fault));
        // The next batch is verified as ever.
        leave.send(Behaviour::Verify).unwrap();
        verifier.submit(job(1, Origin::Author(0), items(9, &[4]), &answers)).unwrap();
        assert_eq!(answered.recv().unwrap().1.unwrap().invalid().collect::<Vec<_>>(), [4]);
        assert_eq!(verifier.stats().device_faults, 0, "there is no device");
    }
}

#[test]
fn an_origin_whose_signatures_failed_goes_one_by_one() {
    let (verifier, batches, leave) = gated(config());
    drop(leave);
    let (answers, answered) = channel();
    let run = |id, origin, bad: &[u32]| {
        verifier.submit(job(id, origin, items(6, bad), &answers)).unwrap();
        let batch = batches.recv().unwrap();
        (batch.path(), answered.recv().unwrap().1.unwrap().valid_count())
    };
    assert_eq!(run(0, Origin::Author(1), &[3]), (Path::Together, 5));
    assert_eq!(run(1, Origin::Author(1), &[]), (Path::Singly, 6));
    assert_eq!(run(2, Origin::Author(2), &[]), (Path::Together, 6));
    assert_eq!(run(3, Origin::Client(1), &[]), (Path::Together, 6));
    assert_eq!(verifier.stats().suspect_items, 6);
}

#[test]
fn a_panicking_callback_harms_nobody_else() {
    let verifier = Verifier::start(config()).unwrap();
    let (answers, answered) = channel();
    let mut panicking = job(0, Origin::Client(0), items(2, &[]), &answers);
    panicking.done = Box::new(|_| panic!("a submitter's bug"));
    verifier.submit(panicking).unwrap();
    verifier.submit(job(1, Origin::Client(1), items(2, &[]), &answers)).unwrap();
    assert!(answered.recv().unwrap().1.unwrap().all_valid());
    verifier.submit(job(2, Origin::Client(1), vec![], &answers)).unwrap();
    assert!(answered.recv().unwrap().1.unwrap().is_empty());
}

#[test]
fn many_threads_submit_and_every_job_is_answered_once() {
    let verifier =
        Verifier::start(VerifierConfig { queue_items_max: 64, linger_us: 50, ..VerifierConfig::default() }).unwrap();
    let (answers, answered) = channel();
    let stock = items(8, &[2]);
    std::thread::scope(|scope| {
        for thread in 0..4_u32 {
            let (verifier, answers, stock) = (&verifier, answers.clone(), &stock);
            scope.spawn(move || {
                for number in 0..50_u32 {
                    let origin =
                        if thread % 2 == 0 { Origin::Client(number.into()) } else { Origin::Author(thread as u16) };
                    let mut next = job(thread * 50 + number, origin, stock.clone(), &answers);
                    while let Err(busy) = verifier.submit(next) {
                        std::thread::yield_now();
                        next = *busy.job;
                    }
                }
            });
        }
    });
    let mut ids: Vec<u32> = (0..200)
        .map(|_| {
            let (id, verdicts) = answered.recv().unwrap();
            assert_eq!(verdicts.unwrap().invalid().collect::<Vec<_>>(), [2]);
            id
        })
        .collect();
    ids.sort_unstable();
    assert_eq!(ids, (0..200).collect::<Vec<_>>());
    drop(verifier);
    drop(answers);
    assert!(answered.recv().is_err(), "an answer came twice");
}
