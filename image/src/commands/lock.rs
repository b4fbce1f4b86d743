//! `image lock`.

use clap::Args;
use serde_json::json;
use std::collections::BTreeSet;
use std::path::PathBuf;
use stele_image::failure::Failure;
use stele_image::fetch;
use stele_image::lock::{Lock, Package};

/// Pin the packages that the configured mirrors have now (after `apt-get update`), and tell what changed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  apt-get update && cargo xtask image lock
  cargo xtask image lock --check --json")]
pub struct LockArgs {
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = "image/packages.lock")]
    lock: PathBuf,
    /// Only tell; exit code 1 when something would change.
    #[arg(long)]
    check: bool,
    /// Print one JSON object: lock, packages, changed[{package, from, to}].
    #[arg(long)]
    json: bool,
}

/// Pins and reports.
pub fn run(args: &LockArgs) -> Result<(), Failure> {
    let old = Lock::load(&args.lock).unwrap_or_else(|_| Lock::of(Vec::new()));
    let new = fetch::renew()?;
    let mut names: BTreeSet<&str> = old.packages.iter().map(|package| &package.name[..]).collect();
    names.extend(new.packages.iter().map(|package| &package.name[..]));
    let mut changed = Vec::new();
    for name in names {
        let [before, now] = [&old, &new].map(|lock| lock.packages.iter().find(|package| package.name == name));
        if before != now {
            let version = |package: Option<&Package>| package.map(|package| package.version.clone());
            changed.push((name, version(before), version(now)));
        }
    }
    if args.json {
        let changes = changed.iter().map(|(name, from, to)| json!({ "package": name, "from": from, "to": to }));
        let changes: Vec<_> = changes.collect();
        println!("{}", json!({ "lock": args.lock, "packages": new.packages.len(), "changed": changes }));
    } else {
        for (name, from, to) in &changed {
            match (from, to) {
                (Some(from), Some(to)) => println!("  {name}: {from} -> {to}"),
                (None, _) => println!("  {name}: {} is new", to.as_deref().unwrap_or_default()),
                (Some(_), None) => println!("  {name}: no longer used"),
            }
        }
    }
    if args.check {
        let help = "`cargo xtask image lock` pins them";
        return if old == new { Ok(()) } else { Err(Failure::unfit("the mirrors have other versions", help)) };
    }
    std::fs::write(&args.lock, new.to_text()).map_err(Failure::io(format!("writing {}", args.lock.display())))?;
    if !args.json {
        println!("{}: {} packages", args.lock.display(), new.packages.len());
    }
    Ok(())
}
