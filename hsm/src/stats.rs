//! How often and how fast the signer signed since its start.

use crate::guard::Guard;
use crate::guard::fence::after;
use crate::refusal::Slot;
use hdrhistogram::Histogram;
use std::time::Duration;
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes};
use types::{Epoch, Height, Round};

/// Longest name of a module.
const MODULE_MAX: usize = 256;
/// Longest duration told apart, one minute, in microseconds.
const DURATION_US_MAX: u64 = 60_000_000;

const FIRST: Slot = Slot { epoch: Epoch(0), round: Round(0) };

/// Figures since the start of the signer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// What holds the keys, for instance `SoftHSM 2.6` or `keystore`.
    pub module: String,
    /// Round signatures made; repeated answers from memory not counted.
    pub signatures: u64,
    /// Median time of a round signature in the signer, guard and module together, in µs.
    pub p50_us: u64,
    /// 99th percentile of the same.
    pub p99_us: u64,
    /// Median time of the guard's part, which is one write and one fdatasync, in µs.
    pub guard_p50_us: u64,
    /// 99th percentile of the same.
    pub guard_p99_us: u64,
    /// Requests refused, of all kinds.
    pub refused: u64,
    /// Handshakes signed.
    pub handshakes: u64,
    /// Requests that failed by a fault of hardware or disk.
    pub faults: u64,
    /// PKCS#11 modules that were given up because a call into them does not return.
    pub modules_stuck: u32,
    /// The highest round that was ever signed for, by the guard's file, or that is refused because it may have been;
    /// none where it has approved nothing and refuses nothing.
    pub signed_up_to: Option<Slot>,
    /// Epoch and round in which the certificate of the present epoch key ends; none where the consensus key signs itself.
    pub certified_until: Option<Slot>,
    /// The first round that is signed for, where rounds above the highest known one are refused.
    pub signs_from: Option<Slot>,
    /// The highest height that is not voted for anew; 0 where there is none.
    pub votes_refused_up_to: Height,
}

impl Encode for Stats {
    fn encode(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.module.as_bytes());
        for number in [
            self.signatures,
            self.p50_us,
            self.p99_us,
            self.guard_p50_us,
            self.guard_p99_us,
            self.refused,
            self.handshakes,
            self.faults,
        ] {
            number.encode(out);
        }
        self.modules_stuck.encode(out);
        self.signed_up_to.encode(out);
        self.certified_until.encode(out);
        self.signs_from.encode(out);
        self.votes_refused_up_to.encode(out);
    }
}

impl Decode for Stats {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let module = std::str::from_utf8(reader.bytes("module", MODULE_MAX)?);
        Ok(Self {
            module: module.map_err(|_| DecodeError::NotCanonical { field: "module" })?.to_owned(),
            signatures: u64::decode(reader)?,
            p50_us: u64::decode(reader)?,
            p99_us: u64::decode(reader)?,
            guard_p50_us: u64::decode(reader)?,
            guard_p99_us: u64::decode(reader)?,
            refused: u64::decode(reader)?,
            handshakes: u64::decode(reader)?,
            faults: u64::decode(reader)?,
            modules_stuck: u32::decode(reader)?,
            signed_up_to: Option::decode(reader)?,
            certified_until: Option::decode(reader)?,
            signs_from: Option::decode(reader)?,
            votes_refused_up_to: Height::decode(reader)?,
        })
    }
}

/// What the signer counts.
pub(crate) struct Recorder {
    total_us: Histogram<u64>,
    guard_us: Histogram<u64>,
    pub(crate) refused: u64,
    pub(crate) handshakes: u64,
    pub(crate) faults: u64,
    certified_until: Option<Slot>,
    signed_up_to: Option<Slot>,
    signs_from: Option<Slot>,
    votes_refused_up_to: Height,
}

impl Recorder {
    pub(crate) fn new(guard: &Guard) -> Self {
        let empty = || Histogram::new_with_max(DURATION_US_MAX, 3).expect("valid bounds and precision");
        let mut recorder = Self {
            total_us: empty(),
            guard_us: empty(),
            refused: 0,
            handshakes: 0,
            faults: 0,
            signed_up_to: None,
            certified_until: None,
            signs_from: None,
            votes_refused_up_to: Height(0),
        };
        recorder.guarded(guard);
        recorder
    }

    /// What the guard knows and refuses now.
    pub(crate) fn guarded(&mut self, guard: &Guard) {
        let (mark, from) = (guard.mark(), guard.floor().from);
        self.signs_from = Some(from).filter(|from| mark.is_none_or(|mark| *from > after(mark)) && *from > FIRST);
        let below = self
            .signs_from
            .and_then(|Slot { epoch, round }| round.0.checked_sub(1).map(|round| Slot { epoch, round: Round(round) }));
        self.signed_up_to = mark.max(below);
        self.votes_refused_up_to = guard.votes_refused_up_to();
    }

    /// A round signature that took `total`, of which `guard` in the guard, and the end of its epoch key.
    pub(crate) fn signed(&mut self, total: Duration, guard: Duration, certified_until: Option<Slot>) {
        self.certified_until = certified_until;
        let micros = |duration: Duration| u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.total_us.saturating_record(micros(total));
        self.guard_us.saturating_record(micros(guard));
    }

    pub(crate) fn stats(&self, module: &str) -> Stats {
        Stats {
            module: module.chars().filter(char::is_ascii).take(MODULE_MAX).collect(),
            signatures: self.total_us.len(),
            p50_us: self.total_us.value_at_quantile(0.5),
            p99_us: self.total_us.value_at_quantile(0.99),
            guard_p50_us: self.guard_us.value_at_quantile(0.5),
            guard_p99_us: self.guard_us.value_at_quantile(0.99),
            refused: self.refused,
            handshakes: self.handshakes,
            faults: self.faults,
            // The recorder knows of requests alone.
            modules_stuck: 0,
            signed_up_to: self.signed_up_to,
            certified_until: self.certified_until,
            signs_from: self.signs_from,
            votes_refused_up_to: self.votes_refused_up_to,
        }
    }
}
