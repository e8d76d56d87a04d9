//! A condition for the columns of one dataset: what its words mean there, by the kinds of columns.

use super::{
    Comparison, Filter, Mistake, Operand, Operator,
    like::{Names, Network, Pattern, mapped},
    text::{Check, Node, Word},
};
use crate::{Column, Compared, EachName, Unit, column_named, nearest, quantity};
use std::{
    boxed::Box,
    format,
    net::IpAddr,
    string::{String, ToString},
    vec::Vec,
};

/// Why a condition is not one for these columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A column is missing: another dataset may have it.
    Missing(Mistake),
    /// It is wrong.
    Wrong(Mistake),
}

impl Fault {
    pub(super) fn mistake(self) -> Mistake {
        match self {
            Self::Missing(mistake) | Self::Wrong(mistake) => mistake,
        }
    }
}

/// The condition as a filter of rows with these columns.
pub(super) fn filter(node: &Node, columns: &[Column]) -> Result<Filter, Fault> {
    let each = |parts: &[Node]| {
        let parts = parts.iter().map(|part| filter(part, columns));
        parts.collect::<Result<Vec<_>, _>>()
    };
    Ok(match node {
        Node::All(parts) => Filter::All(each(parts)?),
        Node::Any(parts) => Filter::Any(each(parts)?),
        Node::Not(part) => Filter::Not(Box::new(filter(part, columns)?)),
        Node::Test(name, check) => {
            let of = Of {
                columns,
                at: find(name, columns)?,
            };
            of.check(name, check).map_err(Fault::Wrong)?
        }
    })
}

/// The place of a column, by its name or its short name.
fn find(name: &Word, columns: &[Column]) -> Result<usize, Fault> {
    let written = name.written();
    if let Some(at) = column_named(columns, &written) {
        return Ok(at);
    }
    let mut short = columns.iter().filter(|column| column.short() == written);
    if let (Some(one), Some(other)) = (short.next(), short.next()) {
        let what = format!(
            "{written} is {} or {}: write one of them",
            one.name, other.name
        );
        return Err(Fault::Wrong(Mistake::new(what, name.place.clone())));
    }
    let shown = name.shown();
    let names = columns.iter().flat_map(|one| [&*one.name, one.short()]);
    let what = match nearest(&written, names) {
        Some(near) => {
            let mut all = columns.iter();
            let full = all.find(|one| one.name == near || one.short() == near);
            let full = full.map_or(near, |one| &*one.name);
            format!("there is no column {shown}: did you mean {full}?")
        }
        None => {
            let all: Vec<&str> = columns.iter().map(|column| &*column.name).collect();
            format!("there is no column {shown}: columns: {}", all.join(", "))
        }
    };
    Err(Fault::Missing(Mistake::new(what, name.place.clone())))
}

/// A column that is compared.
struct Of<'a> {
    columns: &'a [Column],
    at: usize,
}

