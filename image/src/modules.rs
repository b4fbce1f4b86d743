//! The kernel's modules that an image brings: an allow-list by name, closed over what each needs, in an order in which they
//! can be loaded, with the devices that each is for. Init reads the index; nothing else inside can load a module.
//!
//! ```text
//! m NAME FILE NEEDED,NEEDED     a module, after those it needs
//! a NAME PATTERN                devices it is for
//! l NAME                        load it without a device
//! d NAME                        a start can do without it, as a rule
//! p NAME PARAMETER PARAMETER    what it is told when it is loaded
//! ```

use crate::failure::Failure;
use crate::modinfo::Modinfo;
use image_formats::boot_line::{BootLine, Flavour};
use std::collections::BTreeMap;

/// When modules are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Out of the initial file system: what the root needs.
    Early,
    /// Out of the root.
    Late,
}

/// A module that asks the kernel for another by name when it starts, which its own list of needs does not say, and that other.
const ASKS: (&str, &str) = ("libcrc32c", "crc32c_generic");
/// Loaded without a device: what the root is under.
const ALWAYS: &[&str] = &["crc32c_generic", "dm_verity", "erofs"];
/// Loaded without a device, after the root: the firmware's variables, and the state's file system.
const ALWAYS_LATE: &[&str] = &["efivarfs", "ext4"];
/// Loaded when init asks for them: that of the system partition and of sticks, with what its names need.
pub const FAT: &[&str] = &["vfat", "nls_cp437", "nls_ascii"];
/// Loaded when init asks for them: the device mapper's target for a sealed state, and its cipher with the processor's
/// instructions for it.
pub const SEALED: &[&str] = &["dm_crypt", "xts", "aesni_intel"];
/// Disks inside the machine.
const DISKS: &[&str] = &["virtio_blk", "virtio_scsi", "nvme", "ahci"];
/// USB, for keyboards and sticks.
const USB: &[&str] = &["sd_mod", "usb_storage", "uas", "xhci_pci", "ehci_pci", "usbhid", "hid_generic"];
/// Of these, for sticks alone.
const STICKS: &[&str] = &["usb_storage", "uas"];
/// What a start can do without, unless the root is on it. Each module costs the check of a signature.
const DEFERRED: &[&str] = &["ahci", "sd_mod", "usb_storage", "uas", "virtio_rng"];
/// For a ceremony: its root is a file in memory, and people type.
const CEREMONY: &[&str] = &["loop", "i8042", "atkbd"];
/// Networks.
const NETWORK: &[&str] = &[
    "virtio_net",
    "e1000e",
    "igb",
    "igc",
    "ixgbe",
    "i40e",
    "ice",
    "bnxt_en",
    "mlx5_core",
    "tg3",
    "r8169",
    "ena",
    "gve",
];
/// Watchdogs, sensors, randomness.
const LATE: &[&str] = &[
    "i6300esb",
    "iTCO_wdt",
    "sp5100_tco",
    "wdat_wdt",
    "virtio_rng",
    "coretemp",
    "k10temp",
    "ipmi_si",
    "ipmi_devintf",
    "ipmi_watchdog",
    "i10nm_edac",
    "amd64_edac",
];

/// The driver of NVIDIA's cards, where the operator has given one: what verifies on a card needs both, and no display.
pub const NVIDIA: &[&str] = &["nvidia", "nvidia_uvm"];
/// What it is told: its libraries must not try to make device files, for which they would start a program that runs as root.
/// Init makes them, as is told here.
const NVIDIA_PARAMETERS: &str =
    "NVreg_ModifyDeviceFiles=0 NVreg_DeviceFileUID=0 NVreg_DeviceFileGID=900 NVreg_DeviceFileMode=0660";

/// What an image may have modules for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// What the machine is for.
    pub flavour: Flavour,
    /// The driver of a ceremony's link to its HSM.
    pub link: Option<&'a str>,
}

impl<'a> Purpose<'a> {
    /// As a command line tells it.
    pub fn of(line: &'a BootLine) -> Self {
        Self { flavour: line.flavour, link: line.hsm.as_ref().map(|link| &link.driver[..]) }
    }
}

/// The drivers that a link to an HSM may have.
pub fn links() -> &'static [&'static str] {
    NETWORK
}

