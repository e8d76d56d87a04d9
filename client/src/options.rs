//! Options of a tracer in the API: their types, and the conversion of their values in both directions.

use prost_types::{ListValue, Struct, Value, value::Kind};
use proto::v1;
use std::collections::BTreeMap;
use tracers::{Draft, EXACT, Erased, Facts, Opt, OptKind, OptValue, Spec, SpecError};

/// Returns the options that are set, so that an older agent need not support the others.
pub fn options(spec: &Spec) -> Struct {
    let fields: BTreeMap<String, Value> = spec
        .set_options()
        .map(|(option, value)| (option.key.to_owned(), wire(&option.kind, value)))
        .collect();
    Struct { fields }
}

/// Returns a tracer with the options of a client.
///
/// # Errors
/// If an option is unknown, invalid or missing.
pub fn spec(tracer: &'static dyn Erased, options: Struct) -> Result<Spec, SpecError> {
    let mut draft = Draft::new(tracer);
    for (name, given) in options.fields {
        let known = tracer.options().iter().find(|option| option.key == name);
        let Some(option) = known else {
            return Err(SpecError::UnknownOption {
                tracer: tracer.name().to_owned(),
                option: name,
                known: tracer.options().iter().map(|option| option.key).collect(),
            });
        };
        match value(&option.kind, &given) {
            Some(value) => draft.set(option.key, value)?,
            None => return Err(SpecError::bad_value(option, option.key, &shown(&given))),
        }
    }
    draft.finish_with(|option| (tracer.name().to_owned(), option.key.to_owned()))
}

/// Returns the description of an option in the API.
pub fn option(option: &Opt) -> v1::Option {
    let unset = option.unset();
    let default = !option.required && !unset.is_empty();
    v1::Option {
        name: option.key.to_owned(),
        about: option.about.to_owned(),
        r#type: Some(kind(&option.kind)),
        default: default.then(|| wire(&option.kind, &unset)),
        required: option.required,
    }
}

fn kind(kind: &OptKind) -> v1::OptionType {
    let form = kind.form();
    let Facts {
        unit,
        bounds,
        choices,
        max_bytes,
        max_items,
        item,
    } = form.facts();
    let choices = choices.iter().map(|(name, about)| v1::Choice {
        name: (*name).to_owned(),
        about: (*about).to_owned(),
    });
    v1::OptionType {
        kind: form.word().to_owned(),
        unit: unit.to_owned(),
        minimum: bounds.map(|(min, _)| min),
        maximum: bounds.map(|(_, max)| max),
        choices: choices.collect(),
        max_bytes: max_bytes.unwrap_or(0),
        max_items: max_items.unwrap_or(0),
        items: item.map(|item| Box::new(self::kind(item))),
    }
}

/// Converts a value to its message.
fn wire(kind: &OptKind, value: &OptValue) -> Value {
    let sent = match (kind, value) {
        (_, OptValue::Flag(on)) => Kind::BoolValue(*on),
        // Durations and sizes are sent as texts, and so are numbers that a double cannot represent.
        (OptKind::Number(_), OptValue::Number(number)) if *number <= EXACT => {
            Kind::NumberValue(*number as f64)
        }
        (_, OptValue::Number(_) | OptValue::Text(_)) => Kind::StringValue(kind.form().text(value)),
        (OptKind::List(list), OptValue::List(items)) => Kind::ListValue(ListValue {
            values: items.iter().map(|item| wire(list.item, item)).collect(),
        }),
        // No other type has a list as its value.
        (_, OptValue::List(_)) => Kind::StringValue(kind.form().text(value)),
    };
    Value { kind: Some(sent) }
}

/// Converts a message to a value; `None` if it has another type. [`Draft::set`] checks the bounds.
fn value(kind: &OptKind, given: &Value) -> Option<OptValue> {
    match (given.kind.as_ref()?, kind) {
        (Kind::NullValue(_) | Kind::StructValue(_), _) => None,
        (Kind::BoolValue(on), _) => Some(OptValue::Flag(*on)),
        (Kind::NumberValue(number), _) => {
            let exact = number.fract() == 0.0 && (0.0..=EXACT as f64).contains(number);
            exact.then_some(OptValue::Number(*number as u64))
        }
        // Only booleans are flags, and only lists are lists.
        (Kind::StringValue(_), OptKind::Flag(_) | OptKind::List(_)) => None,
        (
            Kind::StringValue(text),
            OptKind::Number(_)
            | OptKind::Duration(_)
            | OptKind::Size(_)
            | OptKind::Text(_)
            | OptKind::Choice(_),
        ) => kind.form().parse(text),
        (Kind::ListValue(list), OptKind::List(of)) => {
            let items = list.values.iter().map(|item| value(of.item, item));
            items.collect::<Option<_>>().map(OptValue::List)
        }
        (
            Kind::ListValue(_),
            OptKind::Flag(_)
            | OptKind::Number(_)
            | OptKind::Duration(_)
            | OptKind::Size(_)
            | OptKind::Text(_)
            | OptKind::Choice(_),
        ) => None,
    }
}