impl Of<'_> {
    fn column(&self) -> &Column {
        &self.columns[self.at]
    }

    fn check(&self, name: &Word, check: &Check) -> Result<Filter, Mistake> {
        match check {
            Check::True => self.is_true(name),
            Check::Compare(operator, value) => self.compare(name, *operator, value),
            Check::In(values) => {
                let each =
                    { values.iter() }.map(|value| self.compare(name, Operator::Equal, value));
                Ok(Filter::Any(each.collect::<Result<_, _>>()?))
            }
        }
    }

    fn is_true(&self, name: &Word) -> Result<Filter, Mistake> {
        match self.column().kind.compared() {
            Compared::Boolean => self.number(name, Operator::Equal, 1),
            Compared::Never(why) => Err(self.never(name, why)),
            Compared::Number
            | Compared::Text
            | Compared::Arguments
            | Compared::Address
            | Compared::Named(_)
            | Compared::Written(..)
            | Compared::Names(_)
            | Compared::Later => Err(Mistake::new(
                format!(
                    "{} is not yes or no: compare it with a value",
                    self.column().name
                ),
                name.place.clone(),
            )),
        }
    }

    fn compare(&self, name: &Word, operator: Operator, value: &Word) -> Result<Filter, Mistake> {
        match self.column().kind.compared() {
            Compared::Number => {
                let number = self.plain(value)?;
                let number = read_number(&number, self.column().unit());
                self.number(
                    value,
                    operator,
                    number.map_err(|what| self.wrong(value, &what))?,
                )
            }
            Compared::Boolean => {
                let number = match self.plain(value)?.as_str() {
                    "yes" | "true" | "1" => 1,
                    "no" | "false" | "0" => 0,
                    _ => return Err(self.wrong(value, "write yes or no")),
                };
                self.number(value, self.without_order(operator, value)?, number)
            }
            Compared::Text | Compared::Arguments | Compared::Later => self.text(operator, value),
            Compared::Address => self.address(operator, value),
            Compared::Named(known) => self.named(operator, value, known),
            Compared::Written(how, read) => {
                let number = read(&self.plain(value)?);
                let wrong = || self.wrong(value, &format!("write it as {how}"));
                self.number(value, operator, number.ok_or_else(wrong)?.into())
            }
            Compared::Names(names) => self.names(operator, value, Names(names)),
            Compared::Never(why) => Err(self.never(name, why)),
        }
    }

    fn never(&self, name: &Word, why: &str) -> Mistake {
        let what = format!("{} cannot be compared: {why}", self.column().name);
        Mistake::new(what, name.place.clone())
    }

    /// A value that the column cannot have; `how` is what to write.
    fn wrong(&self, value: &Word, how: &str) -> Mistake {
        let written = value.shown();
        let name = &self.column().name;
        Mistake::new(
            format!("{written} is not a value of {name}: {how}"),
            value.place.clone(),
        )
    }

    /// The text of a value that is no pattern.
    fn plain(&self, value: &Word) -> Result<String, Mistake> {
        let plain = value.plain();
        plain.ok_or_else(|| self.wrong(value, r"patterns are for text; write \* for a *"))
    }

    fn without_order(&self, operator: Operator, value: &Word) -> Result<Operator, Mistake> {
        match operator.is_of_order() {
            false => Ok(operator),
            true => Err(self.wrong(value, "such values have no order; use == or !=")),
        }
    }

    fn comparison(
        &self,
        place: &Word,
        operator: Operator,
        with: Operand,
    ) -> Result<Filter, Mistake> {
        let comparison = Comparison::new(self.columns, self.at, operator, with);
        let wrong = |error: super::NotComparable| Mistake::new(error, place.place.clone());
        comparison.map(Filter::Compare).map_err(wrong)
    }

    fn number(&self, place: &Word, operator: Operator, with: i128) -> Result<Filter, Mistake> {
        self.comparison(place, operator, Operand::Number(with))
    }

    fn text(&self, operator: Operator, value: &Word) -> Result<Filter, Mistake> {
        let with = match value.plain() {
            Some(text) => Operand::Bytes(text.into_bytes()),
            None => Operand::Pattern(self.pattern(operator, value)?),
        };
        self.comparison(value, operator, with)
    }

    fn pattern(&self, operator: Operator, value: &Word) -> Result<Pattern, Mistake> {
        if operator.is_of_order() {
            let how = r"a pattern has no order; use == or !=, or write \* for a *";
            return Err(self.wrong(value, how));
        }
        let pattern = Pattern::new(&value.pieces);
        pattern.ok_or_else(|| self.wrong(value, "the pattern has an invalid character"))
    }

    fn address(&self, operator: Operator, value: &Word) -> Result<Filter, Mistake> {
        let operator = self.without_order(operator, value)?;
        let written = self.plain(value)?;
        if let Ok(address) = written.parse::<IpAddr>() {
            let with = Operand::Bytes(mapped(address).into());
            return self.comparison(value, operator, with);
        }
        let how = "write an address, such as 10.0.0.9 or fd00::9, or a network, such as 10.0.0.0/8";
        let network = Network::read(&written).ok_or_else(|| self.wrong(value, how))?;
        let is_in = |network| self.comparison(value, Operator::Equal, Operand::Network(network));
        let mut part = is_in(network)?;
        if network.is_around_ipv4() {
            // IPv4 addresses are in no network of IPv6, however they are stored.
            part = Filter::All([part, negated(is_in(Network::IPV4)?)].into());
        }
        Ok(as_operator(operator, part))
    }

    fn named(&self, operator: Operator, value: &Word, known: EachName) -> Result<Filter, Mistake> {
        let Some(written) = value.plain() else {
            let pattern = self.pattern(operator, value)?;
            let mut numbers = Vec::new();
            known(&mut |number, name| {
                if pattern.matches(name.as_bytes()) {
                    numbers.push(number);
                }
            });
            if numbers.is_empty() {
                return Err(self.wrong(value, "no name matches this pattern"));
            }
            let each = { numbers.iter() }.map(|n| self.number(value, Operator::Equal, (*n).into()));
            let any = Filter::Any(each.collect::<Result<_, _>>()?);
            return Ok(as_operator(operator, any));
        };
        if let Ok(number) = read_number(&written, Unit::None) {
            return self.number(value, operator, number);
        }
        let (mut number, mut names) = (None, Vec::new());
        known(&mut |each, name| {
            if name.eq_ignore_ascii_case(&written) {
                number.get_or_insert(each);
            }
            names.push(name.to_string());
        });
        match number {
            Some(number) => self.number(value, self.without_order(operator, value)?, number.into()),
            None => {
                // Names are compared in the case that they have.
                let first = names.iter().find(|name| !name.is_empty());
                let is_upper = first.is_some_and(|name| name.starts_with(char::is_uppercase));
                let cased = match is_upper {
                    true => written.to_uppercase(),
                    false => written,
                };
                let how = match nearest(&cased, names.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!(
                        "write a name, such as {}, or a number",
                        first.map_or("", String::as_str)
                    ),
                };
                Err(self.wrong(value, &how))
            }
        }
    }

    fn names(&self, operator: Operator, value: &Word, names: Names) -> Result<Filter, Mistake> {
        let operator = self.without_order(operator, value)?;
        let known = names.all();
        let wanted: Vec<String> = self.plain(value)?.split('|').map(String::from).collect();
        for name in &wanted {
            if !known.contains(name) {
                let how = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean {near}?"),
                    None => "write names as shown in rows, joined by |".to_string(),
                };
                return Err(self.wrong(value, &how));
            }
        }
        self.comparison(value, operator, Operand::Names(wanted))
    }
}

