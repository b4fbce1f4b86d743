//! `image key` and `image configure`.

use clap::Args;
use std::path::PathBuf;
use stele_image::configuration;
use stele_image::failure::Failure;

/// Make a key pair that signs machines' configurations.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// The new secret file; the public half goes beside it with `.pub`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Sign a folder as a machine's configuration and write it to the configuration's partition of a disk, image or stick.
#[derive(Debug, Args)]
#[command(after_help = "The folder:
  machine.conf          `address = dhcp` or `address = 192.0.2.7/24` and `gateway = 192.0.2.1`; `rpc = 192.0.2.7:7300`
  node/node.toml        with its genesis.toml beside it
  signer/signer.toml    and what it names")]
pub struct ConfigureArgs {
    /// The disk.
    #[arg(long, value_name = "FILE")]
    disk: PathBuf,
    /// The folder.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// Higher than that of the configuration before: a machine takes none that is older than its own.
    #[arg(long, value_name = "N")]
    serial: u64,
    /// The secret file of `image key`. Default: the key of `dev`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
}

/// Makes a pair.
pub fn make_key(args: &KeyArgs) -> Result<(), Failure> {
    println!("{}", configuration::make_key(&args.out)?);
    Ok(())
}

/// Signs and writes.
pub fn run(args: &ConfigureArgs) -> Result<(), Failure> {
    let seed = args.key.as_deref().map_or(Ok(configuration::DEV_SEED), configuration::read_key)?;
    let bundle = configuration::collect(&args.from, args.serial)?;
    configuration::write(&args.disk, &bundle, &seed)?;
    println!("{} files, serial {}, on {}", bundle.files.len(), bundle.serial, args.disk.display());
    Ok(())
}
