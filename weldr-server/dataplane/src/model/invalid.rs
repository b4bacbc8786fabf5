//! What is said of a value that is not accepted.

use std::{fmt::Display, ops::RangeInclusive, time::Duration};

/// A value that is refused: which field, what was given, and what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {value:?} is not accepted: {accepted}")]
pub struct Invalid {
    /// The field by its name in the input: a flag, a JSON key or a proto path.
    pub field: String,
    /// The value as it was given; of a long one, the beginning.
    pub value: String,
    /// What would be accepted, as a phrase: `a weight from 0 to 256`.
    pub accepted: String,
}

/// The longest beginning of a value that is repeated in a refusal, in characters.
const LONGEST_VALUE: usize = 200;

impl Invalid {
    /// Refuses `value` of `field`.
    pub fn new(field: impl Into<String>, value: impl Display, accepted: impl Into<String>) -> Self {
        Self {
            // Of a JSON document, any text may be a field.
            field: without_key(field.into(), "(hidden)"),
            value: beginning(value.to_string()),
            accepted: without_key(accepted.into(), "another value"),
        }
    }

    /// Several refusals in one text.
    pub fn sentences(refusals: &[Self]) -> String {
        let sentences: Vec<String> = refusals.iter().map(ToString::to_string).collect();
        sentences.join("; ")
    }

    /// The same refusal, of a field inside `parent`: `interval` becomes `check.interval`.
    #[must_use]
    pub fn within(mut self, parent: &str) -> Self {
        self.field = format!("{parent}.{}", self.field);
        self
    }

    /// The same refusal under another name of the field.
    #[must_use]
    pub fn named(mut self, field: impl Into<String>) -> Self {
        self.field = field.into();
        self
    }
}

/// With what a private key in PEM begins, whatever kind it has.
const PRIVATE_KEY: &str = "PRIVATE KEY-----";

/// A text, unless it has a private key in it, as messages of parsers may.
fn without_key(text: String, otherwise: &str) -> String {
    // Some sentences say with what a key begins, and end with it.
    match text.split_once(PRIVATE_KEY) {
        Some((_, rest)) if !rest.is_empty() => otherwise.to_owned(),
        _ => text,
    }
}

fn beginning(mut value: String) -> String {
    // A private key in the wrong field would otherwise be repeated in the response and in the log.
    if value.contains(PRIVATE_KEY) {
        return "(hidden)".to_owned();
    }
    if let Some((end, _)) = value.char_indices().nth(LONGEST_VALUE) {
        value.truncate(end);
        value.push('…');
    }
    value
}

/// Accepts `value` when it lies in `range`, and says so in words otherwise.
pub fn in_range(
    field: &str,
    value: Duration,
    range: RangeInclusive<Duration>,
) -> Result<Duration, Invalid> {
    if range.contains(&value) {
        return Ok(value);
    }
    let (shortest, longest) = range.into_inner();
    Err(Invalid::new(
        field,
        humantime::format_duration(value),
        format!(
            "a duration from {} to {}",
            humantime::format_duration(shortest),
            humantime::format_duration(longest)
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_in_the_wrong_field_is_not_repeated() {
        let key = "-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\n";
        let message = format!("invalid type: string {key:?}, expected a boolean");
        for invalid in [
            Invalid::new("name", key, "a name"),
            Invalid::new("force", "", message),
            Invalid::new(key, "", "one of the keys name, force"),
        ] {
            assert!(!invalid.to_string().contains("MIIE"), "{invalid}");
        }
        let begins = "a private key, which begins with -----BEGIN PRIVATE KEY-----";
        assert_eq!(Invalid::new("key", "", begins).accepted, begins);
    }
}
