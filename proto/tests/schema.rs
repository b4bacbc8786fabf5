//! The JSON schema of the configuration file is what the messages say: it is derived from their descriptors, with their comments.
//!
//! `WELDR_WRITE_SCHEMA=1 cargo test -p weldr-proto --test schema` writes it anew.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on says so by panicking"
)]

use std::{collections::BTreeSet, fs, path::PathBuf};

use prost::Message as _;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet, field_descriptor_proto::Type,
};
use serde_json::{Map, Value, json};
use weldr_proto::{FILE_DESCRIPTOR_SET, v1};

/// The descriptors of the operators' API.
struct Api(Vec<FileDescriptorProto>);

impl Api {
    fn new() -> Self {
        let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let files = set.file.into_iter();
        Self(files.filter(|file| file.package() == "weldr.v1").collect())
    }

    /// A message, its file, and its index in that.
    fn message(&self, name: &str) -> (&DescriptorProto, &FileDescriptorProto, i32) {
        let found = self.0.iter().find_map(|file| {
            let mut messages = file.message_type.iter();
            let index = messages.position(|message| message.name() == name)?;
            Some((
                &file.message_type[index],
                file,
                i32::try_from(index).unwrap(),
            ))
        });
        found.unwrap_or_else(|| panic!("no message {name}"))
    }

    fn words(&self, name: &str) -> Vec<String> {
        let enums = self.0.iter().flat_map(|file| &file.enum_type);
        let mut enums = enums.filter(|of| of.name() == name);
        let of: &EnumDescriptorProto = enums.next().unwrap_or_else(|| panic!("no enum {name}"));
        let prefix = of.value[0].name().strip_suffix("UNSPECIFIED").unwrap();
        let values = of.value.iter().skip(1);
        values
            .map(|value| {
                value
                    .name()
                    .strip_prefix(prefix)
                    .unwrap()
                    .to_ascii_lowercase()
            })
            .collect()
    }

    /// The schema of the message `name`; the messages that it needs are added to `needed`.
    fn object(&self, name: &str, needed: &mut BTreeSet<String>) -> Value {
        let (message, file, index) = self.message(name);
        let mut properties = Map::new();
        self.properties(name, needed, &mut properties);
        let mut schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": properties,
        });
        if let Some(comment) = comment(file, &[4, index]) {
            schema["description"] = comment.into();
        }
        debug_assert_eq!(message.name(), name);
        schema
    }

    fn properties(
        &self,
        name: &str,
        needed: &mut BTreeSet<String>,
        properties: &mut Map<String, Value>,
    ) {
        let (message, file, index) = self.message(name);
        for (number, field) in (0..).zip(&message.field) {
            let in_choice = field.oneof_index.is_some() && !field.proto3_optional();
            if in_choice {
                // The fields of an HTTP check stand beside its type.
                if field.name() == "http" {
                    properties.insert("type".to_owned(), json!({"enum": ["http", "tcp", null]}));
                    self.properties("HttpCheck", needed, properties);
                }
                continue;
            }
            let (name, mut schema) = self.field(message, field, needed);
            if let Some(comment) = comment(file, &[4, index, 2, number]) {
                schema["description"] = comment.into();
            }
            properties.insert(name, schema);
        }
    }

    fn field(
        &self,
        message: &DescriptorProto,
        field: &FieldDescriptorProto,
        needed: &mut BTreeSet<String>,
    ) -> (String, Value) {
        let name = field.name().to_owned();
        let referenced = field.type_name().rsplit('.').next().unwrap_or_default();
        let is_list = field.label() == prost_types::field_descriptor_proto::Label::Repeated;
        let nullable = |kind: &str| json!({"type": [kind, "null"]});
        let one = match field.r#type() {
            Type::String => json!({"type": "string"}),
            Type::Uint32 | Type::Uint64 if field.proto3_optional() => nullable("integer"),
            Type::Uint32 | Type::Uint64 => json!({"type": "integer", "minimum": 0}),
            Type::Bool => nullable("boolean"),
            Type::Enum => {
                let mut words: Vec<Value> =
                    self.words(referenced).into_iter().map(Into::into).collect();
                words.push(Value::Null);
                json!({"enum": words})
            }
            Type::Message if referenced == "Duration" => {
                let schema = json!({"type": ["number", "null"], "minimum": 0});
                return (name + "_seconds", schema);
            }
            Type::Message if matches!(referenced, "TrustedProxies" | "CertificateNames") => {
                json!({"type": ["array", "null"], "items": {"type": "string"}})
            }
            Type::Message
                if message
                    .nested_type
                    .iter()
                    .any(|nested| nested.name() == referenced) =>
            {
                return (
                    name,
                    json!({"type": "object", "additionalProperties": {"type": "string"}}),
                );
            }
            Type::Message => {
                needed.insert(referenced.to_owned());
                let reference = json!({"$ref": format!("#/$defs/{referenced}")});
                if is_list {
                    reference
                } else {
                    json!({"anyOf": [reference, {"type": "null"}]})
                }
            }
            other => panic!("{other:?} of {name} has no schema"),
        };
        if is_list {
            return (name, json!({"type": "array", "items": one}));
        }
        (name, one)
    }
}

