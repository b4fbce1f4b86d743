//! Which handshakes are let in: a cap on those in progress, a token bucket for each address, and proof of address under
//! load.
//!
//! A source address can be forged until a retry token has come back from it. Therefore an unproven attempt draws only on
//! the upper half of its address's bucket and is then asked for proof: who forges a validator's address cannot shut the
//! validator out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::limits::AdmissionLimits;
use crate::stats::Refusal;

#[derive(Debug)]
pub(crate) struct Admission {
    limits: AdmissionLimits,
    in_progress: Arc<Semaphore>,
    buckets: Mutex<HashMap<IpAddr, Bucket>>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

#[derive(Debug)]
pub(crate) enum Verdict {
    /// Go on; the permit is held until the handshake is over.
    Admit(OwnedSemaphorePermit),
    /// Ask for proof of address first.
    Retry,
    Refuse(Refusal),
}

impl Admission {
    pub(crate) fn new(limits: AdmissionLimits) -> Self {
        let in_progress = Arc::new(Semaphore::new(limits.in_progress as usize));
        Self { limits, in_progress, buckets: Mutex::default() }
    }

    pub(crate) fn judge(&self, address: IpAddr, proven: bool, now: Instant) -> Verdict {
        let loaded = self.in_progress.available_permits() * 2 <= self.limits.in_progress as usize;
        if loaded && !proven {
            return Verdict::Retry;
        }
        let Ok(permit) = self.in_progress.clone().try_acquire_owned() else {
            return Verdict::Refuse(Refusal::Busy);
        };
        let floor = if proven { 1.0 } else { f64::from(self.limits.burst) / 2.0 + 1.0 };
        if self.draw(network_of(address), floor, now) {
            Verdict::Admit(permit)
        } else if proven {
            Verdict::Refuse(Refusal::RateLimited)
        } else {
            Verdict::Retry
        }
    }

    /// Takes a token where at least `floor` are left.
    fn draw(&self, address: IpAddr, floor: f64, now: Instant) -> bool {
        let (burst, rate) = (f64::from(self.limits.burst), f64::from(self.limits.per_second));
        let level = |b: &Bucket| (b.tokens + now.saturating_duration_since(b.at).as_secs_f64() * rate).min(burst);
        let mut buckets = self.buckets.lock().expect("no code panics while it holds this lock");
        if buckets.len() >= self.limits.addresses as usize && !buckets.contains_key(&address) {
            // A full bucket is the same as none.
            buckets.retain(|_, b| level(b) < burst);
            if buckets.len() >= self.limits.addresses as usize {
                return false;
            }
        }
        let bucket = buckets.entry(address).or_insert(Bucket { tokens: burst, at: now });
        *bucket = Bucket { tokens: level(bucket), at: now };
        let enough = bucket.tokens >= floor;
        if enough {
            bucket.tokens -= 1.0;
        }
        enough
    }
}

/// An IPv6 user holds a /64 at least, so single addresses there mean nothing.
fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LIMITS: AdmissionLimits =
        AdmissionLimits { in_progress: 1000, burst: 8, per_second: 2, addresses: 2, timeout: Duration::from_secs(1) };

    fn address(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn a_forged_address_cannot_exhaust_the_bucket_of_its_owner() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        let unproven =
            (0..100).filter(|_| matches!(admission.judge(address(1), false, now), Verdict::Admit(_))).count();
        assert_eq!(unproven, 4);
        assert!(matches!(admission.judge(address(1), false, now), Verdict::Retry));
        assert!(matches!(admission.judge(address(1), true, now), Verdict::Admit(_)));
    }

    #[test]
    fn a_bucket_refills_with_time_and_never_beyond_its_burst() {
        let (admission, start) = (Admission::new(LIMITS), Instant::now());
        let admitted =
            |at| (0..100).filter(|_| matches!(admission.judge(address(1), true, at), Verdict::Admit(_))).count();
        assert_eq!(admitted(start), 8);
        assert_eq!(admitted(start), 0);
        assert_eq!(admitted(start + Duration::from_secs(2)), 4);
        assert_eq!(admitted(start + Duration::from_secs(3600)), 8);
    }

    #[test]
    fn the_table_of_addresses_is_bounded_and_forgets_those_at_rest() {
        let (admission, now) = (Admission::new(LIMITS), Instant::now());
        for last in 1..=2 {
            assert!(matches!(admission.judge(address(last), true, now), Verdict::Admit(_)));
        }
        assert!(matches!(admission.judge(address(3), true, now), Verdict::Refuse(Refusal::RateLimited)));
        assert!(matches!(admission.judge(address(3), true, now + Duration::from_secs(1)), Verdict::Admit(_)));
    }

    #[test]
    fn at_half_load_an_address_must_prove_itself_and_at_full_load_it_is_refused() {
        let (admission, now) = (Admission::new(AdmissionLimits { in_progress: 2, ..LIMITS }), Instant::now());
        let Verdict::Admit(_first) = admission.judge(address(1), false, now) else { panic!("the first is admitted") };
        assert!(matches!(admission.judge(address(2), false, now), Verdict::Retry));
        let Verdict::Admit(_second) = admission.judge(address(2), true, now) else { panic!("proven, so admitted") };
        assert!(matches!(admission.judge(address(2), true, now), Verdict::Refuse(Refusal::Busy)));
    }
}
