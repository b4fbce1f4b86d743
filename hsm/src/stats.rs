//! How often and how fast the signer signed since its start.

use crate::refusal::Slot;
use hdrhistogram::Histogram;
use std::time::Duration;
use types::codec::{Decode, DecodeError, Encode, Reader, put_bytes};

/// Longest name of a module.
const MODULE_MAX: usize = 256;
/// Longest duration told apart, one minute, in microseconds.
const DURATION_US_MAX: u64 = 60_000_000;

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
    /// The highest round that was ever signed for, by the guard's file; none where it has approved nothing.
    pub signed_up_to: Option<Slot>,
    /// Epoch and round in which the certificate of the present epoch key ends; none where the consensus key signs itself.
    pub certified_until: Option<Slot>,
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
        self.signed_up_to.encode(out);
        self.certified_until.encode(out);
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
            signed_up_to: Option::decode(reader)?,
            certified_until: Option::decode(reader)?,
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
    pub(crate) signed_up_to: Option<Slot>,
    certified_until: Option<Slot>,
}

impl Recorder {
    pub(crate) fn new(signed_up_to: Option<Slot>) -> Self {
        let empty = || Histogram::new_with_max(DURATION_US_MAX, 3).expect("valid bounds and precision");
        Self {
            total_us: empty(),
            guard_us: empty(),
            refused: 0,
            handshakes: 0,
            faults: 0,
            signed_up_to,
            certified_until: None,
        }
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
            signed_up_to: self.signed_up_to,
            certified_until: self.certified_until,
        }
    }
}
