//! Policies: what they find, and what is no policy.

use crate::inventory::take;
use crate::tree::Tree;
use firmware_hal::{Finding, Level, Policy, PolicyError};
use proptest::prelude::*;

fn check(tree: &Tree, text: &str) -> Vec<Finding> {
    Policy::parse(text).unwrap().check(&take(tree))
}

#[test]
fn a_server_that_is_as_demanded_has_no_findings() {
    let findings = check(
        &Tree::server(),
        r#"[require]
        "boot.secure_boot" = true
        "boot.lockdown" = { one_of = ["integrity", "confidentiality"] }
        "tpm.version" = { at_least = 2 }
        "cpu.features" = { contains = ["sha_ni", "avx2"] }
        "kernel.command_line" = { contains = "lockdown=integrity" }
        "nvme.*.state" = "live"
        "nvme.*.numa_node" = { same_as = "nics.eth0.numa_node" }
        "disks.*.write_cache" = "write through"
        "memory.bytes" = { at_least = 64000000000 }
        "memory.swap_bytes" = 0
        "gpus.*.vendor" = "0x10de"
        [warn]
        "cpu.vulnerabilities.meltdown" = { starts_with = ["Not affected", "Mitigation"] }
        [forbid]
        "boot.setup_mode" = true
        "clock.source" = { one_of = ["jiffies", "hpet"] }"#,
    );
    assert_eq!(findings, []);
}

