//! Lines on standard output and standard error, for programs that go on when nobody takes what they print.
//!
//! `println!` and its like panic then, for example in `http-table | head -1`.

use std::{
    fmt::Arguments,
    io::{self, Write as _},
};

/// Writes a line to standard output. What cannot be written is lost.
pub fn line(text: Arguments<'_>) {
    let _ = writeln!(io::stdout().lock(), "{text}");
}

/// Writes a line to standard error. What cannot be written is lost.
pub fn complaint(text: Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// `println!` that cannot panic.
#[macro_export]
macro_rules! say {
    ($($text:tt)+) => { $crate::print::line(::std::format_args!($($text)+)) };
}

/// `eprintln!` that cannot panic.
#[macro_export]
macro_rules! complain {
    ($($text:tt)+) => { $crate::print::complaint(::std::format_args!($($text)+)) };
}
