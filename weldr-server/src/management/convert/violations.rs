//! Collects all violations of a request, so that the caller learns them at once.

use crate::{management::error::Error, model::Invalid};

/// The maximum number of violations in an error, because gRPC sends an error in a header of limited size.
const MAX_VIOLATIONS: usize = 8;
/// The maximum length of a value, or of the name of a field, in an error.
const MAX_ECHO_BYTES: usize = 64;

/// The violations so far.
#[derive(Debug, Default)]
pub(in crate::management) struct Violations(Vec<Invalid>);

impl Violations {
    /// Adds a violation.
    pub(in crate::management) fn add(&mut self, mut invalid: Invalid) {
        if self.0.len() < MAX_VIOLATIONS {
            shorten(&mut invalid.field);
            shorten(&mut invalid.value);
            self.0.push(invalid);
        }
    }

    /// Adds the violations of the part of the request that is at `path`.
    pub(in crate::management) fn add_within(&mut self, path: &str, found: Self) {
        for invalid in found.0 {
            self.add(invalid.within(path));
        }
    }

    /// Whether there is no violation so far.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of `Ok`, or adds the violation.
    pub(in crate::management) fn take<T>(&mut self, result: Result<T, Invalid>) -> Option<T> {
        result.map_err(|invalid| self.add(invalid)).ok()
    }

    /// Returns the value if there is no violation, and all violations otherwise. `None` without a violation cannot occur:
    /// a violation was added when the value was missing.
    pub(in crate::management) fn settle<T>(self, value: Option<T>) -> Result<T, Error> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(Error::Invalid(self.0)),
        }
    }
}

fn shorten(text: &mut String) {
    if let Some((end, _)) = text.char_indices().nth(MAX_ECHO_BYTES) {
        text.truncate(end);
        text.push('…');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_bounded_whatever_was_sent() {
        let mut violations = Violations::default();
        for _ in 0..100 {
            violations.add(Invalid::new("ä".repeat(5000), "ö".repeat(5000), "less"));
        }
        let Err(Error::Invalid(kept)) = violations.settle(Some(())) else {
            panic!("violations are an error");
        };
        assert_eq!(kept.len(), MAX_VIOLATIONS);
        for invalid in kept {
            assert_eq!(invalid.field.chars().count(), MAX_ECHO_BYTES + 1);
            assert_eq!(invalid.value, "ö".repeat(MAX_ECHO_BYTES) + "…");
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_at_once() {
        let mut violations = Violations::default();
        assert_eq!(violations.take(Ok(1)), Some(1));
        for field in ["a", "b"] {
            assert_eq!(
                violations.take::<()>(Err(Invalid::new(field, 0, "1"))),
                None
            );
        }
        let error = violations.settle(Some(())).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"a: "0" is not accepted: 1; b: "0" is not accepted: 1"#
        );
    }
}
