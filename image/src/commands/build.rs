//! `image build`.

use clap::{Args, ValueEnum};
use image_formats::boot_line::{Flavour, Seal};
use image_formats::environment;
use image_formats::hsm_link::HsmLink;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use stele_image::assemble::{self, Built, Gpu, Kernel, Order};
use stele_image::configuration;
use stele_image::crates::Crates;
use stele_image::failure::Failure;
use stele_image::fetch::{self, Cache};
use stele_image::lock::Lock;
use stele_image::modules;
use stele_image::nvidia::Driver;
use stele_image::policy_key::Signatory;

/// Build a disk image out of pinned packages and our programs. The same inputs give the same bytes, wherever it runs.
#[derive(Debug, Args)]
#[command(after_help = "Writes into the folder:
  disk.img     the disk; `image flash` puts it on a machine's
  stele.efi    the kernel image, for signing and for HTTP boot
  sbom.json    the bill of materials (CycloneDX)

With NVIDIA's driver, which its licence lets you use and not pass on (what to put into driver/: docs/image/hardware.md):
  cargo xtask image build --flavour dev --kernel metal --gpu nvidia --nvidia driver/ \\
    --sign db.key --certificate db.pem --out /tmp/image")]
pub struct BuildArgs {
    /// What the machine is for.
    #[arg(long, value_enum)]
    flavour: FlavourName,
    /// The driver for graphics.
    #[arg(long, value_enum, default_value = "none")]
    gpu: GpuName,
    /// With `--gpu nvidia`: the folder with the driver's packages, which the operator brings (`docs/image/hardware.md`).
    #[arg(long, value_name = "DIR")]
    nvidia: Option<PathBuf>,
    /// The kernel. Default: `cloud` for `dev`, else `metal`.
    #[arg(long, value_enum)]
    kernel: Option<KernelName>,
    /// Number of this release; each is higher than the one before.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    release: u64,
    /// Public half of the key that signs machines' configurations (`image key`); `dev` has one that everybody knows.
    #[arg(long, value_name = "FILE")]
    configuration_key: Option<PathBuf>,
    /// A vendor's PKCS#11 module, the libraries that it needs and its configuration; all files of the folder come under verity. A
    /// file `environment` has NAME=VALUE lines for the programs that load it.
    #[arg(long, value_name = "DIR")]
    pkcs11_bundle: Option<PathBuf>,
    /// For a ceremony whose HSM is on a network: the driver of the machine's card, the machine's address, and the HSM's with its
    /// TCP port, as igc,192.0.2.6,192.0.2.5:1792. Without it a ceremony has no driver of any network card.
    #[arg(long, value_name = "DRIVER,OWN,HSM:PORT")]
    hsm_link: Option<HsmLink>,
    /// Sign boot loader and kernel image for Secure Boot with this RSA key (PEM, as `openssl` takes it).
    #[arg(long, value_name = "KEY", requires = "certificate")]
    sign: Option<PathBuf>,
    /// The certificate of the key (PEM), which the firmware's db has.
    #[arg(long, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Sign with this P-256 key (PEM) the states under which a machine's sealed state opens. Later releases need the same
    /// key; without one, states are not encrypted.
    #[arg(long, value_name = "KEY")]
    policy_key: Option<PathBuf>,
    /// Whether a machine's state is encrypted under a key that is sealed to its TPM.
    #[arg(long, value_enum, default_value = "if-possible")]
    seal: SealName,
    /// The folder with the built `stele`; `cargo xtask image build` gives it, built with `--profile release`, or `dev` for the
    /// flavour of that name, or as it is told.
    #[arg(long, value_name = "DIR")]
    binaries: PathBuf,
    /// The static init; `cargo xtask image build` gives it.
    #[arg(long, value_name = "FILE")]
    init: PathBuf,
    /// The sources that both programs were built from: their crates get into the bill of materials, by what cargo tells offline.
    /// Without them it says that it does not know. `cargo xtask image build` gives its own.
    #[arg(long, value_name = "DIR")]
    sources: Option<PathBuf>,
    /// Where to write.
    #[arg(long, value_name = "DIR", default_value = "target/image")]
    out: PathBuf,
    /// The lock file.
    #[arg(long, value_name = "FILE", default_value = "image/packages.lock")]
    lock: PathBuf,
    /// Where packages are kept. Default: `stele/image-packages` in the user's cache.
    #[arg(long, value_name = "DIR")]
    cache: Option<PathBuf>,
    /// Download nothing.
    #[arg(long)]
    offline: bool,
    /// Print one JSON object: image, bytes, uki_sha256, root_hash, pcr11, seconds; the number of crates where they
    /// are known; with a driver of the operator's, gpu.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlavourName {
    /// State on disk.
    Validator,
    /// From memory, without network drivers.
    Ceremony,
    /// A validator for tests, with SoftHSM2.
    Dev,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum GpuName {
    /// None.
    None,
    /// Vulkan in software.
    Mesa,
    /// That of NVIDIA's cards: the operator's own packages (`--nvidia`), under his own signature (`--sign`).
    Nvidia,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KernelName {
    /// Of virtual machines.
    Cloud,
    /// Of physical machines.
    Metal,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum SealName {
    /// A machine whose state is not sealed does not start.
    Required,
    /// Where there is a TPM, and the image has signed policies.
    IfPossible,
    /// Not.
    Never,
}

impl BuildArgs {
    /// A ceremony as `image test` builds it.
    pub fn ceremony_for_tests(self) -> Self {
        Self { flavour: FlavourName::Ceremony, policy_key: None, ..self }
    }

    /// A validator's, with its kernel.
    pub fn validator_for_tests(self, configuration_key: &Path) -> Self {
        let configuration_key = Some(configuration_key.to_owned());
        Self { flavour: FlavourName::Validator, seal: SealName::Required, configuration_key, ..self }
    }

    /// The same with the kernel for physical machines.
    pub fn on_metal(self) -> Self {
        Self { kernel: Some(KernelName::Metal), ..self }
    }

    /// The same with a vendor's module.
    pub fn with_bundle(self, folder: &Path) -> Self {
        Self { pkcs11_bundle: Some(folder.to_owned()), ..self }
    }

    /// The same with a link to an HSM.
    pub fn with_link(self, link: &HsmLink) -> Self {
        Self { hsm_link: Some(link.clone()), ..self }
    }

    /// The same with a driver of NVIDIA's cards, signed with a key and its certificate.
    pub fn with_driver(self, folder: &Path, [key, certificate]: [&Path; 2]) -> Self {
        let (nvidia, sign, certificate) = (folder.to_owned(), key.to_owned(), certificate.to_owned());
        Self { gpu: GpuName::Nvidia, nvidia: Some(nvidia), sign: Some(sign), certificate: Some(certificate), ..self }
    }

    /// What `image test` builds.
    pub fn for_tests(binaries: &Path, init: &Path, release: u64, policy_key: &Path) -> Self {
        Self {
            flavour: FlavourName::Dev,
            gpu: GpuName::None,
            nvidia: None,
            kernel: None,
            release,
            configuration_key: None,
            pkcs11_bundle: None,
            hsm_link: None,
            sign: None,
            certificate: None,
            policy_key: Some(policy_key.to_owned()),
            seal: SealName::IfPossible,
            binaries: binaries.to_owned(),
            init: init.to_owned(),
            sources: None,
            out: PathBuf::new(),
            lock: "image/packages.lock".into(),
            cache: None,
            offline: false,
            json: false,
        }
    }

    /// The same with `--seal required`.
    pub fn demanding_a_seal(self) -> Self {
        Self { seal: SealName::Required, ..self }
    }

    /// Builds in memory.
    pub fn build(&self) -> Result<Built, Failure> {
        let lock = Lock::load(&self.lock)?;
        let cache = Cache::new(self.cache.clone().map_or_else(fetch::default_folder, Ok)?, self.offline);
        assemble::build(&order(self)?, &lock, &cache)
    }
}

/// Builds and reports.
pub fn run(args: &BuildArgs) -> Result<(), Failure> {
    let started = Instant::now();
    let built = args.build()?;
    std::fs::create_dir_all(&args.out).map_err(Failure::io(format!("making {}", args.out.display())))?;
    let image = args.out.join("disk.img");
    for (path, bytes) in [
        (&image, &built.image[..]),
        (&args.out.join("stele.efi"), &built.uki),
        (&args.out.join("sbom.json"), built.sbom.as_bytes()),
    ] {
        std::fs::write(path, bytes).map_err(Failure::io(format!("writing {}", path.display())))?;
    }
    let mut report = json!({
        "image": image,
        "bytes": built.image.len(),
        "uki_sha256": hex::encode(built.uki_sha256),
        "root_hash": hex::encode(built.root_hash),
        "pcr11": hex::encode(built.pcr11),
        "seconds": (started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
    });
    if let Some(driver) = &built.driver {
        report["gpu"] = driver.clone();
    }
    if let Some(crates) = built.crates {
        report["crates"] = crates.into();
    }
    if args.json {
        println!("{report}");
    } else {
        println!("{}", image.display());
        for name in ["bytes", "uki_sha256", "root_hash", "pcr11", "seconds"] {
            println!("  {name:<11} {}", report[name].to_string().trim_matches('"'));
        }
        if let Some(driver) = &built.driver {
            tell(driver);
        }
    }
    Ok(())
}

/// What was taken of the operator's driver, for people.
fn tell(driver: &Value) {
    let list = |name: &str| {
        let items = driver[name].as_array().into_iter().flatten().filter_map(Value::as_str);
        items.collect::<Vec<_>>().join(", ")
    };
    let text = |name: &str| driver[name].as_str().unwrap_or_default();
    println!("  {:<11} {}; modules {}", "gpu", text("driver"), text("modules"));
    println!("  {:<11} {}", "taken", list("packages"));
    if driver["patches"].as_array().is_some_and(|patches| !patches.is_empty()) {
        println!("  {:<11} {}", "patches", list("patches"));
    }
    println!("  {:<11} {}", "left out", list("left_out"));
    println!("  {:<11} this image holds the driver: its licence does not let you pass it on", "licence");
}

fn order(args: &BuildArgs) -> Result<Order, Failure> {
    let flavour = match args.flavour {
        FlavourName::Validator => Flavour::Validator,
        FlavourName::Ceremony => Flavour::Ceremony,
        FlavourName::Dev => Flavour::Dev,
    };
    let gpu = match args.gpu {
        GpuName::None => Gpu::None,
        GpuName::Mesa => Gpu::Mesa,
        GpuName::Nvidia => Gpu::Nvidia(Box::new(driver(args, flavour)?)),
    };
    if args.gpu != GpuName::Nvidia && args.nvidia.is_some() {
        return Err(Failure::unfit("--nvidia is for --gpu nvidia alone", "give both, or none"));
    }
    let trusted = match (&args.configuration_key, flavour) {
        (Some(path), _) => configuration::read_public(path)?,
        // A ceremony takes no configuration.
        (None, Flavour::Dev | Flavour::Ceremony) => configuration::dev_public(),
        (None, _) => {
            let help = "`cargo xtask image key --out FILE` makes a pair; give FILE.pub";
            return Err(Failure::unfit("--configuration-key is needed for a validator", help));
        }
    };
    if flavour == Flavour::Validator && trusted == configuration::dev_public() {
        return Err(Failure::unfit("the key of dev is known to everybody", "`cargo xtask image key --out FILE`"));
    }
    let kernel = match (args.kernel, flavour) {
        (Some(KernelName::Cloud), Flavour::Ceremony) => {
            return Err(Failure::unfit(
                "the cloud kernel has no USB, and a ceremony comes on a stick",
                "--kernel metal",
            ));
        }
        (Some(KernelName::Cloud), _) | (None, Flavour::Dev) => Kernel::Cloud,
        (Some(KernelName::Metal), _) | (None, _) => Kernel::Metal,
    };
    let seal = match args.seal {
        SealName::Required => Seal::Required,
        SealName::IfPossible => Seal::IfPossible,
        SealName::Never => Seal::Never,
    };
    if seal == Seal::Required && args.policy_key.is_none() {
        let help = "give --policy-key: nothing opens a state for which no state of the machine is signed";
        return Err(Failure::unfit("--seal required needs signed policies", help));
    }
    if let Some(link) = &args.hsm_link {
        if flavour != Flavour::Ceremony {
            return Err(Failure::unfit("--hsm-link is for a ceremony", "other machines have their configuration"));
        }
        if !modules::links().contains(&&link.driver[..]) {
            let help = "take a card with one of these drivers";
            return Err(Failure::unfit(format!("{} is none of {}", link.driver, modules::links().join(", ")), help));
        }
    }
    let (stele, init) = (read(&args.binaries.join("stele"))?, read(&args.init)?);
    Ok(Order {
        seal,
        policy: args.policy_key.as_deref().map(Signatory::open).transpose()?,
        flavour,
        release: args.release,
        kernel,
        gpu,
        init: assemble::strip("init", &init)?,
        trusted,
        sign: args.sign.clone().zip(args.certificate.clone()),
        pkcs11: args.pkcs11_bundle.as_deref().map(bundle).transpose()?.unwrap_or_default(),
        hsm: args.hsm_link.clone(),
        crates: args.sources.as_deref().and_then(|sources| crates_of(sources, [&stele, &init])),
        stele,
    })
}

/// The crates of both programs. An image can be built without knowing them, and its bill of materials then says so.
fn crates_of(sources: &Path, [stele, init]: [&[u8]; 2]) -> Option<Crates> {
    let known = Crates::of(sources).and_then(|crates| {
        crates.check("stele", stele)?;
        crates.check("stele-init", init)?;
        Ok(crates)
    });
    known.inspect_err(|failure| eprintln!("warning: the bill of materials is without crates: {failure}")).ok()
}

/// The operator's driver. What can be refused without reading it is refused first.
fn driver(args: &BuildArgs, flavour: Flavour) -> Result<Driver, Failure> {
    if flavour == Flavour::Ceremony {
        return Err(Failure::unfit("a ceremony verifies little, and has no driver", "leave --gpu out"));
    }
    let Some(folder) = &args.nvidia else {
        let help = "give --nvidia DIR with the driver's packages, as docs/image/hardware.md lists them";
        return Err(Failure::unfit("--gpu nvidia needs packages that nobody but you may bring", help));
    };
    if args.sign.is_none() {
        let help = "give --sign and --certificate: the kernel takes modules by a key that the firmware's db has";
        return Err(Failure::unfit("--gpu nvidia needs a key, for the modules", help));
    }
    Driver::read(folder)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(Failure::io(format!("reading {}", path.display())))
}

fn bundle(folder: &Path) -> Result<Vec<(String, Vec<u8>)>, Failure> {
    let entries = std::fs::read_dir(folder).map_err(Failure::io(format!("reading {}", folder.display())))?;
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    if paths.is_empty() {
        let help = "it has to hold the vendor's module and the libraries that come with it";
        return Err(Failure::unfit(format!("{} has no file", folder.display()), help));
    }
    paths.sort();
    let name = |path: &PathBuf| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let files: Vec<_> = paths.iter().map(|path| Ok((name(path), read(path)?))).collect::<Result<_, Failure>>()?;
    if let Some((_, bytes)) = files.iter().find(|(name, _)| name == environment::FILE) {
        environment::parse(&String::from_utf8_lossy(bytes))
            .map_err(|error| Failure::content(format!("{} in {}", environment::FILE, folder.display()), error))?;
    }
    Ok(files)
}
