//! The file [`FILE`] of a vendor's bundle: the environment that its module wants, as lines `NAME=VALUE`. Most vendors name the file
//! with their module's configuration by such a variable.

use thiserror::Error;

/// Its name in the bundle.
pub const FILE: &str = "environment";

/// Why a line is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvironmentError {
    /// Not a name of letters, digits and underscores, or no value.
    #[error("{0:?} is not NAME=VALUE")]
    Line(String),
    /// A name by which the loader would be told what else to load.
    #[error("{0} is the loader's, and stays as it is")]
    Loader(String),
}

/// Names and values.
///
/// # Errors
/// [`EnvironmentError`] for the first line that is none.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, EnvironmentError> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let wrong = || EnvironmentError::Line(line.to_owned());
            let (name, value) = line.split_once('=').ok_or_else(wrong)?;
            let letters = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if name.is_empty() || !letters || name.as_bytes()[0].is_ascii_digit() || value.contains('\0') {
                return Err(wrong());
            }
            if name.starts_with("LD_") || name.starts_with("GLIBC_") {
                return Err(EnvironmentError::Loader(name.to_owned()));
            }
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_and_values_are_read() {
        let text = "# of the vendor\nChrystokiConfigurationPath=/usr/lib/pkcs11\n\nCS_CFG=a=b c \n";
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let wanted = vec![pair("ChrystokiConfigurationPath", "/usr/lib/pkcs11"), pair("CS_CFG", "a=b c")];
        assert_eq!(parse(text), Ok(wanted));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn other_lines_and_the_loaders_names_are_refused() {
        for line in ["nonsense", "=x", "A-B=x", "1A=x", "A B=x"] {
            assert_eq!(parse(line), Err(EnvironmentError::Line(line.into())));
        }
        for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "GLIBC_TUNABLES"] {
            assert_eq!(parse(&format!("{name}=x")), Err(EnvironmentError::Loader(name.into())));
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_error_or_an_environment(text: String) {
            let _ = parse(&text);
            let _ = parse(&format!("A={text}"));
        }
    }
}
