//! The colours of text on a terminal.

use std::{env, fmt::Display};

use weldr_proto::v1::HealthState;

/// A colour with a meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tint {
    /// Healthy, or as it should be.
    Good,
    /// Failed.
    Bad,
    /// Draining.
    Leaving,
    /// Not yet decided.
    Undecided,
    /// The head of a table.
    Head,
    /// Not in use.
    Dim,
}

impl Tint {
    /// The colour of a health state. A state that this program does not know has none.
    pub(crate) fn of_state(state: i32) -> Option<Self> {
        match HealthState::try_from(state).unwrap_or_default() {
            HealthState::Healthy => Some(Self::Good),
            HealthState::Unhealthy => Some(Self::Bad),
            HealthState::Draining => Some(Self::Leaving),
            HealthState::Initial => Some(Self::Undecided),
            HealthState::Unused => Some(Self::Dim),
            HealthState::Unspecified => None,
        }
    }

    /// The control sequence that begins this colour.
    pub(crate) fn begin(self) -> &'static str {
        match self {
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Leaving => "\x1b[33m",
            Self::Undecided => "\x1b[36m",
            Self::Head => "\x1b[1m",
            Self::Dim => "\x1b[2m",
        }
    }
}

/// The control sequence that ends a colour.
pub(crate) const END: &str = "\x1b[0m";

/// Whether the terminal does not support control sequences.
pub(crate) fn is_dumb() -> bool {
    env::var_os("TERM").is_some_and(|value| value == "dumb")
}

/// Whether to colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// Colours a terminal, unless `NO_COLOR` is set to anything or `TERM` is `dumb`.
    pub(crate) fn for_terminal(terminal: bool) -> Self {
        let refused = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(terminal && !refused && !is_dumb())
    }

    /// Uses no colours.
    pub(crate) const PLAIN: Self = Self(false);
    /// Always uses colours.
    #[cfg(test)]
    pub(crate) const COLOURED: Self = Self(true);

    /// The colour to use for this meaning, if any.
    pub(crate) fn tint(self, tint: Option<Tint>) -> Option<Tint> {
        tint.filter(|_| self.0)
    }

    /// Text in the colour of its meaning.
    pub(crate) fn text(self, text: impl Display, tint: Option<Tint>) -> String {
        match self.tint(tint) {
            Some(tint) => format!("{}{text}{END}", tint.begin()),
            None => text.to_string(),
        }
    }
}
