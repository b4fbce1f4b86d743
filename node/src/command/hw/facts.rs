//! The machine's facts: all of them, some of them in a line, written down as files, and held against a policy.

use clap::Args;
use firmware_hal::{Fact, Inventory, Policy, Root};
use miette::{IntoDiagnostic, WrapErr, miette};
use serde_json::json;
use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where facts are read.
#[derive(Clone, Debug, Args)]
pub struct Tree {
    /// Read the facts from a tree that `--record` has written, of this machine or another, and list them.
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
}

impl Tree {
    /// Whether it is a tree that was recorded.
    pub fn is_recorded(&self) -> bool {
        self.root.is_some()
    }

    /// Ready to be read.
    pub fn open(&self) -> miette::Result<Root> {
        match &self.root {
            Some(dir) if !dir.is_dir() => Err(miette!("{}: not a directory", dir.display())),
            Some(dir) => Ok(Root::at(dir)),
            None => Ok(Root::system()),
        }
    }
}

/// Hold a machine against a policy.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Example of a policy:
  [require]                                     # unmet: status 1
  \"boot.secure_boot\" = true
  \"tpm.version\" = { at_least = 2 }
  \"cpu.features\" = { contains = [\"sha_ni\", \"avx2\"] }
  \"nvme.*.numa_node\" = { same_as = \"nics.eth0.numa_node\" }
  [warn]                                        # unmet: said
  \"cpu.vulnerabilities.*\" = { starts_with = [\"Not affected\", \"Mitigation\"] }
  [forbid]                                      # met: status 1
  \"cpu.smt\" = true

A value alone must be met exactly; at_least, at_most, one_of, contains, starts_with and same_as may stand together. A star is
every device; a requirement with a star also demands one. What is unknown meets no requirement and clears nobody of what is
forbidden; nor does a list of devices that cannot be read. A rule of another type than its fact (a text for a number, a range for
true or false) is refused. `stele hw --facts` lists the names. Nothing is changed, and no rights are taken; some facts only root may read.")]
pub struct CheckArgs {
    /// The policy.
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    #[command(flatten)]
    tree: Tree,
    /// Print JSON: {passed, inventory_digest, findings[{level, fact, source, found, demanded, to_know, cure}]}.
    #[arg(long)]
    json: bool,
}

/// The inventory.
pub fn take(tree: &Tree) -> miette::Result<Inventory> {
    Ok(Inventory::take(&tree.open()?))
}

/// Every fact, one a line.
pub fn list(tree: &Tree, as_json: bool) -> miette::Result<ExitCode> {
    let machine = take(tree)?;
    let mut out = std::io::stdout().lock();
    if as_json {
        let text = json!({ "inventory_digest": machine.digest(), "inventory": machine });
        writeln!(out, "{text:#}").into_diagnostic()?;
        return Ok(ExitCode::SUCCESS);
    }
    for fact in machine.named() {
        writeln!(out, "{:<36} {}    {}", fact.name, shortened(&fact.to_string()), fact.source).into_diagnostic()?;
    }
    writeln!(out, "{:<36} {}", "inventory", machine.digest()).into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

/// Long lists are there in JSON.
fn shortened(text: &str) -> String {
    const CHARACTERS: usize = 100;
    match text.char_indices().nth(CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Writes down what was read.
pub fn record(tree: &Tree, dir: &Path) -> miette::Result<ExitCode> {
    let root = tree.open()?.remembering();
    let machine = Inventory::take(&root);
    let files = root.record(dir).into_diagnostic().wrap_err_with(|| dir.display().to_string())?;
    writeln!(std::io::stdout(), "{files} files in {}, inventory {}", dir.display(), machine.digest())
        .into_diagnostic()?;
    Ok(ExitCode::SUCCESS)
}

/// Holds the machine against a policy.
pub fn check(args: &CheckArgs) -> miette::Result<ExitCode> {
    let named = || args.policy.display().to_string();
    let text = std::fs::read_to_string(&args.policy).into_diagnostic().wrap_err_with(named)?;
    let policy = Policy::parse(&text).into_diagnostic().wrap_err_with(named)?;
    let machine = take(&args.tree)?;
    let findings = policy.check(&machine);
    let passed = !findings.iter().any(firmware_hal::Finding::refuses);
    let mut out = std::io::stdout().lock();
    if args.json {
        let text = json!({ "passed": passed, "inventory_digest": machine.digest(), "findings": findings });
        writeln!(out, "{text}").into_diagnostic()?;
    } else {
        for finding in &findings {
            writeln!(out, "{finding}").into_diagnostic()?;
        }
        let word =
            if passed { "the machine is as the policy demands" } else { "a node does not start on this machine" };
        writeln!(out, "{word}").into_diagnostic()?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an operator looks for first.
pub fn summary(machine: &Inventory) -> Vec<(&'static str, String)> {
    let Inventory { identity, boot, cpu, numa, clock, nvme, nics, gpus, crypto, tpm, watchdogs, .. } = machine;
    let mut lines = vec![
        ("machine", format!("{}, {}", told(&identity.vendor), told(&identity.product))),
        ("  firmware", format!("{} of {}", told(&identity.firmware_version), told(&identity.firmware_date))),
        (
            "  started",
            format!(
                "UEFI {}, Secure Boot {}, lockdown {}",
                flag(&boot.efi),
                flag(&boot.secure_boot),
                told(&boot.lockdown)
            ),
        ),
        ("  threads", format!("SMT {}, {} NUMA nodes, clock {}", flag(&cpu.smt), numa.len(), told(&clock.source))),
        ("  TPM", told(&tpm.version)),
    ];
    for (name, nvme) in nvme {
        lines.push(("  NVMe", format!("{name}: {}, node {}", told(&nvme.model), told(&nvme.numa_node))));
    }
    for (name, nic) in nics {
        let speed = format!("{} Mbit/s", told(&nic.speed_mbit));
        lines.push(("  network", format!("{name}: {}, {speed}, node {}", told(&nic.driver), told(&nic.numa_node))));
    }
    for (address, gpu) in gpus {
        let model = gpu.name.value().or(gpu.driver.value()).map_or("no driver", String::as_str);
        let lanes = format!("{} of {} lanes", told(&gpu.link_width), told(&gpu.link_width_max));
        lines.push((
            "  GPU",
            format!("{address}: {model}, {lanes}, ECC {}, node {}", flag(&gpu.ecc), told(&gpu.numa_node)),
        ));
    }
    for (address, crypto) in crypto {
        let driver = crypto.driver.value().map_or("no driver", String::as_str);
        lines.push((
            "  encryption",
            format!("{address}: vendor {}, {driver}, node {}", told(&crypto.vendor), told(&crypto.numa_node)),
        ));
    }
    for (name, watchdog) in watchdogs {
        lines.push(("  watchdog", format!("{name}: {}", told(&watchdog.identity))));
    }
    let gaps =
        [("  NVMe", nvme.gap()), ("  network", nics.gap()), ("  GPU", gpus.gap()), ("  watchdog", watchdogs.gap())];
    for (kind, gap) in gaps {
        lines.extend(gap.map(|gap| (kind, format!("unknown which there are: {}: {}", gap.source, gap.unknown))));
    }
    lines
}

fn told<T: Display>(fact: &Fact<T>) -> String {
    fact.value().map_or_else(|| "unknown".to_owned(), T::to_string)
}

fn flag(fact: &Fact<bool>) -> &'static str {
    match fact.value() {
        Some(true) => "yes",
        Some(false) => "no",
        None => "unknown",
    }
}
