//! The crates that are in our programs, for the bill of materials: asked of cargo, offline, where the sources lie that the
//! programs were built from. `cargo metadata` knows licences and which dependency is for tests alone, `cargo tree` which one
//! no feature turns on, and the lock file what each crate's archive hashes to.
//!
//! Absent: crates that only run while compiling, and those inside of Rust's own standard library.

use crate::failure::Failure;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What the image's programs run on.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// A program of the image, by the package that it is built from. What else is built along with it turns features on.
#[derive(Clone, Copy, Debug)]
struct Program {
    package: &'static str,
    built_with: &'static [&'static str],
}

/// As `cargo xtask image build` builds them.
const PROGRAMS: [Program; 2] = [
    Program { package: "stele", built_with: &["--workspace", "--edges", "normal,dev,no-proc-macro"] },
    Program { package: "stele-init", built_with: &["--package", "stele-init", "--edges", "normal,no-proc-macro"] },
];

/// A crate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Under what it may be passed on, an SPDX expression.
    pub licence: Option<String>,
    /// SHA-256 of its archive, hexadecimal; a crate of ours has none.
    pub sha256: Option<String>,
    /// The crates that it uses.
    pub uses: BTreeSet<String>,
    /// The packages of the programs that it is in.
    pub programs: BTreeSet<&'static str>,
}

/// Crates by name and version, as `name@version`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crates(pub BTreeMap<String, Crate>);

/// What `cargo metadata` tells.
#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    /// None for what is linked.
    kind: Option<String>,
}

