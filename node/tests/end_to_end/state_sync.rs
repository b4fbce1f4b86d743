//! A node that is empty when nobody has kept the commits from the start: it takes the state of its peers, by itself.

use crate::check::{PATIENCE, nobody_equivocated, nothing_is_missing_at, tips_agree, until};
use crate::load::Load;
use crate::network::{ACCOUNTS, Network, Options, address};
use types::Parameters;

/// Little log is kept, and a state every few heights.
fn forgetful(sync: &str) -> Options {
    let parameters = Parameters {
        gc_depth_rounds: 30,
        schedule_interval_commits: 5,
        schedule_window_commits: 10,
        snapshot_interval_heights: 64,
        ..Parameters::default()
    };
    let node_toml = format!(
        "[log]\nsegment_bytes = 1048576\nflush_bytes = 1048576\n\n[storage]\nrole = \"full\"\nkeep_log_bytes = 16777216\n\n\
         [sync]\n{sync}"
    );
    Options { parameters, node_toml, ..Options::default() }
}

/// Three of four start, and go on until none of them has the first commits.
async fn forgotten_start(options: Options) -> (Network, Load) {
    let mut network = Network::prepare(options).await;
    network.start_signers().await;
    network.start_some(&[0, 1, 2]).await;
    let load = Load::start(&network, &[0, 1, 2], 400);
    for node in &network.nodes[..3] {
        until("the first segments are given up", PATIENCE, async || {
            node.log_text().contains("segments of the log were given up").then_some(())
        })
        .await;
    }
    (network, load)
}

async fn balances_agree(network: &Network) {
    for account in 0..ACCOUNTS {
        let mut balances = Vec::new();
        for node in &network.nodes {
            balances.push(node.rpc.account(&address(account)).await.unwrap().map(|account| account.balance));
        }
        assert!(balances.iter().all(|balance| *balance == balances[0]), "account {account}: {balances:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_node_takes_the_state_where_nobody_has_kept_the_commits() {
    let (mut network, load) = forgotten_start(forgetful("")).await;
    network.start_some(&[3]).await;
    let joined = network.nodes[3].log_text();
    assert!(joined.contains("no peer has kept the commits that come next; taking a state"), "it took no state");
    assert!(joined.contains("the state of peers took the place of this node's"), "it took no state");
    drop(load.finish().await);

    // It takes part: it acknowledges, and its votes are needed when another is away.
    network.nodes[0].kill();
    let load = Load::start(&network, &[1, 2, 3], 50);
    load.acknowledges_at(3, 30).await;
    // It goes on from its own disk after a crash.
    network.nodes[3].kill();
    network.nodes[3].restart().await;
    load.acknowledges_at(3, 30).await;
    network.nodes[0].restart().await;
    let outcomes = load.finish().await;
    tips_agree(&network).await;
    balances_agree(&network).await;
    nothing_is_missing_at(&network.nodes[1..], &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_joiner_that_crashes_and_a_server_that_dies_in_the_middle_cost_only_what_was_under_way() {
    let slow = Options { idle_accounts: 60_000, ..forgetful("serve_bytes_per_second = 262144\n") };
    let (mut network, load) = forgotten_start(slow).await;
    drop(load.finish().await);
    network.nodes[3].spawn();
    let joiner = &network.nodes[3];
    let some = async || {
        let sync = joiner.rpc.status().await.ok()?.sync?;
        (sync.state_fetched_bytes? > 0).then_some(())
    };
    until("some of the state is there", PATIENCE, some).await;
    network.nodes[3].kill();
    network.nodes[3].spawn();
    let joiner = &network.nodes[3];
    until("it goes on", PATIENCE, async || {
        joiner.log_text().contains("going on with a state that was begun before").then_some(())
    })
    .await;
    network.nodes[0].kill();
    // With three of four only it makes a quorum, so everybody waits for it.
    network.nodes[3].ready().await;
    let load = Load::start(&network, &[1, 2, 3], 50);
    load.acknowledges_at(3, 20).await;
    network.nodes[0].restart().await;
    let outcomes = load.finish().await;
    tips_agree(&network).await;
    balances_agree(&network).await;
    nothing_is_missing_at(&network.nodes[1..], &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}
