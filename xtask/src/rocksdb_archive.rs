//! RocksDB's static archive, compiled once for each user and linked by every build. It is 41 CPU-minutes of C++, the long pole of a build
//! from nothing; cargo alone would compile it again for each profile, feature set and target directory.
//!
//! The archive lies in `<cache>/rocksdb/<librocksdb-sys version>-<recipe hash>/librocksdb.a`. Its recipe is everything that changes the
//! machine code. Deliberately absent: lz4, which is a small crate of its own and links itself.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use crate::console::{Progress, duration};
use crate::failure::Failure;
use crate::workspace::{Workspace, output_of};

const ARCHIVE: &str = "librocksdb.a";

/// Object files of a complete build of version 11, for the progress line only.
const OBJECTS_ABOUT: usize = 343;

/// The version and recipe of the archive that this checkout needs. Reads three small files and asks the compiler for its version.
pub fn key(root: &Path) -> Result<String, Failure> {
    let lock = read_toml(&root.join("Cargo.lock"))?;
    let version = locked_version(&lock).ok_or_else(|| {
        Failure::new(
            "Cargo.lock names no librocksdb-sys",
            "restore Cargo.lock from the repository: `git checkout Cargo.lock`",
        )
    })?;
    let manifest = read_toml(&root.join("Cargo.toml"))?;
    let config = read_toml(&root.join(".cargo/config.toml"))?;
    let mut recipe = vec![
        version.clone(),
        dependency(&manifest),
        at(&manifest, &["profile", "dev", "package", "librocksdb-sys"]),
        std::env::consts::ARCH.to_owned(),
        compiler_version(),
    ];
    recipe.extend(target_flags(&config));
    for name in ["CXX", "CXXFLAGS", "ROCKSDB_CXX_STD"] {
        recipe.push(format!("{name}={}", std::env::var(name).unwrap_or_default()));
    }
    Ok(format!("{version}-{:016x}", fnv1a(recipe.join("\n").as_bytes())))
}

/// Whether the archive is there.
pub fn is_present(workspace: &Workspace) -> bool {
    workspace.rocksdb_lib_dir.join(ARCHIVE).is_file()
}

/// Compiles the archive if it is missing. The caller holds the set-up lock.
pub fn ensure(workspace: &Workspace) -> Result<(), Failure> {
    if is_present(workspace) {
        return Ok(());
    }
    if workspace.rocksdb_is_foreign {
        return Err(Failure::new(
            format!("ROCKSDB_LIB_DIR is set, but {} holds no {ARCHIVE}", workspace.rocksdb_lib_dir.display()),
            "unset ROCKSDB_LIB_DIR to have the archive built and kept in the cache",
        ));
    }
    println!("RocksDB is compiled once for this user: 10 to 20 minutes on two cores, kept in");
    println!("  {}", workspace.rocksdb_lib_dir.display());
    let build = workspace.cache.join("rocksdb-build");
    let took = compile(workspace, &build)?;
    let archive = newest(&build, ARCHIVE).ok_or_else(|| {
        Failure::new(
            format!("the build left no {ARCHIVE} under {}", build.display()),
            format!("delete {} and run `cargo xtask setup` again", build.display()),
        )
    })?;
    install(&archive, &workspace.rocksdb_lib_dir)
        .map_err(|error| Failure::io(format!("storing {}", workspace.rocksdb_lib_dir.display()), &error))?;
    fs::remove_dir_all(&build).ok();
    println!("  RocksDB is ready after {}", duration(took));
    Ok(())
}

fn compile(workspace: &Workspace, build: &Path) -> Result<Duration, Failure> {
    let refused = |error: std::io::Error| Failure::io(format!("building in {}", build.display()), &error);
    fs::create_dir_all(build).map_err(refused)?;
    let log_path = workspace.cache.join("rocksdb-build.log");
    let log = File::create(&log_path).map_err(refused)?;
    let mut child = workspace
        .bare_cargo()
        .args(["build", "--package", "librocksdb-sys"])
        .env("CARGO_TARGET_DIR", build)
        .env_remove("CARGO_BUILD_BUILD_DIR")
        .env_remove("ROCKSDB_LIB_DIR")
        .env_remove("ROCKSDB_STATIC")
        .stdout(log.try_clone().map_err(refused)?)
        .stderr(log)
        .spawn()
        .map_err(|error| Failure::io("starting cargo", &error))?;
    let mut progress = Progress::start();
    let status = loop {
        if let Some(status) = child.try_wait().map_err(refused)? {
            break status;
        }
        progress.show(&format!("compiling RocksDB: {} of about {OBJECTS_ABOUT} files", count_objects(build)));
        std::thread::sleep(Duration::from_secs(1));
    };
    let took = progress.finish();
    if status.success() {
        return Ok(took);
    }
    let text = fs::read_to_string(&log_path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    for line in &lines[lines.len().saturating_sub(30)..] {
        println!("  | {line}");
    }
    Err(Failure::new(
        "compiling RocksDB failed; its last lines are above",
        format!("the whole log is {}; it needs 2 GB of memory a core and 1 GB of disk", log_path.display()),
    ))
}

/// The copy appears whole or not at all.
fn install(archive: &Path, dir: &Path) -> std::io::Result<()> {
    fs::create_dir_all(dir)?;
    let partial = dir.join(format!(".{ARCHIVE}.{}", std::process::id()));
    fs::copy(archive, &partial)?;
    fs::rename(&partial, dir.join(ARCHIVE))
}

/// The out directories of librocksdb-sys' build script.
fn out_dirs(build: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(build.join("debug/build")) else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("librocksdb-sys-"))
        .map(|entry| entry.path().join("out"))
        .collect()
}

