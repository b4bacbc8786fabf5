//! HTTP/1.1 as RFC 9110, RFC 9112, RFC 9209 and RFC 7239 have it, and as attackers do.

mod desync;
mod drips;
mod early;
mod expect;
mod faults;
mod following;
mod forwarded;
mod fuzz;
mod limits;
mod loops;
mod properties;
mod races;
mod refusals;
mod responses;
mod retries;
mod soak;
mod tables;
mod upgrade;
