//! Options: their types in every form in which they are written, with defaults and bounds that the compiler checks.
//!
//! A type of option is one file below. A form that one of them lacks does not compile: [`OptionForm`] has no default methods.

mod amount;
mod choice;
mod duration;
mod flag;
mod list;
mod number;
mod size;
mod text;

pub use choice::ChoiceKind;
pub use duration::DurationKind;
pub use flag::FlagKind;
pub use list::ListKind;
pub use number::NumberKind;
pub use size::SizeKind;
pub use text::TextKind;

use crate::quantity;
use serde_json::Value as Json;
use std::{format, string::String, vec::Vec};

/// The largest number that JSON, a double and an API server all hold exactly.
pub const EXACT: u64 = 1 << 53;

/// One option, as its manual, its flag and its schema need it.
#[derive(Clone, Copy, Debug)]
pub struct Opt {
    /// The field's name: `failed_only`. The flag is the same with dashes.
    pub name: &'static str,
    /// The name in a TraceJob: `failedOnly`.
    pub key: &'static str,
    /// The kernel global that it sets: `FAILED_ONLY`.
    pub global: &'static str,
    /// The field's doc comment.
    pub about: &'static str,
    /// Its type and bounds.
    pub kind: OptKind,
    /// The default where it is not 0, off or empty.
    pub default: Option<Literal>,
    /// Whether it has to be given.
    pub required: bool,
}

/// The type of an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptKind {
    /// On or off.
    Flag(FlagKind),
    /// An unsigned number.
    Number(NumberKind),
    /// A time span.
    Duration(DurationKind),
    /// An amount of memory or data.
    Size(SizeKind),
    /// Text of bounded length.
    Text(TextKind),
    /// One of a few words.
    Choice(ChoiceKind),
    /// Several values of one type.
    List(ListKind),
}

/// A value that an option has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptValue {
    /// Of a flag.
    Flag(bool),
    /// Of a number, of a duration in nanoseconds, of a size in bytes.
    Number(u64),
    /// Of a text or a choice.
    Text(String),
    /// Of a list.
    List(Vec<Self>),
}

/// A default or a bound as `#[params]` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Literal {
    /// `#[default = 4096]`
    Number(u64),
    /// `#[default = "64KiB"]`
    Text(&'static str),
}

/// A type that a field of `#[params]` can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the type of an option",
    label = "use bool, u8 to u64, option::Duration, option::Size, option::Text, option::List, or an enum with #[choice]"
)]
pub trait OptionValue {
    /// The type of option that it is.
    const KIND: OptKind;
}

/// Everything that a type of option has to answer.
pub trait OptionForm {
    /// Its word in the API and in `describe`.
    fn word(&self) -> &'static str;
    /// What stands for the value behind the flag; empty where the flag takes none.
    fn placeholder(&self) -> String;
    /// What would fit, for errors: "a whole number from 0 to 65535".
    fn wanted(&self) -> String;
    /// What a flag takes beside what [`OptionForm::wanted`] says: "a time such as 10ms".
    fn typed(&self) -> Option<&'static str>;
    /// A remark for `--help`, where the placeholder does not say all.
    fn note(&self) -> Option<String>;
    /// A sentence for `kubectl explain`, where the schema's type does not say all; else empty.
    fn explanation(&self) -> String;
    /// The value of an option that is not given and has no default: all zero in the kernel.
    fn nothing(&self) -> OptValue;
    /// A value that fits, for examples.
    fn sample(&self) -> OptValue;
    /// Whether it is a value of this type and within its bounds.
    fn fits(&self, value: &OptValue) -> bool;
    /// The value of a flag's text.
    fn parse(&self, text: &str) -> Option<OptValue>;
    /// A value as a flag's text.
    fn text(&self, value: &OptValue) -> String;
    /// The value in a TraceJob. It takes all that [`OptionForm::schema`] takes.
    fn read_json(&self, json: &Json) -> Option<OptValue>;
    /// A value as it stands in a TraceJob.
    fn json(&self, value: &OptValue) -> Json;
    /// The JSON Schema of an API server, without description and default. What it takes, [`OptionForm::read_json`] takes: the controller
    /// reads every object that the API server has stored.
    fn schema(&self) -> Json;
    /// Bytes of the kernel global.
    fn bytes(&self) -> usize;
    /// Appends a value as the kernel global holds it.
    fn write(&self, value: &OptValue, out: &mut Vec<u8>);
    /// What the API says of it.
    fn facts(&self) -> Facts;
}

/// What the API says of a type of option.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// The unit of a number; empty where it has none.
    pub unit: &'static str,
    /// The bounds of a number, of a duration in nanoseconds, of a size in bytes.
    pub bounds: Option<(u64, u64)>,
    /// The words of a choice, with their prose.
    pub choices: &'static [(&'static str, &'static str)],
    /// The most bytes of a text.
    pub max_bytes: Option<u32>,
    /// The most items of a list.
    pub max_items: Option<u32>,
    /// The type of a list's items.
    pub item: Option<&'static OptKind>,
}

