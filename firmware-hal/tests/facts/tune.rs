//! Settings of a machine with two nodes: what is wanted, what is written, what is put back.

use crate::tree::Tree;
use firmware_hal::tune::{Hugepages, Tally, apply, apply_all, revert, settings};
use firmware_hal::{Inventory, Root, Setting, TuneError, Wanted};
use std::fs;
use std::path::PathBuf;

const SCHEDULER: &str = "/sys/block/nvme0n1/queue/scheduler";
const RMEM: &str = "/proc/sys/net/core/rmem_default";
const CHANNELS: &str = "/ethtool/eth0/combined";
const IRQ: &str = "/proc/irq/77/smp_affinity_list";

/// A server whose settings are those of a distribution.
fn untuned() -> (Tree, Root, PathBuf) {
    let tree = Tree::server();
    tree.put("/proc/sys/kernel/random/boot_id", "5f0d3c1e-first\n");
    tree.put(RMEM, "212992\n");
    tree.put("/proc/sys/net/core/wmem_default", "8388608\n");
    tree.put("/proc/sys/vm/swappiness", "60\n");
    tree.put("/proc/sys/kernel/numa_balancing", "1\n");
    tree.put(SCHEDULER, "[mq-deadline] none\n");
    tree.put(IRQ, "0-3\n");
    tree.put(CHANNELS, "1\n");
    fs::create_dir_all(tree.place("/sys/class/net/eth0/device/msi_irqs/77")).unwrap();
    let root = Root::at(tree.path());
    let record = tree.place("/var/lib/stele/tune.json");
    (tree, root, record)
}

fn wanted(root: &Root) -> Vec<Setting> {
    settings(root, &Inventory::take(root), &[])
}

fn of<'a>(settings: &'a [Setting], path: &str) -> &'a Setting {
    settings.iter().find(|setting| setting.path == path).unwrap_or_else(|| panic!("nothing is wanted of {path}"))
}

fn read(tree: &Tree, path: &str) -> String {
    fs::read_to_string(tree.place(path)).unwrap().trim().to_owned()
}

#[test]
fn a_check_says_what_is_due_and_changes_nothing() {
    let (tree, root, _) = untuned();
    let settings = wanted(&root);
    assert!(of(&settings, RMEM).is_due() && !of(&settings, "/proc/sys/net/core/wmem_default").is_due());
    assert_eq!(of(&settings, RMEM).command(), "sysctl -w net.core.rmem_default=4194304");
    assert_eq!(of(&settings, SCHEDULER).command(), format!("echo none > {SCHEDULER}"));
    assert_eq!(of(&settings, IRQ).wanted, Wanted::Cpus(vec![1, 3]), "the interface is on the second node");
    let unknown = of(&settings, "/proc/sys/net/core/netdev_max_backlog");
    assert_eq!((unknown.is_met(), unknown.is_due()), (None, false), "what cannot be read is not written");
    let channels = of(&settings, CHANNELS);
    assert_eq!((channels.command().as_str(), channels.is_due()), ("ethtool -L eth0 combined 2", true));
    assert_eq!(read(&tree, RMEM), "212992");
    assert!(settings.iter().all(|setting| setting.why.len() > 30 && !setting.to_string().is_empty()));
}

#[test]
fn a_machine_that_tells_nothing_is_not_taken_for_a_tuned_one() {
    let tree = Tree::empty();
    let settings = wanted(&Root::at(tree.path()));
    let tally = Tally::of(&settings);
    assert_eq!((tally.unknown, tally.met, tally.differing, tally.due), (settings.len(), 0, 0, 0));
    assert!(
        !tally.is_tuned()
            && tally.to_string().contains(&format!("{} of {} settings are unknown", tally.unknown, settings.len()))
    );
    // What stands behind lists that are not there is unknown with them.
    for path in ["/sys/block", "/sys/class/net", "/sys/devices/system/node", "/sys/devices/system/cpu/online"] {
        let text = of(&settings, path).to_string();
        assert!(text.starts_with("unknown") && text.contains("to know it"), "{text}");
    }
}

#[test]
fn one_unknown_setting_keeps_a_machine_from_being_tuned() {
    let (tree, root, record) = untuned();
    apply_all(&root, &[], &record).unwrap();
    let tally = Tally::of(&wanted(&root));
    assert_eq!((tally.differing, tally.unknown, tally.is_tuned()), (0, 1, false), "{tally}");
    tree.put("/proc/sys/net/core/netdev_max_backlog", "10000\n");
    let tally = Tally::of(&wanted(&root));
    assert_eq!((tally.differing, tally.unknown, tally.is_tuned()), (0, 0, true), "{tally}");
    tree.put("/sys/block/nvme0n1/queue/rotational", "2\n");
    assert!(!Tally::of(&wanted(&root)).is_tuned(), "whether it turns is unknown");
}

