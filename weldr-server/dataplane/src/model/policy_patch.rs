//! Changes of a policy, each value of which may be set or left to the node.

use serde::{Deserialize, Serialize};

use super::Invalid;

/// Changes of a policy.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyPatch<P> {
    /// The values that are set; `None` leaves a value as it is.
    #[serde(default)]
    pub set: P,
    /// The names of the values that are not set any more, so that those of the node's options hold.
    #[serde(default = "Vec::new", skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<String>,
}

/// A policy, each value of which may be set or not.
pub trait Policy: Sized + PartialEq + 'static {
    /// The names of its values.
    const FIELDS: &'static [&'static str];

    /// These values, and those of `below` that these do not set.
    #[must_use]
    fn over(&self, below: &Self) -> Self;

    /// Leaves the value of that name to the node.
    fn unset(&mut self, field: &str);

    /// The names of the values that are set.
    fn set_fields(&self) -> Vec<&'static str>;
}

impl<P: Policy + Clone> PolicyPatch<P> {
    /// `policy` with these changes. A value that is both unset and set is set.
    #[must_use]
    pub fn applied_to(&self, policy: &P) -> P {
        let mut below = policy.clone();
        for field in &self.unset {
            below.unset(field);
        }
        self.set.over(&below)
    }

    /// Accepts the names of values that exist.
    pub(super) fn validate_names(&self) -> Result<(), Invalid> {
        let is_unknown = |name: &&String| !P::FIELDS.contains(&name.as_str());
        match self.unset.iter().find(is_unknown) {
            Some(name) => {
                let accepted = format!("one of {}", P::FIELDS.join(", "));
                Err(Invalid::new("unset", name, accepted))
            }
            None => Ok(()),
        }
    }
}

/// Implements [`Policy`] for a struct of options.
macro_rules! policy {
    ($policy:ident { $($field:ident),* $(,)? }) => {
        impl $crate::model::Policy for $policy {
            const FIELDS: &'static [&'static str] = &[$(stringify!($field)),*];

            fn over(&self, below: &Self) -> Self {
                Self { $($field: self.$field.clone().or_else(|| below.$field.clone())),* }
            }

            fn unset(&mut self, field: &str) {
                match field {
                    $(stringify!($field) => self.$field = None,)*
                    _ => {}
                }
            }

            fn set_fields(&self) -> Vec<&'static str> {
                let mut set = Vec::new();
                $(if self.$field.is_some() { set.push(stringify!($field)); })*
                set
            }
        }
    };
}
pub(super) use policy;
