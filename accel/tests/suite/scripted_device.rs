//! A device that the CPU answers for and that does wrong by script: one act for each batch after the self-test, which is the
//! first batch of each of its lives.

use accel::{
    Batch, CpuEngine, Device, DeviceConfig, DeviceFault, Engine, Item, Message, Placement, Ticket, TrustConfig,
};
use accel::{Verdicts, VerifierConfig};
use std::collections::VecDeque;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use types::AlgId;

/// What is done with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    Honest,
    /// Says valid to everything.
    AcceptAll,
    /// Says invalid to everything.
    RejectAll,
    /// Says valid to the test's own invalid items, the truth to all others: it knows a canary when it sees one.
    AcceptOwn,
    /// Says invalid to the test's own items, the truth to all others.
    RejectOwn,
    LostOnSubmit,
    LostInWait,
    NeverAnswers,
    TooFew,
    TooMany,
    OutOfMemory,
    PanicsOnSubmit,
    PanicsInWait,
    /// Does not come back from `wait` until it is released.
    Hangs,
    /// Answers at the second time of asking, after the batches behind it.
    Late,
    /// Answers for a batch that it was never given.
    UnknownTicket,
}

/// What the test sets and sees.
#[derive(Default)]
pub struct Script {
    pub acts: VecDeque<Act>,
    /// After the acts.
    pub then: Option<Act>,
    /// Of the self-tests, one a life; after them all pass.
    pub self_tests: VecDeque<Act>,
    /// Of the resets; after them all succeed.
    pub resets_fail: u32,
    /// Items of each batch, canaries included.
    pub batches: Vec<usize>,
    pub lives: u32,
}

pub type Shared = Arc<Mutex<Script>>;

pub struct Scripted {
    cpu: CpuEngine,
    script: Shared,
    supported: Vec<AlgId>,
    tested: bool,
    next: u64,
    flying: VecDeque<(Ticket, Act, Batch)>,
    release: Option<Receiver<()>>,
}

impl Scripted {
    pub fn new(script: &Shared) -> Self {
        script.lock().unwrap().lives += 1;
        Self {
            cpu: CpuEngine::new(1, 64).unwrap(),
            script: Arc::clone(script),
            supported: vec![AlgId::Ed25519],
            tested: false,
            next: 0,
            flying: VecDeque::new(),
            release: None,
        }
    }

    /// `Hangs` ends when the other end is dropped.
    pub fn released_by(self, release: Receiver<()>) -> Self {
        Self { release: Some(release), ..self }
    }

    fn answer(&mut self, act: Act, batch: &Batch) -> Verdicts {
        let truth = self.cpu.verify(batch).unwrap();
        let own = |item: &Item| matches!(&item.message, Message::Bytes(bytes) if bytes.starts_with(OWN));
        let each = || batch.items().iter().zip(truth.iter());
        match act {
            Act::AcceptAll => Verdicts::from_bools(truth.iter().map(|_| true)),
            Act::RejectAll => Verdicts::all_invalid(truth.len()),
            Act::AcceptOwn => Verdicts::from_bools(each().map(|(item, valid)| valid || own(item))),
            Act::RejectOwn => Verdicts::from_bools(each().map(|(item, valid)| valid && !own(item))),
            Act::TooFew => truth.slice(0..truth.len() - 1),
            Act::TooMany => Verdicts::from_bools(truth.iter().chain([true])),
            _ => truth.clone(),
        }
    }
}

/// How the messages of the test's own items begin.
pub const OWN: &[u8] = b"own";

impl Device for Scripted {
    fn name(&self) -> &str {
        "scripted"
    }

    fn supports(&self, alg: AlgId) -> bool {
        self.supported.contains(&alg)
    }

    fn batch_items_best(&self) -> usize {
        512
    }

    fn slots(&self) -> usize {
        3
    }

    fn submit(&mut self, batch: &Batch) -> Result<Ticket, DeviceFault> {
        let mut script = self.script.lock().unwrap();
        let act = if self.tested {
            script.batches.push(batch.len());
            let then = script.then.unwrap_or(Act::Honest);
            script.acts.pop_front().unwrap_or(then)
        } else {
            script.self_tests.pop_front().unwrap_or(Act::Honest)
        };
        drop(script);
        self.tested = true;
        match act {
            Act::LostOnSubmit => return Err(DeviceFault::Lost),
            Act::OutOfMemory => return Err(DeviceFault::OutOfMemory { items: batch.len() }),
            Act::PanicsOnSubmit => panic!("injected"),
            _ => {}
        }
        self.next += 1;
        self.flying.push_back((Ticket(self.next), act, batch.clone()));
        Ok(Ticket(self.next))
    }

    fn wait(&mut self, _: Duration) -> Option<(Ticket, Result<Verdicts, DeviceFault>)> {
        let (ticket, act, batch) = self.flying.pop_front()?;
        match act {
            Act::LostInWait => return Some((ticket, Err(DeviceFault::Lost))),
            Act::PanicsInWait => panic!("injected"),
            Act::UnknownTicket => return Some((Ticket(ticket.0 + 1000), Ok(self.answer(act, &batch)))),
            Act::Late => {
                self.flying.push_back((ticket, Act::Honest, batch));
                return None;
            }
            Act::NeverAnswers => {
                self.flying.push_back((ticket, act, batch));
                // The clock must go on; a real device would wait for as long as it was told to.
                std::thread::yield_now();
                return None;
            }
            Act::Hangs => {
                // Ends with an error, when the test lets go.
                let _ = self.release.as_ref().expect("a test that hangs the device releases it").recv();
            }
            _ => {}
        }
        let verdicts = self.answer(act, &batch);
        Some((ticket, Ok(verdicts)))
    }

    fn in_flight(&self) -> usize {
        self.flying.len()
    }

    fn reset(&mut self) -> Result<(), DeviceFault> {
        self.flying.clear();
        self.tested = false;
        let mut script = self.script.lock().unwrap();
        if script.resets_fail > 0 {
            script.resets_fail -= 1;
            return Err(DeviceFault::Lost);
        }
        script.lives += 1;
        Ok(())
    }
}

/// All that the device supports goes to it; pauses and patience are short; chance is fixed.
pub fn config() -> VerifierConfig {
    let trust = TrustConfig { seed: Some([7; 32]), ..TrustConfig::default() };
    let device = DeviceConfig {
        placement: Placement::Device,
        // Longer than any pause of a busy machine: an honest batch must never be overdue.
        timeout_ms: 400,
        self_test_timeout_ms: 10_000,
        quarantine_ms_min: 1,
        quarantine_ms_max: 1,
        trust,
        ..DeviceConfig::default()
    };
    VerifierConfig { linger_us: 0, device, ..VerifierConfig::default() }
}
