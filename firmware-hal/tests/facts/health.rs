//! How a machine is doing, from files as its drivers write them, and as they must not.

use crate::tree::{CARD, Tree};
use firmware_hal::health::{Health, MemoryErrors, Temperature, Trouble};
use firmware_hal::{Root, Why};

fn machine() -> Tree {
    let tree = Tree::empty();
    for (path, text) in [
        ("hwmon0/name", "k10temp"),
        ("hwmon0/temp1_input", "61500"),
        ("hwmon0/temp1_label", "Tctl"),
        ("hwmon0/temp1_crit", "95000"),
        ("hwmon1/name", "nvme"),
        ("hwmon1/temp1_input", "45850"),
        ("hwmon1/temp1_label", "Composite"),
        ("hwmon1/temp1_max", "81850"),
        ("hwmon1/temp2_input", "50850"),
        ("hwmon2/name", "nvme"),
        ("hwmon2/temp1_input", "40000"),
    ] {
        tree.put(&format!("/sys/class/hwmon/{path}"), format!("{text}\n"));
    }
    tree.put("/sys/devices/system/edac/mc/mc0/ce_count", "3\n");
    tree.put("/sys/devices/system/edac/mc/mc0/ue_count", "0\n");
    for cpu in 0..2 {
        tree.put(&format!("/sys/devices/system/cpu/cpu{cpu}/thermal_throttle/core_throttle_count"), "7\n");
    }
    tree
}

fn look(tree: &Tree) -> Health {
    Health::take(&Root::at(tree.path()))
}

#[test]
fn sensors_and_counters_are_found_by_their_names() {
    let health = look(&machine());
    assert_eq!(health.temperatures["k10temp-0 Tctl"], Temperature { now: 61_500, critical: Some(95_000) });
    assert_eq!(health.temperatures["nvme-1 Composite"], Temperature { now: 45_850, critical: Some(81_850) });
    assert_eq!(health.temperatures["nvme-1 2"].critical, None);
    assert_eq!(health.temperatures.len(), 4, "two disks with one driver are two");
    assert_eq!(health.memory["mc0"], MemoryErrors { corrected: 3, uncorrected: 0 });
    assert_eq!(health.throttled.len(), 2);
    assert_eq!(health.troubles(&health), []);
    assert_eq!(health.troubles(&Health::default()), [], "what was before the first look is no news");
}

#[test]
fn what_gets_worse_is_told() {
    let tree = machine();
    let before = look(&tree);
    tree.put("/sys/class/hwmon/hwmon0/temp1_input", "86000\n");
    tree.put("/sys/class/hwmon/hwmon1/temp1_input", "81850\n");
    tree.put("/sys/devices/system/edac/mc/mc0/ce_count", "5\n");
    tree.put("/sys/devices/system/edac/mc/mc0/ue_count", "1\n");
    tree.put("/sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count", "8\n");
    let troubles = look(&tree).troubles(&before);
    assert_eq!(
        troubles,
        [
            Trouble::Hot { sensor: "k10temp-0 Tctl".into(), now: 86_000, critical: 95_000 },
            Trouble::Critical { sensor: "nvme-1 Composite".into(), now: 81_850, critical: 81_850 },
            Trouble::Throttled { cpus: 1 },
            Trouble::MemoryCorrected { controller: "mc0".into(), errors: 2 },
            Trouble::MemoryUncorrected { controller: "mc0".into(), errors: 1 },
        ]
    );
    assert!(troubles.iter().all(|trouble| trouble.to_string().len() > 20));
    let after = look(&tree);
    let lasting = after.troubles(&after);
    assert!(lasting.iter().any(|trouble| matches!(trouble, Trouble::MemoryUncorrected { .. })), "that does not pass");
    assert!(
        !lasting.iter().any(|trouble| matches!(trouble, Trouble::MemoryCorrected { .. } | Trouble::Throttled { .. }))
    );
}

/// A SMART page with the critical warning, spare blocks and endurance used, and media errors.
fn page(warning: u8, spare: u8, used: u8, errors: u8) -> Vec<u8> {
    let mut page = vec![0; 512];
    (page[0], page[3], page[4], page[5]) = (warning, spare, 10, used);
    page[160] = errors;
    page
}

