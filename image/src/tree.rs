//! A tree of files in memory, sorted by path, owned by root: what goes into the root file system and the initial one.

use std::collections::BTreeMap;

/// A node of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// A folder, mode 0755.
    Folder,
    /// A file.
    File {
        /// Its bytes.
        bytes: Vec<u8>,
        /// 0755 instead of 0644.
        executable: bool,
    },
    /// A symbolic link.
    Link(String),
}

impl Node {
    /// The mode with its type, as `stat` has it.
    pub fn mode(&self) -> u16 {
        match self {
            Self::Folder => 0o040_755,
            Self::File { executable: true, .. } => 0o100_755,
            Self::File { executable: false, .. } => 0o100_644,
            Self::Link(_) => 0o120_777,
        }
    }
}

/// Nodes by path, without a leading slash. The root itself is not among them; every parent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The nodes.
    pub nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds a folder and its parents.
    pub fn folder(&mut self, path: &str) {
        let path = path.trim_matches('/');
        if !path.is_empty() && !self.nodes.contains_key(path) {
            self.parents(path);
            self.nodes.insert(path.to_owned(), Node::Folder);
        }
    }

    /// Adds a file and its parents.
    pub fn file(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, Node::File { bytes: bytes.into(), executable: false });
    }

    /// Adds a program and its parents.
    pub fn program(&mut self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.insert(path, Node::File { bytes: bytes.into(), executable: true });
    }

    /// Adds a symbolic link and its parents.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(path, Node::Link(target.to_owned()));
    }

    fn insert(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        self.parents(path);
        self.nodes.insert(path.to_owned(), node);
    }

    fn parents(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/') {
            self.folder(parent);
        }
    }
}
