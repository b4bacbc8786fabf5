//! HTTPS to clients and to servers, with real processes and real clients.

mod acme;
mod https;
mod servers;