impl OptKind {
    /// Its forms.
    pub fn form(&self) -> &dyn OptionForm {
        match self {
            Self::Flag(kind) => kind,
            Self::Number(kind) => kind,
            Self::Duration(kind) => kind,
            Self::Size(kind) => kind,
            Self::Text(kind) => kind,
            Self::Choice(kind) => kind,
            Self::List(kind) => kind,
        }
    }
}

/// Where a value is used by another type of option than its own: [`crate::Spec`] only holds values that fit.
fn misfit(kind: &dyn OptionForm, value: &OptValue) -> ! {
    panic!("{value:?} is not a value of a {}", kind.word())
}

impl Opt {
    /// An option as its field is declared, without attributes. A number has the unit that its name ends with.
    ///
    /// # Panics
    /// While compiling, where the name has a unit and the type another.
    pub const fn of([name, key, global, about]: [&'static str; 4], kind: OptKind) -> Self {
        let (ns, bytes) = (ends(name, "_ns"), ends(name, "_bytes"));
        let kind = match kind {
            OptKind::Number(number) if ns => OptKind::Number(NumberKind {
                unit: "ns",
                ..number
            }),
            OptKind::Number(number) if bytes => OptKind::Number(NumberKind {
                unit: "bytes",
                ..number
            }),
            OptKind::Duration(_) | OptKind::Size(_) if ns || bytes => {
                panic!("a Duration or Size is written with its unit: leave it out of the name")
            }
            kind => kind,
        };
        Self {
            name,
            key,
            global,
            about,
            kind,
            default: None,
            required: false,
        }
    }

    /// `#[unit = "…"]`.
    ///
    /// # Panics
    /// While compiling, where the type has no unit of its own choosing.
    #[must_use]
    pub const fn unit(mut self, unit: &'static str) -> Self {
        match &mut self.kind {
            OptKind::Number(kind) => kind.unit = unit,
            OptKind::Duration(_) | OptKind::Size(_) => {
                panic!("a Duration or Size is written with its unit: leave out #[unit]")
            }
            OptKind::Flag(_) | OptKind::Text(_) | OptKind::Choice(_) | OptKind::List(_) => {
                panic!("#[unit] fits numbers only")
            }
        }
        self
    }

    /// `#[range = …]`.
    ///
    /// # Panics
    /// While compiling, where the type has no range, or the range is empty or beyond the type.
    #[must_use]
    pub const fn range(mut self, from: Option<Literal>, to: Option<Literal>) -> Self {
        let Some((least, most)) = self.kind.bounds() else {
            panic!("#[range] fits numbers, Duration and Size only")
        };
        let min = match from {
            Some(from) => self.kind.number(from),
            None => least,
        };
        let max = match to {
            Some(to) => self.kind.number(to),
            None => most,
        };
        assert!(max <= most, "#[range] goes beyond what the type holds");
        assert!(min <= max, "#[range] holds no value");
        self.kind = match self.kind {
            OptKind::Number(kind) => OptKind::Number(NumberKind { min, max, ..kind }),
            OptKind::Duration(_) => OptKind::Duration(DurationKind { min, max }),
            OptKind::Size(_) => OptKind::Size(SizeKind { min, max }),
            OptKind::Flag(_) | OptKind::Text(_) | OptKind::Choice(_) | OptKind::List(_) => {
                self.kind
            }
        };
        self
    }

    /// `#[default = …]`.
    #[must_use]
    pub const fn default(mut self, default: Literal) -> Self {
        self.default = Some(default);
        self
    }

    /// `#[required]`.
    #[must_use]
    pub const fn required(mut self) -> Self {
        self.required = true;
        self
    }

    /// The option, once all its attributes are read.
    ///
    /// # Panics
    /// While compiling, where its attributes do not fit each other or its type.
    #[must_use]
    pub const fn checked(self) -> Self {
        if self.required {
            assert!(
                self.default.is_none(),
                "an option that is #[required] has no #[default]"
            );
            assert!(
                !matches!(self.kind, OptKind::Flag(_)),
                "a flag that is not given is off: leave out #[required]"
            );
        }
        if let (Some((min, max)), false) = (self.kind.bounds(), self.required) {
            let value = match self.default {
                Some(default) => self.kind.number(default),
                None => 0,
            };
            assert!(
                min <= value && value <= max,
                "the default is outside of #[range]: give a #[default] within it, or make the option #[required]"
            );
        }
        match (self.kind, self.default) {
            (_, None) => {}
            // Their bounds are checked above.
            (OptKind::Number(_) | OptKind::Duration(_) | OptKind::Size(_), Some(_)) => {}
            (OptKind::Flag(_), Some(_)) => {
                panic!("a flag is off by default: name it for what it switches on")
            }
            (OptKind::List(_), Some(_)) => {
                panic!("a list is empty by default: leave out #[default]")
            }
            (OptKind::Text(kind), Some(Literal::Text(text))) => {
                assert!(kind.holds(text), "the default does not fit the Text");
            }
            (OptKind::Choice(kind), Some(Literal::Text(word))) => {
                assert!(
                    kind.position(word).is_some(),
                    "the default is none of the enum's words"
                );
            }
            (OptKind::Text(_) | OptKind::Choice(_), Some(Literal::Number(_))) => {
                panic!("the #[default] of a text or a choice is a text")
            }
        }
        self
    }

    /// The value where none is given.
    pub fn unset(&self) -> OptValue {
        match self.default {
            None => self.kind.form().nothing(),
            Some(Literal::Text(text))
                if matches!(self.kind, OptKind::Text(_) | OptKind::Choice(_)) =>
            {
                OptValue::Text(text.into())
            }
            Some(literal) => OptValue::Number(self.kind.number(literal)),
        }
    }

    /// What `--help` says of it.
    pub fn help(&self) -> String {
        let mut notes: Vec<String> = self.kind.form().note().into_iter().collect();
        let shown = self.default.is_some() || matches!(self.kind, OptKind::Choice(_));
        match (self.required, shown) {
            (true, _) => notes.push("required".into()),
            (false, true) => {
                let default = self.kind.form().text(&self.unset());
                notes.push(format!("default: {default}"));
            }
            (false, false) => {}
        }
        match notes.is_empty() {
            true => self.about.into(),
            false => format!("{} [{}]", self.about, notes.join("; ")),
        }
    }

    /// Its JSON Schema in a TraceJob.
    pub fn schema(&self) -> Json {
        let form = self.kind.form();
        let mut schema = form.schema();
        let explanation = form.explanation();
        let mut about: String = self.about.into();
        if !explanation.is_empty() {
            about.push(' ');
            about.push_str(&explanation);
        }
        let unset = self.unset();
        if !self.required && !unset.is_empty() {
            schema["default"] = form.json(&unset);
        }
        match self.kind {
            OptKind::Text(_) if self.required => schema["minLength"] = 1.into(),
            OptKind::List(_) if self.required => schema["minItems"] = 1.into(),
            OptKind::Text(_) | OptKind::List(_) => {}
            // Nothing that fits them is empty.
            OptKind::Flag(_)
            | OptKind::Number(_)
            | OptKind::Duration(_)
            | OptKind::Size(_)
            | OptKind::Choice(_) => {}
        }
        schema["description"] = about.into();
        schema
    }
}

impl OptValue {
    /// Whether it is an empty text or list: of those nothing is said where nothing is given.
    pub fn is_empty(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::List(items) => items.is_empty(),
            Self::Flag(_) | Self::Number(_) => false,
        }
    }
}

