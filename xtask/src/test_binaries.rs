//! Builds every test program of the workspace in one cargo call and keeps the list. Each stage then runs its programs directly: one
//! resolution of features for all of them, so no stage compiles anything again, and the stages can divide programs between them.
//! The one program that needs a feature which nothing else may have is built by a second call.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::failure::Failure;
use crate::workspace::Workspace;

/// One compiled test program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestBinary {
    /// Package, `::`, target: `stele-storage::recovery`.
    pub name: String,
    /// The package's name.
    pub package: String,
    /// Whether it comes from a package's `tests/` folder.
    pub is_integration: bool,
    /// The program.
    pub executable: PathBuf,
    /// The package's folder, in which its tests run.
    pub folder: PathBuf,
}

/// All test programs, and the binaries that their tests start.
#[derive(Debug, Default)]
pub struct TestBinaries {
    /// Sorted by name.
    pub tests: Vec<TestBinary>,
    /// Target name to executable, such as `stele`.
    pub binaries: BTreeMap<String, PathBuf>,
}

impl TestBinaries {
    /// Builds with cargo's own progress on our terminal.
    pub fn build(workspace: &Workspace) -> Result<Self, Failure> {
        let mut found = Self::default();
        found.build_some(workspace, &["--workspace", "--lib", "--bins", "--tests", "--examples"])?;
        // With the feature the ledger's threads are those of a scheduler that tries their interleavings.
        let interleavings = ["-p", "stele-ledger", "--features", "interleavings", "--test", "interleavings"];
        found.build_some(workspace, &interleavings)?;
        found.tests.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(found)
    }

    fn build_some(&mut self, workspace: &Workspace, which: &[&str]) -> Result<(), Failure> {
        let refused = |error: std::io::Error| Failure::io("running cargo test --no-run", &error);
        let mut child = workspace
            .cargo()
            .args(["test", "--no-run"])
            .args(which)
            .arg("--message-format=json-render-diagnostics")
            .stdout(Stdio::piped())
            .spawn()
            .map_err(refused)?;
        let pipe = child.stdout.take().expect("the pipe was asked for on the lines above");
        for line in BufReader::new(pipe).lines() {
            if let Ok(message) = serde_json::from_str::<Value>(&line.map_err(refused)?) {
                self.read_message(&message);
            }
        }
        if child.wait().map_err(refused)?.success() {
            Ok(())
        } else {
            Err(Failure::new("the workspace does not build; the compiler's words are above", ""))
        }
    }

    /// The call of one program, in its package's folder and with the variables that `cargo test` would set.
    pub fn command(&self, test: &TestBinary) -> Command {
        let mut command = Command::new(&test.executable);
        command.current_dir(&test.folder).env("CARGO_MANIFEST_DIR", &test.folder);
        for (name, path) in &self.binaries {
            command.env(format!("CARGO_BIN_EXE_{name}"), path);
        }
        command
    }

    fn read_message(&mut self, message: &Value) {
        let Some(executable) = message["executable"].as_str() else { return };
        let (Some(target), Some(manifest)) = (message["target"]["name"].as_str(), message["manifest_path"].as_str())
        else {
            return;
        };
        let is_kind = |kind: &str| message["target"]["kind"].as_array().is_some_and(|k| k.iter().any(|k| k == kind));
        if message["profile"]["test"] != true {
            if is_kind("bin") {
                self.binaries.insert(target.to_owned(), executable.into());
            }
            return;
        }
        let package = package_name(message["package_id"].as_str().unwrap_or_default());
        self.tests.push(TestBinary {
            name: format!("{package}::{target}"),
            package,
            is_integration: is_kind("test"),
            executable: executable.into(),
            folder: Path::new(manifest).parent().unwrap_or(Path::new("/")).to_owned(),
        });
    }
}

/// From `path+file:///clone/types#stele-types@0.1.0` or, when folder and package share their name, `path+file:///clone/xtask#0.1.0`.
fn package_name(id: &str) -> String {
    let (url, fragment) = id.rsplit_once('#').unwrap_or((id, ""));
    match fragment.split_once('@') {
        Some((name, _)) => name.to_owned(),
        None => url.rsplit('/').next().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_ids_give_names_in_both_forms() {
        assert_eq!(package_name("path+file:///clone/types#stele-types@0.1.0"), "stele-types");
        assert_eq!(package_name("path+file:///clone/xtask#0.1.0"), "xtask");
    }

    #[test]
    fn test_programs_and_binaries_are_told_apart() {
        let message = |kind: &str, test: bool| {
            serde_json::json!({
                "reason": "compiler-artifact", "package_id": "path+file:///c/node#stele@0.1.0",
                "manifest_path": "/c/node/Cargo.toml", "target": {"name": "stele", "kind": [kind]},
                "profile": {"test": test}, "executable": "/t/stele"
            })
        };
        let mut found = TestBinaries::default();
        found.read_message(&message("bin", false));
        found.read_message(&message("test", true));
        found.read_message(&serde_json::json!({"reason": "build-finished", "success": true}));
        assert_eq!(found.binaries.get("stele"), Some(&PathBuf::from("/t/stele")));
        assert_eq!(found.tests.len(), 1);
        assert!(found.tests[0].is_integration);
        assert_eq!(found.tests[0].folder, Path::new("/c/node"));
    }
}
