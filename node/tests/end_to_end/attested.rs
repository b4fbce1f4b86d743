//! A validator whose TPM attests its machine, and what an operator elsewhere makes of that.

use crate::load::Load;
use crate::network::{Network, Options};
use crate::process::{Ended, run_to_end, stele};
use std::path::Path;
use tpm::simulator::{Maker, Simulator};

const NONCE: &str = "5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c5f0c";

/// Runs `stele attest`.
pub fn attest(dir: &Path, arguments: &[&str]) -> Ended {
    let mut command = stele(dir);
    command.arg("attest").args(arguments);
    run_to_end(command, dir)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_elsewhere_tells_the_machine_of_a_validator_from_another() {
    let mut network = Network::prepare(Options::default()).await;
    let mut tpms = Vec::new();
    for node in &network.nodes[..2] {
        let tpm = Simulator::start();
        node.attest_by(&tpm);
        tpms.push(tpm);
    }
    network.start_signers().await;
    network.start_nodes().await;
    let dir = network.path().to_owned();
    let rpc = |node: usize| network.nodes[node].rpc.url();

    for (node, file) in [(0, "first.json"), (1, "second.json")] {
        let asked = attest(&dir, &["quote", "--rpc", &rpc(node), "--nonce", NONCE, "--out", file]);
        assert!(asked.status.success(), "{}", asked.message);
        assert!(asked.output.contains(NONCE) && asked.output.contains("register   11"), "{}", asked.output);
    }
    let verify = |file: &str, nonce: &str, more: &[&str]| {
        let given = ["verify", file, "--nonce", nonce, "--genesis", "genesis.toml"];
        attest(&dir, &[&given[..], more].concat())
    };
    let genuine = verify("first.json", NONCE, &["--json"]).json();
    assert_eq!((&genuine["holds"], &genuine["validator"]), (&true.into(), &"node-0".into()));
    let replayed = verify("first.json", &"00".repeat(32), &[]);
    assert_eq!(replayed.status.code(), Some(1));
    assert!(replayed.output.contains("X nonce"), "{}", replayed.output);

    // What is in order today is the policy of tomorrow; the machine of another validator is another.
    let policy = attest(&dir, &["policy", "first.json", "--nonce", NONCE, "--genesis", "genesis.toml"]);
    assert!(policy.status.success(), "{}", policy.message);
    std::fs::write(dir.join("machines.toml"), policy.output).unwrap();
    let same = verify("first.json", NONCE, &["--policy", "machines.toml"]);
    assert!(same.status.success(), "{}", same.output);
    let other = verify("second.json", NONCE, &["--policy", "machines.toml"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(other.output.contains("X TPM") && !other.output.contains("X signatures"), "{}", other.output);

    // The keys of one under the quote of the other.
    let read =
        |file: &str| -> serde_json::Value { serde_json::from_slice(&std::fs::read(dir.join(file)).unwrap()).unwrap() };
    let (mut mixed, second) = (read("first.json"), read("second.json"));
    for part in ["tpm_key", "quote", "quote_signature", "registers"] {
        mixed[part] = second[part].clone();
    }
    std::fs::write(dir.join("mixed.json"), mixed.to_string()).unwrap();
    let mixed = verify("mixed.json", NONCE, &[]);
    assert_eq!(mixed.status.code(), Some(1));
    assert!(mixed.output.contains("X signatures"), "{}", mixed.output);

    // One that has no TPM says so, and one whose TPM is gone.
    let none = attest(&dir, &["quote", "--rpc", &rpc(2)]);
    assert!(!none.status.success() && none.message.contains("[attestation]"), "{}", none.message);
    drop(tpms.pop());
    let gone = attest(&dir, &["quote", "--rpc", &rpc(1)]);
    assert!(!gone.status.success() && gone.message.contains("signer fault"), "{}", gone.message);
    // Rounds need no TPM.
    let load = Load::start(&network, &[1], 30);
    load.acknowledges(10).await;
    drop(load.finish().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_who_never_saw_a_machine_enrols_its_tpm_by_the_makers_certificate() {
    let mut network = Network::prepare(Options::default()).await;
    let (maker, stranger) = (Maker::new(), Maker::new());
    // The second TPM has no certificate.
    let tpms = [Simulator::made_by(&maker), Simulator::start()];
    for (node, tpm) in network.nodes.iter().zip(&tpms) {
        node.attest_by(tpm);
    }
    network.start_signers().await;
    network.start_nodes().await;
    let dir = network.path().to_owned();
    let rpc = |node: usize| network.nodes[node].rpc.url();
    for (name, bytes) in
        [("vendor.pem", maker.root()), ("steps.pem", maker.issuer()), ("stranger.pem", stranger.root())]
    {
        std::fs::write(dir.join(name), bytes).unwrap();
    }
    let enrol = |node: usize, more: &[&str]| attest(&dir, &[&["enrol", "--rpc", &rpc(node)][..], more].concat());
    let enrolled = enrol(0, &["--roots", "vendor.pem", "--intermediates", "steps.pem", "--json"]).json();
    let name = enrolled["tpm_key_name"].as_str().unwrap();

    // It is the key that signs quotes.
    assert!(attest(&dir, &["quote", "--rpc", &rpc(0), "--nonce", NONCE, "--out", "quote.json"]).status.success());
    let given = ["quote.json", "--nonce", NONCE, "--genesis", "genesis.toml"];
    let policy = attest(&dir, &[&["policy"][..], &given].concat());
    assert!(policy.output.contains(name), "{}", policy.output);

    // By a policy that trusts makers and knows no machine: none holds before it is enrolled.
    let nobody = policy.output.replace(&format!("\"{name}\""), "");
    let makers = "ek_roots = [\"vendor.pem\"]\nek_intermediates = [\"steps.pem\"]\n";
    std::fs::write(dir.join("machines.toml"), format!("{makers}{nobody}")).unwrap();
    let verify = || attest(&dir, &[&["verify"][..], &given, &["--policy", "machines.toml"]].concat());
    assert!(verify().output.contains("X TPM"));
    let told = enrol(0, &["--policy", "machines.toml"]);
    assert!(told.status.success() && told.output.contains(name), "{}{}", told.output, told.message);
    std::fs::write(dir.join("machines.toml"), format!("{makers}{}", policy.output)).unwrap();
    assert!(verify().status.success());

    let strange = enrol(0, &["--roots", "stranger.pem", "--intermediates", "steps.pem"]);
    assert!(!strange.status.success() && strange.message.contains("root that is trusted"), "{}", strange.message);
    let bare = enrol(1, &["--roots", "vendor.pem"]);
    assert!(!bare.status.success() && bare.message.contains("no certificate"), "{}", bare.message);
    let none = enrol(2, &["--roots", "vendor.pem"]);
    assert!(!none.status.success() && none.message.contains("[attestation]"), "{}", none.message);
}
