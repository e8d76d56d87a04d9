//! A tracer with its options, as a TraceJob names it: `{tcpConnect: {port: 443}}`. Strict, and generic by the options' own table.

use crate::{
    ALL, Erased, Opt, OptKind, Plan,
    user::erased::{camel, find, nearest},
};
use core::fmt;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeSeed, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::json;
use std::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

/// Which tracer to run, and its options.
#[derive(Clone)]
pub struct Spec {
    tracer: &'static dyn Erased,
    values: Vec<u64>,
}

/// Why an option cannot be set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecError {
    /// No tracer has that name.
    UnknownTracer(String),
    /// The tracer has no such option.
    UnknownOption {
        /// The tracer, as the caller writes names.
        tracer: String,
        /// What was asked for.
        option: String,
        /// What there is.
        known: Vec<&'static str>,
    },
    /// The value does not fit.
    BadValue {
        /// The option.
        option: &'static str,
        /// What would fit.
        wanted: String,
    },
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownTracer(name) => {
                write!(f, "no tracer is called \"{}\"", name.escape_debug())?;
                let camels: Vec<String> = ALL.iter().map(|t| camel(t.name())).collect();
                let names = ALL.iter().map(|t| t.name());
                match nearest(name, names.chain(camels.iter().map(String::as_str))) {
                    Some(near) => write!(f, "; did you mean {near}?"),
                    None => write!(f, "; `tracejob list` shows them all"),
                }
            }
            Self::UnknownOption {
                tracer,
                option,
                known,
            } => {
                let option = option.escape_debug();
                match known.is_empty() {
                    true => write!(f, "{tracer} has no option \"{option}\"; it has none"),
                    false => write!(
                        f,
                        "{tracer} has no option \"{option}\"; it has: {}",
                        known.join(", ")
                    ),
                }
            }
            Self::BadValue { option, wanted } => write!(f, "{option} must be {wanted}"),
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

impl Spec {
    /// A tracer with every option at its default: 0 or off.
    ///
    /// # Errors
    /// Where no tracer has that name.
    pub fn new(name: &str) -> Result<Self, SpecError> {
        let tracer = find(name).ok_or_else(|| SpecError::UnknownTracer(name.to_string()))?;
        Ok(Self {
            tracer,
            values: vec![0; tracer.options().len()],
        })
    }

    /// The tracer.
    pub fn tracer(&self) -> &'static dyn Erased {
        self.tracer
    }

    /// Its options with their values.
    pub fn options(&self) -> impl Iterator<Item = (&'static Opt, u64)> {
        self.tracer
            .options()
            .iter()
            .zip(self.values.iter().copied())
    }

    /// Sets an option by its field's name or its key.
    ///
    /// # Errors
    /// Where there is no such option, or the value is too large.
    pub fn set(&mut self, option: &str, value: u64) -> Result<(), SpecError> {
        let options = self.tracer.options();
        let Some(at) = options
            .iter()
            .position(|o| o.name == option || o.key == option)
        else {
            return Err(SpecError::UnknownOption {
                tracer: self.tracer.name().to_string(),
                option: option.to_string(),
                known: options.iter().map(|o| o.name).collect(),
            });
        };
        if value > options[at].kind.max() {
            return Err(SpecError::BadValue {
                option: options[at].name,
                wanted: wanted(options[at].kind),
            });
        }
        self.values[at] = value;
        Ok(())
    }

    /// Every kernel global that the options set, with its bytes as the kernel stores them.
    pub fn globals(&self) -> Vec<(&'static str, Vec<u8>)> {
        self.options()
            .map(|(option, value)| {
                (
                    option.global,
                    value.to_le_bytes()[..option.kind.bytes()].to_vec(),
                )
            })
            .collect()
    }

    /// What a trace with these options needs of the kernel, and the tables that it produces.
    pub fn plan(&self) -> Plan {
        self.tracer().plan(self)
    }

    /// The JSON Schema of `spec.tracer`: exactly one tracer, each with its own options.
    pub fn json_schema() -> serde_json::Value {
        let properties: serde_json::Map<String, serde_json::Value> = ALL
            .iter()
            .map(|tracer| {
                let options: serde_json::Map<_, _> = tracer
                    .options()
                    .iter()
                    .map(|o| (o.key.to_string(), option_schema(o)))
                    .collect();
                let schema = json!({
                    "type": "object", "description": tracer.about(),
                    "additionalProperties": false, "properties": options,
                });
                (camel(tracer.name()), schema)
            })
            .collect();
        json!({
            "type": "object", "description": "Which tracer to run, and its options: exactly one key.",
            "additionalProperties": false, "minProperties": 1, "maxProperties": 1, "properties": properties,
        })
    }
}

