//! Building the driver's modules out of their sources, for the very kernel of the image: with the headers that the lock file
//! pins, and with the compiler that built the kernel. Two builds in two folders give the same modules: no path, time or name
//! of a machine gets into them.
//!
//! The sources are the operator's, and their makefiles run as he: who builds with a driver trusts its maker.

use super::{DriverError, Named, Source};
use crate::deb::{self, Item};
use crate::failure::Failure;
use crate::scratch::Scratch;
use std::ffi::OsString;
use std::os::unix::fs::{OpenOptionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

/// What is built: file names as the sources name them.
const MODULES: [&str; 2] = ["nvidia", "nvidia-uvm"];
/// Lines of the compiler's words that are shown.
const WORDS: usize = 20;

/// Builds them. `headers` are the packages with the headers of the kernel `release`.
pub fn compile(source: &Source, headers: &[Vec<u8>], release: &str) -> Result<Vec<Named>, Failure> {
    let scratch = Scratch::new("stele-modules")?;
    compile_in(scratch.path(), source, headers, release)
}

fn compile_in(folder: &Path, source: &Source, headers: &[Vec<u8>], release: &str) -> Result<Vec<Named>, Failure> {
    let kernel = folder.join("kernel");
    for package in headers {
        lay_out(package, &kernel)?;
    }
    let common = format!("{}-common", release.trim_end_matches("-amd64").trim_end_matches("-cloud"));
    let [out, common] = [release, &common].map(|name| kernel.join(format!("usr/src/linux-headers-{name}")));
    let compiler = compiler_of(&out.join(".config"))?;
    let programs = [(&compiler[..], "gcc-12"), ("make", "make"), ("strip", "binutils"), ("patch", "patch")];
    let needed = if source.patches.is_empty() { &programs[..3] } else { &programs };
    for (program, package) in needed {
        if !on_path(program) {
            let help = format!("apt-get install {package}");
            return Err(Failure::unfit(format!("building modules needs {program}, which is not installed"), help));
        }
    }
    let driver = folder.join("driver");
    for (path, bytes, executable) in &source.files {
        write(&driver.join(path), bytes, *executable)?;
    }
    for (name, bytes) in &source.patches {
        patch(&driver, folder, name, bytes)?;
    }
    make(folder, &driver, [&common, &out], release)?;
    let built = MODULES.map(|name| format!("{name}.ko"));
    built.into_iter().map(|file| Ok((file.clone(), stripped(&driver.join(file))?))).collect()
}

/// All of a package, links last: no file of it can be written through one.
fn lay_out(package: &[u8], folder: &Path) -> Result<(), Failure> {
    let (mut links, mut outcome) = (Vec::new(), Ok(()));
    let taken = deb::unpack(package, deb::is_plain, |path, item| match item {
        Item::File(bytes, executable) if outcome.is_ok() => outcome = write(&folder.join(path), &bytes, executable),
        Item::File(..) => {}
        Item::Link(target) => links.push((folder.join(path), target)),
    });
    taken.map_err(|error| Failure::content("a package of the kernel's headers", error))?;
    outcome?;
    for (path, target) in links {
        parent_of(&path)?;
        symlink(&target, &path).map_err(Failure::io(format!("making {}", path.display())))?;
    }
    Ok(())
}

fn parent_of(path: &Path) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(path);
    std::fs::create_dir_all(parent).map_err(Failure::io(format!("making {}", parent.display())))
}

fn write(path: &Path, bytes: &[u8], executable: bool) -> Result<(), Failure> {
    parent_of(path)?;
    let mode = if executable { 0o755 } else { 0o644 };
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path);
    let done = file.and_then(|mut file| std::io::Write::write_all(&mut file, bytes));
    done.map_err(Failure::io(format!("writing {}", path.display())))
}

/// The compiler that built the kernel: `CONFIG_CC_VERSION_TEXT="x86_64-linux-gnu-gcc-12 (Debian …"`.
fn compiler_of(config: &Path) -> Result<String, Failure> {
    let text = std::fs::read_to_string(config).map_err(Failure::io(format!("reading {}", config.display())))?;
    let told = text.lines().find_map(|line| line.strip_prefix("CONFIG_CC_VERSION_TEXT=\"")?.split(' ').next());
    told.map(str::to_owned).ok_or_else(|| Failure::content("the kernel's headers", "they name no compiler"))
}

fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into())
}

fn on_path(program: &str) -> bool {
    std::env::split_paths(&path()).any(|folder| folder.join(program).is_file())
}

/// A command with nothing of the operator's environment but where programs are.
fn command(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", path()).env("LC_ALL", "C").env("SOURCE_DATE_EPOCH", "0").stdin(Stdio::null());
    command
}

