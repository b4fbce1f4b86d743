//! The metrics of a node, as Prometheus reads them. Nothing is counted here: every scrape reads what the parts count of
//! themselves and writes it down.
//!
//! Names are `stele_<component>_<noun>_<unit>[_total]`; outcomes are one counter with a label; a metric's help text is
//! the question that it answers. A flag is 1 or 0. Deliberately absent: rates and averages, which the reader computes.

mod gpu;
mod process;
mod scrape;
mod signer;
mod verification;

pub use process::Usage;
pub use signer::{Reading, SignerFigures};

use crate::config::KeysSection;
use crate::ingress::now;
use crate::key_ages::{KeyAge, KeyAges};
use crate::machines::Admitted;
use crate::progress::Progress;
use crate::status::{State, Status};
use accel::VerifyStats;
use firmware_hal::health::Temperature;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;
use scrape::{Labels, Scrape, and, label, quantiles};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use storage::log::LogStats;
use transport::{Class, PeerStatus, Refusal, TransportStats, Violation};

/// The content type of [`Figures::into_text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a scrape tells.
pub struct Figures {
    /// What the stages say of themselves.
    pub status: Arc<Status>,
    /// Signature verification.
    pub verify: VerifyStats,
    /// The log.
    pub log: LogStats,
    /// The signer.
    pub signer: Reading,
    /// The validators' endpoint.
    pub mesh: TransportStats,
    /// The clients' endpoint.
    pub clients: TransportStats,
    /// Clients' sessions on the fast path.
    pub sessions: usize,
    /// Links to the other validators.
    pub peers: Vec<PeerStatus>,
    /// Which of them count.
    pub admitted: Admitted,
    /// Connections to the RPC.
    pub rpc_connections: usize,
    /// What the process uses.
    pub usage: Usage,
    /// Since when validators have their keys.
    pub key_ages: KeyAges,
    /// When these are due.
    pub keys: KeysSection,
    /// How long execution has waited for roots of states.
    pub root_waited: Duration,
}

impl Figures {
    /// The text of a scrape.
    pub fn into_text(self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        let mut out = String::new();
        text::encode(&mut out, &registry).expect("writing to a string does not fail");
        out
    }

    fn node(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let state = self.status.state();
        let states = [
            ("starting", state == State::Starting),
            ("ready", state == State::Ready),
            ("catching_up", state == State::CatchingUp),
            ("halted", matches!(state, State::Halted(_))),
            ("stopping", state == State::Stopping),
        ];
        let states = states.map(|(name, holds)| (label("state", name), u64::from(holds)));
        out.gauges("stele_node_state_flag", "In which state is the node?", states)?;
        let progress = self.status.progress();
        let progress = Progress::ALL.map(|one| (label("progress", one.label()), u64::from(one == progress)));
        out.gauges(
            "stele_node_progress_flag",
            "Does the node get on (or is it stalled or hung, which starves its watchdog)?",
            progress,
        )?;
        let condition = self.status.condition();
        let health = condition.health();
        let degrees =
            |(sensor, temperature): (String, Temperature)| (label("sensor", sensor), temperature.now as f64 / 1e3);
        let sensors = health.temperatures.into_iter().map(degrees);
        out.measures("stele_machine_temperature_celsius", "How hot is the machine, by sensor?", sensors)?;
        let memory = health.memory.into_iter().flat_map(|(controller, errors)| {
            let of = |kind| and(label("controller", controller.clone()), "kind", kind);
            [(of("corrected"), errors.corrected), (of("uncorrected"), errors.uncorrected)]
        });
        out.gauges(
            "stele_machine_memory_errors",
            "How many memory errors were there since the machine's start?",
            memory,
        )?;
        let throttled = health.throttled.values().sum();
        out.gauge("stele_machine_throttled_times", "How often were processors slowed down for their heat?", throttled)?;
        let of_disk = |name: &str| label("controller", name.to_owned());
        let disks = &health.disks;
        let used = disks.iter().map(|(name, disk)| (of_disk(name), u64::from(disk.used_percent)));
        out.gauges("stele_machine_disk_used_percent", "How much of a disk's endurance is used up?", used)?;
        let spare = disks.iter().map(|(name, disk)| (of_disk(name), u64::from(disk.spare_percent)));
        out.gauges("stele_machine_disk_spare_percent", "How many of a disk's spare blocks are left?", spare)?;
        let written = disks.iter().map(|(name, disk)| (of_disk(name), disk.written_bytes as f64));
        out.measures("stele_machine_disk_written_bytes", "How much has a disk written in its life?", written)?;
        let errors = disks.iter().map(|(name, disk)| (of_disk(name), disk.media_errors as f64));
        out.measures("stele_machine_disk_media_errors", "How often could a disk not read or write rightly?", errors)?;
        gpu::gpus(out, &health.gpus)?;
        let troubles = condition.troubles().len() as u64;
        out.gauge("stele_machine_troubles", "How much is wrong with the machine now?", troubles)?;
        let restraint = condition.restraint() as u64;
        out.gauge(
            "stele_node_restraint",
            "How far does the node hold back for that: not (0), sheds load (1), is silent (2), stops (3)?",
            restraint,
        )?;
        let uptime = [(Labels::new(), self.status.uptime().as_secs_f64())];
        out.measures("stele_node_uptime_seconds", "How long has the process been running?", uptime)?;
        let cpu = self.usage.stages.iter().map(|(stage, spent)| (label("stage", stage), spent.as_secs_f64()));
        out.seconds("stele_node_cpu_seconds", "Which stages spend the CPU time?", cpu)?;
        out.gauge("stele_node_memory_bytes", "How much memory is resident?", self.usage.rss_bytes)?;
        out.gauge("stele_node_memory_peak_bytes", "How much was resident at most?", self.usage.rss_bytes_max)?;
        out.gauge(
            "stele_rpc_open_connections",
            "How many connections to the RPC are open?",
            self.rpc_connections as u64,
        )
    }

