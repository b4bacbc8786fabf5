//! Reads JSON: first into values, in which no key of the text is lost, and then into messages. An error names the field, its
//! value and what is accepted.

use std::cell::RefCell;

use serde::{
    Serialize,
    de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use serde_path_to_error::{Path, Segment};

use crate::{
    management::{convert::Violations, error::Error},
    model::Invalid,
};

/// The value that `text` writes. An object that has a key twice is refused: readers do not agree on which one counts.
pub(super) fn value(text: &[u8]) -> Result<Value, Error> {
    let violations = RefCell::new(Violations::default());
    let seed = ValueSeed {
        path: String::new(),
        violations: &violations,
    };
    let mut json = serde_json::Deserializer::from_slice(text);
    let value = seed.deserialize(&mut json).map_err(Error::Json)?;
    json.end().map_err(Error::Json)?;
    violations.into_inner().settle(Some(value))
}

/// The message that `value` is.
pub(super) fn message<T: DeserializeOwned + Serialize>(value: &Value) -> Result<T, Invalid> {
    let message: T = serde_path_to_error::deserialize(value).map_err(|error| {
        let field = error.path().to_string();
        let field = if field == "." {
            "body".to_owned()
        } else {
            field
        };
        let found = at(value, error.path()).map_or_else(String::new, shown);
        Invalid::new(field, found, accepted(&error.inner().to_string()))
    })?;
    // An array would be taken for the fields of a message in their order.
    let read = serde_json::to_value(&message).unwrap_or_default();
    match list_for_object(value, &read, "") {
        None => Ok(message),
        Some(invalid) => Err(invalid),
    }
}

/// A value as an error shows it: a string without its quotes.
pub(super) fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// The type of a value, for an error.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

fn at<'v>(value: &'v Value, path: &Path) -> Option<&'v Value> {
    path.iter().try_fold(value, |value, segment| match segment {
        Segment::Map { key } => value.get(key),
        Segment::Seq { index } => value.get(index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

/// What is accepted, by the error of the reader: `invalid type: string "x", expected u32`.
fn accepted(error: &str) -> String {
    if error.starts_with("unknown field") {
        let keys: Vec<&str> = error.split('`').skip(3).step_by(2).collect();
        return format!("one of the keys {}", keys.join(", "));
    }
    if let Some((_, accepted)) = error.split_once(" is not accepted: ") {
        return accepted.to_owned();
    }
    let Some((_, expected)) = error.rsplit_once(", expected ") else {
        return error.to_owned();
    };
    match expected {
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" => "a whole number that is not negative",
        "f64" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "an array",
        "a map" => "an object",
        expected if expected.starts_with("struct ") => "an object",
        expected => expected,
    }
    .to_owned()
}

/// The first array in `given` that was `read` as an object.
fn list_for_object(given: &Value, read: &Value, path: &str) -> Option<Invalid> {
    match (given, read) {
        (Value::Array(_), Value::Object(_)) => {
            let field = if path.is_empty() { "body" } else { path };
            Some(Invalid::new(field, shown(given), "an object"))
        }
        (Value::Array(given), Value::Array(read)) => {
            let mut each = given.iter().zip(read).enumerate();
            each.find_map(|(index, (given, read))| {
                list_for_object(given, read, &format!("{path}[{index}]"))
            })
        }
        (Value::Object(given), Value::Object(read)) => given
            .iter()
            .find_map(|(key, given)| list_for_object(given, read.get(key)?, &joined(path, key))),
        _ => None,
    }
}

fn joined(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// Reads a value, and collects the keys that are there twice.
struct ValueSeed<'a> {
    path: String,
    violations: &'a RefCell<Violations>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        loop {
            let seed = ValueSeed {
                path: format!("{}[{}]", self.path, values.len()),
                violations: self.violations,
            };
            match all.next_element_seed(seed)? {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut all: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(key) = all.next_key::<String>()? {
            let path = joined(&self.path, &key);
            let seed = ValueSeed {
                path: path.clone(),
                violations: self.violations,
            };
            let value = all.next_value_seed(seed)?;
            if fields.contains_key(&key) {
                let twice = Invalid::new(path, shown(&value), "each key once");
                self.violations.borrow_mut().add(twice);
            }
            fields.insert(key, value);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use weldr_proto::v1;

    use super::*;

    fn refused(text: &str) -> (String, String, String) {
        let value = value(text.as_bytes()).unwrap();
        let Invalid {
            field,
            value,
            accepted,
        } = message::<v1::CreateRuleRequest>(&value).unwrap_err();
        (field, value, accepted)
    }

    #[test]
    fn a_wrong_value_is_named_with_what_is_accepted() {
        for (text, field, value, accepted) in [
            ("[]", "body", "[]", "an object"),
            ("5", "body", "5", "an object"),
            (
                r#"{"priority":"x"}"#,
                "priority",
                "x",
                "a whole number from 0 to 4294967295",
            ),
            (
                r#"{"priority":-1}"#,
                "priority",
                "-1",
                "a whole number from 0 to 4294967295",
            ),
            (
                r#"{"priority":1.5}"#,
                "priority",
                "1.5",
                "a whole number from 0 to 4294967295",
            ),
            (r#"{"conditions":[]}"#, "conditions", "[]", "an object"),
            (
                r#"{"conditions":{"hosts":"a"}}"#,
                "conditions.hosts",
                "a",
                "an array",
            ),
            (
                r#"{"conditions":{"hosts":[7]}}"#,
                "conditions.hosts[0]",
                "7",
                "a string",
            ),
            (
                r#"{"conditions":{"headers":[["X"]]}}"#,
                "conditions.headers[0]",
                r#"["X"]"#,
                "an object",
            ),
            (
                r#"{"conditions":{"headers":[{"name":"X","value":"y"}]}}"#,
                "conditions.headers[0].value",
                "y",
                "one of the keys name, values",
            ),
        ] {
            let expected = (field.to_owned(), value.to_owned(), accepted.to_owned());
            assert_eq!(refused(text), expected, "{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_twice_is_refused() {
        let text = r#"{"a":[{"b":1,"c":2,"b":"x"}],"d":3,"d":3}"#;
        let Err(Error::Invalid(violations)) = value(text.as_bytes()) else {
            panic!("accepted");
        };
        let named = violations
            .iter()
            .map(|invalid| (&*invalid.field, &*invalid.value));
        let named: Vec<_> = named.collect();
        assert_eq!(named, [("a[0].b", "x"), ("d", "3")]);
    }

    #[test]
    fn a_value_is_what_the_text_says() {
        let text = r#"{"a":[1,-1,1.5,18446744073709551615,null,true,"x\n"],"b":{}}"#;
        let expected: Value = serde_json::from_str(text).unwrap();
        assert_eq!(value(text.as_bytes()).unwrap(), expected);
        assert!(matches!(value(b"{} x"), Err(Error::Json(_))));
    }
}