fn option_schema(option: &Opt) -> serde_json::Value {
    match option.kind {
        OptKind::Flag => json!({"type": "boolean", "description": option.about, "default": false}),
        // No `format`: the API server does not know those of unsigned numbers and warns.
        OptKind::Number { .. } => json!({
            "type": "integer", "description": option.about, "default": 0, "minimum": 0,
            // An API server reads bounds as floating point: beyond this they are not exact.
            "maximum": option.kind.max().min(1 << 53),
        }),
    }
}

fn wanted(kind: OptKind) -> String {
    match kind {
        OptKind::Flag => "true or false".to_string(),
        OptKind::Number { .. } => format!("a number from 0 to {}", kind.max()),
    }
}

impl Serialize for Spec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let options: serde_json::Map<_, _> = self
            .options()
            .map(|(o, value)| match o.kind {
                OptKind::Flag => (o.key.to_string(), json!(value == 1)),
                OptKind::Number { .. } => (o.key.to_string(), json!(value)),
            })
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
                "exactly one tracer is wanted here, and there is none",
            ));
        };
        let spec = Spec::new(&name).map_err(de::Error::custom)?;
        let spec = map.next_value_seed(Options { spec, name: &name })?;
        match map.next_key::<String>()? {
            None => Ok(spec),
            Some(second) => Err(de::Error::custom(format!(
                "exactly one tracer is wanted here, and there is also \"{}\"",
                second.escape_debug()
            ))),
        }
    }
}

struct Options<'a> {
    spec: Spec,
    name: &'a str,
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
        write!(f, "the options of {}, `{{}}` for none", self.name)
    }

    /// `syscallCount:` with nothing behind it.
    fn visit_unit<E: de::Error>(self) -> Result<Spec, E> {
        Ok(self.spec)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Spec, A::Error> {
        let Self { mut spec, name } = self;
        let options = spec.tracer.options();
        let mut seen = vec![false; options.len()];
        while let Some(key) = map.next_key::<String>()? {
            let Some(at) = options.iter().position(|o| o.key == key) else {
                return Err(de::Error::custom(SpecError::UnknownOption {
                    tracer: name.to_string(),
                    option: key,
                    known: options.iter().map(|o| o.key).collect(),
                }));
            };
            if std::mem::replace(&mut seen[at], true) {
                return Err(de::Error::duplicate_field(options[at].key));
            }
            spec.values[at] = map.next_value_seed(OptionSeed(&options[at]))?;
        }
        Ok(spec)
    }
}

struct OptionSeed(&'static Opt);

impl<'de> DeserializeSeed<'de> for OptionSeed {
    type Value = u64;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<u64, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Visitor<'_> for OptionSeed {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", wanted(self.0.kind), self.0.key)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<u64, E> {
        match self.0.kind {
            OptKind::Flag => Ok(value.into()),
            OptKind::Number { .. } => Err(E::invalid_type(de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        match self.0.kind {
            OptKind::Number { .. } if value <= self.0.kind.max() => Ok(value),
            _ => Err(E::invalid_value(de::Unexpected::Unsigned(value), &self)),
        }
    }
}

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
            message.starts_with(r#"tcpConnect has no option "prot"; it has: port, failedOnly"#),
            "{message}"
        );
    }

    #[test]
    fn an_unknown_tracer_gets_the_nearest_name() {
        let message = error(r#"{"tcpConect": {}}"#);
        assert!(
            message.starts_with(r#"no tracer is called "tcpConect"; did you mean tcpConnect?"#),
            "{message}"
        );
    }

    #[test]
    fn a_value_out_of_range_says_the_range() {
        let message = error(r#"{"tcpConnect": {"port": 65536}}"#);
        assert!(
            message.contains("a number from 0 to 65535 for port"),
            "{message}"
        );
        let message = error(r#"{"tcpConnect": {"failedOnly": 1}}"#);
        assert!(
            message.contains("true or false for failedOnly"),
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