#[test]
fn what_is_not_as_demanded_is_named_with_its_source_and_its_cure() {
    let findings = check(
        &Tree::server(),
        r#"[require]
        "watchdogs.*.no_way_out" = true
        "nics.*.mtu" = { at_most = 1500 }
        [warn]
        "cpu.vulnerabilities.*" = { starts_with = ["Not affected", "Mitigation"] }
        [forbid]
        "cpu.smt" = true"#,
    );
    let told: Vec<_> = findings.iter().map(|found| (found.level, found.fact.as_str(), found.found.as_str())).collect();
    assert_eq!(
        told,
        [
            (Level::Require, "nics.eth0.mtu", "9000"),
            (Level::Require, "watchdogs.watchdog0.no_way_out", "false"),
            (Level::Warn, "cpu.vulnerabilities.mds", "\"Vulnerable: No microcode\""),
            (Level::Forbid, "cpu.smt", "true"),
        ]
    );
    assert!(findings[0].refuses() && !findings[2].refuses() && findings[3].refuses());
    let text = findings[3].to_string();
    for part in ["forbidden: cpu.smt is true", "not true", "/sys/devices/system/cpu/smt/active", "nosmt"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn what_is_unknown_meets_no_requirement_and_clears_nobody() {
    let tree = Tree::server();
    tree.remove("/sys/devices/system/cpu/smt/active");
    tree.put("/sys/class/net/eth0/device/numa_node", "-1\n");
    for level in ["require", "warn", "forbid"] {
        let findings = check(&tree, &format!("[{level}]\n\"cpu.smt\" = true"));
        assert_eq!(findings.len(), 1, "{level}");
        assert_eq!(findings[0].found, "unknown: the source is not there");
    }
    let same = check(&tree, "[require]\n\"nvme.*.numa_node\" = { same_as = \"nics.*.numa_node\" }");
    assert_eq!(same.len(), 1, "nobody knows where the network is");
}

#[test]
fn a_requirement_of_all_devices_demands_one_and_a_ban_does_not() {
    let bare = Tree::empty();
    bare.put("/sys/class/net/lo/address", "00:00:00:00:00:00\n");
    let findings = check(&bare, "[require]\n\"nvme.*.state\" = \"live\"");
    assert_eq!((findings.len(), findings[0].found.as_str()), (1, "nowhere on this machine"));
    assert_eq!(check(&bare, "[forbid]\n\"gpus.*.vendor\" = \"0x10de\""), []);
    assert_eq!(check(&Tree::server(), "[forbid]\n\"gpus.*.vendor\" = \"0x10de\"").len(), 1);
}

/// A rule over devices, and the directory that tells which there are.
const OVER_DEVICES: [(&str, &str); 8] = [
    ("\"gpus.*.vendor\" = \"0x10de\"", "/sys/bus/pci/devices"),
    ("\"nics.*.driver\" = \"r8169\"", "/sys/class/net"),
    ("\"nvme.*.transport\" = \"tcp\"", "/sys/class/nvme"),
    ("\"disks.*.rotational\" = true", "/sys/block"),
    ("\"watchdogs.*.active\" = false", "/sys/class/watchdog"),
    ("\"memory.hugepages.1048576\" = { at_least = 1 }", "/sys/kernel/mm/hugepages"),
    ("\"cpu.vulnerabilities.*\" = { starts_with = \"Vulnerable\" }", "/sys/devices/system/cpu/vulnerabilities"),
    ("\"tpm.pcrs.7\" = \"00\"", "/sys/class/tpm/tpm0/pcr-sha256"),
];

/// Nothing is mounted there, as in a container; or it is hidden by a file, or by an empty directory in its place.
#[test]
fn devices_that_cannot_be_listed_clear_nobody_and_meet_nothing() {
    for (rule, dir) in OVER_DEVICES {
        let (unmounted, hidden, empty) = (Tree::empty(), Tree::server(), Tree::empty());
        hidden.hide(dir);
        std::fs::create_dir_all(empty.place("/sys")).unwrap();
        for (tree, level) in [&unmounted, &hidden, &empty]
            .into_iter()
            .flat_map(|tree| ["require", "warn", "forbid"].map(|level| (tree, level)))
        {
            let findings = check(tree, &format!("[{level}]\n{rule}"));
            assert_eq!(findings.len(), 1, "{level} {rule}: {findings:?}");
            let text = findings[0].to_string();
            for part in [&rule[1..rule[1..].find('"').unwrap() + 1], "unknown", dir, "to know it"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}

#[test]
fn a_device_that_does_not_tell_its_kind_may_be_what_is_forbidden() {
    let tree = Tree::server();
    let (card, class) = ("[forbid]\n\"gpus.*.vendor\" = \"0x15b3\"", "/sys/bus/pci/devices/0000:81:00.0/class");
    assert_eq!(check(&tree, card), []);
    tree.remove(class);
    let findings = check(&tree, card);
    assert_eq!((findings.len(), findings[0].source.as_deref()), (1, Some(class)));
    // What the others say is judged all the same.
    assert_eq!(check(&tree, "[forbid]\n\"gpus.*.vendor\" = \"0x10de\"").len(), 2);
    assert_eq!(check(&tree, "[require]\n\"gpus.0000:01:00.0.vendor\" = \"0x10de\""), []);
}

#[test]
fn the_same_as_devices_that_cannot_be_listed_is_unknown() {
    let (tree, rule) = (Tree::server(), "\"nvme.*.numa_node\" = { same_as = \"gpus.*.numa_node\" }");
    tree.put("/sys/class/nvme/nvme0/numa_node", "0\n");
    assert_eq!(check(&tree, &format!("[require]\n{rule}")), []);
    tree.remove("/sys/bus/pci/devices/0000:81:00.0/class");
    for level in ["require", "forbid"] {
        let findings = check(&tree, &format!("[{level}]\n{rule}"));
        assert_eq!(findings.len(), 1, "{level}");
        let text = findings[0].to_string();
        for part in ["nvme.nvme0.numa_node is 0, and gpus is unknown", "81:00.0/class", "to know it"] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn a_rule_of_another_type_than_its_fact_is_refused_with_the_type() {
    for (rule, what, kind) in [
        ("\"tpm.version\" = \"2\"", "a text", "a number"),
        ("\"tpm.version\" = true", "true or false", "a number"),
        ("\"cpu.smt\" = 1", "a number", "true or false"),
        ("\"cpu.smt\" = { at_least = 1 }", "`at_least`", "true or false"),
        ("\"cpu.smt\" = { one_of = [true, \"on\"] }", "`one_of` with a text", "true or false"),
        ("\"boot.lockdown\" = { at_least = 1 }", "`at_least`", "a text"),
        ("\"boot.lockdown\" = { at_most = 1 }", "`at_most`", "a text"),
        ("\"boot.lockdown\" = { starts_with = 1 }", "`starts_with` with a number", "a text"),
        ("\"kernel.command_line\" = { contains = [1] }", "`contains` with a number", "a text"),
        ("\"memory.bytes\" = { starts_with = \"6\" }", "`starts_with`", "a number"),
        ("\"memory.bytes\" = { contains = 6 }", "`contains`", "a number"),
        ("\"cpu.features\" = \"sha_ni\"", "a text", "a list of words"),
        ("\"cpu.features\" = { one_of = [\"sha_ni\"] }", "`one_of`", "a list of words"),
        ("\"cpu.features\" = { contains = 1 }", "`contains` with a number", "a list of words"),
        ("\"cpu.online\" = { contains = \"1\" }", "`contains` with a text", "a list of numbers"),
        ("\"nvme.*.numa_node\" = { same_as = \"nics.*.driver\" }", "`same_as` with a text", "a number"),
    ] {
        for level in ["require", "warn", "forbid"] {
            let error = Policy::parse(&format!("[{level}]\n{rule}")).unwrap_err();
            assert!(matches!(error, PolicyError::OtherType { .. }), "{rule}: {error}");
            let (text, name) = (error.to_string(), rule.split('"').nth(1).unwrap());
            for part in [name, &format!("not {what}"), &format!("is {kind}"), "it is held against"] {
                assert!(text.contains(part), "{part}: {text}");
            }
        }
    }
}

/// A word with white space in it is none, and so it would never be found.
#[test]
fn words_that_no_text_has_are_refused() {
    for rule in [
        "\"kernel.command_line\" = { contains = \"quiet splash\" }",
        "\"cpu.features\" = { contains = [\"avx2\", \"\"] }",
    ] {
        let error = Policy::parse(&format!("[forbid]\n{rule}")).unwrap_err();
        assert!(matches!(error, PolicyError::Empty { .. }), "{rule}");
    }
}

#[test]
fn a_cure_leads_where_the_rule_wants_it() {
    let tree = Tree::server();
    tree.put("/proc/meminfo", "MemTotal: 4 kB\nSwapTotal: 8 kB\n");
    let cure = |rule: &str| {
        let findings = check(&tree, rule);
        assert_eq!(findings.len(), 1, "{rule}: {findings:?}");
        findings[0].cure.clone()
    };
    for (rule, wanted, other) in [
        ("[forbid]\n\"cpu.smt\" = true", "echo off", "echo on"),
        ("[require]\n\"cpu.smt\" = false", "echo off", "echo on"),
        ("[forbid]\n\"boot.secure_boot\" = true", "switch Secure Boot off", "on"),
        ("[require]\n\"boot.setup_mode\" = true", "delete the platform key", "enrol"),
        ("[forbid]\n\"boot.setup_mode\" = false", "delete the platform key", "enrol"),
        ("[forbid]\n\"gpus.*.ecc\" = true", "--ecc-config=0", "--ecc-config=1"),
        ("[require]\n\"watchdogs.*.no_way_out\" = true", "nowayout=1", "nowayout=0"),
        ("[forbid]\n\"watchdogs.*.no_way_out\" = false", "nowayout=1", "nowayout=0"),
        ("[warn]\n\"memory.swap_bytes\" = 0", "swapoff", "swapon"),
        ("[warn]\n\"memory.swap_bytes\" = { at_least = 100000 }", "swapon", "swapoff"),
        ("[forbid]\n\"memory.swap_bytes\" = { at_most = 100000 }", "swapon", "swapoff"),
        ("[forbid]\n\"memory.swap_bytes\" = { at_least = 1 }", "swapoff", "swapon"),
        ("[require]\n\"gpus.*.link_width\" = 16", "seat the card anew", "setpci"),
        ("[require]\n\"cpu.features\" = { contains = \"avx10\" }", "a newer processor", "clearcpuid"),
        ("[forbid]\n\"cpu.features\" = { contains = \"avx2\" }", "clearcpuid", "a newer processor"),
        ("[require]\n\"memory.transparent_hugepages\" = \"never\"", "echo WORD", "echo madvise"),
    ] {
        let cure = cure(rule);
        assert!(cure.contains(wanted) && !cure.contains(other), "{rule}: {cure}");
    }
    // Whichever way, both are said.
    let both = cure("[forbid]\n\"memory.swap_bytes\" = 8192");
    assert!(both.contains("swapoff") && both.contains("swapon"), "{both}");
    let missing = cure("[require]\n\"nvme.nvme7.state\" = \"live\"");
    assert!(missing.contains("stele hw --facts"), "{missing}");
}

#[test]
fn what_tells_a_fact_is_no_cure_for_its_value() {
    let (tree, rule) = (Tree::server(), "[require]\n\"gpus.*.name\" = \"NVIDIA B200\"");
    assert_eq!(check(&tree, rule)[0].cure, "");
    tree.remove("/nvml/0000:01:00.0");
    let finding = &check(&tree, rule)[0];
    assert_eq!((finding.cure.as_str(), finding.to_know), ("", "install the driver's libnvidia-ml.so.1"));
}

#[test]
fn what_is_no_policy_is_refused_with_the_reason() {
    let error = |text: &str| Policy::parse(text).unwrap_err();
    assert!(matches!(error("[require]\n\"cpu.colour\" = true"), PolicyError::UnknownFact { .. }));
    let near = error("[require]\n\"cpu.colour\" = true").to_string();
    assert!(near.contains("`cpu.colour`") && near.contains("cpu.smt"), "{near}");
    let far = error("[require]\n\"colour\" = true").to_string();
    assert!(far.contains("nvme") && far.contains("watchdogs"), "{far}");
    assert!(matches!(error("[forbid]\n\"cpu.smt\" = { same_as = \"cpu.colour\" }"), PolicyError::UnknownFact { .. }));
    assert!(matches!(error("[require]\n\"cpu.smt\" = {}"), PolicyError::Empty { .. }));
    for impossible in ["{ at_least = 10, at_most = 5 }", "{ one_of = [] }", "{ contains = [] }", "{ starts_with = [] }"]
    {
        let text = format!("[require]\n\"memory.bytes\" = {impossible}");
        assert!(matches!(error(&text), PolicyError::Empty { .. }), "{impossible}");
    }
    for wanting in ["require", "warn"] {
        let text = format!("[{wanting}]\n\"cpu.smt\" = true\n[forbid]\n\"cpu.smt\" = true");
        assert!(matches!(error(&text), PolicyError::Contradiction { .. }), "{wanting}");
    }
    for text in [
        "[require",
        "[demand]\n\"cpu.smt\" = true",
        "[require]\n\"cpu.smt\" = { atleast = 1 }",
        "[require]\n\"cpu.smt\" = -1",
        "[require]\n\"cpu.smt\" = 1.5",
    ] {
        assert!(matches!(error(text), PolicyError::Toml(_)), "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", name in "[a-z_.*]{0,20}", word in "[a-z_]{0,10}") {
        drop(Policy::parse(&text));
        if let Ok(policy) = Policy::parse(&format!("[require]\n\"{name}\" = \"{word}\"")) {
            drop(policy.check(&take(&Tree::empty())));
        }
    }
}
