//! Enforces deny.toml from `cargo metadata`: licences, sources, bans, duplicate versions. The same file also steers cargo-deny, which is
//! run in addition where it is installed and alone knows the advisory database. Semantics follow cargo-deny's for the keys read here,
//! except that duplicate versions fail although deny.toml asks cargo-deny for warnings only.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::process::Stdio;

use serde_json::Value;

use crate::failure::Failure;
use crate::spdx;
use crate::workspace::{Workspace, output_of, run_to_end};

/// Shown by `--help`.
pub const HELP: &str = "\
Checks every dependency against deny.toml: licence allowed, source allowed, not banned, one version each unless listed.

Usage: cargo xtask licences
";

/// What deny.toml demands.
#[derive(Debug, Default)]
struct Policy {
    target: String,
    allowed: HashSet<String>,
    /// Crate to licences that it alone may have.
    exceptions: HashMap<String, HashSet<String>>,
    /// Crate to reason.
    banned: BTreeMap<String, String>,
    /// `name@0.8` entries, which cover 0.8.x, whose duplicates are accepted.
    skipped: BTreeSet<String>,
    registries: HashSet<String>,
}

/// One dependency as cargo reports it.
#[derive(Debug)]
struct Package {
    name: String,
    version: String,
    licence: Option<String>,
    source: Option<String>,
    is_member: bool,
}

/// Fails with one printed line for each violation.
pub fn check(workspace: &Workspace) -> Result<(), Failure> {
    let path = workspace.root.join("deny.toml");
    let text =
        std::fs::read_to_string(&path).map_err(|error| Failure::io(format!("reading {}", path.display()), &error))?;
    let policy = Policy::parse(&text).map_err(|error| Failure::new(format!("deny.toml: {error}"), ""))?;
    let packages = packages(workspace, &policy.target)?;
    let complaints = policy.judge(&packages);
    for complaint in &complaints {
        println!("  {complaint}");
    }
    if !complaints.is_empty() {
        return Err(Failure::new(
            format!("{} dependencies break deny.toml; they are listed above", complaints.len()),
            "drop or change the dependency, or add it to deny.toml with the reason why it may stay",
        ));
    }
    println!("  {} crates keep to deny.toml (licences, sources, bans, duplicates)", packages.len());
    if output_of(workspace.bare_cargo().args(["deny", "--version"])).is_none() {
        println!("  cargo-deny is not installed, so advisories were not checked");
        return Ok(());
    }
    // The advisory database is a download: out of reach is a warning, a finding is a failure.
    if !run_to_end(workspace.bare_cargo().args(["deny", "check", "licenses", "bans", "sources"]))? {
        return Err(Failure::new("cargo-deny found violations; they are listed above", ""));
    }
    if !run_to_end(workspace.bare_cargo().args(["deny", "fetch", "db"]).stderr(Stdio::null()))? {
        println!("  the advisory database is out of reach, so advisories were not checked");
        return Ok(());
    }
    if !run_to_end(workspace.bare_cargo().args(["deny", "check", "--disable-fetch", "advisories"]))? {
        return Err(Failure::new("cargo-deny found advisories; they are listed above", ""));
    }
    Ok(())
}