/// `Cargo.lock`.
#[derive(Deserialize)]
struct LockFile {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

impl Crates {
    /// Of the programs that were built from these sources.
    ///
    /// # Errors
    /// [`Failure`]: there are none, or cargo has not everything that it needs to tell.
    pub fn of(sources: &Path) -> Result<Self, Failure> {
        let path = sources.join("Cargo.lock");
        let lock = std::fs::read_to_string(&path).map_err(Failure::io(format!("reading {}", path.display())))?;
        let metadata = ask(sources, &["metadata", "--format-version", "1", "--filter-platform", TARGET])?;
        let tree = |program: Program| {
            let shape = ["tree", "--target", TARGET, "--prefix", "depth", "--format", " {p}"];
            ask(sources, &[&shape, program.built_with].concat()).map(|tree| (program.package, tree))
        };
        let trees: Vec<(&'static str, String)> = PROGRAMS.into_iter().map(tree).collect::<Result<_, _>>()?;
        Self::gather(&lock, &metadata, &trees)
    }

    /// Sees to it that a program was built from these crates, as far as it tells: where its code may panic there is the path of
    /// the source, which has the crate's name and version.
    ///
    /// # Errors
    /// [`Failure`] names one that is in the program and not among these.
    pub fn check(&self, package: &str, program: &[u8]) -> Result<(), Failure> {
        let known: BTreeSet<String> = self
            .0
            .values()
            .filter(|one| one.programs.contains(package))
            .map(|one| format!("{}-{}", one.name, one.version))
            .collect();
        match told_by(program).into_iter().find(|found| !known.contains(found)) {
            None => Ok(()),
            Some(found) => {
                let help = "give --sources the folder that the program was built from";
                Err(Failure::unfit(format!("{package} has the crate {found}, and the sources are without it"), help))
            }
        }
    }

    fn gather(lock: &str, metadata: &str, trees: &[(&'static str, String)]) -> Result<Self, Failure> {
        let lock: LockFile = toml::from_str(lock).map_err(|error| Failure::content("Cargo.lock", error))?;
        let metadata: Metadata =
            serde_json::from_str(metadata).map_err(|error| Failure::content("what cargo metadata wrote", error))?;
        let known: BTreeMap<&str, (String, &Package)> = metadata
            .packages
            .iter()
            .map(|package| (&package.id[..], (key(&package.name, &package.version), package)))
            .collect();
        let mut linked = BTreeSet::new();
        for node in &metadata.resolve.nodes {
            let normal = node.deps.iter().filter(|used| used.dep_kinds.iter().any(|kind| kind.kind.is_none()));
            for used in normal {
                if let (Some((from, _)), Some((to, _))) = (known.get(&node.id[..]), known.get(&used.pkg[..])) {
                    linked.insert((from.clone(), to.clone()));
                }
            }
        }
        let mut all = Self::default();
        for (program, tree) in trees {
            let uses: BTreeSet<(String, String)> =
                edges(tree).into_iter().filter(|edge| linked.contains(edge)).collect();
            let roots = metadata.packages.iter().filter(|package| package.name == *program);
            let mut open: Vec<String> = roots.map(|package| key(&package.name, &package.version)).collect();
            if open.is_empty() {
                return Err(Failure::content("the sources", format!("they have no package {program}")));
            }
            while let Some(next) = open.pop() {
                let entry = all.0.entry(next.clone()).or_default();
                if !entry.programs.insert(program) {
                    continue;
                }
                let used = uses.range((next.clone(), String::new())..).take_while(|(from, _)| *from == next);
                for (_, to) in used {
                    entry.uses.insert(to.clone());
                    open.push(to.clone());
                }
            }
        }
        for (name, package) in known.into_values() {
            if let Some(entry) = all.0.get_mut(&name) {
                (entry.name, entry.version) = (package.name.clone(), package.version.clone());
                entry.licence = package.license.as_deref().map(spdx);
            }
        }
        for locked in lock.package {
            if let Some(entry) = all.0.get_mut(&key(&locked.name, &locked.version)) {
                entry.sha256 = locked.checksum;
            }
        }
        Ok(all)
    }
}

fn key(name: &str, version: &str) -> String {
    format!("{name}@{version}")
}

/// Older crates have `MIT/Apache-2.0`, which means either and is no expression of SPDX.
fn spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

/// Which crate uses which, of the words of `cargo tree`: `2 zeroize v1.9.1 (*)`. What is marked so has been told before.
fn edges(tree: &str) -> BTreeSet<(String, String)> {
    let (mut edges, mut path) = (BTreeSet::new(), Vec::<String>::new());
    for line in tree.lines() {
        let mut words = line.split_whitespace();
        let depth = words.next().and_then(|depth| depth.parse::<usize>().ok());
        let (Some(depth), Some(name), Some(version)) = (depth, words.next(), words.next()) else { continue };
        path.truncate(depth);
        let one = key(name, version.strip_prefix('v').unwrap_or(version));
        edges.extend(path.last().map(|from| (from.clone(), one.clone())));
        path.push(one);
    }
    edges
}

/// Where cargo unpacks what comes from the registry.
const UNPACKED: &[u8] = b"/registry/src/index.crates.io-";

/// The crates whose sources' paths a program has in it, as `name-version`.
fn told_by(program: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = program;
    while let Some(at) = rest.windows(UNPACKED.len()).position(|window| window == UNPACKED) {
        rest = &rest[at + UNPACKED.len()..];
        // The hash of the registry's address, the crate, and a path in it.
        let mut parts = rest[..rest.len().min(256)].split(|byte| *byte == b'/');
        if let (Some(_), Some(name), Some(_)) = (parts.next(), parts.next(), parts.next())
            && let Ok(name) = std::str::from_utf8(name)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+".contains(&byte))
        {
            found.insert(name.to_owned());
        }
    }
    found
}

fn ask(sources: &Path, words: &[&str]) -> Result<String, Failure> {
    let help = "`cargo fetch --locked` in the folder of the sources brings what cargo needs to tell";
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(program).args(words).args(["--offline", "--locked"]).current_dir(sources).output();
    let output = output.map_err(Failure::io("starting cargo"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failure::unfit(format!("cargo does not tell the programs' crates: {words}"), help));
    }
    String::from_utf8(output.stdout).map_err(|error| Failure::content("what cargo wrote", error))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    const LOCK: &str = r#"
        [[package]]
        name = "stele"
        version = "0.1.0"
        [[package]]
        name = "used"
        version = "1.0.0+x"
        checksum = "aa"
        [[package]]
        name = "off"
        version = "1.0.0"
        checksum = "bb"
    "#;

    fn metadata() -> String {
        let package = |name: &str, version: &str, licence: &str| {
            format!(r#"{{"id": "{name}", "name": "{name}", "version": "{version}", "license": "{licence}"}}"#)
        };
        let packages = [
            package("stele", "0.1.0", "Apache-2.0"),
            package("stele-init", "0.1.0", "Apache-2.0"),
            package("used", "1.0.0+x", "MIT / Apache-2.0"),
            package("off", "1.0.0", "MIT"),
            package("tested", "1.0.0", "MIT"),
        ];
        let uses = |name: &str, kind: &str| format!(r#"{{"pkg": "{name}", "dep_kinds": [{{"kind": {kind}}}]}}"#);
        let node = |name: &str, deps: &[String]| format!(r#"{{"id": "{name}", "deps": [{}]}}"#, deps.join(","));
        let nodes = [
            node("stele", &[uses("used", "null"), uses("tested", "\"dev\"")]),
            node("stele-init", &[uses("used", "null")]),
            node("used", &[uses("off", "null")]),
        ];
        format!(r#"{{"packages": [{}], "resolve": {{"nodes": [{}]}}}}"#, packages.join(","), nodes.join(","))
    }

    /// Both programs use `used`, and `stele` has in it what a feature of that turns on.
    pub(crate) fn two_programs() -> Crates {
        let stele =
            "0 stele v0.1.0 (/sources/node)\n1 tested v1.0.0\n2 used v1.0.0+x\n3 off v1.0.0\n1 used v1.0.0+x (*)\n";
        let init = "0 stele-init v0.1.0 (/sources/init)\n1 used v1.0.0+x\n";
        let trees = [("stele", stele.to_owned()), ("stele-init", init.to_owned())];
        Crates::gather(LOCK, &metadata(), &trees).unwrap()
    }

    #[test]
    fn what_is_for_tests_or_turned_off_is_left_out() {
        let crates = two_programs().0;
        let names: Vec<&str> = crates.keys().map(String::as_str).collect();
        assert_eq!(names, ["off@1.0.0", "stele-init@0.1.0", "stele@0.1.0", "used@1.0.0+x"]);
        let used = &crates["used@1.0.0+x"];
        assert_eq!(used.programs, BTreeSet::from(["stele", "stele-init"]));
        assert_eq!((used.licence.as_deref(), used.sha256.as_deref()), (Some("MIT OR Apache-2.0"), Some("aa")));
        assert_eq!(used.uses, BTreeSet::from(["off@1.0.0".to_owned()]));
        assert_eq!((&crates["off@1.0.0"].programs, &crates["stele@0.1.0"].sha256), (&BTreeSet::from(["stele"]), &None));
    }

    #[test]
    fn a_program_with_another_crate_is_told() {
        let with = |name: &str| format!("..\0/home/a/.cargo/registry/src/index.crates.io-0f/{name}/src/lib.rs\0..");
        let (used, off) = (with("used-1.0.0+x"), with("off-1.0.0"));
        let crates = two_programs();
        crates.check("stele", [&used[..], &off].concat().as_bytes()).unwrap();
        crates.check("stele-init", used.as_bytes()).unwrap();
        let told = crates.check("stele-init", [&used[..], &off].concat().as_bytes()).unwrap_err().to_string();
        assert!(told.contains("stele-init has the crate off-1.0.0"), "{told}");
        assert!(crates.check("stele", with("used-1.0.1").as_bytes()).is_err());
    }

    #[test]
    fn what_no_feature_turns_on_is_left_out() {
        let tree = "0 stele v0.1.0\n1 used v1.0.0+x\n".to_owned();
        let crates = Crates::gather(LOCK, &metadata(), &[("stele", tree)]).unwrap();
        assert_eq!(crates.0.len(), 2);
        assert!(Crates::gather(LOCK, &metadata(), &[("other", String::new())]).is_err());
    }

    /// Of these very sources: what the tests are built from is there.
    #[test]
    fn cargo_tells_the_crates_of_these_sources() {
        let crates = Crates::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).unwrap();
        let of = |program: &str| crates.0.values().filter(|one| one.programs.contains(program)).count();
        assert!(of("stele") > of("stele-init") && of("stele-init") > 20, "{} {}", of("stele"), of("stele-init"));
        for (name, one) in &crates.0 {
            assert!(one.licence.is_some(), "{name}");
            assert_eq!(one.sha256.is_none(), name.starts_with("stele"), "{name}");
        }
        let names = crates.0.keys().map(|name| name.split('@').next().unwrap());
        let wrong: Vec<&str> =
            names.filter(|name| ["proptest", "criterion", "windows-sys", "ring"].contains(name)).collect();
        assert_eq!(wrong, <[&str; 0]>::default());
    }
}
