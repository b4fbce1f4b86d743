//! The processors, from /proc/cpuinfo and /sys/devices/system/cpu.

use super::{cpus, each_told};
use crate::fact::{Fact, Reading};
use crate::inventory::Cpu;
use crate::root::Root;

const DIR: &str = "/sys/devices/system/cpu";

pub(crate) fn cpu(root: &Root) -> Cpu {
    let info = root.text("/proc/cpuinfo");
    let of = |name: &'static str| info.clone().parsed(move |text| Some(first(&text, name)?.to_owned()));
    let features = info.clone().parsed(|text| {
        // `flags` on x86, `Features` on ARM.
        let line = first(&text, "flags").or_else(|| first(&text, "Features"))?;
        let mut names: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        names.sort_unstable();
        Some(names)
    });
    let numbered = |name: &str| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok());
    let siblings = each_told(root, DIR, numbered, |path| cpus(root, &format!("{path}/topology/thread_siblings_list")));
    let lowest = |fact: &Fact<Vec<u32>>| fact.value().and_then(|cpus| cpus.first()).copied();
    // One entry a core: that of its lowest processor. What is unknown of a processor stays under its own number.
    let cores = siblings.filter_map(|(name, fact)| {
        let number = name.strip_prefix("cpu")?;
        let own = lowest(&fact).is_none_or(|lowest| lowest.to_string() == number);
        own.then(|| (number.to_owned(), fact))
    });
    Cpu {
        model: of("model name"),
        online: cpus(root, &format!("{DIR}/online")),
        hypervisor: has(&features, "hypervisor"),
        features,
        microcode: of("microcode"),
        smt: root.flag(&format!("{DIR}/smt/active")),
        cores,
        vulnerabilities: each_told(root, &format!("{DIR}/vulnerabilities"), |_| true, |path| root.text(path)),
        governor: root.text(&format!("{DIR}/cpu0/cpufreq/scaling_governor")),
    }
}

/// What stands behind a name on the first line that begins with it.
fn first<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name && !value.trim().is_empty()).then(|| value.trim())
    })
}

fn has(features: &Fact<Vec<String>>, name: &str) -> Fact<bool> {
    let reading = match &features.reading {
        Reading::Value(names) => Reading::Value(names.iter().any(|known| known == name)),
        Reading::Unknown(why) => Reading::Unknown(*why),
    };
    Fact { source: features.source.clone(), reading }
}
