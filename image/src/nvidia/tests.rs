//! Folders of an operator's, each wrong in one way. The packages are made here and hold next to nothing.

use super::*;
use crate::deb::tests::{package, tar_xz};
use crate::failure::Failure;
use crate::modinfo::tests::module;
use std::path::Path;

const VERSION: &str = "550.163.01";
const VERMAGIC: &str = "6.1 SMP preempt mod_unload modversions ";
const FOLDER: &str = "./usr/lib/x86_64-linux-gnu";

/// A driver without content.
pub(crate) fn driver() -> Driver {
    let package =
        Package { name: "libegl-nvidia0".into(), version: "1-1".into(), sha256: "0".repeat(64), licence: None };
    Driver {
        version: VERSION.into(),
        packages: vec![package],
        libraries: BTreeMap::new(),
        firmware: [(format!("nvidia/{VERSION}/gsp.bin"), (b"firmware".to_vec(), "firmware".to_owned()))].into(),
        vulkan_api: ("1.3".into(), "libegl-nvidia0".into()),
        modules: Modules::Ready(Vec::new()),
        left_out: Vec::new(),
    }
}

/// As much of a library as has a name.
fn library(soname: &str) -> Vec<u8> {
    let strings = format!("\0{soname}\0");
    let mut file = vec![0; 64];
    file[..7].copy_from_slice(b"\x7FELF\x02\x01\x01");
    file[16..20].copy_from_slice(&[3, 0, 62, 0]);
    file[32..40].copy_from_slice(&64_u64.to_le_bytes());
    file[56..58].copy_from_slice(&2_u16.to_le_bytes());
    let (tags, names) = (64 + 2 * 56_u64, 64 + 2 * 56 + 48_u64);
    for (kind, at, length) in [(1_u32, 0_u64, 4096_u64), (2, tags, 48)] {
        let mut header = [0; 56];
        header[..4].copy_from_slice(&kind.to_le_bytes());
        header[8..16].copy_from_slice(&at.to_le_bytes());
        header[16..24].copy_from_slice(&at.to_le_bytes());
        header[32..40].copy_from_slice(&length.to_le_bytes());
        file.extend(header);
    }
    for (tag, value) in [(5_u64, names), (14, 1), (0, 0)] {
        file.extend(tag.to_le_bytes());
        file.extend(value.to_le_bytes());
    }
    file.extend(strings.bytes());
    file
}

/// The operator's folder, and what may be changed in it.
struct Operator(tempfile::TempDir);