/// The names that an image may have, each with its stage.
fn allowed(purpose: Purpose<'_>) -> impl Iterator<Item = (&'static str, Stage)> {
    // A ceremony has no network but that link and keeps no state; the machine's own disks are out of its reach.
    let ceremony = purpose.flavour == Flavour::Ceremony;
    let [own, state, gpu]: [&[&str]; 3] = if ceremony { [CEREMONY, &[], &[]] } else { [DISKS, SEALED, NVIDIA] };
    let network = NETWORK.iter().filter(move |name| !ceremony || purpose.link == Some(**name));
    let early = ALWAYS.iter().chain(own).chain(USB).map(|name| (*name, Stage::Early));
    let always = ALWAYS_LATE.iter().filter(move |name| !ceremony || **name != "ext4");
    let late = always.chain(FAT).chain(network).chain(state).chain(LATE).chain(gpu);
    early.chain(late.map(|name| (*name, Stage::Late)))
}

/// A module with what its own file says of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Module {
    file: String,
    needs: Vec<String>,
    aliases: Vec<String>,
    packed: Vec<u8>,
}

/// The files of one stage and the index over them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// File names and contents, compressed where the distribution has them so.
    pub files: Vec<(String, Vec<u8>)>,
    /// The index.
    pub index: String,
}

/// Names are the same with dashes and underscores.
fn normal(name: &str) -> String {
    name.replace('-', "_")
}

/// The name of the module in a package's file, if it is one.
pub fn name_of(path: &str) -> Option<String> {
    let file = path.rsplit('/').next()?;
    Some(normal(file.strip_suffix(".xz").unwrap_or(file).strip_suffix(".ko")?))
}

/// Chooses from the modules of a kernel (by [`name_of`]): early ones and late ones. `built_in` are the kernel's own. What the
/// kernel's package does not have is left out, except for what the root needs, and the driver of a link.
pub fn select(
    modules: &BTreeMap<String, (String, Vec<u8>)>,
    built_in: &[String],
    purpose: Purpose<'_>,
) -> Result<[Selection; 2], Failure> {
    let flavour = purpose.flavour;
    let mut chosen: Vec<(String, Stage, Module)> = Vec::new();
    let known = |name: &str| modules.contains_key(name);
    for (name, stage) in allowed(purpose) {
        let name = normal(name);
        if known(&name) {
            close(&name, stage, modules, built_in, &mut chosen, 0)?;
        } else if (matches!(name.as_str(), "dm_verity" | "erofs") || purpose.link == Some(&name))
            && !built_in.contains(&name)
        {
            return Err(Failure::content("the kernel's package", format!("it has no module {name}")));
        }
    }
    Ok([Stage::Early, Stage::Late].map(|wanted| {
        let mut selection = Selection::default();
        for (name, _, module) in chosen.iter().filter(|entry| entry.1 == wanted) {
            selection.index += &format!("m {name} {} {}\n", module.file, module.needs.join(","));
            let direct = allowed(purpose).any(|(allowed, _)| normal(allowed) == *name);
            // Sticks come while a machine runs, and to a ceremony keyboards as well.
            let usb = if flavour == Flavour::Ceremony { USB } else { STICKS };
            let one_of = |list: &[&str]| list.iter().any(|one| normal(one) == *name);
            if [ALWAYS, ALWAYS_LATE, CEREMONY, usb].into_iter().any(one_of) {
                selection.index += &format!("l {name}\n");
            } else if direct && !one_of(FAT) && !one_of(SEALED) {
                module.aliases.iter().for_each(|alias| selection.index += &format!("a {name} {alias}\n"));
                // Drivers of disks and keyboards that are no devices of a bus, and watchdogs of the chip set.
                if module.aliases.is_empty() || matches!(name.as_str(), "sd_mod" | "iTCO_wdt" | "sp5100_tco") {
                    selection.index += &format!("l {name}\n");
                }
            }
            if flavour != Flavour::Ceremony && one_of(DEFERRED) {
                selection.index += &format!("d {name}\n");
            }
            if name == "nvidia" {
                selection.index += &format!("p {name} {NVIDIA_PARAMETERS}\n");
            }
            selection.files.push((module.file.clone(), module.packed.clone()));
        }
        selection
    }))
}

