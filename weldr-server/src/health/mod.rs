//! Whether servers are well: one task a server that checks it, and tells when its health changes.
