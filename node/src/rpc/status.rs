//! How the node is doing, put together from what its parts say of themselves.

use crate::ingress::now;
use crate::rpc::state::State;
use crate::status;
use client::rpc::{
    CertifiedMs, CertifiedUntil, EngineStatus, LogStatus, NodeState, NodeStatus, SignerStatus, SyncStatus, VerifyStatus,
};
use types::{Digest, Height};

pub(super) async fn of(state: &State) -> NodeStatus {
    let (signer, usage) = (state.signer.read().await, state.usage().await);
    let context = &state.context;
    let (plan, status) = (&context.plan, &context.status);
    let (verify, log) = (context.verifier.stats(), context.log.stats());
    let (node_state, state_detail) = node_state(&status.state());
    let tip = status.tip();
    let (committed, rejected) = tip.map_or((0, 0), |tip| (tip.committed, tip.rejected));
    NodeStatus {
        validator: plan.me,
        name: plan.config.validator.clone(),
        chain: plan.chain,
        epoch: plan.committee.epoch(),
        epoch_closing: tip.is_some_and(|tip| tip.closing),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_ms: status.uptime().as_millis() as u64,
        round: status.gauges().own_round,
        height: tip.map_or(Height(0), |tip| tip.height),
        certified_height: status.certified_height(),
        header_digest: tip.map_or(Digest::ZERO, |tip| tip.header),
        state: node_state,
        state_detail,
        progress: status.progress().label().to_owned(),
        alarms: context.key_ages.alarms(&plan.config.keys, now()),
        sync: status.sync().map(|progress| SyncStatus {
            target: progress.target,
            heights_per_second: progress.heights_per_second,
            seconds_left: progress.seconds_left,
            peers: progress.peers as u32,
            state_fetched_bytes: progress.state.map(|state| state.fetched_bytes),
            state_bytes: progress.state.map(|state| state.bytes),
        }),
        peers_up: status.peers_up(),
        pending_transactions: status.gauges().pool as u64,
        committed_transactions: committed + rejected,
        rejected_transactions: rejected,
        receipts_delivered: status.receipts(),
        certified_ms: CertifiedMs { p50: status.certified_ms(0.5), p99: status.certified_ms(0.99) },
        verify: VerifyStatus {
            engine: verify.engine.to_owned(),
            items: verify.items,
            batches: verify.batches,
            invalid: verify.invalid,
            engines: [&verify.cpu, &verify.device.engine].into_iter().filter_map(engine).collect(),
            device: verify.device.state.label().to_owned(),
            device_faults: verify.device_faults,
        },
        signer: SignerStatus {
            module: signer.stats.module,
            signatures: signer.stats.signatures,
            p50_us: signer.stats.p50_us,
            p99_us: signer.stats.p99_us,
            refused: signer.stats.refused,
            certified_until: signer
                .stats
                .certified_until
                .map(|slot| CertifiedUntil { epoch: slot.epoch.0, round: slot.round.0 }),
        },
        log: LogStatus {
            backend: log.backend.to_owned(),
            bytes: log.bytes,
            syncs: log.syncs,
            sync_p50_us: log.sync_p50_us,
            sync_p99_us: log.sync_p99_us,
        },
        cpu_seconds: usage.cpu.as_secs_f64(),
        rss_bytes: usage.rss_bytes,
        rss_bytes_max: usage.rss_bytes_max,
        stages: usage.stages.into_iter().map(|(stage, cpu)| (stage, cpu.as_micros() as u64)).collect(),
    }
}

/// The state as the RPC names it, and its reason.
pub(super) fn node_state(state: &status::State) -> (NodeState, Option<String>) {
    match state {
        status::State::Starting => (NodeState::Starting, None),
        status::State::NoQuorum => (NodeState::Starting, Some("no links to a quorum of validators".to_owned())),
        status::State::Ready => (NodeState::Ready, None),
        status::State::Reclaiming { waiting_for } => {
            let peers = waiting_for.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            let detail = format!(
                "the disk holds no own block: waiting for validators {peers} to say how far the own blocks went; \
                 `stele node --accept-lost-disk` does not wait"
            );
            (NodeState::Starting, Some(detail))
        }
        status::State::CatchingUp => (NodeState::CatchingUp, None),
        status::State::Halted(reason) => (NodeState::Halted, Some(reason.clone())),
        status::State::Stopping => (NodeState::Stopping, None),
    }
}

/// What an engine did; nothing where there is none.
fn engine(stats: &accel::EngineStats) -> Option<EngineStatus> {
    let accel::EngineStats { name, items, batches, invalid, run_ns } = stats.clone();
    (!name.is_empty()).then_some(EngineStatus { engine: name, items, batches, invalid, run_ms: run_ns / 1_000_000 })
}