    fn ledger(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let certified = self.status.certified_height().0;
        if let Some(tip) = self.status.tip() {
            out.gauge("stele_ledger_executed_height", "Which height did this node execute last?", tip.height.0)?;
            out.gauge("stele_ledger_epoch", "Of which epoch is that height?", tip.epoch.0)?;
            let closing = u64::from(tip.closing);
            out.gauge(
                "stele_ledger_epoch_closing",
                "Is a change decided that ends the epoch (1) or not (0)?",
                closing,
            )?;
            let time = [(Labels::new(), tip.time_ms as f64 / 1e3)];
            out.measures("stele_ledger_time_seconds", "What is the BFT time of the last executed height?", time)?;
            let outcomes = [(label("outcome", "applied"), tip.committed), (label("outcome", "rejected"), tip.rejected)];
            out.counters("stele_ledger_transactions", "What became of the transactions since genesis?", outcomes)?;
        }
        let waited = [(Labels::new(), self.root_waited.as_secs_f64())];
        let question = "How long has execution waited for the root of an earlier state?";
        out.seconds("stele_ledger_state_root_wait_seconds", question, waited)?;
        let sync = self.status.sync().unwrap_or_default();
        let target = sync.target.0;
        out.gauge("stele_sync_target_height", "Up to which height does a node catch up?", target)?;
        let pace = [(Labels::new(), sync.heights_per_second)];
        out.measures("stele_sync_height_rate", "How many heights a second does a node execute that catches up?", pace)?;
        let state = sync.state.unwrap_or_default();
        out.gauge("stele_sync_state_bytes", "How large is the state that it takes from peers?", state.bytes)?;
        out.gauge("stele_sync_state_fetched_bytes", "How much of that is here?", state.fetched_bytes)?;
        out.gauge("stele_sync_asked_peers", "How many peers is it asking?", sync.peers as u64)?;
        out.gauge("stele_ledger_certified_height", "Up to which height are there certificates?", certified)?;
        let seconds = [0.5, 0.99].map(|q| (label("quantile", q), self.status.certified_ms(q) / 1e3));
        out.measures("stele_ledger_certification_seconds", "How long after its order is a height certified?", seconds)?;
        let waiting = self.status.execution_queue() as u64;
        out.gauge("stele_ledger_waiting_commits", "How far is execution behind the order?", waiting)
    }

    fn consensus(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let gauges = self.status.gauges();
        out.gauge("stele_consensus_current_round", "In which round is consensus?", gauges.round.0)?;
        out.gauge("stele_consensus_proposed_round", "In which round was the last own block?", gauges.own_round.0)?;
        out.gauge("stele_consensus_ordered_height", "Which height was ordered last?", gauges.ordered.0)?;
        out.gauge("stele_consensus_dag_blocks", "How many blocks are in the DAG?", gauges.dag_blocks as u64)?;
        out.gauge("stele_consensus_held_blocks", "How many blocks are in memory?", gauges.blocks as u64)?;
        out.gauge("stele_consensus_suspended_blocks", "How many blocks wait for history?", gauges.suspended as u64)?;
        let excluded = gauges.excluded as u64;
        out.gauge("stele_consensus_excluded_validators", "How many validators may not lead at the moment?", excluded)?;
        let help = "By how much does the clock differ from those of a quorum, while no blocks are made for that?";
        out.gauge("stele_consensus_clock_alarm_milliseconds", help, gauges.clock_alarm_ms)?;
        let broken = self.status.misbehaviours().into_iter();
        let broken = broken.map(|((peer, what), count)| (and(label("peer", peer), "what", what), count));
        out.counters("stele_consensus_misbehaviour_events", "Which peer broke which rule, how often?", broken)
    }