impl Policy {
    fn parse(text: &str) -> Result<Self, String> {
        let table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.to_string())?;
        let section = |name: &str| table.get(name).and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let (graph, licences, bans, sources) =
            (section("graph"), section("licenses"), section("bans"), section("sources"));
        let mut policy = Self {
            target: strings(&graph, "targets").into_iter().next().ok_or("[graph] targets is empty")?,
            allowed: strings(&licences, "allow").into_iter().collect(),
            registries: strings(&sources, "allow-registry").into_iter().collect(),
            ..Self::default()
        };
        for exception in tables(&licences, "exceptions") {
            let name = crate_of(&exception).ok_or("an entry of [licenses] exceptions names no crate")?;
            policy.exceptions.insert(name, strings(&exception, "allow").into_iter().collect());
        }
        for ban in tables(&bans, "deny") {
            let name = crate_of(&ban).ok_or("an entry of [bans] deny names no crate")?;
            policy.banned.insert(name, reason_of(&ban).ok_or("an entry of [bans] deny has no reason")?);
        }
        for skip in tables(&bans, "skip") {
            let name = crate_of(&skip).ok_or("an entry of [bans] skip names no crate")?;
            reason_of(&skip).ok_or("an entry of [bans] skip has no reason")?;
            policy.skipped.insert(name);
        }
        Ok(policy)
    }

    fn judge(&self, packages: &[Package]) -> Vec<String> {
        let mut complaints = Vec::new();
        let mut versions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for package in packages {
            let label = format!("{} {}", package.name, package.version);
            if let Some(reason) = self.banned.get(&package.name) {
                complaints.push(format!("{label}: banned: {reason}"));
            }
            let exception = self.exceptions.get(&package.name);
            let allowed = |licence: &str| {
                self.allowed.contains(licence) || exception.is_some_and(|extra| extra.contains(licence))
            };
            match &package.licence {
                Some(licence) if spdx::is_satisfied(licence, &allowed) => {}
                Some(licence) => complaints.push(format!("{label}: licence `{licence}` is not allowed")),
                None => complaints.push(format!("{label}: states no licence")),
            }
            match &package.source {
                None if package.is_member => {}
                None => complaints.push(format!("{label}: a path outside the workspace")),
                Some(source) => {
                    let registry = source.strip_prefix("registry+").or(source.strip_prefix("sparse+"));
                    if !registry.is_some_and(|registry| self.registries.contains(registry)) {
                        complaints.push(format!("{label}: source `{source}` is not allowed"));
                    }
                }
            }
            if !self.skipped.iter().any(|skip| covers(skip, package)) {
                versions.entry(&package.name).or_default().insert(&package.version);
            }
        }
        for (name, versions) in versions.into_iter().filter(|(_, versions)| versions.len() > 1) {
            let list: Vec<_> = versions.into_iter().collect();
            complaints.push(format!("{name}: {} versions ({})", list.len(), list.join(", ")));
        }
        complaints
    }
}

/// The packages that the workspace needs on one target. `--locked` also proves that Cargo.lock is up to date.
fn packages(workspace: &Workspace, target: &str) -> Result<Vec<Package>, Failure> {
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", target];
    let output = workspace
        .bare_cargo()
        .args(arguments)
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| Failure::io("starting cargo metadata", &error))?;
    if !output.status.success() {
        return Err(Failure::new(
            "cargo metadata failed; its words are above",
            "if Cargo.lock is out of date, commit the one that `cargo check` writes",
        ));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)
        .map_err(|error| Failure::new(format!("cargo metadata wrote no JSON: {error}"), ""))?;
    Ok(reachable(&metadata))
}

/// Packages that appear in the resolved graph; the plain list also holds those of other targets.
fn reachable(metadata: &Value) -> Vec<Package> {
    let ids = |list: &Value| -> HashSet<String> {
        list.as_array().into_iter().flatten().filter_map(|id| id.as_str().map(str::to_owned)).collect()
    };
    let members = ids(&metadata["workspace_members"]);
    let empty = Vec::new();
    let nodes: HashMap<&str, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter_map(|node| Some((node["id"].as_str()?, &node["dependencies"])))
        .collect();
    let mut open: Vec<String> = members.iter().cloned().collect();
    let mut seen: HashSet<String> = HashSet::new();
    while let Some(id) = open.pop() {
        if let Some(dependencies) = nodes.get(id.as_str()) {
            open.extend(ids(dependencies).into_iter().filter(|id| !seen.contains(id)));
        }
        seen.insert(id);
    }
    let text = |package: &Value, key: &str| package[key].as_str().map(str::to_owned);
    metadata["packages"]
        .as_array()
        .unwrap_or(&empty)
        .iter()
        .filter(|package| package["id"].as_str().is_some_and(|id| seen.contains(id)))
        .map(|package| Package {
            name: text(package, "name").unwrap_or_default(),
            version: text(package, "version").unwrap_or_default(),
            licence: text(package, "license"),
            source: text(package, "source"),
            is_member: package["id"].as_str().is_some_and(|id| members.contains(id)),
        })
        .collect()
}

/// Whether `name` or `name@version` names this package, `0.8` standing for every 0.8.x.
fn covers(entry: &str, package: &Package) -> bool {
    let (name, version) = entry.split_once('@').unwrap_or((entry, ""));
    let rest = package.version.strip_prefix(version);
    name == package.name
        && (version.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '+'])))
}

fn strings(table: &toml::Table, key: &str) -> Vec<String> {
    let list = table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    list.into_iter().filter_map(|value| value.as_str().map(str::to_owned)).collect()
}