/// What is needed first, so that the order is one to load in. An early module's needs are early.
fn close(
    name: &str,
    stage: Stage,
    modules: &BTreeMap<String, (String, Vec<u8>)>,
    built_in: &[String],
    chosen: &mut Vec<(String, Stage, Module)>,
    depth: usize,
) -> Result<(), Failure> {
    if chosen.iter().any(|entry| entry.0 == name) || built_in.iter().any(|own| own == name) {
        return Ok(());
    }
    let missing = || Failure::content("the kernel's package", format!("module {name} is needed and missing"));
    let (file, packed) = modules.get(name).filter(|_| depth < 32).ok_or_else(missing)?;
    let mut module = read(file, packed)?;
    // It names no device of its own: it is for those of the driver that it needs.
    if name == "nvidia_uvm"
        && let Some((file, driver)) = modules.get("nvidia")
    {
        module.aliases = read(file, driver)?.aliases;
    }
    if name == ASKS.0 && modules.contains_key(ASKS.1) {
        module.needs.push(ASKS.1.to_owned());
    }
    for need in &module.needs {
        close(need, stage, modules, built_in, chosen, depth + 1)?;
    }
    let needs = module.needs.iter().filter(|need| !built_in.contains(need)).cloned().collect();
    chosen.push((name.to_owned(), stage, Module { needs, ..module }));
    Ok(())
}

fn read(file: &str, packed: &[u8]) -> Result<Module, Failure> {
    let told = Modinfo::read(file, packed)?;
    Ok(Module {
        file: file.to_owned(),
        needs: told.first("depends").split(',').filter(|need| !need.is_empty()).map(normal).collect(),
        aliases: told.all("alias").filter(|alias| alias.contains(':')).map(str::to_owned).collect(),
        packed: packed.to_vec(),
    })
}

/// The names in a `modules.builtin`.
pub fn built_in(text: &str) -> Vec<String> {
    let name = |line: &str| Some(normal(line.rsplit('/').next()?.strip_suffix(".ko")?));
    text.lines().filter_map(name).collect()
}

