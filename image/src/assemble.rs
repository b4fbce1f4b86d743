//! The pipeline: packages and our programs in, an image and its bill of materials out. Reads files and the cache; what it
//! writes depends on their bytes alone, not on where or when.

mod driver;

use crate::content;
use crate::cpio;
use crate::crates::Crates;
use crate::deb::{self, Item};
use crate::disk;
use crate::elf::Elf;
use crate::erofs;
use crate::failure::Failure;
use crate::fat;
use crate::fetch::Cache;
use crate::kernel_line;
use crate::lock::{Lock, Package, Part};
use crate::modules::{self, Purpose, Selection};
use crate::nvidia::Driver;
use crate::policy_key::Signatory;
use crate::sbom;
use crate::sign;
use crate::tree::{Node, Tree};
use crate::uki::{self, Uki};
use image_formats::boot_line::{BootLine, Flavour, MEMORY_ROOT, Seal};
use image_formats::hsm_link::HsmLink;
use image_formats::verity;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Which kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// For virtual machines: small.
    Cloud,
    /// For physical machines.
    Metal,
}

/// Which driver for graphics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gpu {
    /// No driver.
    None,
    /// Vulkan in software.
    Mesa,
    /// The operator's driver of NVIDIA's cards.
    Nvidia(Box<Driver>),
}

impl Gpu {
    fn nvidia(&self) -> Option<&Driver> {
        if let Self::Nvidia(driver) = self { Some(driver) } else { None }
    }
}

/// What to build.
#[derive(Clone, Debug)]
pub struct Order {
    /// What the machine is for.
    pub flavour: Flavour,
    /// Counts up with each release.
    pub release: u64,
    /// Which kernel.
    pub kernel: Kernel,
    /// Which graphics.
    pub gpu: Gpu,
    /// The node's program.
    pub stele: Vec<u8>,
    /// The static init.
    pub init: Vec<u8>,
    /// The key that signs machines' configurations; a ceremony has none.
    pub trusted: [u8; 32],
    /// Key and certificate for Secure Boot.
    pub sign: Option<(PathBuf, PathBuf)>,
    /// Whether the machine's state is sealed.
    pub seal: Seal,
    /// Who signs the states under which it opens.
    pub policy: Option<Signatory>,
    /// A vendor's PKCS#11 module, its libraries, and what else it reads: names and contents.
    pub pkcs11: Vec<(String, Vec<u8>)>,
    /// A ceremony's link to its HSM.
    pub hsm: Option<HsmLink>,
    /// The crates that are in the programs, where the sources are there to tell.
    pub crates: Option<Crates>,
}

impl Order {
    fn purpose(&self) -> Purpose<'_> {
        Purpose { flavour: self.flavour, link: self.hsm.as_ref().map(|link| &link.driver[..]) }
    }
}

/// What was built.
#[derive(Clone, Debug)]
pub struct Built {
    /// The disk.
    pub image: Vec<u8>,
    /// The kernel image: for netboot, and what is signed.
    pub uki: Vec<u8>,
    /// The bill of materials.
    pub sbom: String,
    /// How many crates it has, where they are known.
    pub crates: Option<usize>,
    /// Root hash.
    pub root_hash: [u8; 32],
    /// What PCR 11 will be.
    pub pcr11: [u8; 32],
    /// SHA-256 of the kernel image.
    pub uki_sha256: [u8; 32],
    /// What was taken of the operator's driver, if one was given.
    pub driver: Option<serde_json::Value>,
}

/// Library folders of packages, in the order of preference.
const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
/// Where the C library's loader is looked for.
const LOADER: &str = "ld-linux-x86-64.so.2";
/// Where a vendor's module and its libraries lie.
const BUNDLE: &str = "usr/lib/pkcs11";
/// What makes the state's file system, as its package has it.
const MKE2FS: &str = "sbin/mke2fs";
/// The time service.
const CHRONYD: &str = "usr/sbin/chronyd";
/// Where late modules lie.
const LATE: &str = "usr/lib/stele/modules";

/// Files that packages brought, by name, with where they came from.
#[derive(Default)]
struct Found {
    /// Contents and packages by path.
    files: BTreeMap<String, (Vec<u8>, String)>,
    /// Targets by path.
    links: BTreeMap<String, String>,
}

