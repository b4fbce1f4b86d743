//! A full disk: the node stops cleanly and says so, the others go on, and with room again it continues.

use crate::check::{headers_agree, nobody_equivocated, nothing_is_missing};
use crate::load::Load;
use crate::network::{Network, Options};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A small file system in memory, where mounting is permitted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Result<Self, String> {
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", "size=64m", "stele-test"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Ok(Self(at.to_owned())),
            Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Fills it but for so many bytes, or wholly where others write meanwhile.
    fn fill_but(&self, left: u64) -> PathBuf {
        let path = self.0.join("ballast");
        let free = rustix::fs::statvfs(&self.0).map(|disk| disk.f_bavail * disk.f_frsize).unwrap();
        let mut file = File::create(&path).unwrap();
        let chunk = vec![0; 1 << 16];
        for _ in 0..free.saturating_sub(left) / chunk.len() as u64 {
            match file.write_all(&chunk) {
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => break,
                written => written.unwrap(),
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_the_node_cleanly_and_it_continues_when_there_is_room() {
    let node_toml = "[log]\nsegment_bytes = 1048576\nflush_bytes = 1048576\n".to_owned();
    let mut network = Network::prepare(Options { node_toml, ..Options::default() }).await;
    let disk = match SmallDisk::mount(&network.nodes[3].dir.join("data")) {
        Ok(disk) => disk,
        Err(reason) => return println!("  skipped: a file system cannot be mounted here: {reason}"),
    };
    network.start_signers().await;
    network.start_nodes().await;
    let load = Load::start(&network, &[0, 1, 2, 3], 100);
    load.acknowledges_at(3, 50).await;
    let ballast = disk.fill_but(1 << 20);

    let node = network.nodes[3].process.take().unwrap();
    let log = network.nodes[3].dir.join("node-1.log");
    let status = tokio::task::spawn_blocking(move || node.wait()).await.unwrap();
    let text = std::fs::read_to_string(log).unwrap();
    let message: Vec<_> = text.lines().filter(|line| !line.starts_with('{')).collect();
    assert_eq!(status.code(), Some(1), "{message:?}");
    let message = message.join(" ");
    assert!(message.contains("is full") && message.contains("make room"), "{message}");
    load.acknowledges_at(0, 50).await;

    // Without room it says the same again, and nothing gets worse.
    let again = network.nodes[3].run_to_end();
    assert!(!again.status.success() && !again.message.contains("panicked"), "{}", again.message);

    std::fs::remove_file(ballast).unwrap();
    network.nodes[3].restart().await;
    load.acknowledges_at(3, 50).await;
    let outcomes = load.finish().await;
    headers_agree(&network).await;
    nothing_is_missing(&network, &outcomes.acknowledged).await;
    nobody_equivocated(&network).await;
    network.nodes[3].kill();
}
