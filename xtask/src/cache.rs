//! Emptying this user's cache. It holds artefacts of every clone ever built, and cargo never deletes any.

use crate::arguments::Arguments;
use crate::failure::Failure;
use crate::workspace::Workspace;

/// Shown by `--help`.
pub const HELP: &str = "\
Deletes the build directory that all clones of this user share. The next build starts from nothing, without RocksDB.

Usage: cargo xtask clean-cache [--all]

  --all   delete the archives of RocksDB too (10 to 20 minutes to compile again)
";

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