/// Builds an image.
pub fn build(order: &Order, lock: &Lock, cache: &Cache) -> Result<Built, Failure> {
    let kernel = if order.kernel == Kernel::Cloud { Part::KernelCloud } else { Part::KernelMetal };
    let mut parts = vec![Part::Boot, kernel, Part::Runtime, Part::State];
    // A ceremony is rehearsed on a throw-away token of it.
    if order.flavour != Flavour::Validator {
        parts.push(Part::Softhsm);
    }
    // And it has no network to ask for the time.
    if order.flavour != Flavour::Ceremony {
        parts.push(Part::Time);
    }
    match &order.gpu {
        Gpu::None => {}
        Gpu::Mesa => parts.push(Part::Mesa),
        Gpu::Nvidia(_) => parts.push(Part::Nvidia),
    }
    let packages: Vec<&Package> = lock.of_parts(&parts).collect();
    let mut found = unpack(&packages, cache)?;
    let mut kernel_modules: BTreeMap<String, (String, Vec<u8>)> = found
        .files
        .iter()
        .filter_map(|(path, (bytes, _))| {
            let file = path.rsplit('/').next()?.to_owned();
            Some((modules::name_of(path)?, (file, bytes.clone())))
        })
        .collect();
    if let Some(driver) = order.gpu.nvidia() {
        driver::bring(order, driver, (lock, cache), &mut found, &mut kernel_modules)?;
    }
    let built_in = found.ending("/modules.builtin").map(|bytes| modules::built_in(&String::from_utf8_lossy(bytes)));
    let [early, late] = modules::select(&kernel_modules, &built_in.unwrap_or_default(), order.purpose())?;

    let (tree, origins) = root(order, &found, &late)?;
    content::check(&tree).map_err(|error| Failure::content("the root file system", error))?;
    let root = erofs::write(&tree, b"stele root image");
    let hashes = verity::Tree::over(&root).map_err(|error| Failure::content("the root file system", error))?;
    let Order { flavour, release, seal, .. } = *order;
    let hsm = order.hsm.clone();
    let line = BootLine { flavour, root: hashes.root, data_blocks: hashes.data_blocks, release, seal, hsm };
    let line = kernel_line::of(order.kernel, &line);
    let slot = [root, hashes.bytes].concat();
    let initial = initial(order, &early, &slot);
    let initrd = cpio::encode(&initial);
    let loader = found.named("usr/lib/systemd/boot/efi/systemd-bootx64.efi")?;
    let mut parts = uki::Parts {
        stub: found.named("usr/lib/systemd/boot/efi/linuxx64.efi.stub")?,
        linux: found.starting("boot/vmlinuz-")?,
        initrd: &initrd,
        line: &line,
        os_release: &(os_release(order) + &boot_loader_line(loader)?),
        policy_key: order.policy.as_ref().map(|signatory| &signatory.pem[..]),
        policies: None,
    };
    let about = |error| Failure::content("the kernel image", error);
    let mut uki = uki::assemble(&parts).map_err(about)?;
    let policies = order.policy.as_ref().map(|signatory| signatory.sign(&uki::measured(&uki).map_err(about)?, &line));
    let policies = policies.transpose()?;
    if let Some(policies) = &policies {
        parts.policies = Some(policies);
        uki = uki::assemble(&parts).map_err(about)?;
    }
    let outside = outside(&found, &parts, &initial, loader);
    let told = Uki::parse(&uki).map_err(about)?;
    let (pcr11, uki_sha256) = (told.pcr11, told.unsigned_sha256);
    let mut loader = loader.to_vec();
    if let Some((key, certificate)) = &order.sign {
        loader = sign::sign_with_openssl(&loader, key, certificate)?;
        uki = sign::sign_with_openssl(&uki, key, certificate)?;
    }
    let system = system_partition(&uki, &loader, order.release, order.flavour)?;
    let image = match order.flavour {
        Flavour::Ceremony => disk::image_in_memory(&system, &hashes.root),
        Flavour::Validator | Flavour::Dev => disk::image(&system, &[], &slot, &hashes.root),
    };
    Ok(Built {
        image,
        sbom: sbom::cyclonedx(
            order.release,
            &packages,
            order.gpu.nvidia(),
            order.crates.as_ref(),
            (&tree, &origins),
            &outside,
        ),
        crates: order.crates.as_ref().map(|crates| crates.0.len()),
        driver: order.gpu.nvidia().map(|driver| driver.report(&origins)),
        uki,
        root_hash: hashes.root,
        pcr11,
        uki_sha256,
    })
}

/// The name of a release's kernel image in the system partition. A release on trial has so many attempts in its name.
pub fn uki_path(release: u64, attempts: Option<u8>) -> String {
    let trial = attempts.map(|attempts| format!("+{attempts}")).unwrap_or_default();
    format!("EFI/Linux/stele-{release}{trial}.efi")
}

