//! In which settings two objects differ.

use std::{borrow::Cow, collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A setting in which an object that is there differs from one that is to be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Its field.
    pub name: Cow<'static, str>,
    /// What the object that is there has.
    pub present: String,
    /// What was asked for.
    pub asked: String,
}

/// The settings in which `present` and `asked` differ, by their paths.
pub fn differences<T: Serialize + PartialEq>(present: &T, asked: &T) -> Vec<Setting> {
    if present == asked {
        return Vec::new();
    }
    let (present, asked) = (settings(present), settings(asked));
    let names: std::collections::BTreeSet<&String> = present.keys().chain(asked.keys()).collect();
    let text = |settings: &BTreeMap<String, String>, name: &String| {
        settings.get(name).map_or("-", String::as_str).to_owned()
    };
    names
        .into_iter()
        .filter(|name| present.get(*name) != asked.get(*name))
        .map(|name| Setting {
            name: name.clone().into(),
            present: text(&present, name),
            asked: text(&asked, name),
        })
        .collect()
}

/// The settings of an object by their paths, as text. Those that are not set are left out.
fn settings(object: &impl Serialize) -> BTreeMap<String, String> {
    let mut settings = BTreeMap::new();
    // All that the model has can be written as JSON.
    let value = serde_json::to_value(object).unwrap_or_default();
    flatten(String::new(), &value, &mut settings);
    settings
}

fn flatten(path: String, value: &Value, settings: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            if let Some(duration) = duration(fields) {
                let duration = humantime::format_duration(duration).to_string();
                settings.insert(path, duration);
                return;
            }
            for (name, value) in fields {
                let path = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                flatten(path, value, settings);
            }
        }
        Value::String(text) => _ = settings.insert(path, text.clone()),
        other => _ = settings.insert(path, other.to_string()),
    }
}

/// A duration in the form in which serde writes it.
fn duration(fields: &serde_json::Map<String, Value>) -> Option<Duration> {
    let number = |name: &str| fields.get(name)?.as_u64();
    let nanos = u32::try_from(number("nanos")?).ok()?;
    (fields.len() == 2).then_some(Duration::new(number("secs")?, nanos))
}

/// Settings in words.
pub(super) struct Differences<'a>(pub(super) &'a [Setting]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, setting) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let Setting {
                name,
                present,
                asked,
            } = setting;
            write!(f, "{separator}{name} {present} (asked for: {asked})")?;
        }
        Ok(())
    }
}