#[test]
fn what_is_applied_is_put_back() {
    let (tree, root, record) = untuned();
    let before = [RMEM, SCHEDULER, IRQ].map(|path| read(&tree, path));
    let outcomes = apply(&root, &wanted(&root), &record).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.problem.is_none()), "{outcomes:?}");
    assert_eq!([RMEM, SCHEDULER, IRQ].map(|path| read(&tree, path)), ["4194304", "none", "1,3"]);
    assert!(apply(&root, &wanted(&root), &record).unwrap().is_empty(), "a second time there is nothing to do");

    let outcomes = revert(&root, &record).unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.problem.is_none()), "{outcomes:?}");
    // A scheduler is put back by its name; a kernel then shows the list again.
    assert_eq!([RMEM, IRQ].map(|path| read(&tree, path)), [before[0].clone(), before[2].clone()]);
    assert_eq!(read(&tree, SCHEDULER), "mq-deadline");
    assert!(matches!(revert(&root, &record), Err(TuneError::NothingApplied { .. })));
}

#[test]
fn channels_are_set_before_the_interrupts_that_they_bring_and_put_back_after_them() {
    let (tree, root, record) = untuned();
    let outcomes = apply_all(&root, &[], &record).unwrap();
    assert_eq!(outcomes[0].path, CHANNELS);
    assert!(outcomes.iter().any(|outcome| outcome.path == IRQ), "{outcomes:?}");
    assert_eq!([CHANNELS, IRQ].map(|path| read(&tree, path)), ["2", "1,3"]);
    assert!(apply_all(&root, &[], &record).unwrap().is_empty());
    let outcomes = revert(&root, &record).unwrap();
    assert_eq!(outcomes.last().unwrap().path, CHANNELS);
    assert_eq!([CHANNELS, IRQ].map(|path| read(&tree, path)), ["1", "0-3"]);
}

#[test]
fn no_more_channels_are_wanted_than_an_interface_has_and_of_the_kind_that_it_uses() {
    let (tree, root, _) = untuned();
    tree.put("/ethtool/eth0/combined_max", "1\n");
    assert_eq!(of(&wanted(&root), CHANNELS).is_met(), Some(true));
    tree.put(CHANNELS, "0\n");
    tree.put("/ethtool/eth0/rx", "1\n");
    tree.put("/ethtool/eth0/rx_max", "8\n");
    assert_eq!(of(&wanted(&root), "/ethtool/eth0/rx").command(), "ethtool -L eth0 rx 2");
    // A driver that has none: nobody knows, nothing is written.
    for kind in ["rx", "rx_max", "combined", "combined_max"] {
        tree.remove(&format!("/ethtool/eth0/{kind}"));
    }
    let settings = wanted(&root);
    assert_eq!((of(&settings, CHANNELS).is_met(), of(&settings, CHANNELS).is_due()), (None, false));
}

#[test]
fn the_first_value_is_what_is_put_back_after_two_applications() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    tree.put(RMEM, "1000\n");
    assert_eq!(apply(&root, &wanted(&root), &record).unwrap().len(), 1);
    revert(&root, &record).unwrap();
    assert_eq!(read(&tree, RMEM), "212992");
}

#[test]
fn what_others_have_changed_since_is_left_alone() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    tree.put(RMEM, "16777216\n");
    let outcomes = revert(&root, &record).unwrap();
    let kept = outcomes.iter().find(|outcome| outcome.path == RMEM).unwrap();
    assert!(kept.problem.as_ref().unwrap().contains("left alone"));
    assert_eq!(read(&tree, RMEM), "16777216");
}

#[test]
fn a_crash_between_the_record_and_the_writes_is_put_back_too() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    // The record is there, the file says what it said before.
    tree.put(RMEM, "212992\n");
    assert!(revert(&root, &record).unwrap().iter().all(|outcome| outcome.problem.is_none()));
}

#[test]
fn a_file_that_refuses_does_not_hold_up_the_others_and_stays_in_the_record() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    tree.remove(SCHEDULER);
    fs::create_dir(tree.place(SCHEDULER)).unwrap();
    let outcomes = revert(&root, &record).unwrap();
    assert!(outcomes.iter().any(|outcome| outcome.path == SCHEDULER && outcome.problem.is_some()));
    assert_eq!(read(&tree, RMEM), "212992");
    let left = fs::read_to_string(&record).unwrap();
    assert!(left.contains(SCHEDULER) && !left.contains(RMEM));
}

#[test]
fn a_record_of_an_earlier_start_says_nothing_of_this_one() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    tree.put("/proc/sys/kernel/random/boot_id", "77aa-second\n");
    tree.put(RMEM, "212992\n");
    assert!(matches!(revert(&root, &record), Err(TuneError::NothingApplied { .. })));
    apply(&root, &wanted(&root), &record).unwrap();
    revert(&root, &record).unwrap();
    assert_eq!(read(&tree, RMEM), "212992");
}