impl OptKind {
    /// A bound or a default of a number, a duration or a size.
    const fn number(&self, literal: Literal) -> u64 {
        match (self, literal) {
            (Self::Number(_), Literal::Number(number)) => number,
            (Self::Duration(_), Literal::Text(text)) => match quantity::nanoseconds(text) {
                Some(value) => value,
                None => panic!("a duration is a text such as \"10ms\""),
            },
            (Self::Size(_), Literal::Text(text)) => match quantity::size_bytes(text) {
                Some(value) => value,
                None => panic!("a size is a text such as \"64KiB\""),
            },
            (Self::Duration(_), Literal::Number(_)) => {
                panic!("a duration is a text with its unit, such as \"10ms\"")
            }
            (Self::Size(_), Literal::Number(_)) => {
                panic!("a size is a text with its unit, such as \"64KiB\"")
            }
            (
                Self::Flag(_) | Self::Number(_) | Self::Text(_) | Self::Choice(_) | Self::List(_),
                _,
            ) => panic!("a number is wanted here"),
        }
    }

    /// The least and the most that a number, a duration or a size may be.
    const fn bounds(&self) -> Option<(u64, u64)> {
        match self {
            Self::Number(NumberKind { min, max, .. })
            | Self::Duration(DurationKind { min, max })
            | Self::Size(SizeKind { min, max }) => Some((*min, *max)),
            Self::Flag(_) | Self::Text(_) | Self::Choice(_) | Self::List(_) => None,
        }
    }
}

const fn ends(name: &str, suffix: &str) -> bool {
    let (name, suffix) = (name.as_bytes(), suffix.as_bytes());
    let mut at = 0;
    while at < suffix.len() {
        at += 1;
        if at > name.len() || name[name.len() - at] != suffix[suffix.len() - at] {
            return false;
        }
    }
    true
}

/// "from 1 to 5".
fn span(min: &str, max: &str) -> String {
    format!("from {min} to {max}")
}
