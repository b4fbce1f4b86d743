//! The bill of materials beside an image: CycloneDX 1.6, with each package of the lock file that gave something, our own
//! programs, and each file by its hash: those of the root, the boot loader, and what the kernel image is made of. It has no time and no serial number, so that two builds agree.
//!
//! Packages that the operator brought stand there with their licence, and the whole says that it may not be passed on.

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

/// Writes one. `origins` says which package a path of the root came from; the others are ours.
pub fn cyclonedx(
    release: u64,
    packages: &[&Package],
    driver: Option<&Driver>,
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
    let mut metadata =
        json!({ "component": { "type": "firmware", "name": "stele-image", "version": release.to_string() } });
    if driver.is_some() {
        metadata["properties"] = json!([{ "name": "stele:redistributable", "value": "false" }]);
    }
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": metadata,
        "components": components,
    });
    format!("{bom:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lock::Part;

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
        let text = cyclonedx(3, &packages, None, (&tree, &origins), &[kernel]);
        let bom: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = bom["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["liba", "kernel", "uki/linux", "usr/lib/a.so"]);
        assert!(text.contains("1%2B2") && !text.contains("redistributable"));
    }

    #[test]
    fn packages_of_the_operator_have_their_licence_and_forbid_passing_on() {
        let driver = crate::nvidia::tests::driver();
        let mut tree = Tree::default();
        tree.file("usr/lib/a.so", *b"a");
        let origins = BTreeMap::from([("usr/lib/a.so".to_owned(), driver.packages[0].name.clone())]);
        let bom: Value = serde_json::from_str(&cyclonedx(3, &[], Some(&driver), (&tree, &origins), &[])).unwrap();
        assert_eq!(bom["components"].as_array().unwrap().len(), 2);
        assert_eq!(bom["components"][0]["hashes"][0]["content"], driver.packages[0].sha256);
        assert_eq!(bom["components"][0]["licenses"][0]["license"]["name"], "NOASSERTION");
        assert_eq!(bom["metadata"]["properties"][0], json!({ "name": "stele:redistributable", "value": "false" }));
    }
}
