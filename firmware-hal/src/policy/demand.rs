//! What a rule demands of the value of a fact, as it is written.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What is demanded of a fact.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Demand {
    /// It is this.
    Is(Scalar),
    /// It fits all of these.
    Fits(Bounds),
}

/// A value as it is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Scalar {
    Flag(bool),
    Number(u64),
    Text(String),
}

/// One or several values.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(untagged)]
pub enum Scalars {
    One(Scalar),
    Many(Vec<Scalar>),
}

impl Scalars {
    fn all(&self) -> &[Scalar] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    #[serde(skip_serializing_if = "Option::is_none")]
    at_least: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_most: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    contains: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_with: Option<Scalars>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_as: Option<String>,
}

impl Bounds {
    /// Whether no value fits: a range that ends before it begins, or a choice of nothing.
    pub fn is_impossible(&self) -> bool {
        let empty = |scalars: &Option<Scalars>| scalars.as_ref().is_some_and(|scalars| scalars.all().is_empty());
        let backwards = self.at_least.zip(self.at_most).is_some_and(|(least, most)| least > most);
        backwards || [&self.one_of, &self.contains, &self.starts_with].into_iter().any(empty)
    }

    /// Whether a value is within all of them, but for what it should be the same as.
    pub fn hold(&self, value: &Value) -> bool {
        let Bounds { at_least, at_most, one_of, contains, starts_with, same_as: _ } = self;
        let number = value.as_u64();
        let any = |scalars: &Scalars, is: &dyn Fn(&Scalar) -> bool| scalars.all().iter().any(is);
        let all = |scalars: &Scalars, is: &dyn Fn(&Scalar) -> bool| scalars.all().iter().all(is);
        let items = || value.as_array().into_iter().flatten();
        let words = || value.as_str().into_iter().flat_map(str::split_whitespace);
        let has =
            |wanted: &Scalar| items().any(|item| wanted.is(item)) || words().any(|word| wanted.is(&Value::from(word)));
        let begins = |wanted: &Scalar| match (wanted, value.as_str()) {
            (Scalar::Text(prefix), Some(text)) => text.starts_with(prefix.as_str()),
            _ => false,
        };
        at_least.is_none_or(|least| number.is_some_and(|number| number >= least))
            && at_most.is_none_or(|most| number.is_some_and(|number| number <= most))
            && one_of.as_ref().is_none_or(|scalars| any(scalars, &|scalar| scalar.is(value)))
            && contains.as_ref().is_none_or(|scalars| all(scalars, &has))
            && starts_with.as_ref().is_none_or(|scalars| any(scalars, &begins))
    }
}

impl Scalar {
    pub fn is(&self, value: &Value) -> bool {
        match self {
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Number(number) => value.as_u64() == Some(*number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}