fn negated(part: Filter) -> Filter {
    Filter::Not(Box::new(part))
}

/// A filter of equal values, as an operator without order has it.
fn as_operator(operator: Operator, equal: Filter) -> Filter {
    match operator {
        Operator::NotEqual => negated(equal),
        Operator::Equal
        | Operator::Less
        | Operator::AtMost
        | Operator::Greater
        | Operator::AtLeast => equal,
    }
}

/// A number in the unit of a column, or what to write.
fn read_number(written: &str, unit: Unit) -> Result<i128, String> {
    let (sign, digits) = match written.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, written),
    };
    let hex = digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"));
    let all =
        |digits: &str, is: fn(&char) -> bool| !digits.is_empty() && digits.chars().all(|c| is(&c));
    let number = match hex {
        Some(hex) if all(hex, char::is_ascii_hexdigit) => i128::from_str_radix(hex, 16),
        Some(_) => return Err("write hexadecimal digits after 0x".into()),
        None if all(digits, char::is_ascii_digit) => digits.parse(),
        None => return with_unit(digits, unit).map(|number| sign * number),
    };
    let number = number.map_err(|_| "the number is too large".to_string())?;
    Ok(sign * number)
}

fn with_unit(written: &str, unit: Unit) -> Result<i128, String> {
    let time = |scale: u64| quantity::nanoseconds(written).map(|ns| (ns / scale, ns % scale));
    let (number, how) = match unit {
        Unit::None => (None, "write a number"),
        Unit::Pages => (None, "write a number of pages"),
        Unit::Nanoseconds => (
            time(1),
            "write a time with its unit, such as 10ms, or a number of ns",
        ),
        Unit::Microseconds => (
            time(1000),
            "write a time with its unit, such as 10ms, or a number of us",
        ),
        Unit::Bytes => (
            quantity::size_bytes(written).map(|bytes| (bytes, 0)),
            "write a size with its unit, such as 4KiB, or a number of bytes",
        ),
        Unit::Percent => {
            let number = written
                .strip_suffix('%')
                .and_then(|number| number.parse().ok());
            (
                number.map(|number| (number, 0)),
                "write a number of per cent, such as 50",
            )
        }
    };
    match number {
        Some((number, 0)) => Ok(number.into()),
        Some(_) => Err("write a whole number of us".into()),
        None => Err(how.into()),
    }
}