/// Whether an index names modules that a flavour may have, or that one of those needs, and no others. Returns the names.
pub fn audit(index: &str, purpose: Purpose<'_>) -> Result<Vec<String>, String> {
    let flavour = purpose.flavour;
    let mut needed: Vec<String> = allowed(purpose).map(|(name, _)| normal(name)).collect();
    let mut names = Vec::new();
    let mut lines: Vec<&str> = index.lines().collect();
    lines.reverse();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["m", name, file, needs] => {
                if !needed.iter().any(|allowed| allowed == name) || name_of(file).as_deref() != Some(name) {
                    return Err(format!("module {name} is not on the allow-list of {flavour}"));
                }
                needed.extend(needs.split(',').map(str::to_owned));
                names.push(name.to_owned());
            }
            ["a", _, _] | ["l" | "d", _] => {}
            ["p", "nvidia", ref parameters @ ..] if parameters.join(" ") == NVIDIA_PARAMETERS => {}
            _ => return Err(format!("the index of modules has a line {line:?}")),
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::modinfo::tests::module;

    fn of(flavour: Flavour) -> Purpose<'static> {
        Purpose { flavour, link: None }
    }

    #[test]
    fn modules_that_nobody_allowed_are_told() {
        let index = "m dm_mod dm-mod.ko.xz \nm dm_verity dm-verity.ko.xz dm_mod\nl dm_verity\n";
        assert_eq!(audit(index, of(Flavour::Validator)), Ok(vec!["dm_verity".into(), "dm_mod".into()]));
        assert!(audit("m usbnet usbnet.ko.xz \n", of(Flavour::Validator)).unwrap_err().contains("usbnet"));
        assert!(audit("m evil erofs.ko.xz \n", of(Flavour::Validator)).is_err());
        assert!(audit("m erofs evil.ko.xz \n", of(Flavour::Validator)).is_err());
    }

    #[test]
    fn a_ceremony_has_no_drivers_of_networks_and_of_the_machines_disks() {
        for name in ["virtio_net", "nvme", "ahci", "dm_crypt"] {
            let index = format!("m {name} {name}.ko.xz \n");
            assert!(audit(&index, of(Flavour::Dev)).is_ok(), "{name}");
            assert!(audit(&index, of(Flavour::Ceremony)).is_err(), "{name}");
        }
        assert!(audit("m usb_storage usb-storage.ko.xz \n", of(Flavour::Ceremony)).is_ok());
    }

    /// Init loads side by side what does not need each other.
    #[test]
    fn a_checksum_that_is_asked_for_by_name_comes_before_who_asks() {
        let named = |name: &str, needs| (name.to_owned(), (format!("{name}.ko"), module(&[("depends", needs)])));
        let modules: BTreeMap<_, _> =
            [named("erofs", "libcrc32c"), named("dm_verity", ""), named("libcrc32c", ""), named("crc32c_generic", "")]
                .into();
        let [early, _] = select(&modules, &[], of(Flavour::Dev)).unwrap();
        assert!(early.index.contains("m libcrc32c libcrc32c.ko crc32c_generic\n"), "{}", early.index);
        let place = |name: &str| early.index.find(&format!("m {name} ")).unwrap();
        assert!(place("crc32c_generic") < place("libcrc32c") && place("libcrc32c") < place("erofs"));
    }

    #[test]
    fn a_link_to_an_hsm_brings_its_own_driver_and_no_other() {
        let linked = Purpose { flavour: Flavour::Ceremony, link: Some("igc") };
        let [cards, own] = [["igc", "igb"], ["erofs", "dm_verity"]];
        let named = |name: &str| (name.to_owned(), (format!("{name}.ko"), module(&[("alias", "pci:v1d2")])));
        let modules: BTreeMap<_, _> = cards.into_iter().chain(own).map(named).collect();
        let [_, late] = select(&modules, &[], linked).unwrap();
        assert_eq!(late.index, "m igc igc.ko \na igc pci:v1d2\n");
        assert!(audit(&late.index, linked).is_ok() && audit(&late.index, of(Flavour::Ceremony)).is_err());
        assert!(audit(&late.index.replace("igc", "igb"), linked).is_err());
        let absent = Purpose { link: Some("ice"), ..linked };
        assert!(select(&modules, &[], absent).unwrap_err().to_string().contains("ice"));
    }

    fn of_nvidia(uvm_needs: &str) -> BTreeMap<String, (String, Vec<u8>)> {
        let card = "pci:v000010DEd*sv*sd*bc03sc02i00*";
        let driver = module(&[("alias", "char-major-195-*"), ("alias", card), ("depends", "")]);
        let memory = module(&[("depends", uvm_needs)]);
        let named = |name: &str, bytes| (name.to_owned(), (format!("{}.ko", name.replace('_', "-")), bytes));
        [named("nvidia", driver), named("nvidia_uvm", memory)].into()
    }

    const OWN: &str = "kernel/fs/erofs/erofs.ko\nkernel/drivers/md/dm-verity.ko\n";

    #[test]
    fn a_gpus_driver_is_loaded_for_its_card_alone() {
        let [_, late] = select(&of_nvidia("nvidia"), &built_in(OWN), of(Flavour::Validator)).unwrap();
        let card = "pci:v000010DEd*sv*sd*bc03sc02i00*";
        assert_eq!(
            late.index,
            format!(
                "m nvidia nvidia.ko \na nvidia {card}\np nvidia {NVIDIA_PARAMETERS}\n\
                 m nvidia_uvm nvidia-uvm.ko nvidia\na nvidia_uvm {card}\n"
            )
        );
        assert_eq!(audit(&late.index, of(Flavour::Validator)).unwrap(), ["nvidia_uvm", "nvidia"]);
        assert!(audit(&late.index, of(Flavour::Ceremony)).unwrap_err().contains("nvidia_uvm"));
        let other = late.index.replace("GID=900", "GID=901");
        assert!(audit(&other, of(Flavour::Validator)).unwrap_err().contains("GID=901"));
        let [_, ceremony] = select(&of_nvidia("nvidia"), &built_in(OWN), of(Flavour::Ceremony)).unwrap();
        assert_eq!(ceremony, Selection::default());
        assert!(
            select(&of_nvidia("nvidia,absent"), &built_in(OWN), of(Flavour::Dev))
                .unwrap_err()
                .to_string()
                .contains("absent")
        );
    }

    #[test]
    fn a_kernel_without_verity_is_refused() {
        assert!(select(&BTreeMap::new(), &[], of(Flavour::Validator)).unwrap_err().to_string().contains("dm_verity"));
        let own = built_in("kernel/fs/erofs/erofs.ko\nkernel/drivers/md/dm-verity.ko\n");
        assert_eq!(select(&BTreeMap::new(), &own, of(Flavour::Validator)).unwrap()[0], Selection::default());
    }
}
