//! `image key` and `image configure`.

use clap::Args;
use serde_json::json;
use std::path::PathBuf;
use stele_image::configuration;
use stele_image::failure::Failure;

/// Make a key pair that signs machines' configurations.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask image key --out configuration.key      the public half, configuration.key.pub, goes into images:
  cargo xtask image build --flavour validator --configuration-key configuration.key.pub")]
pub struct KeyArgs {
    /// The new secret file; the public half goes beside it with `.pub`.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print one JSON object: secret, public_file, public.
    #[arg(long)]
    json: bool,
}

/// Sign a folder as a machine's configuration and write it to the configuration's partition of a disk, image or stick.
#[derive(Debug, Args)]
#[command(after_help = "The folder:
  machine.conf          `address = dhcp` or `address = 192.0.2.7/24` and `gateway = 192.0.2.1`; `rpc = 192.0.2.7:7302`;
                        `ntp = 192.0.2.9` for each time server, or `nts = 192.0.2.9` with its authority in time/ca.pem
  node/node.toml        with its genesis.toml beside it
  signer/signer.toml    and what it names

Example:
  cargo xtask image configure --disk /dev/sdX --from machine/ --serial 2 --key configuration.key

Seen to here: that these files are there, that TOML is TOML, that machine.conf is understood, and that the serial number is not
lower than that of the configuration on the disk. The rest is seen at the machine's start, and told on its console.")]
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
    /// Print one JSON object: disk, files, serial, key, which is the public half.
    #[arg(long)]
    json: bool,
}

/// Makes a pair.
pub fn make_key(args: &KeyArgs) -> Result<(), Failure> {
    let public = configuration::make_key(&args.out)?;
    if args.json {
        let beside = args.out.with_added_extension("pub");
        println!("{}", json!({ "secret": args.out, "public_file": beside, "public": public }));
    } else {
        println!("{public}");
    }
    Ok(())
}

/// Signs and writes.
pub fn run(args: &ConfigureArgs) -> Result<(), Failure> {
    let seed = args.key.as_deref().map_or(Ok(configuration::DEV_SEED), configuration::read_secret)?;
    let bundle = configuration::collect(&args.from, args.serial)?;
    configuration::check(&bundle)?;
    if let Some(there) = configuration::serial_on(&args.disk)?.filter(|there| *there > args.serial) {
        return Err(Failure::unfit(
            format!("the disk has the configuration {there}, and {} would be older", args.serial),
            "a machine takes none that is older than its own: give a higher --serial",
        ));
    }
    configuration::write(&args.disk, &bundle, &seed)?;
    if args.json {
        let (files, serial, key) = (bundle.files.len(), bundle.serial, configuration::public_of(&seed));
        println!("{}", json!({ "disk": args.disk, "files": files, "serial": serial, "key": key }));
        return Ok(());
    }
    println!("{} files, serial {}, on {}", bundle.files.len(), bundle.serial, args.disk.display());
    if args.key.is_none() {
        println!("signed with the key of `dev`, which everybody has: only an image of that flavour takes it");
    }
    Ok(())
}
