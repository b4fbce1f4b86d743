//! Commands that work on a node's data, killed again and again at rising moments: in the end they have made what they make
//! undisturbed.

use crate::check::{PATIENCE, until};
use crate::load::Load;
use crate::network::{Network, Node, Options};
use crate::process::stele;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use types::Parameters;

/// By how much later each kill comes than the one before.
const STEP: Duration = Duration::from_millis(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_that_are_killed_end_as_if_they_had_not_been() {
    let parameters = Parameters { snapshot_interval_heights: 32, ..Parameters::default() };
    let mut network = Network::start(Options { parameters, ..Options::default() }).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 400);
    load.acknowledges(600).await;
    until("there is a snapshot", PATIENCE, async || {
        network.nodes[0].log_text().contains("a snapshot is certified").then_some(())
    })
    .await;
    drop(load.finish().await);
    for node in &mut network.nodes {
        assert!(node.process.take().unwrap().terminate().success());
    }
    let node = &network.nodes[0];
    let root = node.dir.clone();
    for format in ["jsonl", "parquet"] {
        let export = |out: &str| format!("export --config node.toml --format {format} --part-heights 20 --out {out}");
        assert!(killed_until_done(node, &export("killed")) > 0, "{format}: the first kill came too late");
        assert!(run(node, &export("whole")));
        assert_eq!(content(&root.join("killed")), content(&root.join("whole")), "{format}");
        ["killed", "whole"].iter().for_each(|out| fs::remove_dir_all(root.join(out)).unwrap());
    }
    assert!(killed_until_done(node, "backup --config node.toml --to killed") > 0);
    assert!(run(node, "backup --config node.toml --to whole"));
    let told = |place: &str| {
        let verify = ["archive", "verify", "--from", place, "--genesis", "../genesis.toml", "--json"];
        node.run(&verify).json()["verified"].clone()
    };
    assert_eq!(told("killed"), told("whole"));

    let snapshot = |out: &str| format!("snapshot create --data data --out {out}");
    assert!(killed_until_done(node, &snapshot("killed-snapshot")) > 0);
    assert!(run(node, &snapshot("snapshot")));
    assert_eq!(content(&root.join("killed-snapshot")), content(&root.join("snapshot")));

    let state = root.join("data/state");
    let before = node.run(&["fsck", "--deep", "--config", "node.toml", "--json"]).json();
    fs::remove_dir_all(&state).unwrap();
    assert!(killed_until_done(node, "rebuild --config node.toml") > 0);
    let after = node.run(&["fsck", "--deep", "--config", "node.toml", "--json"]).json();
    assert_eq!((&after["state_digest_ok"], &after["state_height"]), (&true.into(), &before["state_height"]));

    fs::remove_dir_all(root.join("data")).unwrap();
    assert!(killed_until_done(node, "restore --from whole --config node.toml") > 0);
    let restored = node.run(&["fsck", "--deep", "--config", "node.toml", "--json"]).json();
    assert_eq!((&restored["state_digest_ok"], &restored["damaged_total"]), (&true.into(), &0.into()));
    assert_eq!(restored["state_height"], told("whole")["to"]);

    fs::remove_dir_all(root.join("data")).unwrap();
    assert!(killed_until_done(node, "snapshot restore --from snapshot --config node.toml") > 0);
    let taken =
        node.run(&["snapshot", "verify", "--from", "snapshot", "--genesis", "../genesis.toml", "--json"]).json();
    // The others are away, so it stands where the snapshot does.
    network.nodes[0].spawn();
    let node = &network.nodes[0];
    let started = until("it starts from there", PATIENCE, async || node.rpc.status().await.ok()).await;
    assert_eq!(started.height.0, taken["height"]);
}

fn run(node: &Node, line: &str) -> bool {
    node.run(&line.split(' ').collect::<Vec<_>>()).status.success()
}

/// Runs a command and kills it, each time a little later, until it ends by itself; how often it was killed.
fn killed_until_done(node: &Node, line: &str) -> u32 {
    for kills in 0.. {
        let mut command = stele(&node.dir);
        command.args(line.split(' ')).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::thread::sleep(STEP * (kills + 1));
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
        }
        let ended = child.wait_with_output().unwrap();
        if ended.status.code().is_some() {
            assert!(ended.status.success(), "{line}: {}", String::from_utf8_lossy(&ended.stderr));
            return kills;
        }
    }
    unreachable!("each run has longer than the one before")
}

/// All files below a directory.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        let name = entry.file_name().unwrap().to_str().unwrap().to_owned();
        if entry.is_dir() {
            files.extend(content(&entry).into_iter().map(|(below, bytes)| (format!("{name}/{below}"), bytes)));
        } else {
            files.insert(name, fs::read(&entry).unwrap());
        }
    }
    files
}