/// Where a firmware looks for a boot loader.
pub const BOOT_LOADER: &str = "EFI/BOOT/BOOTX64.EFI";

/// The boot loader's settings, and where they are: nobody at the console changes a command line.
pub const LOADER_SETTINGS: (&str, &[u8]) =
    ("loader/loader.conf", b"timeout 0\nconsole-mode keep\neditor no\nauto-firmware no\n");

/// What a kernel image says, and so has measured, of the boot loader that it was built with: its digest without a signature.
pub fn boot_loader_line(loader: &[u8]) -> Result<String, Failure> {
    let digest = sign::digest(loader).map_err(|error| Failure::content("the boot loader", error))?;
    Ok(format!("{}{}\n", uki::BOOT_LOADER, hex::encode(digest)))
}

/// A system partition with one release, up to the end of what is in it. A disk that takes updates holds two at times.
pub fn system_partition(uki: &[u8], loader: &[u8], release: u64, flavour: Flavour) -> Result<Vec<u8>, Failure> {
    let files = [
        (BOOT_LOADER.to_owned(), loader.to_vec()),
        (uki_path(release, None), uki.to_vec()),
        (LOADER_SETTINGS.0.to_owned(), LOADER_SETTINGS.1.to_vec()),
    ];
    // A file takes two tables of four bytes for each 512 of its own.
    let room = |kernels: usize| ((kernels * uki.len() + loader.len()) / 64 * 65 + (1 << 20)).next_multiple_of(1 << 20);
    let bytes = match flavour {
        // It is written to a stick by whatever writes sticks, and so has to be whole; with its root inside it may need more.
        Flavour::Ceremony => disk::SYSTEM_BYTES_MIN.max(room(1)),
        Flavour::Validator | Flavour::Dev => disk::SYSTEM_BYTES.max(room(2)),
    };
    let about = |error| Failure::content("the system partition", error);
    let mut volume = fat::write(&files, bytes).map_err(about)?;
    if flavour != Flavour::Ceremony {
        volume.truncate(fat::used(&volume).map_err(about)?);
    }
    Ok(volume)
}

