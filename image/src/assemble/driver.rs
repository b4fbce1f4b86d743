//! The operator's driver of NVIDIA's cards on its way into an image: its modules are built where they must be, checked against
//! the kernel and signed; its libraries lie where the loader looks, its firmware where the kernel does.

use super::{Found, Kernel, LATE, LIBRARIES, Order};
use crate::failure::Failure;
use crate::fetch::Cache;
use crate::lock::{Lock, Part};
use crate::modinfo::Modinfo;
use crate::module_signature;
use crate::modules;
use crate::nvidia::{self, Driver, Modules, Named};
use crate::tree::Tree;
use std::collections::BTreeMap;

/// Where a file came from that is in no package.
const OPERATOR: &str = "operator";

/// Puts modules beside the kernel's own, and libraries beside those of the pinned packages. Where both have a library the
/// pinned one is taken: the node's own program needs it as well.
pub fn bring(
    order: &Order,
    driver: &Driver,
    (lock, cache): (&Lock, &Cache),
    found: &mut Found,
    kernel_modules: &mut BTreeMap<String, Named>,
) -> Result<(), Failure> {
    for (file, bytes) in signed_modules(order, driver, (lock, cache), found, kernel_modules)? {
        kernel_modules.insert(modules::name_of(&file).unwrap_or_default(), (file, bytes));
    }
    for (name, library) in &driver.libraries {
        if found.library(name).is_none() {
            found.files.insert(format!("{LIBRARIES}/{name}"), library.clone());
        }
    }
    Ok(())
}

/// By the key that signs the image: the kernel takes modules under lockdown because the firmware trusts that key.
fn signed_modules(
    order: &Order,
    driver: &Driver,
    (lock, cache): (&Lock, &Cache),
    found: &Found,
    kernel_modules: &BTreeMap<String, Named>,
) -> Result<Vec<Named>, Failure> {
    let (key, certificate) = order.sign.as_ref().ok_or_else(|| {
        let help = "give --sign and --certificate, with a key whose certificate the firmware's db has";
        Failure::unfit("a driver's modules must be signed: under lockdown the kernel takes no others", help)
    })?;
    let about = |reason| Failure::content("the kernel's package", reason);
    let own = kernel_modules.values().next().ok_or_else(|| about("it has no modules"))?;
    let own = Modinfo::read(&own.0, &own.1)?;
    let built = match &driver.modules {
        Modules::Ready(modules) => modules.clone(),
        Modules::Source(source) => {
            let release = found.files.keys().find_map(|path| path.strip_prefix("boot/vmlinuz-"));
            let release = release.ok_or_else(|| about("it has no boot/vmlinuz-"))?;
            let part = if order.kernel == Kernel::Cloud { Part::HeadersCloud } else { Part::HeadersMetal };
            let headers: Result<Vec<Vec<u8>>, Failure> =
                lock.of_parts(&[part]).map(|package| cache.take(package)).collect();
            nvidia::compile::compile(source, &headers?, release)?
        }
    };
    driver.check_modules(&built, own.first("vermagic"))?;
    let signed = |(file, bytes): Named| Ok((file, module_signature::append(&bytes, key, certificate)?));
    built.into_iter().map(signed).collect()
}

/// Libraries, firmware and the loader's description, with where they came from; and where the modules did.
pub fn add(
    tree: &mut Tree,
    driver: &Driver,
    found: &Found,
    origins: &mut BTreeMap<String, String>,
) -> Result<(), Failure> {
    for name in driver.libraries_wanted().into_iter().chain(["libvulkan.so.1".to_owned()]) {
        let (bytes, from) = found.library(&name).ok_or_else(|| Failure::content(&name, "no package has it"))?;
        let path = format!("{LIBRARIES}/{name}");
        tree.program(&path, bytes.clone());
        origins.insert(path, from.clone());
    }
    for (path, (bytes, from)) in &driver.firmware {
        let path = format!("{}/{path}", nvidia::FIRMWARE);
        tree.file(&path, bytes.clone());
        origins.insert(path, from.clone());
    }
    tree.file(nvidia::DESCRIPTION, driver.description());
    origins.insert(nvidia::DESCRIPTION.to_owned(), driver.vulkan_api.1.clone());
    let of_modules = match &driver.modules {
        Modules::Source(source) => &source.from,
        Modules::Ready(_) => OPERATOR,
    };
    for name in modules::NVIDIA {
        origins.insert(format!("{LATE}/{}.ko", name.replace('_', "-")), of_modules.to_owned());
    }
    Ok(())
}