    fn ingress(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let taken = [("admitted", self.status.admitted_count()), ("busy", self.status.busy_count())];
        let refused = self.status.refusals().into_iter().map(|(reject, count)| (reject.label(), count));
        let outcomes = taken.into_iter().chain(refused).map(|(outcome, count)| (label("outcome", outcome), count));
        out.counters("stele_ingress_transactions", "What was said to clients' transactions at the door?", outcomes)?;
        let receipts = self.status.receipts();
        out.counter("stele_ingress_receipts", "How many receipts were sent to clients on the fast path?", receipts)?;
        let pool = self.status.gauges().pool as u64;
        out.gauge("stele_pool_waiting_transactions", "How many transactions wait for a block?", pool)
    }

    fn log(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let stats = &self.log;
        out.counter("stele_log_written_bytes", "How much was written, padding included?", stats.bytes)?;
        out.counter("stele_log_payload_bytes", "How much of it was records?", stats.payload_bytes)?;
        out.counter("stele_log_accepted_records", "How many records were accepted?", stats.records)?;
        out.counter("stele_log_durable_groups", "How many groups of records became durable?", stats.groups)?;
        out.counter("stele_log_disk_syncs", "How often was the disk flushed?", stats.syncs)?;
        let sync = quantiles(stats.sync_p50_us, stats.sync_p99_us);
        out.measures("stele_log_sync_seconds", "How long does a group take to be durable?", sync)?;
        out.gauge("stele_log_queued_bytes", "How much is accepted and not durable yet?", stats.queued_bytes)?;
        out.gauge("stele_log_spare_segments", "How many segments are ready?", stats.spare_segments.into())?;
        let backend = [(and(label("backend", stats.backend), "direct", stats.direct), 1)];
        out.gauges("stele_log_backend_flag", "How does the log write?", backend)?;
        let (scrubbed, damaged) = self.status.log_scrub();
        out.counter("stele_log_scrubbed_bytes", "How many bytes of records were read again and checked?", scrubbed)?;
        out.gauge("stele_log_damaged_places", "How many places of the log did that find damaged?", damaged)?;
        let failed = u64::from(self.status.log_fault().is_some());
        out.gauge("stele_log_fault_flag", "Has the log failed?", failed)
    }

    fn signer(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let Reading { stats, answering } = &self.signer;
        out.gauge("stele_signer_answering_flag", "Does the signer process answer?", u64::from(*answering))?;
        let outcomes = [
            ("round", stats.signatures),
            ("handshake", stats.handshakes),
            ("refused", stats.refused),
            ("fault", stats.faults),
        ];
        let outcomes = outcomes.map(|(outcome, count)| (label("outcome", outcome), count));
        out.counters("stele_signer_requests", "What did the signer do with requests?", outcomes)?;
        let help = "How many PKCS#11 modules were given up because a call into them does not return?";
        out.gauge("stele_signer_modules_stuck", help, stats.modules_stuck.into())?;
        let whole = quantiles(stats.p50_us, stats.p99_us);
        out.measures("stele_signer_signature_seconds", "How long does a round's signature take in the signer?", whole)?;
        let guard = quantiles(stats.guard_p50_us, stats.guard_p99_us);
        out.measures("stele_signer_guard_seconds", "How much of that is the sign-once guard?", guard)?;
        if let Some(until) = stats.certified_until {
            let help =
                "From which round on is the epoch key certified no more? Compare with stele_consensus_current_round.";
            out.gauge("stele_signer_certified_until_round", help, until.round.0)?;
        }
        Ok(())
    }