fn newest(build: &Path, name: &str) -> Option<PathBuf> {
    let modified = |path: &PathBuf| path.metadata().and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    out_dirs(build).into_iter().map(|dir| dir.join(name)).filter(|path| path.is_file()).max_by_key(modified)
}

fn count_objects(build: &Path) -> usize {
    let objects = |dir: PathBuf| {
        fs::read_dir(dir)
            .map(|files| files.flatten().filter(|file| file.path().extension().is_some_and(|e| e == "o")).count())
            .unwrap_or(0)
    };
    out_dirs(build).into_iter().map(objects).max().unwrap_or(0)
}

fn read_toml(path: &Path) -> Result<toml::Table, Failure> {
    let text = fs::read_to_string(path).map_err(|error| Failure::io(format!("reading {}", path.display()), &error))?;
    text.parse().map_err(|error: toml::de::Error| Failure::new(format!("{}: {error}", path.display()), ""))
}

fn locked_version(lock: &toml::Table) -> Option<String> {
    let package = lock
        .get("package")?
        .as_array()?
        .iter()
        .find(|package| package.get("name").and_then(toml::Value::as_str) == Some("librocksdb-sys"))?;
    Some(package.get("version")?.as_str()?.to_owned())
}

/// A value deep in a table, as text; tables keep their keys sorted, so equal settings give equal text.
fn at(table: &toml::Table, path: &[&str]) -> String {
    let mut value = None;
    let mut table = Some(table);
    for key in path {
        value = table.and_then(|table| table.get(*key));
        table = value.and_then(toml::Value::as_table);
    }
    value.map(toml::Value::to_string).unwrap_or_default()
}

/// How the workspace depends on RocksDB, without what concerns its Rust interface alone.
fn dependency(manifest: &toml::Table) -> String {
    let mut manifest = manifest.clone();
    let dependencies = manifest.get_mut("workspace").and_then(|workspace| workspace.get_mut("dependencies"));
    let features = dependencies.and_then(|all| all.get_mut("rocksdb")).and_then(|rocksdb| rocksdb.get_mut("features"));
    if let Some(features) = features.and_then(toml::Value::as_array_mut) {
        features.retain(|feature| feature.as_str() != Some("raw-ptr"));
    }
    at(&manifest, &["workspace", "dependencies", "rocksdb"])
}

/// The compiler flags that reach C++: librocksdb-sys passes on target features and target-cpu. RUSTFLAGS replaces the configured ones.
fn target_flags(config: &toml::Table) -> Vec<String> {
    let flags: Vec<String> = match std::env::var("RUSTFLAGS") {
        Ok(flags) => flags.split_whitespace().map(str::to_owned).collect(),
        Err(_) => config
            .get("target")
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(|targets| targets.values())
            .filter_map(|target| target.get("rustflags")?.as_array())
            .flatten()
            .filter_map(|flag| flag.as_str().map(str::to_owned))
            .collect(),
    };
    flags.into_iter().filter(|flag| flag.contains("target-")).collect()
}

/// The major version: the standard library's symbols differ between them.
fn compiler_version() -> String {
    let compiler = std::env::var("CXX").unwrap_or_else(|_| "c++".to_owned());
    let version = output_of(Command::new(compiler).arg("-dumpversion")).unwrap_or_default();
    version.split('.').next().unwrap_or_default().to_owned()
}

/// FNV-1a, 64 bits. A name for a folder, not a defence.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> toml::Table {
        text.parse().expect("the text is TOML")
    }

    #[test]
    fn the_locked_version_is_found_among_other_packages() {
        let lock = table(
            "version = 4\n[[package]]\nname = \"libc\"\nversion = \"1.0.0\"\n[[package]]\nname = \"librocksdb-sys\"\nversion = \"0.19.0+11.8.1\"\n",
        );
        assert_eq!(locked_version(&lock).as_deref(), Some("0.19.0+11.8.1"));
        assert_eq!(locked_version(&table("version = 4")), None);
    }

    #[test]
    fn comments_and_order_do_not_change_the_recipe() {
        let path = ["workspace", "dependencies", "rocksdb"];
        let one = table("[workspace.dependencies]\nrocksdb = { version = \"1\", features = [\"lz4\"] } # why");
        let two = table("[workspace.dependencies.rocksdb]\nfeatures = [\"lz4\"]\nversion = \"1\"");
        let other = table("[workspace.dependencies.rocksdb]\nfeatures = [\"zstd\"]\nversion = \"1\"");
        assert_eq!(at(&one, &path), at(&two, &path));
        assert_ne!(at(&one, &path), at(&other, &path));
        assert_eq!(at(&one, &["profile", "dev"]), "");
    }

    #[test]
    fn hashes_match_the_published_vectors() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn an_installed_archive_is_whole_and_leaves_no_partial_file() {
        let dir = std::env::temp_dir().join(format!("stele-xtask-archive-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("the temporary folder is writable");
        fs::write(dir.join("source.a"), b"!<arch>").expect("the folder was just made");
        install(&dir.join("source.a"), &dir.join("kept")).expect("both ends are writable");
        let kept: Vec<_> =
            fs::read_dir(dir.join("kept")).expect("install made it").flatten().map(|e| e.file_name()).collect();
        assert_eq!(kept, [ARCHIVE]);
        assert_eq!(fs::read(dir.join("kept").join(ARCHIVE)).expect("just copied"), b"!<arch>");
        fs::remove_dir_all(&dir).expect("ours to delete");
    }
}
