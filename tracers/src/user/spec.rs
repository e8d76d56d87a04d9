//! A tracer with its options, as a TraceJob names it: `{tcpConnect: {port: 443}}`. Strict, and generic by the options' own table.

use crate::{
    ALL, Erased, Opt, OptValue, Plan,
    user::erased::{camel, find, nearest},
};
use core::fmt;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::{Value as Json, json};
use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// Maximum number of characters of an invalid value in its error.
const SHOWN: usize = 64;

/// A tracer with its options. Required options are set, and each value is valid.
#[derive(Clone)]
pub struct Spec {
    tracer: &'static dyn Erased,
    values: Vec<OptValue>,
}

/// A [`Spec`] whose options are still being read.
#[derive(Clone)]
pub struct Draft {
    tracer: &'static dyn Erased,
    values: Vec<Option<OptValue>>,
}

/// Error of a tracer's name or options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// No tracer has that name.
    UnknownTracer(String),
    /// The tracer has no such option.
    UnknownOption {
        /// The tracer, as the caller writes names.
        tracer: String,
        /// Requested option.
        option: String,
        /// Options of the tracer.
        known: Vec<&'static str>,
    },
    /// The value is invalid.
    BadValue {
        /// The option, as the caller writes names.
        option: String,
        /// The value that was given, cut after 64 characters.
        given: String,
        /// Description of valid values.
        wanted: String,
    },
    /// A required option is not given.
    Missing {
        /// The tracer, as the caller writes names.
        tracer: String,
        /// The option, as the caller writes names.
        option: String,
        /// Description of valid values.
        wanted: String,
    },
}

impl SpecError {
    /// Returns the error for an invalid value.
    pub fn bad_value(option: &Opt, name: &str, given: &str) -> Self {
        let shown = given.chars().take(SHOWN).flat_map(char::escape_debug);
        let mut shown: String = shown.collect();
        if given.chars().nth(SHOWN).is_some() {
            shown.push('…');
        }
        Self::BadValue {
            option: name.to_string(),
            given: shown,
            wanted: option.kind.form().wanted(),
        }
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTracer(name) => {
                write!(f, "unknown tracer \"{}\"", name.escape_debug())?;
                let camels: Vec<String> = ALL.iter().map(|t| camel(t.name())).collect();
                let names = ALL.iter().map(|t| t.name());
                match nearest(name, names.chain(camels.iter().map(String::as_str))) {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => write!(f, "; `tracejob list` lists the tracers"),
                }
            }
            Self::UnknownOption {
                tracer,
                option,
                known,
            } => {
                let option = option.escape_debug();
                match known.is_empty() {
                    true => write!(f, "{tracer} has no option \"{option}\"; it has no options"),
                    false => write!(
                        f,
                        "{tracer} has no option \"{option}\"; options: {}",
                        known.join(", ")
                    ),
                }
            }
            Self::BadValue {
                option,
                given,
                wanted,
            } => write!(f, "{option} must be {wanted}, but is {given}"),
            Self::Missing {
                tracer,
                option,
                wanted,
            } => write!(f, "{tracer} requires {option}: {wanted}"),
        }
    }
}

impl std::error::Error for SpecError {}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spec")
            .field("tracer", &self.tracer.name())
            .field("values", &self.values)
            .finish()
    }
}

/// Returns the tracer of this name, in snake case or camel case.
///
/// # Errors
/// If no tracer has this name.
pub fn named(name: &str) -> Result<&'static dyn Erased, SpecError> {
    find(name).ok_or_else(|| SpecError::UnknownTracer(name.to_string()))
}

impl Draft {
    /// Returns a draft without options.
    pub fn new(tracer: &'static dyn Erased) -> Self {
        Self {
            tracer,
            values: vec![None; tracer.options().len()],
        }
    }

    /// Sets an option by its field's name or its key. The last value counts.
    ///
    /// # Errors
    /// If there is no such option, or the value is invalid.
    pub fn set(&mut self, name: &str, value: OptValue) -> Result<(), SpecError> {
        let (at, option) = position(self.tracer, name)?;
        if !option.kind.form().fits(&value) {
            let given = match &value {
                OptValue::Flag(on) => on.to_string(),
                OptValue::Number(number) => number.to_string(),
                OptValue::Text(text) => text.clone(),
                OptValue::List(items) => format!("a list of {}", items.len()),
            };
            return Err(SpecError::bad_value(option, name, &given));
        }
        self.values[at] = Some(value);
        Ok(())
    }

    /// Returns the spec, with defaults for options that are not set.
    ///
    /// # Errors
    /// If a required option is not set, or is empty.
    pub fn finish(self) -> Result<Spec, SpecError> {
        self.finish_with(|option| (self.tracer.name().to_string(), option.name.to_string()))
    }