    fn transport(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let endpoints = [("peers", &self.mesh), ("clients", &self.clients)];
        // One family holds both endpoints, told apart by their label.
        let each = |rows: fn(&TransportStats) -> Vec<(Labels, u64)>| {
            endpoints.into_iter().flat_map(move |(endpoint, stats)| {
                rows(stats).into_iter().map(move |(labels, value)| {
                    let mut all = label("endpoint", endpoint);
                    all.extend(labels);
                    (all, value)
                })
            })
        };
        let handshakes = each(|stats| {
            let ours = [("accepted", stats.handshakes_accepted), ("retried", stats.handshakes_retried)];
            let refused = Refusal::ALL.map(|refusal| (refusal.label(), stats.refused(refusal)));
            ours.into_iter().chain(refused).map(|(outcome, count)| (label("outcome", outcome), count)).collect()
        });
        out.counters("stele_transport_handshakes", "How did handshakes end?", handshakes)?;
        let violations =
            each(|stats| Violation::ALL.map(|what| (label("what", what.label()), stats.violation(what))).to_vec());
        out.counters("stele_transport_violations", "For what were connections cut?", violations)?;
        let traffic = |sent: fn(&transport::Traffic) -> u64, received: fn(&transport::Traffic) -> u64| {
            endpoints.into_iter().flat_map(move |(endpoint, stats)| {
                Class::ALL.into_iter().flat_map(move |class| {
                    let (labels, traffic) =
                        (and(label("endpoint", endpoint), "class", class.label()), stats.class(class));
                    [("sent", sent(&traffic)), ("received", received(&traffic))]
                        .map(|(direction, value)| (and(labels.clone(), "direction", direction), value))
                })
            })
        };
        let frames = traffic(|traffic| traffic.sent_frames, |traffic| traffic.received_frames);
        out.counters("stele_transport_frames", "How many frames went where?", frames)?;
        let bytes = traffic(|traffic| traffic.sent_bytes, |traffic| traffic.received_bytes);
        out.counters("stele_transport_frame_bytes", "How many bytes were in them?", bytes)?;
        let dropped = each(|stats| {
            Class::ALL.map(|class| (label("class", class.label()), stats.class(class).dropped_full)).to_vec()
        });
        out.counters("stele_transport_dropped_frames", "How many frames found their queue full?", dropped)?;
        let requests = each(|stats| {
            let outcomes = [
                ("sent", stats.requests_sent),
                ("failed", stats.requests_failed),
                ("received", stats.requests_received),
            ];
            outcomes.map(|(outcome, count)| (label("outcome", outcome), count)).to_vec()
        });
        out.counters("stele_transport_requests", "How many requests were there?", requests)?;
        let copies = each(|stats| {
            [("sent", stats.copies_sent), ("used", stats.copies_used)]
                .map(|(way, count)| (label("way", way), count))
                .to_vec()
        });
        out.counters(
            "stele_transport_copies",
            "How many frames had a second copy, and of how many was it first?",
            copies,
        )?;
        let slow = self.clients.slow_dropped;
        out.counter("stele_transport_slow_sessions", "How many clients were dropped for not reading?", slow)?;
        out.gauge("stele_transport_client_sessions", "How many clients are on the fast path?", self.sessions as u64)
    }

    fn links(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let each =
            |value: fn(&PeerStatus) -> u64| self.peers.iter().map(move |peer| (label("peer", peer.index), value(peer)));
        out.gauges("stele_peer_link_flag", "Is the link to this validator up?", each(|peer| u64::from(peer.up)))?;
        if self.admitted.is_asked() {
            let admitted = |peer: &PeerStatus| u64::from(self.admitted.holds(peer.index));
            let admitted = self.peers.iter().map(|peer| (label("peer", peer.index), admitted(peer)));
            out.gauges("stele_peer_machine_flag", "Is the machine at its other end let in?", admitted)?;
        }
        let rtt = self.peers.iter().map(|peer| (label("peer", peer.index), peer.rtt_us as f64 / 1e6));
        out.measures("stele_peer_rtt_seconds", "How far is it?", rtt)?;
        let sent = each(|peer| peer.sent_bytes);
        out.gauges("stele_peer_sent_bytes", "How much was sent on the link that stands?", sent)?;
        let received = each(|peer| peer.received_bytes);
        out.gauges("stele_peer_received_bytes", "How much was received on it?", received)?;
        out.gauges("stele_peer_queued_bytes", "How much waits to be sent?", each(|peer| peer.queued_bytes))?;
        out.gauges("stele_peer_lost_packets", "How many packets were lost on it?", each(|peer| peer.lost_packets))
    }

    fn keys(&self, out: &mut Scrape<'_>) -> fmt::Result {
        let now = now();
        let of = |key: &KeyAge| {
            let labels = and(label("validator", &key.validator), "key", key.role);
            and(labels, "algorithm", key.alg)
        };
        let since = self.key_ages.iter().map(|key| (of(key), key.since.0 as f64 / 1e3));
        out.measures("stele_validator_key_since_timestamp_seconds", "Since when has it had this key?", since)?;
        let due = self.key_ages.iter().map(|key| (of(key), u64::from(key.alarm(&self.keys, now).is_some())));
        out.gauges("stele_validator_key_due_flag", "Is this key due for replacement, by `[keys]` in node.toml?", due)
    }
}

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut out = Scrape::new(encoder);
        self.node(&mut out)?;
        self.ledger(&mut out)?;
        self.consensus(&mut out)?;
        self.ingress(&mut out)?;
        verification::write(&self.verify, &mut out)?;
        self.log(&mut out)?;
        self.signer(&mut out)?;
        self.transport(&mut out)?;
        self.links(&mut out)?;
        self.keys(&mut out)
    }
}

#[cfg(test)]
mod tests;
