//! The bill of materials beside an image: CycloneDX 1.6, with each package of the lock file that gave something, our own
//! programs with the crates that are in them, and each file by its hash: those of the root, the boot loader, and what the
//! kernel image is made of. It has no time and no serial number, so that two builds agree.
//!
//! What depends on what is told of programs and crates alone. Where the crates are not known it says that.
//!
//! Packages that the operator brought stand there with their licence, and the whole says that it may not be passed on.

use crate::crates::Crates;
use crate::lock::Package;
use crate::nvidia::Driver;
use crate::tree::{Node, Tree};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// A part of the image that is not in its root: the boot loader, and what the kernel image is made of.
#[derive(Clone, Debug)]
pub struct Outside {
    /// What it is called.
    pub name: String,
    /// SHA-256, hexadecimal.
    pub sha256: String,
    /// Which package it came from; none of ours.
    pub package: Option<String>,
}

/// Our programs: the file, and the package of our sources that it is built from.
const PROGRAMS: [(&str, &str); 2] = [("file/uki/initrd/init", "stele-init"), ("file/usr/bin/stele", "stele")];

/// Writes one. `origins` says which package a path of the root came from; the others are ours.
pub fn cyclonedx(
    release: u64,
    packages: &[&Package],
    driver: Option<&Driver>,
    crates: Option<&Crates>,
    (tree, origins): (&Tree, &BTreeMap<String, String>),
    outside: &[Outside],
) -> String {
    let gave = |name: &str| {
        let of_outside = outside.iter().filter_map(|part| part.package.as_ref());
        origins.values().chain(of_outside).any(|from| from == name)
    };
    let package = |name: &str, version: &str, sha256: &str| {
        json!({
            "type": "library",
            "bom-ref": format!("package/{name}"),
            "name": name,
            "version": version,
            "purl": format!("pkg:deb/debian/{name}@{}?arch=amd64", version.replace('+', "%2B")),
            "hashes": [{ "alg": "SHA-256", "content": sha256 }],
        })
    };
    let pinned = packages.iter().filter(|pinned| gave(&pinned.name));
    let mut components: Vec<Value> =
        pinned.map(|pinned| package(&pinned.name, &pinned.version, &pinned.sha256)).collect();
    let of_operator = driver.map(|driver| &driver.packages[..]).unwrap_or_default();
    for brought in of_operator.iter().filter(|brought| gave(&brought.name)) {
        let mut component = package(&brought.name, &brought.version, &brought.sha256);
        let licence = brought.licence.as_deref().unwrap_or("NOASSERTION");
        component["licenses"] = json!([{ "license": { "name": licence } }]);
        let mut properties = vec![json!({ "name": "stele:brought-by", "value": "operator" })];
        let source = driver.and_then(Driver::source).is_some_and(|source| source.from == brought.name);
        for (name, sha256) in driver.into_iter().flat_map(Driver::patches).filter(|_| source) {
            properties.push(json!({ "name": "stele:patch", "value": format!("{name} SHA-256 {sha256}") }));
        }
        component["properties"] = json!(properties);
        components.push(component);
    }
    let file = |path: &str, sha256: &str, from: Option<&String>| {
        json!({
            "type": "file",
            "bom-ref": format!("file/{path}"),
            "name": path,
            "hashes": [{ "alg": "SHA-256", "content": sha256 }],
            "properties": [{ "name": "stele:package", "value": from.map_or("stele", String::as_str) }],
        })
    };
    components.extend(outside.iter().map(|part| file(&part.name, &part.sha256, part.package.as_ref())));
    for (path, node) in &tree.nodes {
        let Node::File { bytes, .. } = node else { continue };
        components.push(file(path, &hex::encode(Sha256::digest(bytes)), origins.get(path)));
    }
    components.extend(crates.iter().flat_map(|crates| crate_components(crates)));
    let mut metadata =
        json!({ "component": { "type": "firmware", "name": "stele-image", "version": release.to_string() } });
    if driver.is_some() {
        metadata["properties"] = json!([{ "name": "stele:redistributable", "value": "false" }]);
    }
    let mut bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
    });
    match crates {
        Some(crates) => bom["dependencies"] = dependencies(crates),
        None => {
            let programs = PROGRAMS.map(|(file, _)| file);
            bom["compositions"] = json!([{ "aggregate": "unknown", "dependencies": programs }]);
        }
    }
    format!("{bom:#}\n")
}

fn reference(name: &str) -> String {
    format!("crate/{name}")
}

/// A crate of ours is in no registry, so that it has neither a place there nor a hash.
fn crate_components(crates: &Crates) -> impl Iterator<Item = Value> {
    crates.0.iter().map(|(name, one)| {
        let programs = PROGRAMS.iter().filter(|(_, package)| one.programs.contains(package));
        let properties = programs.map(|(file, _)| json!({ "name": "stele:program", "value": file }));
        let mut component = json!({
            "type": "library",
            "bom-ref": reference(name),
            "name": one.name,
            "version": one.version,
            "properties": properties.collect::<Vec<_>>(),
        });
        if let Some(sha256) = &one.sha256 {
            component["purl"] = json!(format!("pkg:cargo/{}@{}", one.name, one.version.replace('+', "%2B")));
            component["hashes"] = json!([{ "alg": "SHA-256", "content": sha256 }]);
        }
        if let Some(licence) = &one.licence {
            component["licenses"] = json!([{ "expression": licence }]);
        }
        component
    })
}

