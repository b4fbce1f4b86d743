//! A small parser of `--flag`, `--name value`, `--name=value`, words, and everything after `--`. Knows no command; each command takes
//! what it understands and `finish` refuses the rest, so a misspelt flag is never ignored.

use std::ffi::OsString;

use crate::failure::Failure;

/// The words behind a command.
#[derive(Debug)]
pub struct Arguments {
    words: Vec<String>,
    rest: Vec<String>,
}

impl Arguments {
    /// Splits at `--`. Fails on words that are not UTF-8.
    pub fn parse(words: Vec<OsString>) -> Result<Self, Failure> {
        let mut words = words
            .into_iter()
            .map(|word| word.into_string().map_err(|word| Failure::new(format!("{word:?} is not UTF-8"), "")))
            .collect::<Result<Vec<_>, _>>()?;
        let rest = match words.iter().position(|word| word == "--") {
            Some(at) => words.drain(at..).skip(1).collect(),
            None => Vec::new(),
        };
        Ok(Self { words, rest })
    }

    /// Takes `--name` if it is there.
    pub fn flag(&mut self, name: &str) -> bool {
        self.take(|word| word.strip_prefix("--") == Some(name)).is_some()
    }

    /// Takes `-h`.
    pub fn short_help(&mut self) -> bool {
        self.take(|word| word == "-h").is_some()
    }

    /// Takes `--name value` or `--name=value`.
    pub fn value(&mut self, name: &str) -> Result<Option<String>, Failure> {
        let flag = format!("--{name}");
        let joined = format!("--{name}=");
        if let Some(word) = self.take(|word| word.starts_with(&joined)) {
            return Ok(Some(word[joined.len()..].to_owned()));
        }
        let Some(at) = self.words.iter().position(|word| *word == flag) else {
            return Ok(None);
        };
        if self.words.get(at + 1).is_none_or(|word| word.starts_with("--")) {
            return Err(Failure::new(format!("`{flag}` needs a value"), format!("for example `{flag} VALUE`")));
        }
        self.words.remove(at);
        Ok(Some(self.words.remove(at)))
    }

    /// Takes `--name NUMBER`.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        self.value(name)?
            .map(|text| {
                text.parse().map_err(|_| Failure::new(format!("`--{name}` takes a whole number, not `{text}`"), ""))
            })
            .transpose()
    }

    /// Takes the first word that is not a flag.
    pub fn word(&mut self) -> Option<String> {
        self.take(|word| !word.starts_with('-'))
    }

    /// Takes what stood behind `--`.
    pub fn rest(&mut self) -> Vec<String> {
        std::mem::take(&mut self.rest)
    }

    /// Refuses whatever no one took.
    pub fn finish(self) -> Result<(), Failure> {
        match self.words.first().or(self.rest.first()) {
            None => Ok(()),
            Some(word) => {
                Err(Failure::new(format!("`{word}` is not understood here"), "the command's `--help` lists its flags"))
            }
        }
    }

    fn take(&mut self, wanted: impl Fn(&str) -> bool) -> Option<String> {
        let at = self.words.iter().position(|word| wanted(word))?;
        Some(self.words.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str) -> Arguments {
        Arguments::parse(text.split_whitespace().map(OsString::from).collect()).expect("words are UTF-8")
    }

    #[test]
    fn values_are_taken_in_both_spellings() {
        let mut a = arguments("devnet --rates 1,2 --seconds=30 --check");
        assert_eq!(a.word().as_deref(), Some("devnet"));
        assert_eq!(a.value("rates").expect("has a value").as_deref(), Some("1,2"));
        assert_eq!(a.number("seconds").expect("is a number"), Some(30));
        assert!(a.flag("check"));
        assert!(!a.flag("check"), "a flag is taken once");
        a.finish().expect("all was taken");
    }

    #[test]
    fn a_misspelt_flag_is_refused() {
        let mut a = arguments("--chekc");
        assert!(!a.flag("check"));
        assert!(a.finish().is_err());
    }

    #[test]
    fn a_value_is_not_swallowed_from_the_next_flag() {
        assert!(arguments("--only --from build").value("only").is_err());
        assert!(arguments("--only").value("only").is_err());
        assert!(arguments("--seconds soon").number("seconds").is_err());
    }

    #[test]
    fn words_behind_the_dashes_stay_untouched() {
        let mut a = arguments("crates -- --check verify");
        assert!(!a.flag("check"));
        assert_eq!(a.rest(), ["--check", "verify"]);
        assert_eq!(a.word().as_deref(), Some("crates"));
        a.finish().expect("all was taken");
        assert!(arguments("crates -- verify").finish().is_err(), "a rest that no one took is refused");
    }
}
