//! A slow disk: every sync of one validator takes a quarter of a second longer. It goes on at its own pace and says what it says
//! truly, the others do not wait for it, and on a good disk it is as fast as they are again.
//!
//! The kernel delays the real system calls of the real process, as `strace` tells it to.

use crate::check::{headers_agree, nobody_equivocated, nothing_is_missing};
use crate::load::Load;
use crate::network::{Network, Options};
use std::process::Command;

/// What a sync takes longer, microseconds.
const DELAY_US: u32 = 250_000;
/// The validator with the slow disk.
const SLOW: usize = 3;
/// Most memory that a node may take while it waits for its disk.
const MEMORY_MAX: u64 = 1 << 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_disk_slows_its_own_node_alone_and_nothing_acknowledged_is_lost() {
    if let Err(error) = Command::new("strace").arg("--version").output() {
        return println!("  skipped: system calls cannot be delayed here: strace: {error}");
    }
    // Syncs by plain system calls, which can be delayed: a flush of a file, and a write that is durable when it returns.
    let node_toml = "[log]\nsegment_bytes = 1048576\nbackend = \"threaded\"\n".to_owned();
    let mut network = Network::prepare(Options { node_toml, ..Options::default() }).await;
    let delays = format!("inject=fdatasync,pwritev2:delay_exit={DELAY_US}");
    // As a grandchild (-D), so that the node itself is what is signalled and waited for.
    let tracer = ["strace", "-D", "-f", "-q", "--seccomp-bpf", "-o", "/dev/null", "-e", &delays];
    network.nodes[SLOW].tracer = tracer.map(str::to_owned).to_vec();
    network.start_signers().await;
    network.start_nodes().await;

    let load = Load::start(&network, &[0, 1, 2, SLOW], 100);
    load.acknowledges_at(SLOW, 100).await;
    // It is slow indeed, and what it cannot keep up with does not pile up.
    let slow = network.nodes[SLOW].rpc.status().await.unwrap();
    let fast = network.nodes[0].rpc.status().await.unwrap();
    assert!(slow.log.sync_p50_us >= u64::from(DELAY_US), "{} µs", slow.log.sync_p50_us);
    assert!(fast.log.sync_p50_us < u64::from(DELAY_US), "{} µs", fast.log.sync_p50_us);
    assert!(fast.log.syncs > 2 * slow.log.syncs, "{} and {} syncs: the others waited", fast.log.syncs, slow.log.syncs);
    assert!(slow.rss_bytes_max < MEMORY_MAX, "{} bytes", slow.rss_bytes_max);

    // Killed in the middle of a sync, and started on a good disk.
    network.nodes[SLOW].kill();
    network.nodes[SLOW].tracer = Vec::new();
    network.nodes[SLOW].restart().await;
    load.acknowledges_at(SLOW, 100).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
}
