//! Label selectors in kubectl's syntax.

use crd::{Expression, Operator, Selector};
use std::collections::BTreeMap;

/// Error message with an example.
const WANTED: &str =
    "invalid selector; expected such as app=checkout,tier in (a,b),zone!=c,canary,!old";

/// Parses a selector such as `app=x,tier in (a,b),!c`.
pub(super) fn parse(text: &str) -> Result<Selector, String> {
    let mut selector = Selector::default();
    for part in parts(text)? {
        requirement(part.trim(), &mut selector)?;
    }
    Ok(selector)
}

/// Parses labels with one value each, such as `pool=web,zone=a`.
pub(super) fn labels(text: &str) -> Result<BTreeMap<String, String>, String> {
    let wanted = || "expected node labels such as pool=web,zone=a".to_owned();
    let selector = parse(text).map_err(|_| wanted())?;
    match selector.match_expressions.is_empty() {
        true => Ok(selector.match_labels),
        false => Err(wanted()),
    }
}

/// Splits at commas outside of parentheses.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let (mut within, mut from, mut parts) = (false, 0, Vec::new());
    for (at, letter) in text.char_indices() {
        match (letter, within) {
            ('(', false) => within = true,
            (')', true) => within = false,
            ('(' | ')', _) => return Err(WANTED.to_owned()),
            (',', false) => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    match within {
        true => Err(WANTED.to_owned()),
        false => Ok(parts),
    }
}

fn requirement(part: &str, selector: &mut Selector) -> Result<(), String> {
    let express = |key: &str, operator, values| {
        Ok::<_, String>(Expression {
            key: name(key)?,
            operator,
            values,
        })
    };
    let expression = if let Some(key) = part.strip_prefix('!') {
        express(key, Operator::DoesNotExist, Vec::new())?
    } else if let Some((key, value)) = part.split_once("!=") {
        express(key, Operator::NotIn, vec![self::value(value)?])?
    } else if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        let (key, value) = (name(key)?, self::value(value)?);
        match selector.match_labels.get(&key) {
            // A second value of a label requires an expression.
            Some(other) if *other != value => express(&key, Operator::In, vec![value])?,
            _ => {
                selector.match_labels.insert(key, value);
                return Ok(());
            }
        }
    } else if let Some(values) = part.strip_suffix(')') {
        let (head, values) = values.split_once('(').ok_or(WANTED)?;
        let head: Vec<&str> = head.split_whitespace().collect();
        let (key, operator) = match head.as_slice() {
            [key, "in"] => (*key, Operator::In),
            [key, "notin"] => (*key, Operator::NotIn),
            _ => return Err(WANTED.to_owned()),
        };
        let values = values.split(',').map(value).collect::<Result<_, _>>()?;
        express(key, operator, values)?
    } else {
        express(part, Operator::Exists, Vec::new())?
    };
    selector.match_expressions.push(expression);
    Ok(())
}

/// Checks the name of a label, with or without a prefix.
fn name(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    match !text.is_empty() && text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(WANTED.to_owned()),
    }
}

/// Checks the value of a label, which may be empty.
fn value(text: &str) -> Result<String, String> {
    let text = text.trim();
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match text.chars().all(fits) {
        true => Ok(text.to_owned()),
        false => Err(WANTED.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        parse(text).map_or_else(
            |error| error,
            |selector| serde_json::to_string(&selector).unwrap(),
        )
    }

    #[test]
    fn labels_are_selected_as_by_kubectl() {
        assert_eq!(
            shown("app=x, tier in (a, b),!c"),
            r#"{"matchLabels":{"app":"x"},"matchExpressions":[{"key":"tier","operator":"In","values":["a","b"]},{"key":"c","operator":"DoesNotExist"}]}"#
        );
        assert_eq!(
            shown("a==b,c!=d,e notin (f),g"),
            r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"c","operator":"NotIn","values":["d"]},{"key":"e","operator":"NotIn","values":["f"]},{"key":"g","operator":"Exists"}]}"#
        );
        assert_eq!(shown("a="), r#"{"matchLabels":{"a":""}}"#);
        // Both must hold, which nothing does.
        assert_eq!(
            shown("a=b,a=c"),
            r#"{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"In","values":["c"]}]}"#
        );
        for wrong in [
            "", ",", "a in b", "a in (b", "a)b", "a on (b)", "=b", "a=b c", "!", "a=(b)",
        ] {
            assert_eq!(shown(wrong), WANTED, "{wrong}");
        }
    }

    #[test]
    fn labels_of_nodes_have_a_value_each() {
        assert_eq!(labels("pool=web,zone=a").unwrap().len(), 2);
        assert!(labels("pool").is_err() && labels("a!=b").is_err());
    }
}
