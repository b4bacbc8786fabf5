//! What may be the name of a node.

use super::Invalid;

/// Accepts the name of a node: it is stored by all nodes of a cluster, shown to operators and logged.
///
/// # Errors
/// Says what is accepted.
pub fn node_name(name: &str) -> Result<(), Invalid> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && name.len() <= 64 && name.chars().all(allowed) {
        return Ok(());
    }
    let accepted = "1 to 64 letters, digits, `-`, `_` or `.`";
    Err(Invalid::new("node_name", name, accepted))
}