/// What each program and each crate uses. A crate that uses nothing says so: one without an entry would be unknown.
fn dependencies(crates: &Crates) -> Value {
    let programs = PROGRAMS.iter().map(|(file, package)| {
        let whole = crates.0.iter().filter(|(_, one)| one.name == *package);
        json!({ "ref": file, "dependsOn": whole.map(|(name, _)| reference(name)).collect::<Vec<_>>() })
    });
    let of_crates = crates.0.iter().map(|(name, one)| {
        json!({ "ref": reference(name), "dependsOn": one.uses.iter().map(|used| reference(used)).collect::<Vec<_>>() })
    });
    programs.chain(of_crates).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Part;
    use std::collections::BTreeSet;

    #[test]
    fn packages_that_gave_nothing_are_left_out() {
        let package = |name: &str| Package {
            name: name.into(),
            version: "1+2".into(),
            parts: vec![Part::Runtime],
            file: String::new(),
            bytes: 0,
            sha256: "0".repeat(64),
        };
        let mut tree = Tree::default();
        tree.file("usr/lib/a.so", *b"a");
        let origins = BTreeMap::from([("usr/lib/a.so".to_owned(), "liba".to_owned())]);
        let kernel = Outside { name: "uki/linux".into(), sha256: "1".repeat(64), package: Some("kernel".into()) };
        let packages = [&package("liba"), &package("libb"), &package("kernel")];
        let text = cyclonedx(3, &packages, None, None, (&tree, &origins), &[kernel]);
        let bom: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = bom["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["liba", "kernel", "uki/linux", "usr/lib/a.so"]);
        assert!(text.contains("1%2B2") && !text.contains("redistributable"));
    }

    /// The schema of CycloneDX demands that a reference is given once, and is given where it is used.
    fn refers_to_what_is_there(bom: &Value) {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let given: Vec<String> = list(&bom["components"]).iter().map(|one| one["bom-ref"].to_string()).collect();
        let unique: BTreeSet<&String> = given.iter().collect();
        assert_eq!(unique.len(), given.len());
        let dependencies = list(&bom["dependencies"]);
        let told: BTreeSet<String> = dependencies.iter().map(|one| one["ref"].to_string()).collect();
        assert_eq!(told.len(), dependencies.len());
        let used = dependencies.iter().flat_map(|one| list(&one["dependsOn"])).map(|used| used.to_string());
        let composed = list(&bom["compositions"]).iter().flat_map(|one| list(&one["dependencies"])).collect::<Vec<_>>();
        for reference in told.iter().cloned().chain(used).chain(composed.iter().map(Value::to_string)) {
            assert!(unique.contains(&reference), "{reference}");
        }
    }

    #[test]
    fn programs_have_the_crates_that_are_in_them() {
        let mut tree = Tree::default();
        tree.program("usr/bin/stele", *b"s");
        let init = Outside { name: "uki/initrd/init".into(), sha256: "1".repeat(64), package: None };
        let crates = crate::crates::tests::two_programs();
        let of = |crates| {
            let text = cyclonedx(3, &[], None, crates, (&tree, &BTreeMap::new()), std::slice::from_ref(&init));
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let bom = of(Some(&crates));
        refers_to_what_is_there(&bom);
        let component = |reference: &str| {
            let components = bom["components"].as_array().unwrap();
            components.iter().find(|one| one["bom-ref"] == reference).unwrap().clone()
        };
        let used = component("crate/used@1.0.0+x");
        assert_eq!(used["purl"], "pkg:cargo/used@1.0.0%2Bx");
        assert_eq!(used["hashes"], json!([{ "alg": "SHA-256", "content": "aa" }]));
        assert_eq!(used["licenses"], json!([{ "expression": "MIT OR Apache-2.0" }]));
        assert_eq!(used["properties"].as_array().unwrap().len(), 2);
        assert_eq!(component("crate/off@1.0.0")["properties"][0]["value"], "file/usr/bin/stele");
        assert_eq!(component("crate/stele@0.1.0")["purl"], Value::Null);
        let depends = |reference: &str| {
            let dependencies = bom["dependencies"].as_array().unwrap();
            dependencies.iter().find(|one| one["ref"] == reference).unwrap()["dependsOn"].clone()
        };
        assert_eq!(depends("file/usr/bin/stele"), json!(["crate/stele@0.1.0"]));
        assert_eq!(depends("file/uki/initrd/init"), json!(["crate/stele-init@0.1.0"]));
        assert_eq!(depends("crate/stele@0.1.0"), json!(["crate/used@1.0.0+x"]));
        assert_eq!(depends("crate/off@1.0.0"), json!([]));
        // Whoever has the programs alone is told that their crates are not known.
        let bom = of(None);
        refers_to_what_is_there(&bom);
        assert_eq!((&bom["dependencies"], &bom["compositions"][0]["aggregate"]), (&Value::Null, &json!("unknown")));
    }

    #[test]
    fn packages_of_the_operator_have_their_licence_and_forbid_passing_on() {
        let driver = crate::nvidia::tests::driver();
        let mut tree = Tree::default();
        tree.file("usr/lib/a.so", *b"a");
        let origins = BTreeMap::from([("usr/lib/a.so".to_owned(), driver.packages[0].name.clone())]);
        let bom: Value = serde_json::from_str(&cyclonedx(3, &[], Some(&driver), None, (&tree, &origins), &[])).unwrap();
        assert_eq!(bom["components"].as_array().unwrap().len(), 2);
        assert_eq!(bom["components"][0]["hashes"][0]["content"], driver.packages[0].sha256);
        assert_eq!(bom["components"][0]["licenses"][0]["license"]["name"], "NOASSERTION");
        assert_eq!(bom["metadata"]["properties"][0], json!({ "name": "stele:redistributable", "value": "false" }));
    }
}