impl Operator {
    fn new() -> Self {
        let operator = Self(tempfile::tempdir().unwrap());
        operator.library("libegl-nvidia0", VULKAN, VERSION);
        operator.library("libnvidia-ml1", NVML, VERSION);
        operator.library("libnvidia-eglcore", &format!("libnvidia-eglcore.so.{VERSION}"), VERSION);
        operator.library("libnvidia-glvkspirv", &format!("libnvidia-glvkspirv.so.{VERSION}"), VERSION);
        let description = br#"{"ICD":{"library_path":"libGLX_nvidia.so.0","api_version":"1.3.277"}}"#;
        let path = "./usr/share/vulkan/icd.d/nvidia_icd.json";
        operator.package("nvidia-vulkan-common", &[(path, 0o644, description)]);
        operator.firmware(VERSION);
        operator.sources(VERSION, "Kbuild");
        operator
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn package(&self, name: &str, files: &[(&str, u32, &[u8])]) {
        let copyright = b"Format: x\n\nFiles: *\nCopyright: y\nLicense: NVIDIA-graphics-drivers\n";
        let place = format!("./usr/share/doc/{name}/copyright");
        let all = [files, &[(&place, 0o644, copyright)]].concat();
        std::fs::write(self.path().join(format!("{name}.deb")), package(name, "1-1", "amd64", &all)).unwrap();
    }

    fn library(&self, package: &str, soname: &str, version: &str) {
        let stem = soname.split(".so").next().unwrap();
        self.package(package, &[(&format!("{FOLDER}/{stem}.so.{version}"), 0o644, &library(soname))]);
    }

    fn firmware(&self, version: &str) {
        self.package("firmware-nvidia-gsp", &[(&format!("./lib/firmware/nvidia/{version}/gsp.bin"), 0o644, b"gsp")]);
    }

    fn sources(&self, version: &str, kbuild: &str) {
        let text = format!("EXTRA_CFLAGS += -DNV_VERSION_STRING=\\\"{version}\\\"\n");
        let path = format!("modules/driver/{kbuild}");
        let tar = tar_xz(&[(&path, 0o644, text.as_bytes()), ("modules/driver/conftest.sh", 0o755, b"x")]);
        self.package("nvidia-open-kernel-source", &[("./usr/src/driver.tar.xz", 0o644, &tar)]);
    }

    fn without(&self, package: &str) {
        std::fs::remove_file(self.path().join(format!("{package}.deb"))).unwrap();
    }

    fn ready(&self, file: &str, bytes: &[u8]) {
        std::fs::create_dir_all(self.path().join("modules")).unwrap();
        std::fs::write(self.path().join("modules").join(file), bytes).unwrap();
    }

    fn refused(&self) -> String {
        Driver::read(self.path()).unwrap_err().to_string()
    }
}

#[test]
fn a_driver_is_read_with_its_sources() {
    let operator = Operator::new();
    operator.package("nvidia-modprobe", &[("./usr/bin/nvidia-modprobe", 0o4755, b"\x7FELF")]);
    std::fs::create_dir(operator.path().join("patches")).unwrap();
    std::fs::write(operator.path().join("patches/one.patch"), "x").unwrap();
    let driver = Driver::read(operator.path()).unwrap();
    assert_eq!((&driver.version[..], &driver.vulkan_api.0[..]), (VERSION, "1.3.277"));
    assert!(driver.libraries_wanted().iter().all(|name| driver.libraries.contains_key(name)));
    assert_eq!(driver.libraries.len(), 4);
    let Modules::Source(source) = &driver.modules else { panic!("not sources") };
    assert_eq!(source.files[1], ("conftest.sh".to_owned(), b"x".to_vec(), true));
    assert_eq!(source.patches.len(), 1);
    assert!(driver.packages.iter().all(|package| package.licence.as_deref() == Some("NVIDIA-graphics-drivers")));
    let told = String::from_utf8(driver.description()).unwrap();
    assert!(told.contains("/usr/lib/x86_64-linux-gnu/libEGL_nvidia.so.0") && told.contains("1.3.277"), "{told}");
    let report = driver.report(&[("a".to_owned(), "libegl-nvidia0".to_owned())].into());
    assert_eq!(report["packages"], json!(["libegl-nvidia0 1-1"]));
    // A program that would run as root is among what stays out.
    assert!(report["left_out"].as_array().unwrap().contains(&json!("nvidia-modprobe 1-1")));
    assert_eq!(report["redistributable"], false);
    // SHA-256 of "x".
    assert_eq!(report["patches"][0], "one.patch 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881");
}

#[test]
fn what_is_not_there_is_named_with_the_package_that_has_it() {
    for (package, what) in [
        ("libegl-nvidia0", VULKAN),
        ("libnvidia-ml1", NVML),
        ("libnvidia-eglcore", "libnvidia-eglcore.so"),
        ("libnvidia-glvkspirv", "libnvidia-glvkspirv.so"),
        ("nvidia-vulkan-common", "nvidia_icd.json"),
        ("firmware-nvidia-gsp", "firmware/nvidia/550.163.01"),
    ] {
        let operator = Operator::new();
        operator.without(package);
        let refused = operator.refused();
        assert!(refused.contains(what) && refused.contains(package), "{package}: {refused}");
    }
    let operator = Operator::new();
    operator.without("nvidia-open-kernel-source");
    assert!(operator.refused().contains("no driver for the kernel"));
    // A folder of sources that are no driver's.
    operator.sources(VERSION, "Makefile");
    assert!(operator.refused().contains("no driver for the kernel"));
    let nothing = tempfile::tempdir().unwrap();
    assert!(matches!(Driver::read(nothing.path()), Err(Failure::Driver(DriverError::Empty(_)))));
    assert!(matches!(Driver::read(&nothing.path().join("absent")), Err(Failure::Io { .. })));
}

#[test]
fn all_parts_are_of_one_version() {
    let other = "535.261.03";
    let changes: [fn(&Operator, &str); 4] = [
        |operator, version| operator.library("libnvidia-ml1", NVML, version),
        |operator, version| operator.library("libnvidia-eglcore", &format!("libnvidia-eglcore.so.{version}"), version),
        Operator::firmware,
        |operator, version| operator.sources(version, "Kbuild"),
    ];
    for change in changes {
        let operator = Operator::new();
        change(&operator, other);
        let refused = operator.refused();
        assert!(refused.contains(other) && refused.contains(VERSION), "{refused}");
    }
}

#[test]
fn packages_for_other_machines_and_what_is_none_are_refused() {
    let operator = Operator::new();
    std::fs::write(operator.path().join("x.deb"), package("libnvidia-ml1", "1", "arm64", &[])).unwrap();
    assert!(operator.refused().contains("x.deb is for arm64"));
    std::fs::write(operator.path().join("x.deb"), package("libnvidia-ml1", "2", "amd64", &[])).unwrap();
    assert!(operator.refused().contains("libnvidia-ml1 is there twice"));
    std::fs::write(operator.path().join("x.deb"), "no package").unwrap();
    assert!(matches!(Driver::read(operator.path()), Err(Failure::Driver(DriverError::Package { .. }))));
}

#[test]
fn ready_modules_go_before_sources_and_others_stay_out() {
    let operator = Operator::new();
    let bytes = module(&[("version", VERSION), ("vermagic", VERMAGIC)]);
    operator.ready("nvidia-drm.ko", &bytes);
    assert!(matches!(Driver::read(operator.path()).unwrap().modules, Modules::Source(_)));
    operator.ready("nvidia-uvm.ko", &bytes);
    assert!(operator.refused().contains("modules/nvidia.ko"));
    operator.ready("nvidia.ko", &bytes);
    let driver = Driver::read(operator.path()).unwrap();
    assert_eq!(driver.left_out, ["modules/nvidia-drm.ko"]);
    let Modules::Ready(modules) = &driver.modules else { panic!("not ready ones") };
    assert_eq!(modules.iter().map(|module| &module.0[..]).collect::<Vec<_>>(), ["nvidia-uvm.ko", "nvidia.ko"]);
    driver.check_modules(modules, VERMAGIC).unwrap();
}

#[test]
fn a_module_is_for_this_kernel_of_this_driver_and_has_its_firmware() {
    let driver = driver();
    let checked = |fields: &[(&str, &str)]| driver.check_modules(&[("nvidia.ko".into(), module(fields))], VERMAGIC);
    let whole = [("version", VERSION), ("vermagic", VERMAGIC), ("firmware", "nvidia/550.163.01/gsp.bin")];
    checked(&whole).unwrap();
    let refused = checked(&[whole[0], ("vermagic", "6.2 SMP ")]).unwrap_err().to_string();
    assert!(refused.contains("6.2 SMP ") && refused.contains(VERMAGIC), "{refused}");
    let refused = checked(&[("version", "535.1"), whole[1]]).unwrap_err().to_string();
    assert!(refused.contains("535.1") && refused.contains(VERSION), "{refused}");
    let refused = checked(&[whole[0], whole[1], ("firmware", "nvidia/550.163.01/other.bin")]).unwrap_err().to_string();
    assert!(refused.contains("other.bin"), "{refused}");
    let foreign = driver.check_modules(&[("nvidia.ko".into(), b"\x7FELF".to_vec())], VERMAGIC);
    assert!(matches!(foreign, Err(Failure::Content { .. })));
}