    /// Returns the spec as [`Self::finish`] does, with the names of tracer and option in errors from `names`.
    ///
    /// # Errors
    /// If a required option is not set, or is empty.
    pub fn finish_with(&self, names: impl Fn(&Opt) -> (String, String)) -> Result<Spec, SpecError> {
        let Self { tracer, values } = self;
        let complete = tracer.options().iter().zip(values).map(|(option, given)| {
            let value = given.clone().unwrap_or_else(|| option.unset());
            if option.required && (given.is_none() || value.is_empty()) {
                let (tracer, name) = names(option);
                return Err(SpecError::Missing {
                    tracer,
                    option: name,
                    wanted: option.kind.form().wanted(),
                });
            }
            Ok(value)
        });
        Ok(Spec {
            tracer: *tracer,
            values: complete.collect::<Result<_, _>>()?,
        })
    }
}

fn position(tracer: &'static dyn Erased, name: &str) -> Result<(usize, &'static Opt), SpecError> {
    let options = tracer.options();
    let found = options
        .iter()
        .enumerate()
        .find(|(_, option)| option.name == name || option.key == name);
    found.ok_or_else(|| SpecError::UnknownOption {
        tracer: tracer.name().to_string(),
        option: name.to_string(),
        known: options.iter().map(|o| o.name).collect(),
    })
}

impl Spec {
    /// Returns a tracer with every option at its default.
    ///
    /// # Errors
    /// If no tracer has this name, or the tracer requires an option.
    pub fn new(name: &str) -> Result<Self, SpecError> {
        Draft::new(named(name)?).finish()
    }

    /// Returns the tracer.
    pub fn tracer(&self) -> &'static dyn Erased {
        self.tracer
    }

    /// Returns the options with their values.
    pub fn options(&self) -> impl Iterator<Item = (&'static Opt, &OptValue)> {
        self.tracer.options().iter().zip(&self.values)
    }

    /// Returns the options to send: all except those that are 0, off or empty by default and unchanged. Agents of several versions then
    /// behave the same, and an older agent still runs a trace that does not use its missing options.
    pub fn set_options(&self) -> impl Iterator<Item = (&'static Opt, &OptValue)> {
        self.options().filter(|(option, value)| {
            option.required || option.default.is_some() || **value != option.unset()
        })
    }

    /// Returns the kernel globals of the options, with their bytes in the kernel's representation.
    pub fn globals(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.options()
            .map(|(option, value)| {
                let mut bytes = Vec::with_capacity(option.kind.form().bytes());
                option.kind.form().write(value, &mut bytes);
                (option.global, bytes)
            })
            .collect()
    }

    /// Returns the plan of a trace with these options: its needs of the kernel, and its datasets.
    pub fn plan(&self) -> Plan {
        self.tracer().plan(self)
    }

    /// Returns the JSON Schema of `spec.tracer`: exactly one tracer, each with its own options.
    pub fn json_schema() -> Json {
        let properties: serde_json::Map<String, Json> = ALL
            .iter()
            .map(|tracer| {
                (
                    camel(tracer.name()),
                    options_schema(tracer.about(), tracer.options()),
                )
            })
            .collect();
        json!({
            "type": "object", "description": "Tracer to run, with its options. Exactly one key must be set.",
            "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "properties": properties,
        })
    }
}

/// Returns the JSON Schema of one tracer's options.
fn options_schema(about: &str, options: &[Opt]) -> Json {
    let properties = options
        .iter()
        .map(|option| (option.key.to_string(), option.schema()));
    let mut schema = json!({
        "type": "object", "description": about, "additionalProperties": false,
        "properties": properties.collect::<serde_json::Map<_, _>>(),
    });
    let required = options.iter().filter(|option| option.required);
    let required: Vec<&str> = required.map(|option| option.key).collect();
    if !required.is_empty() {
        schema["required"] = required.into();
    }
    schema
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options: serde_json::Map<_, _> = self
            .options()
            .filter(|(_, value)| !value.is_empty())
            .map(|(option, value)| (option.key.to_string(), option.kind.form().json(value)))
            .collect();
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&camel(self.tracer.name()), &options)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Spec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SpecVisitor)
    }
}

struct SpecVisitor;

impl<'de> Visitor<'de> for SpecVisitor {
    type Value = Spec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("one tracer with its options, such as `{tcpConnect: {port: 443}}`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
        let Some(name) = map.next_key::<String>()? else {
            return Err(de::Error::custom(
                "exactly one tracer is required, but there is none",
            ));
        };
        let tracer = named(&name).map_err(de::Error::custom)?;
        let spec = map.next_value_seed(Options {
            tracer,
            name: &name,
        })?;
        match map.next_key::<String>()? {
            None => Ok(spec),
            Some(second) => Err(de::Error::custom(format!(
                "exactly one tracer is required, but there is also \"{}\"",
                second.escape_debug()
            ))),
        }
    }
}

/// Reads the options of a tracer that the text calls `name`.
struct Options<'a> {
    tracer: &'static dyn Erased,
    name: &'a str,
}

