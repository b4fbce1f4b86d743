//! Names of signature algorithms on the command line: those that this build supports, and no others.

use clap::builder::{PossibleValuesParser, TypedValueParser};
use types::AlgId;

/// What a flag takes without a value given.
pub const DEFAULT: &str = "ed25519";

/// Reads a name; a wrong one is answered with all that are possible.
pub fn parser() -> impl TypedValueParser<Value = AlgId> {
    PossibleValuesParser::new(AlgId::signing().map(AlgId::name))
        .map(|name| AlgId::from_name(&name).expect("only names of algorithms are possible values"))
}

/// Reads the name of an algorithm that a validator's keys can have.
pub fn validator_parser() -> impl TypedValueParser<Value = AlgId> {
    PossibleValuesParser::new(types::committee::ALGORITHMS.map(AlgId::name))
        .map(|name| AlgId::from_name(&name).expect("only names of algorithms are possible values"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Arg, Command};

    #[test]
    fn every_algorithm_that_signs_has_a_name_and_no_other_is_taken() {
        let command = Command::new("test").arg(Arg::new("algorithm").default_value(DEFAULT).value_parser(parser()));
        let read = |words: &[&str]| {
            let matches = command.clone().try_get_matches_from([&["test"], words].concat());
            matches.map(|matches| *matches.get_one::<AlgId>("algorithm").expect("has a default"))
        };
        assert_eq!(read(&[]).expect("the default"), AlgId::Ed25519);
        for alg in AlgId::signing() {
            assert_eq!(read(&[alg.name()]).expect("a name"), alg);
        }
        for wrong in ["sm2", "sha256", "ml-dsa-65", "Ed25519", ""] {
            let told = read(&[wrong]).expect_err("no name").to_string();
            assert!(told.contains("sm2-sm3") || wrong.is_empty(), "{told}");
        }
    }
}
