//! Patterns with `*` and `?`.

/// A pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Glob(Box<[Part]>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Byte(u8),
    /// `?`
    One,
    /// `*`
    Any,
}

impl Glob {
    /// The pattern that `text` writes; `literal` makes of the text between `*` and `?` the bytes that it stands for.
    pub(super) fn new(text: &str, literal: impl Fn(&[u8]) -> Vec<u8>) -> Self {
        let mut parts = Vec::with_capacity(text.len());
        let mut rest = text.as_bytes();
        loop {
            let end = rest.iter().position(|byte| b"*?".contains(byte));
            let fixed = literal(&rest[..end.unwrap_or(rest.len())]);
            parts.extend(fixed.into_iter().map(Part::Byte));
            let Some(end) = end else { break };
            match rest[end] {
                b'*' if parts.last() == Some(&Part::Any) => {}
                b'*' => parts.push(Part::Any),
                _ => parts.push(Part::One),
            }
            rest = &rest[end + 1..];
        }
        Self(parts.into_boxed_slice())
    }

    /// Whether all of `text` matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        let parts = &self.0;
        let (mut at, mut part) = (0, 0);
        // Where the last `*` is, and how far what it stands for goes so far.
        let mut last_any: Option<(usize, usize)> = None;
        while at < text.len() {
            match parts.get(part) {
                Some(Part::Any) => {
                    last_any = Some((part, at));
                    part += 1;
                    continue;
                }
                Some(Part::One) => {
                    at += 1;
                    part += 1;
                    continue;
                }
                Some(Part::Byte(byte)) if *byte == text[at] => {
                    at += 1;
                    part += 1;
                    continue;
                }
                Some(Part::Byte(_)) | None => {}
            }
            let Some((any, begun)) = last_any else {
                return false;
            };
            last_any = Some((any, begun + 1));
            part = any + 1;
            at = begun + 1;
        }
        parts[part..].iter().all(|part| *part == Part::Any)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Glob::new(pattern, <[u8]>::to_vec).matches(text.as_bytes())
    }

    #[test]
    fn stars_and_question_marks() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "ab", false),
            ("?", "a", true),
            ("?", "", false),
            ("*", "", true),
            ("*", "a/b", true),
            ("a*c", "abbc", true),
            ("a*c", "abcb", false),
            ("a**c", "ac", true),
            ("*ab", "aab", true),
            ("*.jpg", "/a.jpg.jpg", true),
            ("/*/x?", "/a/b/xy", true),
            ("/*/x?", "/a/b/x", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    /// As the definition says it.
    fn slow(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => {
                slow(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(_, text)| slow(pattern, text))
            }
            (Some((b'?', rest)), Some((_, text))) => slow(rest, text),
            (Some((byte, rest)), Some((found, text))) => byte == found && slow(rest, text),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_matches_what_its_definition_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            prop_assert_eq!(matches(&pattern, &text), slow(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