fn patch(driver: &Path, folder: &Path, name: &str, bytes: &[u8]) -> Result<(), Failure> {
    let file = folder.join("change.patch");
    std::fs::write(&file, bytes).map_err(Failure::io("writing a patch"))?;
    let mut patch = command("patch");
    patch.args(["--strip=1", "--forward", "--batch", "--fuzz=0", "--no-backup-if-mismatch", "--directory"]);
    let output = patch.arg(driver).arg("--input").arg(&file).output().map_err(Failure::io("starting patch"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = last_lines(&String::from_utf8_lossy(&output.stdout), |_| true);
    Err(DriverError::Patch { file: format!("patches/{name}"), words }.into())
}

fn make(folder: &Path, driver: &Path, [common, out]: [&Path; 2], release: &str) -> Result<(), Failure> {
    let log = folder.join("log");
    let open = || std::fs::File::create(&log).map_err(Failure::io("making a log"));
    let words = open()?;
    let errors = words.try_clone().map_err(Failure::io("making a log"))?;
    let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut make = command("make");
    make.arg("-C").arg(driver).arg(format!("-j{jobs}")).arg("modules");
    make.arg(format!("SYSSRC={}", common.display())).arg(format!("SYSOUT={}", out.display()));
    make.arg(format!("KERNEL_UNAME={release}")).arg(format!("NV_KERNEL_MODULES={}", MODULES.join(" ")));
    // Debug information, and BTF, which needs one more program, would be stripped again.
    make.arg("ARCH=x86_64").arg("CONFIG_DEBUG_INFO_BTF_MODULES=");
    make.arg(format!("KCFLAGS=-g0 -ffile-prefix-map={}=.", folder.display()));
    let status = make.stdout(words).stderr(errors).status().map_err(Failure::io("starting make"))?;
    if status.success() {
        return Ok(());
    }
    let text = std::fs::read(&log).map_err(Failure::io("reading a log"))?;
    let text = String::from_utf8_lossy(&text).replace(&format!("{}/", folder.display()), "");
    let errors = last_lines(&text, |line| line.contains(" error: ") || line.contains("***"));
    Err(DriverError::Compile(errors).into())
}

fn last_lines(text: &str, wanted: impl Fn(&str) -> bool) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| wanted(line)).collect();
    lines[lines.len().saturating_sub(WORDS)..].join("\n")
}

/// A module without debug information. Its symbols stay: the kernel links by them.
fn stripped(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut strip = command("strip");
    let status = strip.arg("--strip-debug").arg(path).status().map_err(Failure::io("starting strip"))?;
    if !status.success() {
        return Err(Failure::content(path.display().to_string(), "strip refuses it"));
    }
    std::fs::read(path).map_err(Failure::io(format!("reading {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deb::tests::package;

    const RELEASE: &str = "6.1-cloud-amd64";
    const CONFIG: &str = "CONFIG_CC_VERSION_TEXT=\"cc (some) 12.2.0\"\n";
    /// Says what it was told, in the place of two modules.
    const MAKEFILE: &str = "modules:\n\tprintf '%s %s %s' \"$(KERNEL_UNAME)\" \"$(notdir $(SYSOUT))\" \"$(word 1,$(KCFLAGS))\" > said\n\
                            \tcc -c -o nvidia.ko $(CURDIR)/hello.c $(KCFLAGS)\n\tcp nvidia.ko nvidia-uvm.ko\n";

    fn headers(config: &str) -> Vec<Vec<u8>> {
        let path = format!("./usr/src/linux-headers-{RELEASE}/.config");
        vec![package("linux-headers", "1", "amd64", &[(&path, 0o644, config.as_bytes())])]
    }

    fn source(hello: &str) -> Source {
        let file = |path: &str, text: &str| (path.to_owned(), text.as_bytes().to_vec(), false);
        let files = vec![file("Makefile", MAKEFILE), file("hello.c", hello)];
        Source { from: "sources".into(), files, patches: Vec::new() }
    }

    #[test]
    fn two_builds_in_two_folders_give_the_same_modules() {
        let source = source("const char *where = __FILE__;\n");
        let built = |folder: &Path| compile_in(folder, &source, &headers(CONFIG), RELEASE).unwrap();
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let longer = two.path().join("a/longer/way");
        let modules = built(one.path());
        assert_eq!(modules, built(&longer));
        assert_eq!(modules.iter().map(|module| &module.0[..]).collect::<Vec<_>>(), ["nvidia.ko", "nvidia-uvm.ko"]);
        let said = std::fs::read_to_string(longer.join("driver/said")).unwrap();
        assert_eq!(said, format!("{RELEASE} linux-headers-{RELEASE} -g0"));
    }

    #[test]
    fn what_the_compiler_says_is_told() {
        let failure = compile(&source("int f(void) { return missing; }\n"), &headers(CONFIG), RELEASE).unwrap_err();
        assert!(
            matches!(&failure, Failure::Driver(DriverError::Compile(words)) if words.contains("missing")),
            "{failure}"
        );
    }

    #[test]
    fn a_change_is_made_or_told_not_to_fit() {
        let mut source = source("int f(void) { return missing; }\n");
        let change = |from: &str| {
            let text = format!("--- a/hello.c\n+++ b/hello.c\n@@ -1 +1 @@\n-{from}\n+int f(void) {{ return 1; }}\n");
            vec![("one.patch".to_owned(), text.into_bytes())]
        };
        source.patches = change("int f(void) { return missing; }");
        assert!(compile(&source, &headers(CONFIG), RELEASE).is_ok());
        source.patches = change("int f(void) { return other; }");
        let failure = compile(&source, &headers(CONFIG), RELEASE).unwrap_err();
        assert!(failure.to_string().contains("patches/one.patch does not fit"), "{failure}");
    }

    #[test]
    fn a_compiler_that_is_not_there_is_named() {
        let failure = compile(&source(""), &headers("CONFIG_CC_VERSION_TEXT=\"gcc-3 (x\"\n"), RELEASE).unwrap_err();
        assert!(failure.to_string().contains("gcc-3"), "{failure}");
        assert!(compile(&source(""), &headers(""), RELEASE).unwrap_err().to_string().contains("no compiler"));
    }
}
