//! Which distribution this is, from `/etc/os-release`, and whether it is one that we test on.

use std::path::Path;

/// The fields of os-release(5) that set-up needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `ID`, such as `debian`.
    pub id: String,
    /// `ID_LIKE`, split at spaces.
    pub id_like: Vec<String>,
    /// `VERSION_ID`, such as `22.04`; empty on rolling releases.
    pub version: String,
    /// `PRETTY_NAME`.
    pub name: String,
}

impl OsRelease {
    /// Reads this machine's file; an absent file gives empty fields.
    pub fn read() -> Self {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
            .unwrap_or_default();
        Self::parse(&text)
    }

    /// Parses `KEY=value` lines with optional quotes.
    pub fn parse(text: &str) -> Self {
        let mut release = Self::default();
        for line in text.lines() {
            let Some((key, value)) = line.trim().split_once('=') else { continue };
            let value = value.trim().trim_matches(['"', '\'']);
            match key {
                "ID" => release.id = value.to_lowercase(),
                "ID_LIKE" => release.id_like = value.split_whitespace().map(str::to_lowercase).collect(),
                "VERSION_ID" => release.version = value.to_owned(),
                "PRETTY_NAME" => release.name = value.to_owned(),
                _ => {}
            }
        }
        release
    }

    /// Whether packages come by apt under Debian's names.
    pub fn has_apt(&self) -> bool {
        let debian = |id: &str| id == "debian" || id == "ubuntu";
        (debian(&self.id) || self.id_like.iter().any(|id| debian(id))) && Path::new("/usr/bin/apt-get").exists()
    }

    /// Whether this is Debian 12 or Ubuntu 22.04, or newer.
    pub fn is_tested(&self) -> bool {
        let number = |text: &str| text.parse::<u32>().unwrap_or(0);
        let (major, minor) = self.version.split_once('.').unwrap_or((&self.version, "0"));
        match self.id.as_str() {
            // Debian's testing release has no version.
            "debian" => self.version.is_empty() || number(major) >= 12,
            "ubuntu" => (number(major), number(minor)) >= (22, 4),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debian_12_is_recognised() {
        let release =
            OsRelease::parse("PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n");
        assert_eq!((release.id.as_str(), release.version.as_str()), ("debian", "12"));
        assert_eq!(release.name, "Debian GNU/Linux 12 (bookworm)");
        assert!(release.is_tested());
    }

    #[test]
    fn old_and_foreign_releases_are_not_called_tested() {
        let tested = |text: &str| OsRelease::parse(text).is_tested();
        assert!(tested("ID=ubuntu\nVERSION_ID=\"22.04\"\nID_LIKE=debian"));
        assert!(tested("ID=ubuntu\nVERSION_ID=\"24.10\""));
        assert!(!tested("ID=ubuntu\nVERSION_ID=\"20.04\""));
        assert!(!tested("ID=debian\nVERSION_ID=\"11\""));
        assert!(!tested("ID=linuxmint\nID_LIKE=\"ubuntu debian\"\nVERSION_ID=\"21\""));
        assert!(!tested(""));
    }

    #[test]
    fn derivatives_name_their_parents() {
        assert_eq!(OsRelease::parse("ID_LIKE=\"ubuntu debian\"").id_like, ["ubuntu", "debian"]);
    }
}
