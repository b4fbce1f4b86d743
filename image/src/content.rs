//! What may be inside a root file system, and what may not: programs from a short list, libraries, no script, no interpreter
//! by any name, no file that could be written and executed. Modes are checked where a tree is read: [`crate::erofs::read`]
//! takes 0755 and 0644 of root and nothing else.

use crate::elf::Elf;
use crate::tree::{Node, Tree};
use thiserror::Error;

/// Programs that may be executed; everything else that is executable must be a library.
pub const PROGRAMS: &[&str] = &["usr/bin/stele", "usr/sbin/chronyd", "usr/sbin/mke2fs"];
/// Names of shells and interpreters, which no file or link may have, with or without a version behind it.
const INTERPRETERS: &[&str] = &[
    "sh", "bash", "dash", "zsh", "ksh", "fish", "ash", "busybox", "toybox", "perl", "python", "lua", "ruby", "node",
    "awk", "mawk", "gawk", "tclsh", "php", "sed", "env", "gdb", "strace", "su", "sudo", "login", "modprobe", "insmod",
];
/// Folders in which libraries may lie.
const LIBRARIES: &[&str] = &["usr/lib/"];

/// What does not belong into an image.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ContentError {
    /// An executable file that is neither a listed program nor a library.
    #[error("{0} is executable and neither a listed program nor a library")]
    Program(String),
    /// A shell or an interpreter.
    #[error("{0} has the name of a shell or an interpreter")]
    Interpreter(String),
    /// A file that names its interpreter.
    #[error("{0} is a script")]
    Script(String),
    /// A program or library of another machine, or damaged.
    #[error("{0} is executable and no ELF file of this machine")]
    NoElf(String),
    /// A segment that is both.
    #[error("{0} has memory that is writable and executable")]
    WritableCode(String),
    /// A library that is needed and not there.
    #[error("{program} needs {library}, which is not in the image")]
    Library {
        /// Who needs it.
        program: String,
        /// What is missing.
        library: String,
    },
    /// A link that leads out.
    #[error("the link {0} leads out of the image or to nothing")]
    Link(String),
}

/// Checks a tree.
pub fn check(tree: &Tree) -> Result<(), ContentError> {
    let libraries: Vec<&str> = tree.nodes.keys().filter_map(|path| path.rsplit('/').next()).collect();
    for (path, node) in &tree.nodes {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
        if INTERPRETERS.contains(&stem) && !matches!(node, Node::Folder) {
            return Err(ContentError::Interpreter(path.clone()));
        }
        match node {
            Node::Folder => {}
            Node::Link(target) => check_link(tree, path, target)?,
            Node::File { bytes, executable } => {
                if bytes.starts_with(b"#!") {
                    return Err(ContentError::Script(path.clone()));
                }
                if *executable || Elf::is_one(bytes) {
                    check_elf(path, bytes, *executable, &libraries)?;
                }
            }
        }
    }
    Ok(())
}

fn check_elf(path: &str, bytes: &[u8], executable: bool, libraries: &[&str]) -> Result<(), ContentError> {
    let library = LIBRARIES.iter().any(|folder| path.starts_with(folder)) && path.contains(".so");
    if executable && !library && !PROGRAMS.contains(&path) {
        return Err(ContentError::Program(path.to_owned()));
    }
    let elf = Elf::parse(bytes).map_err(|_| ContentError::NoElf(path.to_owned()))?;
    if elf.writable_and_executable() {
        return Err(ContentError::WritableCode(path.to_owned()));
    }
    for needed in elf.needed().map_err(|_| ContentError::NoElf(path.to_owned()))? {
        if !libraries.contains(&needed.as_str()) {
            return Err(ContentError::Library { program: path.to_owned(), library: needed });
        }
    }
    Ok(())
}

fn check_link(tree: &Tree, path: &str, target: &str) -> Result<(), ContentError> {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let whole = match target.strip_prefix('/') {
        Some(absolute) => absolute.to_owned(),
        None if folder.is_empty() => target.to_owned(),
        None => format!("{folder}/{target}"),
    };
    if whole.split('/').any(|part| part == "..") || !tree.nodes.contains_key(&whole) {
        return Err(ContentError::Link(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::erofs;

    /// Through a file system and back, as `image verify` sees it.
    fn checked(change: impl FnOnce(&mut Tree)) -> Result<(), ContentError> {
        let mut tree = Tree::default();
        let program = std::fs::read("/proc/self/exe").unwrap();
        let elf = Elf::parse(&program).unwrap();
        elf.needed().unwrap().iter().for_each(|name| tree.file(&format!("usr/lib/{name}"), *b"a library"));
        tree.program("usr/bin/stele", elf.stripped().unwrap());
        tree.link("lib", "usr/lib");
        change(&mut tree);
        check(&erofs::read(&erofs::write(&tree, &[1; 16])).unwrap())
    }

    #[test]
    fn what_belongs_passes_and_what_does_not_is_named() {
        assert_eq!(checked(|_| ()), Ok(()));
        let own = || std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(checked(|t| t.program("usr/bin/tool", own())), Err(ContentError::Program("usr/bin/tool".into())));
        assert_eq!(
            checked(|t| t.file("usr/lib/python3.11", *b"x")),
            Err(ContentError::Interpreter("usr/lib/python3.11".into()))
        );
        assert_eq!(checked(|t| t.link("bin", "usr/bin")), Ok(()));
        assert_eq!(checked(|t| t.link("usr/bin/sh", "stele")), Err(ContentError::Interpreter("usr/bin/sh".into())));
        assert_eq!(checked(|t| t.file("etc/rc", *b"#!/x")), Err(ContentError::Script("etc/rc".into())));
        assert_eq!(
            checked(|t| t.program("usr/sbin/mke2fs", *b"MZ")),
            Err(ContentError::NoElf("usr/sbin/mke2fs".into()))
        );
        assert_eq!(checked(|t| t.link("up", "../x")), Err(ContentError::Link("up".into())));
        assert!(matches!(checked(|t| drop(t.nodes.remove("usr/lib/libc.so.6"))), Err(ContentError::Library { .. })));
    }

    #[test]
    fn memory_that_is_writable_and_executable_is_told() {
        let mut program = std::fs::read("/proc/self/exe").unwrap();
        // Flags of the first segment that is loaded.
        let headers = u64::from_le_bytes(program[32..40].try_into().unwrap()) as usize;
        let load = (0..16).map(|n| headers + n * 56).find(|at| program[*at] == 1).unwrap();
        program[load + 4] = 7;
        let changed = checked(|t| t.program("usr/bin/stele", Elf::parse(&program).unwrap().stripped().unwrap()));
        assert_eq!(changed, Err(ContentError::WritableCode("usr/bin/stele".into())));
    }
}