#[test]
fn records_that_are_none_are_refused_and_change_nothing() {
    let (tree, root, record) = untuned();
    apply(&root, &wanted(&root), &record).unwrap();
    let good = fs::read_to_string(&record).unwrap();
    let outside = good.replace("/proc/sys/net/core/rmem_default", "/etc/shadow");
    let climbing = good.replace("/proc/sys/net/core/rmem_default", "/sys/../etc/shadow");
    let newer = good.replace("\"version\": 1", "\"version\": 2");
    for text in ["", "{", "[]", &good[..good.len() / 2], &outside, &climbing, &newer] {
        fs::write(&record, text).unwrap();
        assert!(matches!(revert(&root, &record), Err(TuneError::Malformed { .. })), "{text}");
        assert!(matches!(apply(&root, &wanted(&root), &record), Err(TuneError::Malformed { .. })), "{text}");
        assert_eq!(read(&tree, RMEM), "4194304");
    }
}

const PAGES: [&str; 2] = ["node0", "node1"];

fn pages(node: &str) -> String {
    format!("/sys/devices/system/node/{node}/hugepages/hugepages-2048kB/nr_hugepages")
}

/// Two nodes that have huge pages, and so many of them wanted.
fn with_pages(count: u64) -> (Tree, Root, PathBuf, [Hugepages; 1]) {
    let (tree, root, record) = untuned();
    PAGES.iter().zip(["512\n", "0\n"]).for_each(|(node, text)| tree.put(&pages(node), text));
    (tree, root, record, [Hugepages { kib: 2048, count }])
}

#[test]
fn huge_pages_are_left_as_they_are_unless_a_count_is_given() {
    let (tree, root, record, _) = with_pages(0);
    assert!(wanted(&root).iter().all(|setting| !setting.path.contains("/hugepages")));
    apply_all(&root, &[], &record).unwrap();
    assert_eq!(PAGES.map(|node| read(&tree, &pages(node))), ["512", "0"]);
}

#[test]
fn huge_pages_are_shared_among_the_nodes_and_put_back() {
    let (tree, root, record, wishes) = with_pages(301);
    let settings = settings(&root, &Inventory::take(&root), &wishes);
    assert_eq!(of(&settings, &pages("node0")).command(), format!("echo 151 > {}", pages("node0")));
    assert!(of(&settings, &pages("node0")).is_due() && of(&settings, &pages("node1")).is_due());
    apply_all(&root, &wishes, &record).unwrap();
    assert_eq!(PAGES.map(|node| read(&tree, &pages(node))), ["151", "150"]);
    assert!(apply_all(&root, &wishes, &record).unwrap().is_empty());
    assert!(revert(&root, &record).unwrap().iter().all(|outcome| outcome.problem.is_none()));
    assert_eq!(PAGES.map(|node| read(&tree, &pages(node))), ["512", "0"]);
}

/// A kernel whose memory is in pieces gives what it finds, which is still ours to give back.
#[test]
fn pages_that_were_granted_in_part_are_put_back_too() {
    let (tree, root, record, wishes) = with_pages(2048);
    apply_all(&root, &wishes, &record).unwrap();
    tree.put(&pages("node0"), "700\n");
    tree.put(&pages("node1"), "2000\n");
    let outcomes = revert(&root, &record).unwrap();
    let problem = |node: &str| outcomes.iter().find(|outcome| outcome.path == pages(node)).unwrap().problem.clone();
    assert_eq!((problem("node0"), read(&tree, &pages("node0")).as_str()), (None, "512"));
    assert!(problem("node1").unwrap().contains("left alone"), "more than was asked for is another's");
}

#[test]
fn a_node_without_memory_gets_no_pages_and_a_machine_of_one_is_asked_as_a_whole() {
    let (tree, root, record, wishes) = with_pages(64);
    tree.put("/sys/devices/system/node/node1/meminfo", "Node 1 MemTotal: 0 kB\n");
    apply_all(&root, &wishes, &record).unwrap();
    let whole = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    assert_eq!((read(&tree, whole).as_str(), read(&tree, &pages("node1")).as_str()), ("64", "0"));
    revert(&root, &record).unwrap();
    assert_eq!(read(&tree, whole), "512");
}

#[test]
fn pages_of_a_size_that_a_machine_does_not_have_are_refused_before_anything_is_written() {
    let (tree, root, record, _) = with_pages(0);
    let wish = [Hugepages { kib: 4, count: 1 }];
    let error = apply_all(&root, &wish, &record).unwrap_err();
    assert!(matches!(error, TuneError::NoSuchPages { kib: 4, .. }));
    assert!(error.to_string().contains("1048576, 2048"), "{error}");
    assert_eq!((read(&tree, RMEM).as_str(), record.exists()), ("212992", false));
    let settings = settings(&root, &Inventory::take(&root), &wish);
    assert!(!Tally::of(&settings).is_tuned() && settings.iter().any(|setting| setting.path.contains("-4kB")));
}

#[test]
fn counts_of_huge_pages_are_read_as_they_are_written() {
    assert_eq!("2048=512".parse(), Ok(Hugepages { kib: 2048, count: 512 }));
    for wrong in ["", "2048", "=", "2048=", "=1", "2048=-1", "2M=1", "2048=1=1"] {
        let error = wrong.parse::<Hugepages>().unwrap_err();
        assert!(error.to_string().contains("2048=512"), "{wrong}");
    }
}
