//! `image lock`.

use clap::Args;
use std::path::PathBuf;
use stele_image::failure::Failure;
use stele_image::fetch;
use stele_image::lock::Lock;

/// Pin the packages that the configured mirrors have now (after `apt-get update`), and tell what changed.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = "image/packages.lock")]
    lock: PathBuf,
    /// Only tell; exit code 1 when something would change.
    #[arg(long)]
    check: bool,
}

/// Pins and reports.
pub fn run(args: &LockArgs) -> Result<(), Failure> {
    let old = Lock::load(&args.lock).unwrap_or_else(|_| Lock::of(Vec::new()));
    let new = fetch::renew()?;
    for package in &new.packages {
        match old.packages.iter().find(|known| known.name == package.name) {
            Some(known) if known == package => {}
            Some(known) => println!("  {}: {} -> {}", package.name, known.version, package.version),
            None => println!("  {}: {} is new", package.name, package.version),
        }
    }
    for gone in old.packages.iter().filter(|old| !new.packages.iter().any(|new| new.name == old.name)) {
        println!("  {}: no longer used", gone.name);
    }
    if args.check {
        let help = "`cargo xtask image lock` pins them";
        return if old == new { Ok(()) } else { Err(Failure::unfit("the mirrors have other versions", help)) };
    }
    std::fs::write(&args.lock, new.to_text()).map_err(Failure::io(format!("writing {}", args.lock.display())))?;
    println!("{}: {} packages", args.lock.display(), new.packages.len());
    Ok(())
}
