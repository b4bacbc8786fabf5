//! HTTP/1.1 as RFC 9110, RFC 9112, RFC 9209 and RFC 7239 have it, and as attackers do.

mod drips;
mod expect;
mod races;
mod refusals;
mod retries;
mod tables;
mod upgrade;
