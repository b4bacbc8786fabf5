//! What a response of HTTP/1.1 depends on, besides itself.

use crate::http1::Version;
use crate::proxy::message::RequestFacts;

/// What a response of HTTP/1.1 depends on, besides itself. The default is for a request that could not be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct ResponseContext {
    /// The request that it belongs to.
    pub(super) request: RequestFacts,
    /// The version whose framing, persistence and interim responses the client understands.
    pub(super) version: Version,
}

impl Default for ResponseContext {
    fn default() -> Self {
        Self {
            request: RequestFacts::default(),
            version: Version::Http11,
        }
    }
}
