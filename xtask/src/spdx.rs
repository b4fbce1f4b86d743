//! Evaluates SPDX licence expressions (`MIT OR Apache-2.0`, `(MIT OR ISC) AND Zlib`, `Apache-2.0 WITH LLVM-exception`, and the older
//! `MIT/Apache-2.0`) against a list of allowed licences. Knows no licence by name.

/// Whether the expression can be satisfied by allowed licences alone. A malformed expression cannot.
pub fn is_satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> bool {
    let tokens = tokens(expression);
    let mut parser = Parser { tokens: &tokens, allowed };
    parser.either().is_some_and(|satisfied| satisfied && parser.tokens.is_empty())
}

fn tokens(expression: &str) -> Vec<String> {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    spaced.split_whitespace().map(str::to_owned).collect()
}

/// Recursive descent; `OR` binds weakest, then `AND`, then `WITH`. `None` is a syntax error.
struct Parser<'a> {
    tokens: &'a [String],
    allowed: &'a dyn Fn(&str) -> bool,
}

impl Parser<'_> {
    fn either(&mut self) -> Option<bool> {
        let mut satisfied = self.both()?;
        while self.takes("OR") {
            satisfied |= self.both()?;
        }
        Some(satisfied)
    }

    fn both(&mut self) -> Option<bool> {
        let mut satisfied = self.one()?;
        while self.takes("AND") {
            satisfied &= self.one()?;
        }
        Some(satisfied)
    }

    fn one(&mut self) -> Option<bool> {
        if self.takes("(") {
            let inner = self.either()?;
            return self.takes(")").then_some(inner);
        }
        let mut licence = self.next()?;
        if self.takes("WITH") {
            licence = format!("{licence} WITH {}", self.next()?);
        }
        Some((self.allowed)(&licence))
    }

    fn takes(&mut self, word: &str) -> bool {
        let found = self.tokens.first().is_some_and(|token| token == word);
        if found {
            self.tokens = &self.tokens[1..];
        }
        found
    }

    fn next(&mut self) -> Option<String> {
        let (first, rest) = self.tokens.split_first()?;
        if matches!(first.as_str(), "OR" | "AND" | "WITH" | "(" | ")") {
            return None;
        }
        self.tokens = rest;
        Some(first.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(expression: &str, allowed: &[&str]) -> bool {
        is_satisfied(expression, &|licence| allowed.contains(&licence))
    }

    #[test]
    fn or_needs_one_side_and_needs_both() {
        assert!(passes("MIT OR GPL-3.0", &["MIT"]));
        assert!(!passes("MIT AND GPL-3.0", &["MIT"]));
        assert!(passes("MIT AND ISC", &["MIT", "ISC"]));
        assert!(passes("MIT/Apache-2.0", &["Apache-2.0"]));
    }

    #[test]
    fn and_binds_tighter_than_or() {
        assert!(passes("MIT OR GPL-3.0 AND AGPL-3.0", &["MIT"]));
        assert!(!passes("(MIT OR GPL-3.0) AND AGPL-3.0", &["MIT"]));
        assert!(passes("(MIT OR Apache-2.0) AND Unicode-3.0", &["Apache-2.0", "Unicode-3.0"]));
    }

    #[test]
    fn an_exception_is_part_of_the_licence() {
        assert!(!passes("Apache-2.0 WITH LLVM-exception", &["Apache-2.0"]));
        assert!(passes("Apache-2.0 WITH LLVM-exception OR GPL-2.0", &["Apache-2.0 WITH LLVM-exception"]));
    }

    #[test]
    fn malformed_expressions_satisfy_nothing() {
        for expression in ["", "MIT OR", "OR MIT", "(MIT", "MIT)", "MIT ISC", "MIT WITH", "AND"] {
            assert!(!passes(expression, &["MIT", "ISC"]), "{expression:?}");
        }
    }
}
