//! Errors of TraceJob files: the place, the cause and the remedy.

use tracers::nearest;

/// Returns the first position of a key in the text.
pub(super) fn place(text: &str, key: &str) -> Option<(usize, usize)> {
    text.lines().enumerate().find_map(|(line, content)| {
        let found = content.match_indices(key).find(|(at, _)| {
            let before = content[..*at].trim_end_matches(['"', '\'']);
            let after = content[at + key.len()..].trim_start_matches(['"', '\'']);
            let begins = before.is_empty() || before.ends_with([' ', '{', ',']);
            begins && !before.contains('#') && after.trim_start().starts_with(':')
        });
        found.map(|(at, _)| (line + 1, content[..at].chars().count() + 1))
    })
}

/// Formats an error with its place: `job.yaml:6:7: spec.tracer.TRACER has no option "prot"; …`
pub(super) fn explain(error: &serde_yaml::Error, text: &str, file: &str) -> String {
    let sentence = error.to_string();
    let sentence = sentence.split(" at line ").next().unwrap_or(&sentence);
    let (path, message) = match sentence.split_once(": ") {
        Some((path, message)) if is_path(path) => (path, message),
        _ => ("", sentence),
    };
    let unknown = unknown_name(message);
    let at = error.location().map(|at| {
        // The error has the place of the object that contains the unknown name.
        let from = (at.line(), at.column());
        unknown
            .and_then(|name| below(text, from.0, name))
            .unwrap_or(from)
    });
    let at = at.map_or(String::new(), |(line, column)| format!(":{line}:{column}"));
    format!("{file}{at}: {}", reword(path, message))
}

fn is_path(text: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_alphanumeric() || "._-[]?\\".contains(c))
}

/// Returns the unknown name, if the message reports one.
fn unknown_name(message: &str) -> Option<&str> {
    if let Some(rest) = message.strip_prefix("unknown field `") {
        return rest.split_once('`').map(|(name, _)| name);
    }
    let rest = message
        .split_once(" has no option \"")
        .or_else(|| message.split_once("unknown tracer \""))?
        .1;
    rest.split_once('"').map(|(name, _)| name)
}

/// Returns the first position of a key at or below a line.
fn below(text: &str, line: usize, key: &str) -> Option<(usize, usize)> {
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let (found, column) = place(text.get(start..)?, key)?;
    Some((found + line - 1, column))
}

/// Adds the path in the object, and the nearest name if a name is unknown.
fn reword(path: &str, message: &str) -> String {
    if let Some((tracer, rest)) = message.split_once(" has no option ") {
        return format!("{} has no option {rest}", path_to(path, tracer));
    }
    let Some(name) = message
        .starts_with("unknown field `")
        .then(|| unknown_name(message))
        .flatten()
    else {
        let sentence = match path {
            "" | "." => message.to_owned(),
            path => format!("{path}: {message}"),
        };
        // Rust's words are not the reader's.
        return sentence
            .replace("expected u64", "expected a whole number")
            .replace("expected u32", "expected a whole number");
    };
    let known: Vec<&str> = message.split('`').skip(3).step_by(2).collect();
    let place = if matches!(path, "" | ".") {
        "a TraceJob"
    } else {
        path
    };
    let meant = match nearest(name, known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("fields: {}", known.join(", ")),
    };
    format!("{place} has no field \"{}\"; {meant}", name.escape_debug())
}

fn path_to(path: &str, name: &str) -> String {
    match path.rsplit('.').next() == Some(name) {
        true => path.to_owned(),
        false => format!("{path}.{name}"),
    }
}
