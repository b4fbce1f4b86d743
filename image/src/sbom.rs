//! The bill of materials beside an image: CycloneDX 1.6, with each package of the lock file that gave something, our own
//! programs, and each file of the root by its hash. It has no time and no serial number, so that two builds agree.

use crate::lock::Package;
use crate::tree::{Node, Tree};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Writes one. `origins` says which package a path came from; the others are ours.
pub fn cyclonedx(release: u64, packages: &[&Package], tree: &Tree, origins: &BTreeMap<String, String>) -> String {
    let used = packages.iter().filter(|package| origins.values().any(|name| *name == package.name));
    let mut components: Vec<Value> = used
        .map(|package| {
            json!({
                "type": "library",
                "bom-ref": format!("package/{}", package.name),
                "name": package.name,
                "version": package.version,
                "purl": format!("pkg:deb/debian/{}@{}?arch=amd64", package.name, package.version.replace('+', "%2B")),
                "hashes": [{ "alg": "SHA-256", "content": package.sha256 }],
            })
        })
        .collect();
    for (path, node) in &tree.nodes {
        let Node::File { bytes, .. } = node else { continue };
        let from = origins.get(path).map_or("stele", String::as_str);
        components.push(json!({
            "type": "file",
            "bom-ref": format!("file/{path}"),
            "name": path,
            "hashes": [{ "alg": "SHA-256", "content": hex::encode(Sha256::digest(bytes)) }],
            "properties": [{ "name": "stele:package", "value": from }],
        }));
    }
    let bom = json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "firmware", "name": "stele-image", "version": release.to_string() } },
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
        let text = cyclonedx(3, &[&package("liba"), &package("libb")], &tree, &origins);
        let bom: Value = serde_json::from_str(&text).unwrap();
        let names: Vec<_> = bom["components"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["liba", "usr/lib/a.so"]);
        assert!(text.contains("1%2B2"));
    }
}
