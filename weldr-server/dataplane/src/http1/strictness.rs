//! How strictly the grammar of messages is enforced.

/// How strictly the grammar of messages is enforced.
///
/// Requests are always read strictly. A response has come from a server that an operator chose, so a defect that leaves
/// only one meaning is corrected by default, before the client sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Strictness {
    /// A defect that leaves only one meaning is corrected.
    #[default]
    Lenient,
    /// Each defect makes the message invalid.
    Strict,
}

impl From<bool> for Strictness {
    /// `true` is strict, as in the setting `strict_responses` of a pool.
    fn from(strict: bool) -> Self {
        if strict { Self::Strict } else { Self::Lenient }
    }
}
