//! The scripts that ship, with answers for their rehearsals.

/// A script that ships.
#[derive(Clone, Copy, Debug)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// Its text.
    pub script: &'static str,
    /// Answers with which it is rehearsed.
    pub answers: &'static str,
}

macro_rules! template {
    ($name:literal) => {
        Template {
            name: $name,
            script: include_str!(concat!("../../ceremonies/", $name, ".toml")),
            answers: include_str!(concat!("../../ceremonies/", $name, ".answers.toml")),
        }
    };
}

/// All of them.
pub const TEMPLATES: [Template; 4] =
    [template!("validator-genesis"), template!("rotate-validator"), template!("destroy"), template!("custody-drill")];
