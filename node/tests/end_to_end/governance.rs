//! `stele governance` as a process, against a network whose two governing accounts decide together.

use crate::network::{CHEAP, Network, Options};
use crate::process::{Ended, run_to_end, stele};
use hsm::config::KeystoreConfig;
use hsm::{keystore, secret};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use types::{Address, AlgId, Governance};

/// An account in a key file.
struct Member {
    key: PathBuf,
    passphrase: PathBuf,
    address: Address,
}

impl Member {
    fn new(directory: &Path, name: &str) -> Self {
        let path = |extension| directory.join(name).with_extension(extension);
        let store = KeystoreConfig { path: path("key"), passphrase_file: path("pass") };
        secret::create_random(&store.passphrase_file).unwrap();
        let address = keystore::generate_account(&store, AlgId::Ed25519, CHEAP).unwrap().address();
        Self { key: store.path, passphrase: store.passphrase_file, address }
    }
}

fn govern(network: &Network, arguments: &[&str], member: Option<&Member>) -> Ended {
    let mut command = stele(network.path());
    command.args(["governance", "--json", "--genesis", "genesis.toml"]).args(arguments);
    if let Some(member) = member {
        command.arg("--key").arg(&member.key).arg("--passphrase-file").arg(&member.passphrase);
    }
    run_to_end(command, network.path())
}

fn answer(ended: &Ended) -> Value {
    assert!(ended.status.success(), "{}", ended.message);
    serde_json::from_str(&ended.output).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_change_a_parameter_and_nobody_removes_what_the_quorum_needs() {
    let directory = tempfile::tempdir().unwrap();
    let [first, second, stranger] = ["first", "second", "stranger"].map(|name| Member::new(directory.path(), name));
    let governance = Governance { members: vec![first.address, second.address], threshold: 2 };
    let mut network = Network::start(Options { governance, ..Options::default() }).await;

    let reached = |names: &[&str]| answer(&govern(&network, &["show"], None))["reachable"] == json!(names);
    let all = ["node-0", "node-1", "node-2", "node-3"];
    crate::check::until("all links are up", crate::network::READY, async || reached(&all).then_some(())).await;
    let shown = answer(&govern(&network, &["show"], None));
    assert_eq!((&shown["epoch"], &shown["threshold"], &shown["approved"]), (&json!(1), &json!(2), &json!([])));

    let change = ["parameters", "gc_depth_rounds=200"];
    let preview = answer(&govern(&network, &[&change[..], &["--preview"]].concat(), None));
    assert_eq!((&preview["approvals"], &preview["decided"]), (&json!(0), &json!(false)));
    let refused = govern(&network, &change, Some(&stranger));
    assert!(refused.message.contains("not a member"), "{}", refused.message);

    let approved = answer(&govern(&network, &change, Some(&first)));
    assert_eq!((&approved["approvals"], &approved["decided"]), (&json!(1), &json!(false)));
    let shown = answer(&govern(&network, &["show"], None));
    assert_eq!(shown["approved"][0]["digest"], preview["digest"]);
    assert_eq!(shown["approved"][0]["members"], json!([first.address]));
    let again = govern(&network, &change, Some(&first));
    assert!(again.message.contains("approves this change already"), "{}", again.message);

    let decided = answer(&govern(&network, &change, Some(&second)));
    assert_eq!((&decided["decided"], &decided["began"]), (&json!(true), &json!(2)));
    for node in &mut network.nodes {
        node.ready().await;
    }
    let shown = answer(&govern(&network, &["show"], None));
    assert_eq!((&shown["epoch"], &shown["parameters"]["gc_depth_rounds"]), (&json!(2), &json!(200)));

    // Without the fourth, each of the other three is needed.
    network.nodes[3].kill();
    let reached = || answer(&govern(&network, &["show"], None))["reachable"] == json!(&all[..3]);
    crate::check::until("only the fourth is out of reach", crate::network::READY, async || reached().then_some(()))
        .await;
    let refused = govern(&network, &["remove", "node-2"], Some(&first));
    assert!(refused.message.contains("no quorum"), "{}", refused.message);
    // The dead one may go.
    let approved = answer(&govern(&network, &["remove", "node-3"], Some(&first)));
    assert_eq!(approved["next"], json!({ "validators": 3, "stake": 3, "quorum": 3, "tolerated": 0 }));
}