#[test]
fn a_disk_that_wears_out_or_fails_is_told() {
    let tree = machine();
    tree.put("/sys/class/nvme/nvme0/model", "x\n");
    assert!(look(&tree).disks.is_empty(), "nobody may ask it");
    tree.put("/dev/nvme0.smart", page(0, 100, 12, 4));
    let before = look(&tree);
    assert_eq!((before.disks["nvme0"].used_percent, before.disks["nvme0"].media_errors), (12, 4));
    assert_eq!(before.troubles(&Health::default()), [], "errors of before the first look are no news");
    // Heat alone (bit 1) is the sensors' to tell.
    tree.put("/dev/nvme0.smart", page(0b10, 100, 99, 4));
    assert_eq!(look(&tree).troubles(&before), []);
    tree.put("/dev/nvme0.smart", page(0b1001, 5, 100, 6));
    let troubles = look(&tree).troubles(&before);
    let [Trouble::DiskFailing { says, .. }, Trouble::DiskWorn { used_percent: 100, .. }] = &troubles[..] else {
        panic!("{troubles:?}")
    };
    assert!(says.contains("spare blocks") && says.contains("read-only") && says.contains("2 media errors"), "{says}");
    assert!(troubles[0].to_string().contains("nvme0") && !troubles[0].is_still(&troubles[1]));
    for nonsense in [vec![], vec![0; 512], vec![0xff; 512], vec![1; 513]] {
        tree.put("/dev/nvme0.smart", nonsense);
        assert!(look(&tree).disks.is_empty());
    }
}

#[test]
fn a_card_that_is_hot_slow_broken_or_gone_is_told() {
    let tree = Tree::server();
    let card = |answers: &[(&str, &str)]| {
        let mut card: serde_json::Value = serde_json::from_str(CARD).unwrap();
        for (name, answer) in answers {
            card[name] = serde_json::from_str(answer).unwrap();
        }
        tree.put("/nvml/0000:01:00.0", card.to_string());
        let health = look(&tree);
        let troubles = health.troubles(&health);
        (health, troubles)
    };
    let (well, troubles) = card(&[]);
    assert_eq!(troubles, [], "idle is no trouble, and what was put right is none");
    let gpu = &well.gpus["0000:01:00.0"];
    assert_eq!((gpu.corrected, gpu.uncorrected, gpu.power_mw, gpu.lost), (Some(12), Some(0), Some(76_000), None));
    assert_eq!(well.temperatures["gpu 0000:01:00.0"], Temperature { now: 41_000, critical: Some(92_000) });

    let (_, troubles) = card(&[("temperature", r#"{"value":92}"#), ("slowed", r#"{"value":76}"#)]);
    let [Trouble::Critical { .. }, Trouble::GpuThrottled { says, .. }] = &troubles[..] else { panic!("{troubles:?}") };
    assert_eq!(says, "the hardware, for its heat, the hardware, for heat or power");
    // One look alone may have met a change of clocks.
    let (changing, lasting) = card(&[("slowed", r#"{"value":8}"#)]);
    assert_eq!((changing.troubles(&well), lasting.len()), (vec![], 1));
    let (_, troubles) = card(&[("ecc_uncorrected", r#"{"value":2}"#), ("slowed", r#"{"value":4}"#)]);
    assert_eq!(troubles, [Trouble::GpuUncorrected { card: "0000:01:00.0".into(), errors: 2 }]);
    assert!(troubles[0].to_string().contains("0000:01:00.0") && troubles[0].is_still(&troubles[0]));
    for (answer, why) in [(r#"{"unknown":"lost"}"#, Why::Lost), (r#"{"unknown":"silent"}"#, Why::Silent)] {
        let (_, troubles) = card(&[("temperature", answer)]);
        assert_eq!(troubles, [Trouble::GpuLost { card: "0000:01:00.0".into(), why }]);
    }
    tree.remove("/nvml/0000:01:00.0");
    assert!(look(&tree).gpus.is_empty(), "nobody may ask it");
}

#[test]
fn nonsense_is_no_measurement() {
    let tree = machine();
    for nonsense in ["", "hot\n", "99999999999999999999999\n", "\0\0"] {
        tree.put("/sys/class/hwmon/hwmon0/temp1_input", nonsense);
        tree.put("/sys/devices/system/edac/mc/mc0/ue_count", nonsense);
        let health = look(&tree);
        assert!(!health.temperatures.contains_key("k10temp-0 Tctl") && health.memory.is_empty(), "{nonsense:?}");
    }
    tree.put("/sys/class/hwmon/hwmon0/temp1_input", "-40000\n");
    tree.put("/sys/class/hwmon/hwmon0/temp1_crit", "-1\n");
    assert_eq!(look(&tree).temperatures["k10temp-0 Tctl"], Temperature { now: -40_000, critical: None });
    assert_eq!(look(&Tree::empty()), Health::default());
}
