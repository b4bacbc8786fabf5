//! Sessions that stick to a server: which requests belong to one, and the cookie that names its server. Pure.
//!
//! The cookie names the server by its address, encrypted and authenticated with a key that all nodes have, and bound to its
//! pool: a node needs no memory of sessions, and a client learns nothing. What is forged, expired or of another pool is ignored.
//!
//! * `cookies`: reads and changes a Cookie field.
//! * `keys`: seals and opens the value of the cookie.
//! * `session`: what a request's cookies mean, and whether its response sets one.

mod cookies;
mod keys;
mod session;

pub use cookies::{cookie, without_cookie};
pub use keys::SessionKeys;
pub use session::{Session, SessionRequest, StickyPool};
