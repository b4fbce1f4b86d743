//! What a rule demands of the value of a fact, as it is written.

use super::Level;
use crate::catalogue::Kind;
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

/// Where a rule wants a fact to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To true, to a greater number, to a list that has more.
    Up,
    /// To false, to a smaller number, to a list that has less.
    Down,
    /// Away from where it is.
    Either,
}

impl Demand {
    /// What a fact of this kind is taken for, and never is.
    pub fn misfit(&self, kind: Kind) -> Option<String> {
        match self {
            Self::Is(scalar) => (scalar.kind() != kind).then(|| scalar.kind().to_string()),
            Self::Fits(bounds) => bounds.misfit(kind),
        }
    }

    /// Where a value has to go to meet a rule that it does not meet. Of what is unknown, where the rule points.
    pub fn way(&self, level: Level, value: Option<&Value>) -> Way {
        let number = value.and_then(Value::as_u64);
        let toward = |wanted: u64| match number {
            Some(number) if number < wanted => Way::Up,
            None if wanted > 0 => Way::Up,
            _ => Way::Down,
        };
        let way = match (self, level == Level::Forbid) {
            (Self::Is(Scalar::Flag(flag)), forbids) => return if *flag == forbids { Way::Down } else { Way::Up },
            (Self::Is(Scalar::Number(number)), false) => return toward(*number),
            // Nothing is less.
            (Self::Is(Scalar::Number(0)), true) => return Way::Up,
            (Self::Is(_), _) => return Way::Either,
            (Self::Fits(Bounds { at_least: Some(_), at_most: None, one_of: None, same_as: None, .. }), _) => Way::Up,
            (Self::Fits(Bounds { at_least: None, at_most: Some(_), one_of: None, same_as: None, .. }), _) => Way::Down,
            (Self::Fits(Bounds { at_least: Some(least), at_most: Some(most), .. }), false) => match number {
                Some(number) if number < *least => Way::Up,
                Some(number) if number > *most => Way::Down,
                _ => Way::Either,
            },
            (Self::Fits(Bounds { contains: Some(_), same_as: None, .. }), _) => Way::Up,
            (Self::Fits(_), _) => Way::Either,
        };
        match (way, level) {
            (Way::Up, Level::Forbid) => Way::Down,
            (Way::Down, Level::Forbid) => Way::Up,
            (way, _) => way,
        }
    }
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
    /// Whether no value fits: a range that ends before it begins, a choice of nothing, or a word that is none.
    pub fn is_impossible(&self) -> bool {
        let empty = |scalars: &Option<Scalars>| scalars.as_ref().is_some_and(|scalars| scalars.all().is_empty());
        let backwards = self.at_least.zip(self.at_most).is_some_and(|(least, most)| least > most);
        let no_word = |wanted: &Scalar| matches!(wanted, Scalar::Text(text) if text.is_empty() || text.contains(char::is_whitespace));
        let no_words = self.contains.as_ref().is_some_and(|wanted| wanted.all().iter().any(no_word));
        backwards || no_words || [&self.one_of, &self.contains, &self.starts_with].into_iter().any(empty)
    }

    fn misfit(&self, kind: Kind) -> Option<String> {
        let item = match kind {
            Kind::Numbers => Kind::Number,
            Kind::Words => Kind::Text,
            _ => kind,
        };
        let (is_list, is_text) = (item != kind, kind == Kind::Text);
        let scalars = |name: &str, scalars: &Option<Scalars>, fits: bool| {
            let scalars = scalars.as_ref()?.all();
            let wrong = scalars.iter().find(|scalar| scalar.kind() != item);
            match wrong {
                _ if !fits => Some(format!("`{name}`")),
                wrong => wrong.map(|scalar| format!("`{name}` with {}", scalar.kind())),
            }
        };
        let limit =
            |name: &str, limit: Option<u64>| limit.filter(|_| kind != Kind::Number).map(|_| format!("`{name}`"));
        limit("at_least", self.at_least)
            .or_else(|| limit("at_most", self.at_most))
            .or_else(|| scalars("one_of", &self.one_of, !is_list))
            .or_else(|| scalars("contains", &self.contains, is_list || is_text))
            .or_else(|| scalars("starts_with", &self.starts_with, is_text))
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
    fn kind(&self) -> Kind {
        match self {
            Self::Flag(_) => Kind::Flag,
            Self::Number(_) => Kind::Number,
            Self::Text(_) => Kind::Text,
        }
    }

    pub fn is(&self, value: &Value) -> bool {
        match self {
            Self::Flag(flag) => value.as_bool() == Some(*flag),
            Self::Number(number) => value.as_u64() == Some(*number),
            Self::Text(text) => value.as_str() == Some(text),
        }
    }
}
