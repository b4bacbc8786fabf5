//! Reads the tables: text with one case after the other.
//!
//! ```text
//! case: a length and a coding
//! rule: RFC 9112 6.1
//! > POST / HTTP/1.1
//! > Host: a
//! > Content-Length: 5
//! > Transfer-Encoding: chunked
//! >
//! > 0
//! >
//! = refused 400
//! ```
//!
//! A line of `>` (the client sends) or `<` (the server sends) ends with CRLF, unless its last character is a
//! backslash. `\r`, `\n`, `\t`, `\0`, `\\` and `\xHH` stand for bytes, and `\*N{text}` for `text` N times.
//! `=` says what is required, `~` what the RFCs permit besides and Weldr forgoes, `+` what must be so as
//! well, `!` what happens at that point. `#` begins a remark.

/// One case as it is written.
#[derive(Debug)]
pub struct Block {
    /// What it is about.
    pub name: String,
    /// Which rule requires it.
    pub rule: String,
    /// Its lines: the sign before each, and what follows it.
    pub lines: Vec<(char, String)>,
}

/// Reads a table.
///
/// # Panics
/// When a line is not understood.
pub fn parse(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for line in text.lines() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(name) = line.strip_prefix("case: ") {
            blocks.push(Block {
                name: name.to_owned(),
                rule: String::new(),
                lines: Vec::new(),
            });
            continue;
        }
        let block = blocks.last_mut().expect("a table begins with a case");
        if let Some(rule) = line.strip_prefix("rule: ") {
            rule.clone_into(&mut block.rule);
            continue;
        }
        let sign = line.chars().next().unwrap_or(' ');
        assert!(
            "><=~+!".contains(sign),
            "a line of {:?}: {line}",
            block.name
        );
        let rest = &line[1..];
        let rest = rest.strip_prefix(' ').unwrap_or(rest);
        block.lines.push((sign, rest.to_owned()));
    }
    blocks
}

/// The bytes of a line of `>` or `<`.
///
/// # Panics
/// When an escape is not understood.
pub fn bytes_of_line(line: &str) -> Vec<u8> {
    let ends_open = line.ends_with('\\') && !line.ends_with("\\\\");
    let text = if ends_open {
        &line[..line.len() - 1]
    } else {
        line
    };
    let mut bytes = unescape(text);
    if !ends_open {
        bytes.extend(b"\r\n");
    }
    bytes
}

/// `text` with its escapes resolved.
///
/// # Panics
/// When an escape is not understood.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        let escape = &rest[at + 1..];
        let used = match escape.as_bytes().first() {
            Some(b'r') => push(&mut bytes, b"\r", 1),
            Some(b'n') => push(&mut bytes, b"\n", 1),
            Some(b't') => push(&mut bytes, b"\t", 1),
            Some(b'0') => push(&mut bytes, b"\0", 1),
            Some(b'\\') => push(&mut bytes, b"\\", 1),
            Some(b'x') => {
                let byte = u8::from_str_radix(&escape[1..3], 16).expect("two hexadecimal digits");
                push(&mut bytes, &[byte], 3)
            }
            Some(b'*') => {
                let (count, unit) = escape[1..].split_once('{').expect("{ after a count");
                let unit = &unit[..closing_brace(unit)];
                let repeated = unescape(unit).repeat(count.parse().expect("a count"));
                let used = 1 + count.len() + 1 + unit.len() + 1;
                push(&mut bytes, &repeated, used)
            }
            _ => panic!("an escape that is not known in {text:?}"),
        };
        rest = &escape[used..];
    }
    bytes.extend(rest.as_bytes());
    bytes
}

/// Where the brace that was opened before `text` is closed.
fn closing_brace(text: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 0 => return at,
            b'}' => depth -= 1,
            _ => {}
        }
    }
    panic!("no closing brace in {text:?}");
}

fn push(bytes: &mut Vec<u8>, more: &[u8], used: usize) -> usize {
    bytes.extend(more);
    used
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_cases() {
        let blocks =
            parse("# remark\ncase: a: b\nrule: RFC 1\n> GET\n>\n= refused 400\n\ncase: c\n");
        assert_eq!(blocks.len(), 2);
        assert_eq!(
            (blocks[0].name.as_str(), blocks[0].rule.as_str()),
            ("a: b", "RFC 1")
        );
        let lines: Vec<_> = blocks[0]
            .lines
            .iter()
            .map(|(sign, text)| (*sign, text.as_str()))
            .collect();
        assert_eq!(lines, [('>', "GET"), ('>', ""), ('=', "refused 400")]);
    }

    #[test]
    fn resolves_escapes() {
        assert_eq!(bytes_of_line("a"), b"a\r\n");
        assert_eq!(bytes_of_line("a\\"), b"a");
        assert_eq!(bytes_of_line("a\\n\\"), b"a\n");
        assert_eq!(unescape(r"\*2{a\*2{b}}c"), b"abbabbc");
        assert_eq!(bytes_of_line(r"\xff\0\\\*3{ab}c\"), b"\xff\0\\abababc");
    }
}
