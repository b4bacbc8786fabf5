//! A rule of a listener: which requests it is for, and what becomes of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Action, Conditions, Invalid, PathPattern, Revision, Route, RuleId};

/// One rule of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Which life of a rule it is.
    pub id: RuleId,
    /// Its place among the rules of its listener.
    pub priority: Priority,
    /// What operators want of it.
    pub spec: RuleSpec,
    /// The revision of the last change.
    pub revision: Revision,
}

/// What operators want of a rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleSpec {
    /// Which requests it is for.
    pub conditions: Conditions,
    /// What becomes of them.
    pub route: Route,
}

impl RuleSpec {
    /// Accepts a specification when each value is in its range.
    ///
    /// # Errors
    /// Names the field, its value and what is accepted.
    pub fn validate(&self) -> Result<(), Invalid> {
        let within = |invalid: Invalid| invalid.within("conditions");
        self.conditions.validate().map_err(within)?;
        let within = |invalid: Invalid| invalid.within("route");
        self.route.validate().map_err(within)?;
        let paths = &self.conditions.paths;
        let is_prefix = |path: &String| matches!(path.as_str().into(), PathPattern::Prefix(_));
        let has_rest = !paths.is_empty() && paths.iter().all(is_prefix);
        match &self.route.action {
            Action::Redirect(redirect) if redirect.needs_rest() && !has_rest => {
                let accepted =
                    "{rest} only in a rule whose paths all end with their one `*`, such as /old/*";
                Err(Invalid::new("location", &redirect.location, accepted).within("route.redirect"))
            }
            _ => Ok(()),
        }
    }
}

impl RuleSpec {
    /// Whether the route changes a prefix of the path that certainly no path has which the conditions accept.
    pub fn prefix_never_applies(&self) -> bool {
        let Some(change) = &self.route.changes.path_prefix else {
            return false;
        };
        let prefix = change.prefix.strip_suffix('/').unwrap_or(&change.prefix);
        let paths = &self.conditions.paths;
        let never = |path: &String| !may_have(path.as_str().into(), prefix);
        !paths.is_empty() && paths.iter().all(never)
    }
}

/// Whether a path that `pattern` matches may begin with the segments of `prefix`.
fn may_have(pattern: PathPattern<'_>, prefix: &str) -> bool {
    let has = |path: &str| {
        let rest = path.strip_prefix(prefix);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match pattern {
        PathPattern::Exact(path) => has(path),
        PathPattern::Prefix(begin) => has(begin) || prefix.starts_with(begin),
        PathPattern::Glob(glob) => {
            let begin = glob.split(['*', '?']).next().unwrap_or_default();
            has(begin) || prefix.starts_with(begin)
        }
    }
}

/// The place of a rule: those with lower numbers are tried first, and no two rules of a listener have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Priority(pub u32);

impl Priority {
    /// The greatest number.
    pub const LAST: Self = Self(1_000_000);
    /// The distance at which a rule without a number is added after the last one, so that others fit between.
    pub const STEP: u32 = 10;

    /// Accepts a number from 1 to [`LAST`](Self::LAST).
    ///
    /// # Errors
    /// Says which numbers are accepted.
    pub fn validate(self) -> Result<(), Invalid> {
        if (1..=Self::LAST.0).contains(&self.0) {
            return Ok(());
        }
        Err(Self::refused(&self.0.to_string()))
    }

    fn refused(value: &str) -> Invalid {
        let accepted = format!("a whole number from 1 to {}", Self::LAST.0);
        Invalid::new("priority", value, accepted)
    }
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Priority {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let priority = text.parse().map(Self).map_err(|_| Self::refused(text))?;
        priority.validate()?;
        Ok(priority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PathPrefixChange;

    fn never_applies(paths: &[&str], prefix: &str) -> bool {
        let mut spec = RuleSpec {
            conditions: Conditions::default(),
            route: Route::default(),
        };
        spec.conditions.paths = paths.iter().map(|path| (*path).to_owned()).collect();
        spec.route.changes.path_prefix = Some(PathPrefixChange {
            prefix: prefix.to_owned(),
            replacement: String::new(),
        });
        spec.prefix_never_applies()
    }

    #[test]
    fn a_prefix_that_no_path_has_never_applies() {
        for (paths, prefix) in [
            (&["/v1/*"] as &[&str], "/v2"),
            (&["/v1"], "/v1/a"),
            (&["/v10", "/v1x/*"], "/v1"),
            (&["/v1?*"], "/v2/"),
        ] {
            assert!(never_applies(paths, prefix), "{paths:?} {prefix}");
        }
        for (paths, prefix) in [
            (&[] as &[&str], "/v2"),
            (&["/v1/*"], "/v1"),
            (&["/v1/*"], "/v1/"),
            (&["/v1/*"], "/v1/a/b"),
            (&["/v1*"], "/v1"),
            (&["/v*"], "/v1"),
            (&["/v1"], "/v1"),
            (&["/x", "/v1/a"], "/v1"),
            (&["*.jpg"], "/img"),
            (&["/v?/*"], "/v1"),
            (&["/a"], "/"),
        ] {
            assert!(!never_applies(paths, prefix), "{paths:?} {prefix}");
        }
        let unchanged = RuleSpec {
            conditions: Conditions::default(),
            route: Route::default(),
        };
        assert!(!unchanged.prefix_never_applies());
    }
}