/// The comment of what is at `path` in a file.
fn comment(file: &FileDescriptorProto, path: &[i32]) -> Option<String> {
    let locations = &file.source_code_info.as_ref()?.location;
    let location = locations.iter().find(|location| location.path == path)?;
    let words: Vec<&str> = location.leading_comments().split_whitespace().collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn schema() -> Value {
    let api = Api::new();
    let mut needed = BTreeSet::from(["Configuration".to_owned()]);
    let mut definitions = Map::new();
    while let Some(name) = needed
        .iter()
        .find(|name| !definitions.contains_key(*name))
        .cloned()
    {
        let object = api.object(&name, &mut needed);
        definitions.insert(name, object);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A configuration of Weldr, as weldrctl apply reads it",
        "$ref": "#/$defs/Configuration",
        "$defs": definitions,
    })
}

#[test]
fn the_schema_is_that_of_the_messages() {
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../weldr-server/docs/routing.schema.json");
    let schema = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
    if std::env::var_os("WELDR_WRITE_SCHEMA").is_some() {
        fs::write(&file, &schema).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        kept == schema,
        "the schema differs from the messages: run this test with WELDR_WRITE_SCHEMA=1"
    );
}

/// The keys that are written for each message are those of the schema.
#[test]
fn the_schema_has_the_keys_that_are_written() {
    let schema = schema();
    let check = |name: &str, written: Value| {
        let properties = &schema["$defs"][name]["properties"];
        let in_schema: BTreeSet<&String> = properties.as_object().unwrap().keys().collect();
        let written: BTreeSet<&String> = written.as_object().unwrap().keys().collect();
        assert_eq!(in_schema, written, "{name}");
    };
    macro_rules! check {
        ($($message:ident),*) => {
            $(check(stringify!($message), serde_json::to_value(v1::$message::default()).unwrap());)*
        };
    }
    check!(
        Configuration,
        PoolConfiguration,
        PoolSettings,
        PoolPolicy,
        HealthCheck,
        ServerConfiguration,
        ListenerConfiguration,
        ListenerPolicy,
        ListenerTls,
        PoolTls,
        RuleConfiguration,
        Conditions,
        NamedValues,
        Route,
        WeightedPool,
        Redirect,
        FixedResponse,
        MessageChanges,
        PathPrefixChange,
        FieldChanges
    );
    let outlier = weldr_proto::json::OutlierEjection::default();
    check("OutlierEjection", serde_json::to_value(outlier).unwrap());
    let limit = weldr_proto::json::RequestLimit::default();
    check("RequestLimit", serde_json::to_value(limit).unwrap());
    let stickiness = weldr_proto::json::Stickiness::default();
    check("Stickiness", serde_json::to_value(stickiness).unwrap());
    assert_eq!(schema["$defs"].as_object().unwrap().len(), 23);
}

#[test]
fn the_schema_has_the_comments_of_the_messages() {
    let rule = &schema()["$defs"]["RuleConfiguration"]["properties"]["priority"];
    let told = "1 to 1000000; each number once. Every rule needs one.";
    assert_eq!(rule["description"], told);
}