fn tables(table: &toml::Table, key: &str) -> Vec<toml::Table> {
    let list = table.get(key).and_then(toml::Value::as_array).cloned().unwrap_or_default();
    list.into_iter().filter_map(|value| value.as_table().cloned()).collect()
}

fn crate_of(entry: &toml::Table) -> Option<String> {
    entry.get("crate")?.as_str().map(str::to_owned)
}

fn reason_of(entry: &toml::Table) -> Option<String> {
    entry.get("reason")?.as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        [graph]
        targets = ["x86_64-unknown-linux-gnu"]
        [licenses]
        allow = ["MIT", "Apache-2.0"]
        exceptions = [{ crate = "roots", allow = ["MPL-2.0"] }]
        [bans]
        deny = [{ crate = "openssl", reason = "one TLS library" }]
        skip = [{ crate = "syn@1.0.0", reason = "old macros" }]
        [sources]
        allow-registry = ["https://registry.example/index"]
    "#;

    fn package(name: &str, version: &str, licence: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: Some(licence.to_owned()),
            source: Some("registry+https://registry.example/index".to_owned()),
            is_member: false,
        }
    }

    fn complaints(packages: &[Package]) -> Vec<String> {
        Policy::parse(POLICY).expect("the policy is complete").judge(packages)
    }

    #[test]
    fn a_clean_graph_has_no_complaints() {
        let member = Package { source: None, is_member: true, ..package("ours", "0.1.0", "Apache-2.0") };
        assert_eq!(complaints(&[package("a", "1.0.0", "MIT OR GPL-3.0"), member]), Vec::<String>::new());
    }

    #[test]
    fn each_kind_of_violation_is_one_complaint() {
        assert_eq!(complaints(&[package("a", "1.0.0", "GPL-3.0")]).len(), 1);
        assert_eq!(complaints(&[Package { licence: None, ..package("a", "1.0.0", "") }]).len(), 1);
        assert_eq!(complaints(&[package("openssl", "1.0.0", "MIT")]).len(), 1);
        let git = Package { source: Some("git+https://example.org/a".to_owned()), ..package("a", "1.0.0", "MIT") };
        assert_eq!(complaints(&[git]).len(), 1);
        assert_eq!(complaints(&[Package { source: None, ..package("a", "1.0.0", "MIT") }]).len(), 1);
    }

    #[test]
    fn an_exception_holds_for_its_crate_only() {
        assert!(complaints(&[package("roots", "1.0.0", "MPL-2.0")]).is_empty());
        assert_eq!(complaints(&[package("others", "1.0.0", "MPL-2.0")]).len(), 1);
    }

    #[test]
    fn a_second_version_needs_an_entry_with_a_reason() {
        let two = |name| [package(name, "1.0.0", "MIT"), package(name, "2.0.0", "MIT")];
        assert_eq!(complaints(&two("rand")).len(), 1);
        assert!(complaints(&two("syn")).is_empty());
        assert!(Policy::parse(&POLICY.replace(", reason = \"old macros\"", "")).is_err());
    }

    #[test]
    fn a_skip_entry_covers_whole_version_components() {
        assert!(covers("rand@0.8", &package("rand", "0.8.5", "MIT")));
        assert!(covers("rand", &package("rand", "0.8.5", "MIT")));
        assert!(!covers("rand@0.8", &package("rand", "0.80.0", "MIT")));
        assert!(!covers("rand@0.8", &package("rand_core", "0.8.5", "MIT")));
    }

    #[test]
    fn only_packages_in_the_graph_count() {
        let metadata: Value = serde_json::from_str(
            r#"{"workspace_members": ["m"], "resolve": {"nodes": [
                {"id": "m", "dependencies": ["a"]}, {"id": "a", "dependencies": []}, {"id": "w", "dependencies": []}]},
                "packages": [{"id": "m", "name": "m", "version": "1", "license": "MIT", "source": null},
                {"id": "a", "name": "a", "version": "1", "license": "MIT", "source": "registry+x"},
                {"id": "w", "name": "w", "version": "1", "license": "GPL", "source": "registry+x"}]}"#,
        )
        .expect("the literal is JSON");
        let found = reachable(&metadata);
        assert_eq!(found.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["m", "a"]);
        assert!(found[0].is_member && !found[1].is_member);
    }
}