impl Options<'_> {
    fn finish<E: de::Error>(&self, draft: &Draft) -> Result<Spec, E> {
        let spec = draft.finish_with(|option| (self.name.to_string(), option.key.to_string()));
        spec.map_err(E::custom)
    }
}

impl<'de> DeserializeSeed<'de> for Options<'_> {
    type Value = Spec;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Spec, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Options<'_> {
    type Value = Spec;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the options of {} (`{{}}` for none)", self.name)
    }

    /// Reads `syscallCount:` without a value.
    fn visit_unit<E: de::Error>(self) -> Result<Spec, E> {
        self.finish(&Draft::new(self.tracer))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
        let options = self.tracer.options();
        let mut draft = Draft::new(self.tracer);
        while let Some(key) = map.next_key::<String>()? {
            let Some(at) = options.iter().position(|o| o.key == key) else {
                return Err(de::Error::custom(SpecError::UnknownOption {
                    tracer: self.name.to_string(),
                    option: key,
                    known: options.iter().map(|o| o.key).collect(),
                }));
            };
            if draft.values[at].is_some() {
                return Err(de::Error::duplicate_field(options[at].key));
            }
            draft.values[at] = Some(map.next_value_seed(OptionSeed(&options[at]))?);
        }
        self.finish(&draft)
    }
}

/// Reads the value of an option. It checks the value inside of the visitor, whose errors carry the place in the text.
struct OptionSeed(&'static Opt);

impl<'de> DeserializeSeed<'de> for OptionSeed {
    type Value = OptValue;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<OptValue, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl OptionSeed {
    fn read<E: de::Error>(&self, given: &Json) -> Result<OptValue, E> {
        let form = self.0.kind.form();
        let value = form.read_json(given).filter(|value| form.fits(value));
        value.ok_or_else(|| self.wrong(&given.to_string()))
    }

    fn wrong<E: de::Error>(&self, given: &str) -> E {
        E::custom(SpecError::bad_value(self.0, self.0.key, given))
    }
}

impl<'de> Visitor<'de> for OptionSeed {
    type Value = OptValue;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.0.kind.form().wanted(), self.0.key)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<OptValue, E> {
        self.read(&value.into())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<OptValue, E> {
        self.read(&value.into())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<OptValue, E> {
        self.read(&value.into())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<OptValue, E> {
        self.read(&value.into())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<OptValue, E> {
        self.read(&value.into())
    }

    fn visit_unit<E: de::Error>(self) -> Result<OptValue, E> {
        self.read(&Json::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<OptValue, A::Error> {
        let mut all = Vec::new();
        while let Some(item) = items.next_element::<Json>()? {
            all.push(item);
        }
        self.read(&all.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<OptValue, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Err(self.wrong("an object"))
    }
}

#[cfg(test)]
mod fixture;

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        serde_json::from_str::<Spec>(json).unwrap_err().to_string()
    }

    #[test]
    fn a_spec_survives_the_round_trip() {
        let spec: Spec =
            serde_json::from_str(r#"{"tcpConnect": {"port": 443, "failedOnly": true}}"#).unwrap();
        assert_eq!(spec.tracer().name(), "tcp_connect");
        let again: Spec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(
            again.globals(),
            vec![("PORT", vec![0xbb, 1]), ("FAILED_ONLY", vec![1])]
        );
    }

    #[test]
    fn an_unknown_option_names_those_that_there_are() {
        let message = error(r#"{"tcpConnect": {"prot": 443}}"#);
        assert!(
            message.starts_with(r#"tcpConnect has no option "prot"; options: port, failedOnly"#),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_tracer_gets_the_nearest_name() {
        let message = error(r#"{"tcpConect": {}}"#);
        assert!(
            message.starts_with(r#"unknown tracer "tcpConect"; did you mean tcpConnect?"#),
            "{message}"
        );
    }

    #[test]
    fn a_value_out_of_range_says_the_range() {
        let message = error(r#"{"tcpConnect": {"port": 65536}}"#);
        assert!(
            message.starts_with("port must be a whole number from 0 to 65535, but is 65536"),
            "{message}"
        );
        let message = error(r#"{"tcpConnect": {"failedOnly": 1}}"#);
        assert!(
            message.starts_with("failedOnly must be true or false, but is 1"),
            "{message}"
        );
    }

    #[test]
    fn two_tracers_and_none_are_refused() {
        assert!(error("{}").contains("there is none"));
        assert!(error(r#"{"open": {}, "exec": {}}"#).contains(r#"there is also "exec""#));
        assert!(
            error(r#"{"tcpConnect": {"port": 1, "port": 2}}"#).contains("duplicate field `port`")
        );
    }

    #[test]
    fn the_schema_has_no_format_and_every_option_its_prose() {
        let schema = Spec::json_schema();
        assert!(!schema.to_string().contains("\"format\""));
        assert_eq!(
            schema["properties"]["tcpConnect"]["properties"]["port"]["maximum"],
            65535
        );
    }
}
