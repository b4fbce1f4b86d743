//! A folder to work in, which nobody else can look into and which goes with this program.

use crate::ending::Tidy;
use crate::failure::Failure;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// A folder that goes when this value goes.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _tidy: Tidy,
}

impl Scratch {
    /// A new one, below the system's folder for such.
    ///
    /// # Errors
    /// [`Failure`]: it cannot be made.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| Failure::content("the system's random numbers", error))?;
        let path = std::env::temp_dir().join(format!("{name}-{}", hex::encode(random)));
        // Some of what is made there finds the rest by its path, from another folder.
        let path = std::path::absolute(path).map_err(Failure::io("finding a folder to work in"))?;
        let gone = path.clone();
        let tidy = Tidy::with(move || drop(std::fs::remove_dir_all(gone)))?;
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(Failure::io(format!("making {}", path.display())))?;
        Ok(Self { path, _tidy: tidy })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_its_value_and_what_is_in_it() {
        let [one, other] = [(); 2].map(|()| Scratch::new("stele-test").unwrap());
        assert_ne!(one.path(), other.path());
        std::fs::write(one.path().join("file"), "").unwrap();
        let path = one.path().to_owned();
        drop(one);
        assert!(!path.exists() && other.path().exists());
    }
}