/// Takes what can be of use out of the packages, on two threads: the kernel's is as long as all others.
fn unpack(packages: &[&Package], cache: &Cache) -> Result<Found, Failure> {
    let one = |package: &Package| -> Result<Found, Failure> {
        let bytes = cache.take(package)?;
        let mut found = Found::default();
        let taken = deb::unpack(&bytes, wanted, |path, item| match item {
            Item::File(bytes, _) => drop(found.files.insert(path, (bytes, package.name.clone()))),
            Item::Link(target) => drop(found.links.insert(path, target)),
        });
        taken.map_err(|error| Failure::content(&package.name, error))?;
        Ok(found)
    };
    let (kernels, others): (Vec<&Package>, Vec<&Package>) =
        packages.iter().partition(|package| package.name.starts_with("linux-image"));
    std::thread::scope(|scope| {
        let kernels = scope.spawn(|| kernels.into_iter().map(one).collect::<Vec<_>>());
        let mut all: Vec<Result<Found, Failure>> = others.into_iter().map(one).collect();
        all.extend(kernels.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        let mut sum = Found::default();
        for found in all {
            let found = found?;
            sum.files.extend(found.files);
            sum.links.extend(found.links);
        }
        Ok(sum)
    })
}

fn wanted(path: &str) -> bool {
    let library = path.contains("x86_64-linux-gnu/") || path.starts_with("usr/lib/softhsm/") || path.contains("lib64/");
    let kernel =
        path.starts_with("boot/vmlinuz-") || path.ends_with("/modules.builtin") || modules::name_of(path).is_some();
    let boot = path.starts_with("usr/lib/systemd/boot/efi/");
    library && path.contains(".so")
        || kernel
        || boot
        || [MKE2FS, CHRONYD].contains(&path)
        || path.starts_with("usr/share/vulkan/icd.d/lvp")
}

impl Found {
    fn named(&self, path: &str) -> Result<&[u8], Failure> {
        self.files
            .get(path)
            .map(|file| &file.0[..])
            .ok_or_else(|| Failure::content(path, "no package of the lock file has it"))
    }

    fn starting(&self, start: &str) -> Result<&[u8], Failure> {
        let found = self.files.iter().find(|file| file.0.starts_with(start)).map(|file| &file.1.0[..]);
        found.ok_or_else(|| Failure::content(start, "no package of the lock file has it"))
    }

    /// The package that has a file of this name, wherever it lies.
    fn origin(&self, name: &str) -> Option<String> {
        self.package_of(|path| path.rsplit('/').next() == Some(name))
    }

    fn package_of(&self, is_it: impl Fn(&str) -> bool) -> Option<String> {
        self.files.iter().find(|(path, _)| is_it(path)).map(|(_, (_, package))| package.clone())
    }

    fn ending(&self, end: &str) -> Option<&[u8]> {
        self.files.iter().find(|file| file.0.ends_with(end)).map(|file| &file.1.0[..])
    }

    /// A library by its name, through links; the bytes and the package.
    fn library(&self, name: &str) -> Option<&(Vec<u8>, String)> {
        let mut name = name.to_owned();
        for _ in 0..4 {
            let end = format!("/{name}");
            let mut files = self.files.iter().filter(|file| file.0.ends_with(&end));
            if let Some(file) = files.next() {
                return Some(file.1);
            }
            let target = self.links.iter().find(|link| link.0.ends_with(&end))?.1;
            name = target.rsplit('/').next()?.to_owned();
        }
        None
    }
}

/// The root file system, and which package each file came from.
fn root(order: &Order, found: &Found, late: &Selection) -> Result<(Tree, BTreeMap<String, String>), Failure> {
    let mut tree = Tree::default();
    let mut origins = BTreeMap::new();
    for folder in ["proc", "sys", "dev", "run", "tmp", "var", "boot", LIBRARIES, "usr/lib64"] {
        tree.folder(folder);
    }
    tree.link("lib", "usr/lib");
    tree.link("lib64", "usr/lib64");
    tree.file("etc/os-release", os_release(order));
    // Init puts the machine's own over it.
    tree.file("etc/machine-id", *b"");
    tree.file(
        "etc/passwd",
        "root:x:0:0::/:/nonexistent\nstele:x:900:900::/:/nonexistent\nstele-signer:x:901:901::/:/nonexistent\n\
         stele-time:x:902:902::/:/nonexistent\n",
    );
    tree.file("etc/group", "root:x:0:\nstele:x:900:\nstele-signer:x:901:\nstele-time:x:902:\n");
    let stele = strip("stele", &order.stele)?;
    tree.program("usr/bin/stele", stele);
    tree.program("usr/sbin/mke2fs", found.named(MKE2FS)?);
    origins.insert("usr/sbin/mke2fs".to_owned(), "e2fsprogs".to_owned());
    if order.flavour != Flavour::Ceremony {
        tree.program(CHRONYD, found.named(CHRONYD)?);
        origins.insert(CHRONYD.to_owned(), "chrony".to_owned());
    }
    if order.flavour != Flavour::Validator {
        let (bytes, from) =
            found.library("libsofthsm2.so").ok_or_else(|| Failure::content("libsofthsm2.so", "no package has it"))?;
        tree.program("usr/lib/softhsm/libsofthsm2.so", bytes.clone());
        origins.insert("usr/lib/softhsm/libsofthsm2.so".to_owned(), from.clone());
    }
    for (name, bytes) in &order.pkcs11 {
        let path = format!("{BUNDLE}/{name}");
        if Elf::is_one(bytes) { tree.program(&path, bytes.clone()) } else { tree.file(&path, bytes.clone()) }
    }
    if order.gpu == Gpu::Mesa {
        for (path, (bytes, from)) in &found.files {
            if path.starts_with("usr/share/vulkan/") {
                tree.file(path, bytes.clone());
                origins.insert(path.clone(), from.clone());
            }
        }
        for name in ["libvulkan.so.1", "libvulkan_lvp.so"] {
            let (bytes, from) = found.library(name).ok_or_else(|| Failure::content(name, "no package has it"))?;
            tree.program(&format!("{LIBRARIES}/{name}"), bytes.clone());
            origins.insert(format!("{LIBRARIES}/{name}"), from.clone());
        }
    }
    if let Some(driver) = order.gpu.nvidia() {
        driver::add(&mut tree, driver, found, &mut origins)?;
    }
    for (file, bytes) in &late.files {
        let path = format!("{LATE}/{file}");
        origins.extend(found.origin(file).map(|package| (path.clone(), package)));
        tree.file(&path, bytes.clone());
    }
    tree.file(&format!("{LATE}/index"), late.index.clone());
    add_libraries(&mut tree, found, &mut origins)?;
    let (loader, from) = found.library(LOADER).ok_or_else(|| Failure::content(LOADER, "no package has it"))?;
    tree.program(&format!("usr/lib/{LOADER}"), loader.clone());
    tree.link(&format!("usr/lib64/{LOADER}"), &format!("/usr/lib/{LOADER}"));
    origins.insert(format!("usr/lib/{LOADER}"), from.clone());
    Ok((tree, origins))
}

/// All libraries that a program or library in the tree needs, and those that they need. Where a package and a vendor's bundle
/// have one of the same name it is the package's: the node's own program needs it as well.
fn add_libraries(tree: &mut Tree, found: &Found, origins: &mut BTreeMap<String, String>) -> Result<(), Failure> {
    loop {
        let mut more = BTreeMap::new();
        for (path, node) in &tree.nodes {
            let Node::File { bytes, .. } = node else { continue };
            if !Elf::is_one(bytes) {
                continue;
            }
            let needed =
                Elf::parse(bytes).and_then(|elf| elf.needed()).map_err(|error| Failure::content(path, error))?;
            for name in needed {
                // Only there the loader looks; there is no cache that would tell it of other places.
                let place = format!("{LIBRARIES}/{name}");
                if tree.nodes.contains_key(&place) || more.contains_key(&place) || name == LOADER {
                    continue;
                }
                let bundled = format!("{BUNDLE}/{name}");
                let library = match found.library(&name) {
                    Some((bytes, from)) => (Node::File { bytes: bytes.clone(), executable: true }, Some(from.clone())),
                    None if tree.nodes.contains_key(&bundled) => (Node::Link(format!("/{bundled}")), None),
                    None => return Err(Failure::content(path, format!("it needs {name}, which no package has"))),
                };
                more.insert(place, library);
            }
        }
        if more.is_empty() {
            return Ok(());
        }
        for (path, (node, from)) in more {
            if let Some(from) = from {
                origins.insert(path.clone(), from);
            }
            tree.nodes.insert(path, node);
        }
    }
}

fn initial(order: &Order, early: &Selection, slot: &[u8]) -> Tree {
    let mut tree = Tree::default();
    for folder in ["proc", "sys", "dev", "run", "newroot"] {
        tree.folder(folder);
    }
    tree.program("init", order.init.clone());
    if order.flavour == Flavour::Ceremony {
        tree.file(MEMORY_ROOT, slot);
    } else {
        tree.file("trusted.key", order.trusted);
    }
    for (file, bytes) in &early.files {
        tree.file(&format!("modules/{file}"), bytes.clone());
    }
    tree.file("modules/index", early.index.clone());
    tree
}

/// What is in the image and not in its root: names, contents, and packages. What has none is ours.
fn outside(found: &Found, parts: &uki::Parts<'_>, initial: &Tree, loader: &[u8]) -> Vec<sbom::Outside> {
    let one =
        |name: &str, bytes: &[u8], package| sbom::Outside { name: name.to_owned(), sha256: sha256_hex(bytes), package };
    // The file of a package has its version in its name.
    let kernel = found.package_of(|path| path.starts_with("boot/vmlinuz-"));
    let mut all = vec![
        one(BOOT_LOADER, loader, found.origin("systemd-bootx64.efi")),
        one("uki/stub", parts.stub, found.origin("linuxx64.efi.stub")),
        one("uki/linux", parts.linux, kernel),
    ];
    for (path, node) in &initial.nodes {
        if let Node::File { bytes, .. } = node {
            let file = path.rsplit('/').next().unwrap_or(path);
            all.push(one(&format!("uki/initrd/{path}"), bytes, found.origin(file)));
        }
    }
    all
}

fn os_release(order: &Order) -> String {
    let (flavour, release) = (order.flavour, order.release);
    format!(
        "ID=stele\nNAME=Stele\nPRETTY_NAME=\"Stele {release} ({flavour})\"\nVERSION_ID={release}\nVERSION={release}\n\
         IMAGE_ID=stele\nIMAGE_VERSION={release}\nVARIANT_ID={flavour}\n"
    )
}

/// A program without what is never loaded.
pub fn strip(what: &str, bytes: &[u8]) -> Result<Vec<u8>, Failure> {
    Elf::parse(bytes).and_then(|elf| elf.stripped()).map_err(|error| Failure::content(what, error))
}

/// The SHA-256 of some bytes, in hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_of_the_package_that_has_its_whole_name() {
        let mut found = Found::default();
        for path in ["usr/lib/modules/6/initio.ko.xz", "boot/vmlinuz-6"] {
            found.files.insert(path.into(), (Vec::new(), "linux".into()));
        }
        assert_eq!(found.origin("initio.ko.xz").as_deref(), Some("linux"));
        assert_eq!((found.origin("init"), found.origin("vmlinuz-")), (None, None));
    }
}
