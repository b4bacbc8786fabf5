//! How exactly a message has to keep to the grammar.

/// How exactly a message has to keep to the grammar.
///
/// Requests are always read strictly. A response has come from a server that an operator chose, so a defect that leaves
/// only one meaning is removed by default, and the client never sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Strictness {
    /// A defect that leaves only one meaning is mended.
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