/// Returns a value for an error message.
fn shown(given: &Value) -> String {
    match &given.kind {
        None | Some(Kind::NullValue(_)) => "null".to_owned(),
        Some(Kind::BoolValue(on)) => on.to_string(),
        Some(Kind::NumberValue(number)) => number.to_string(),
        Some(Kind::StringValue(text)) => format!("\"{text}\""),
        Some(Kind::ListValue(list)) => {
            let items: Vec<String> = list.values.iter().map(shown).collect();
            format!("[{}]", items.join(","))
        }
        Some(Kind::StructValue(_)) => "an object".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{OptionValue, option};

    fn kinds() -> Vec<OptKind> {
        vec![
            bool::KIND,
            u8::KIND,
            u64::KIND,
            option::Duration::KIND,
            option::Size::KIND,
            option::Text::<8>::KIND,
            option::List::<u64, 3>::KIND,
            option::List::<option::Duration, 2>::KIND,
            option::List::<option::Text<4>, 2>::KIND,
            option::List::<bool, 2>::KIND,
            Way::KIND,
        ]
    }

    #[derive(Clone, Copy)]
    struct Way;
    impl option::Choice for Way {
        const WORDS: &'static [(&'static str, &'static str)] = &[("in", "Into."), ("out", "Out.")];
    }

    fn string(text: &str) -> Value {
        Value {
            kind: Some(Kind::StringValue(text.to_owned())),
        }
    }

    fn number(number: f64) -> Value {
        Value {
            kind: Some(Kind::NumberValue(number)),
        }
    }

    #[test]
    fn every_value_survives_a_round_trip() {
        for kind in kinds() {
            let form = kind.form();
            let numbers = [0, 1, 255, EXACT, EXACT + 1, u64::MAX].map(OptValue::Number);
            let all = numbers.into_iter().chain([form.nothing(), form.sample()]);
            for sent in all.flat_map(|value| [OptValue::List(vec![value.clone()]), value]) {
                if form.fits(&sent) {
                    let received = value(&kind, &wire(&kind, &sent));
                    assert_eq!(received.as_ref(), Some(&sent), "{kind:?}");
                }
            }
        }
    }

    #[test]
    fn a_number_beyond_what_a_double_holds_is_a_text() {
        assert_eq!(
            wire(&u64::KIND, &OptValue::Number(u64::MAX)),
            string("18446744073709551615")
        );
        assert_eq!(
            value(&u64::KIND, &string("18446744073709551615")),
            Some(OptValue::Number(u64::MAX))
        );
        let two = EXACT as f64 + 2.0;
        for wrong in [two, -1.0, 0.5, f64::NAN, f64::INFINITY] {
            assert_eq!(value(&u64::KIND, &number(wrong)), None, "{wrong}");
        }
    }

    #[test]
    fn durations_and_sizes_are_texts_or_numbers() {
        let of = |kind: OptKind, given: Value| match value(&kind, &given) {
            Some(OptValue::Number(number)) => Some(number),
            _ => None,
        };
        assert_eq!(of(option::Duration::KIND, string("1.5ms")), Some(1_500_000));
        assert_eq!(of(option::Duration::KIND, number(7.0)), Some(7));
        assert_eq!(of(option::Duration::KIND, string("7")), None);
        assert_eq!(of(option::Size::KIND, string("64KiB")), Some(65_536));
        assert_eq!(of(option::Size::KIND, number(9.0)), Some(9));
        assert_eq!(
            wire(&option::Size::KIND, &OptValue::Number(65_536)),
            string("64KiB")
        );
    }

    #[test]
    fn the_api_has_the_type_of_every_option_and_the_default_of_those_that_have_one() {
        let listed = kind(&option::List::<option::Text<4>, 2>::KIND);
        assert_eq!((listed.kind.as_str(), listed.max_items), ("list", 2));
        let item = listed.items.unwrap();
        assert_eq!((item.kind.as_str(), item.max_bytes), ("text", 4));
        let way = kind(&Way::KIND);
        assert_eq!(way.choices[1].name, "out");
        assert_eq!(kind(&u8::KIND).maximum, Some(255));
        let names = ["wait", "wait", "WAIT", "How long."];
        let wait = Opt::of(names, option::Duration::KIND)
            .default(tracers::Literal::Text("10ms"))
            .checked();
        let described = option(&wait);
        assert_eq!(described.default, Some(string("10ms")));
        assert!(!described.required);
        let required = option(&Opt::of(names, u8::KIND).required().checked());
        assert!(required.required && required.default.is_none());
        for tracer in tracers::ALL {
            for one in tracer.options() {
                let described = option(one);
                assert!(described.r#type.is_some() && described.default.is_some());
            }
        }
    }

    #[test]
    fn an_invalid_option_is_named_with_its_value_and_the_expected_form() {
        let tracer = tracers::named("tcp_connect").unwrap();
        let error = |name: &str, given: Value| {
            let fields = [(name.to_owned(), given)].into_iter().collect();
            spec(tracer, Struct { fields }).unwrap_err().to_string()
        };
        assert_eq!(
            error("port", number(65_536.0)),
            "port must be a whole number from 0 to 65535, but is 65536"
        );
        assert_eq!(
            error("failedOnly", number(0.5)),
            "failedOnly must be true or false, but is 0.5"
        );
        assert_eq!(
            error("prot", number(1.0)),
            "tcp_connect has no option \"prot\"; options: port, failedOnly"
        );
    }
}
