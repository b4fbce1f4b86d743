//! What the rules alone say of a committee in which nothing goes wrong, by arithmetic.

use super::{Options, Row};
use consensus::genesis_refs;
use consensus::sim::Scenario;
use consensus::sim::traffic::weight;
use serde::Serialize;
use std::collections::BTreeMap;
use types::{AuthorityIndex, Round};

/// By formula. `n` validators, a round of τ = link + sync + signature, R = 1 / τ rounds a second, T transactions of b bytes
/// a second, headers of H bytes, references of 43 bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Paper {
    /// R.
    pub rounds_per_second: f64,
    /// H: all of the round below as ancestors, one vote, no evidence.
    pub header_bytes: f64,
    /// What a header of this size weighs without its ancestors.
    pub header_bytes_fixed: f64,
    /// (n − 1) · R · (1 + H): each own header once to each other.
    pub own_header_bytes_per_second: f64,
    /// (n − 1) · (T / n · (4 + b) + 43 · R): each payload once to each other.
    pub payload_bytes_per_second: f64,
    /// n · (headers + payloads) / T.
    pub bytes_per_transaction: f64,
    /// (n − 1) · R.
    pub header_checks_per_second: f64,
    /// 1 + (n − 1) · R / T.
    pub checks_per_transaction: f64,
    /// 4 τ: reference by the next leader, vote, certificate, and the way of the certificates to the author. 3 τ for a
    /// leader's own block.
    pub block_latency_ms: f64,
    /// τ / 2 more: half a round until the next own block.
    pub latency_ms: f64,
}

impl Paper {
    /// Of one size.
    pub fn of(scenario: &Scenario, options: &Options, nodes: u16) -> Self {
        let devices = &scenario.devices;
        let round_ms = options.link_ms as f64 + (devices.sync_us + devices.sign_us) as f64 / 1e3;
        let rounds = 1e3 / round_ms.max(f64::from(scenario.keys.pacing.round_delay_ms_min));
        let config = scenario.keys.config(AuthorityIndex(0));
        let header = scenario.keys.block(&config, Round(1), genesis_refs(&config), Vec::new(), 1, 1);
        let bytes = header.raw().len() as f64;
        let (n, load) = (f64::from(nodes), options.transactions_per_second as f64);
        let own = (n - 1.0) * rounds * (1.0 + bytes);
        let transaction = 4.0 + f64::from(options.transaction_bytes);
        let payload = (n - 1.0) * (load / n * transaction + weight::REF as f64 * rounds.min(load / n));
        Self {
            rounds_per_second: rounds,
            header_bytes: bytes,
            header_bytes_fixed: bytes - n * weight::REF as f64,
            own_header_bytes_per_second: own,
            payload_bytes_per_second: payload,
            bytes_per_transaction: n * (own + payload) / load,
            header_checks_per_second: (n - 1.0) * rounds,
            checks_per_transaction: 1.0 + (n - 1.0) * rounds / load,
            block_latency_ms: 4.0 * round_ms,
            latency_ms: 4.5 * round_ms,
        }
    }

    /// Measured over paper.
    pub fn compare(&self, row: &Row) -> BTreeMap<&'static str, f64> {
        let pairs = [
            ("rounds_per_second", row.rounds_per_second, self.rounds_per_second),
            ("header_bytes", row.header_bytes, self.header_bytes),
            ("own_header_bytes_per_second", row.sent("own-headers"), self.own_header_bytes_per_second),
            ("payload_bytes_per_second", row.sent("payloads"), self.payload_bytes_per_second),
            ("bytes_per_transaction", row.bytes_per_transaction, self.bytes_per_transaction),
            ("header_checks_per_second", row.checks.headers_per_second, self.header_checks_per_second),
            ("checks_per_transaction", row.checks.per_transaction, self.checks_per_transaction),
            ("block_latency_ms", row.block_latency.p50_ms, self.block_latency_ms),
            ("latency_ms", row.latency.p50_ms, self.latency_ms),
        ];
        pairs
            .into_iter()
            .filter(|(_, _, paper)| *paper > 0.0)
            .map(|(name, found, paper)| (name, found / paper))
            .collect()
    }
}
