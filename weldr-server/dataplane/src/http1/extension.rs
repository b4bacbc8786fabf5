//! The extensions of a chunk: RFC 9112, section 7.1.1.
//!
//! `chunk-ext = *( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )`, where a value is a token or a
//! quoted-string. No proxy passes extensions on, but a recipient that ends their line at another byte sees another
//! body: bare CR or LF in an extension has been used to smuggle requests. So each byte is checked.

use super::{
    grammar::{is_field_value, is_token},
    strictness::Strictness,
};

/// Where in the extensions of a chunk the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extension {
    /// Behind a semicolon, before the name.
    BeforeName,
    Name,
    /// In white space behind the name.
    AfterName,
    /// Behind the equals sign.
    BeforeValue,
    /// In a value that is a token.
    Token,
    Quoted,
    /// Behind a backslash in quotes.
    Escaped,
    /// Behind the closing quotation mark.
    QuotedEnd,
    /// In white space that only another extension may follow.
    AfterValue,
    /// In an extension whose grammar does not matter.
    Any,
}

impl Extension {
    /// Behind the first semicolon.
    pub(super) fn first(strictness: Strictness) -> Self {
        match strictness {
            Strictness::Strict => Self::BeforeName,
            Strictness::Lenient => Self::Any,
        }
    }

    /// Whether the line may end here.
    pub(super) fn may_end(self) -> bool {
        matches!(self, Self::Name | Self::Token | Self::QuotedEnd | Self::Any)
    }

    /// The place behind `byte`, which is not the CR that ends the line; `None` when it must not be here.
    pub(super) fn after(self, byte: u8) -> Option<Self> {
        let is_space = matches!(byte, b' ' | b'\t');
        let is_text = is_field_value(&[byte]);
        let is_token = is_token(&[byte]);
        match self {
            Self::BeforeName if is_space => Some(Self::BeforeName),
            Self::BeforeName | Self::Name if is_token => Some(Self::Name),
            Self::Name | Self::AfterName if is_space => Some(Self::AfterName),
            Self::Name | Self::AfterName if byte == b'=' => Some(Self::BeforeValue),
            Self::BeforeValue if is_space => Some(Self::BeforeValue),
            Self::BeforeValue if byte == b'"' => Some(Self::Quoted),
            Self::BeforeValue | Self::Token if is_token => Some(Self::Token),
            Self::Quoted if byte == b'"' => Some(Self::QuotedEnd),
            Self::Quoted if byte == b'\\' => Some(Self::Escaped),
            Self::Quoted | Self::Escaped if is_text => Some(Self::Quoted),
            Self::Token | Self::QuotedEnd | Self::AfterValue if is_space => Some(Self::AfterValue),
            Self::Name | Self::AfterName | Self::Token | Self::QuotedEnd | Self::AfterValue
                if byte == b';' =>
            {
                Some(Self::BeforeName)
            }
            Self::Any if is_text => Some(Self::Any),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `text`, which stands behind the first semicolon, may stand before the end of the line.
    fn accepted(text: &str, strictness: Strictness) -> bool {
        let mut place = Extension::first(strictness);
        for byte in text.bytes() {
            match place.after(byte) {
                Some(next) => place = next,
                None => return false,
            }
        }
        place.may_end()
    }

    #[test]
    fn the_grammar_is_kept() {
        for text in [
            "a",
            " a",
            "a=b",
            "a = b",
            "a=\"\"",
            "a=\"b;c\\\"d\\\\ \t\u{e9}\"",
            "a;b",
            "a ; b=c\t; d",
            "a=\"b\" ;c",
        ] {
            assert!(accepted(text, Strictness::Strict), "{text:?}");
            assert!(accepted(text, Strictness::Lenient), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_extension_is_refused() {
        for text in [
            "",
            " ",
            "a ",
            "a=",
            "a= ",
            "=b",
            "a==b",
            "\"a\"",
            "a/b",
            "a=b/c",
            "a b",
            "a=b c",
            "a=\"b\"c",
            "a=\"b\" ",
            "a=b\"c\"",
            "a=\"b",
            "a=\"b\\\"",
            "a;",
            ";a",
            "a;;b",
        ] {
            assert!(!accepted(text, Strictness::Strict), "{text:?}");
            assert!(accepted(text, Strictness::Lenient), "{text:?}");
        }
    }

    #[test]
    fn a_control_character_is_refused_everywhere() {
        for control in ["\n", "\r", "\0", "\u{1}", "\u{7f}"] {
            for before in [
                "", "a", "a ", "a=", "a=b", "a=\"b", "a=\"\\", "a=\"b\"", "a=b ",
            ] {
                let text = format!("{before}{control}");
                assert!(!accepted(&text, Strictness::Strict), "{text:?}");
                assert!(!accepted(&text, Strictness::Lenient), "{text:?}");
            }
        }
    }
}
