//! Scenarios of a scrape.

use super::*;
use crate::config::KeysSection;
use crate::key_ages::KeyAges;
use accel::{CostFigures, DeviceState, EngineStats};
use std::collections::BTreeSet;
use types::{AlgId, AuthorityIndex, Reject};

fn verify() -> VerifyStats {
    let mut verify = VerifyStats { engine: "gpu".into(), items: 10, invalid: 4, ..VerifyStats::default() };
    verify.cpu = EngineStats { name: "cpu".into(), items: 3, invalid: 1, ..EngineStats::default() };
    verify.device.engine = EngineStats { name: "gpu".into(), items: 7, invalid: 3, ..EngineStats::default() };
    verify.device.state = DeviceState::Serving;
    verify.device.faults[3] = 2;
    verify.device.trust.samples = 9;
    verify.device.audit_wrong = 1;
    verify.costs.push(CostFigures {
        alg: AlgId::Sm2Sm3,
        cpu_fixed_ns: 1_000,
        cpu_item_ps: 60_000_000,
        device_fixed_ns: 1_000_000,
        device_item_ps: 100_000,
        break_even_items: Some(17),
    });
    verify
}

fn figures() -> Figures {
    let status = Status::new();
    status.admitted(7);
    status.busy(2);
    status.refused(Reject::Overdraft, 3);
    status.misbehaviour(AuthorityIndex(2), "equivocation");
    Figures {
        status: Arc::new(status),
        verify: verify(),
        log: LogStats { backend: "simulated", sync_p99_us: 1500, ..LogStats::default() },
        signer: Reading::default(),
        mesh: TransportStats { handshakes_accepted: 3, ..TransportStats::default() },
        clients: TransportStats::default(),
        sessions: 5,
        peers: Vec::new(),
        admitted: Admitted::everybody(),
        rpc_connections: 1,
        usage: Usage::now(),
        key_ages: KeyAges::default(),
        keys: KeysSection::default(),
        root_waited: std::time::Duration::ZERO,
    }
}

#[test]
fn every_metric_has_a_name_by_the_rule_and_a_question_for_help() {
    let text = figures().into_text();
    let mut names = BTreeSet::new();
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, question) = line.split_once(' ').expect("a name and its help");
        assert!(names.insert(name), "{name} is described twice");
        assert!(question.ends_with('?'), "{name}: {question}");
        assert!(name.starts_with("stele_") && name.split('_').count() >= 3, "{name}");
        assert!(!name.ends_with("_total"), "{name}: the encoder adds it");
    }
    assert!(names.len() > 40);
    assert!(text.ends_with("# EOF\n"));
}

#[test]
fn outcomes_are_one_counter_with_a_label() {
    let text = figures().into_text();
    for line in [
        "stele_ingress_transactions_total{outcome=\"admitted\"} 7",
        "stele_ingress_transactions_total{outcome=\"busy\"} 2",
        "stele_ingress_transactions_total{outcome=\"overdraft\"} 3",
        "stele_consensus_misbehaviour_events_total{peer=\"2\",what=\"equivocation\"} 1",
        "stele_verify_signatures_total{verdict=\"valid\"} 6",
        "stele_verify_signatures_total{verdict=\"invalid\"} 4",
        "stele_verify_engine_signatures_total{engine=\"gpu\",verdict=\"valid\"} 4",
        "stele_verify_engine_signatures_total{engine=\"cpu\",verdict=\"invalid\"} 1",
        "stele_verify_device_flag{state=\"serving\"} 1",
        "stele_verify_device_flag{state=\"quarantined\"} 0",
        "stele_verify_device_fault_events_total{kind=\"wrong_answer\"} 2",
        "stele_verify_device_checks_total{check=\"sample\"} 9",
        "stele_verify_device_wrong_checks_total{check=\"audit\"} 1",
        "stele_verify_item_cost_seconds{alg=\"sm2-sm3\",side=\"cpu\"} 0.00006",
        "stele_verify_break_even_signatures{alg=\"sm2-sm3\"} 17",
        "stele_transport_handshakes_total{endpoint=\"peers\",outcome=\"accepted\"} 3",
        "stele_transport_handshakes_total{endpoint=\"clients\",outcome=\"accepted\"} 0",
        "stele_transport_client_sessions 5",
        "stele_log_sync_seconds{quantile=\"0.99\"} 0.0015",
        "stele_node_state_flag{state=\"starting\"} 1",
        "stele_node_state_flag{state=\"halted\"} 0",
        "stele_signer_answering_flag 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}

#[test]
fn a_family_without_values_is_left_out() {
    let quiet = Figures { status: Arc::new(Status::new()), ..figures() };
    let text = quiet.into_text();
    assert!(!text.contains("misbehaviour") && !text.contains("stele_peer_"));
}
