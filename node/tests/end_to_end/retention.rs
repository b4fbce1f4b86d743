//! Nodes that keep the last heights: what is older goes, they go on from their disks, and a height that is gone is said to
//! be.

use crate::check::{PATIENCE, headers_agree, nobody_equivocated, tips_agree, until};
use crate::load::Load;
use crate::network::{Network, Options};
use types::Parameters;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pruned_node_gives_old_heights_up_says_so_and_goes_on() {
    let parameters = Parameters { gc_depth_rounds: 30, ..Parameters::default() };
    let node_toml = "[log]\nsegment_bytes = 1048576\nflush_bytes = 1048576\n\n[storage]\nrole = \"pruned\"\nkeep = 256\n\n\
                     ";
    let options = Options { parameters, node_toml: node_toml.into(), ..Options::default() };
    let mut network = Network::start(options).await;
    let load = Load::start(&network, &[0, 1, 2, 3], 400);
    load.acknowledges(50).await;
    let first = network.nodes[1].rpc.header(None).await.unwrap().map(|header| header.height);
    for said in ["receipts, events and indexes of old heights were given up", "segments of the log were given up"] {
        until(said, PATIENCE, async || network.nodes[0].log_text().contains(said).then_some(())).await;
    }
    // It goes on from its own disk, and what it has is whole.
    assert!(network.nodes[0].process.take().unwrap().terminate().success());
    let checked = network.nodes[0].run(&["fsck", "--deep", "--data", "data"]);
    assert!(checked.status.success(), "{}{}", checked.output, checked.message);
    let early = network.nodes[0].run(&["export", "--config", "node.toml", "--out", "early", "--from", "1"]);
    let said = early.message.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("is not in the log any more"), "{said}");
    let late = network.nodes[0].run(&["export", "--config", "node.toml", "--out", "late", "--json"]);
    assert!(late.status.success(), "{}", late.message);
    network.nodes[0].restart().await;
    load.acknowledges_at(0, 30).await;
    drop(load.finish().await);
    assert!(headers_agree(&network).await > first.unwrap_or_default());
    tips_agree(&network).await;
    nobody_equivocated(&network).await;
}
