//! This user's cache: emptying it, and handing it from one clone to another.
//!
//! The clones of a user share one build directory, so that nothing of the outside world is compiled twice. Cargo names a
//! member's artefacts by its path *within* the clone and takes them for fresh by the times of its sources: the same file of
//! two clones would be taken for one. So the directory belongs to one clone at a time, and what an earlier one left of the
//! members counts for nothing.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Shown by `--help`.
pub const HELP: &str = "\
Deletes the build directory that all clones of this user share. The next build starts from nothing, without RocksDB.

Usage: cargo xtask clean-cache [--all]

  --all   delete the archives of RocksDB too (10 to 20 minutes to compile again)
";

/// Names the clone whose members the build directory holds.
const OWNER_FILE: &str = "clone";
/// How cargo's folders of a member's fingerprint begin.
const MEMBERS: [&str; 2] = ["stele-", "xtask-"];

/// Makes the build directory this clone's: forgets that another clone's members were compiled.
pub fn claim(workspace: &Workspace) -> Result<(), Failure> {
    if !workspace.shares_build_dir() {
        return Ok(());
    }
    let (dir, clone) = (workspace.build_dir(), workspace.root.display().to_string());
    let owner = dir.join(OWNER_FILE);
    if std::fs::read_to_string(&owner).is_ok_and(|owner| owner == clone) {
        return Ok(());
    }
    for profile in ["debug", "release"] {
        let Ok(entries) = std::fs::read_dir(dir.join(profile).join(".fingerprint")) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if MEMBERS.iter().any(|member| name.to_string_lossy().starts_with(member)) {
                let failed = |error| Failure::io(format!("deleting {}", entry.path().display()), &error);
                std::fs::remove_dir_all(entry.path()).map_err(failed)?;
            }
        }
    }
    std::fs::create_dir_all(&dir)
        .and_then(|()| std::fs::write(&owner, clone))
        .map_err(|error| Failure::io(format!("writing {}", owner.display()), &error))
}

/// Deletes only folders that this program made.
pub fn clean(workspace: &Workspace, mut arguments: Arguments) -> Result<(), Failure> {
    let all = arguments.flag("all");
    arguments.finish()?;
    let mut doomed = vec![workspace.build_dir()];
    if all {
        doomed.extend(["rocksdb", "rocksdb-build"].map(|name| workspace.cache.join(name)));
    }
    for dir in doomed.into_iter().filter(|dir| dir.exists()) {
        println!("deleting {}", dir.display());
        std::fs::remove_dir_all(&dir).map_err(|error| Failure::io(format!("deleting {}", dir.display()), &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn workspace(root: &std::path::Path, cache: &std::path::Path) -> Workspace {
        Workspace {
            root: root.to_owned(),
            cache: cache.to_owned(),
            rocksdb_lib_dir: cache.to_owned(),
            rocksdb_is_foreign: false,
        }
    }

    #[test]
    fn another_clone_s_members_are_forgotten_and_all_else_is_kept() {
        let cache = std::env::temp_dir().join(format!("stele-claim-{}", std::process::id()));
        let fingerprints = cache.join("target/debug/.fingerprint");
        let (member, outside) = (fingerprints.join("stele-types-0123"), fingerprints.join("serde-0123"));
        let compile = || {
            std::fs::create_dir_all(&member).expect("room");
            std::fs::create_dir_all(&outside).expect("room");
        };
        let (first, second) = (workspace("/a".as_ref(), &cache), workspace("/b".as_ref(), &cache));
        if !first.shares_build_dir() {
            return;
        }
        compile();
        claim(&first).expect("room");
        assert!(!member.exists() && outside.exists(), "nobody knows whose it was");
        compile();
        claim(&first).expect("room");
        assert!(member.exists(), "its own");
        claim(&second).expect("room");
        assert!(!member.exists() && outside.exists());
        std::fs::remove_dir_all(&cache).expect("it was made above");
    }
}
