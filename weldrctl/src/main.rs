//! The command line of Weldr.
fn main() {}
