//! `describe`: the catalogue's details of a tracer.

use crate::{
    show::{
        output::palette,
        render::{Palette, in_table},
        screen::size,
        text::{beside, wrap},
    },
    source::{
        remote::Address,
        survey::{Entry, Needed, Survey, Works},
    },
    usage::Usage,
};
use anyhow::Result;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use tracers::{Column, Erased, Needs, Opt, OptKind, Point, Source, named};

/// Maximum width of prose, for readability.
const WIDEST: usize = 100;

/// Prints the details of a tracer, with its support on this machine or an agent's.
pub(crate) fn describe(name: &str, json: bool, agent: Option<&Address>) -> Result<()> {
    let known = named(name).map_err(|error| Usage(error.to_string()));
    let survey = match (&known, agent) {
        (Err(error), None) => return Err(Usage(error.0.clone()).into()),
        _ => Survey::of(agent)?,
    };
    let found = |name: &str| survey.tracers.iter().find(|entry| entry.name == name);
    let (tracer, there) = match known {
        Ok(tracer) => (tracer, found(tracer.name())),
        Err(error) => match found(name).map(|entry| &entry.works) {
            // Only the agent has it.
            Some(Works::No { reason, remedy }) => {
                let remedy = remedy.as_deref().unwrap_or_default();
                return Err(Usage(format!("{name}: {reason}; {remedy}")).into());
            }
            _ => return Err(error.into()),
        },
    };
    print(tracer, there, json)
}

/// Prints the details that are the same on every machine.
pub(crate) fn describe_known(tracer: &'static dyn Erased, json: bool) -> Result<()> {
    print(tracer, None, json)
}

fn print(tracer: &'static dyn Erased, there: Option<&Entry>, json: bool) -> Result<()> {
    let text = match json {
        true => format!("{:#}\n", data(tracer, there)),
        false => {
            let columns = if io::stdout().is_terminal() {
                size().columns.min(WIDEST)
            } else {
                WIDEST
            };
            page(tracer, there, columns, palette(&io::stdout()))
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Returns the details as JSON.
fn data(tracer: &'static dyn Erased, there: Option<&Entry>) -> serde_json::Value {
    let options: Vec<_> = tracer
        .options()
        .iter()
        .map(|option| {
            let form = option.kind.form();
            let bounds = match option.kind {
                OptKind::Flag(_) => Some((0, 1)),
                OptKind::Number(_)
                | OptKind::Duration(_)
                | OptKind::Size(_)
                | OptKind::Text(_)
                | OptKind::Choice(_)
                | OptKind::List(_) => form.facts().bounds,
            };
            let schema = option.schema();
            json!({
                "name": option.name, "key": option.key, "flag": flag(option), "about": option.about,
                "kind": form.word(), "type": schema["type"], "max": bounds.map(|(_, max)| max),
                "required": option.required, "default": schema["default"], "schema": schema,
            })
        })
        .collect();
    let datasets = tracer.datasets();
    let columns = |all: &[Column]| -> Vec<_> { all.iter().map(column_data).collect() };
    let each = datasets.iter().map(|one| {
        json!({
            "name": one.name, "about": one.about, "source": source_word(one.source), "columns": columns(&one.columns),
        })
    });
    let mut out = json!({
        "name": tracer.name(), "family": tracer.family().word(), "class": tracer.class().word(), "about": tracer.about(),
        "source": source_word(tracer.source()), "options": options, "columns": columns(&tracer.columns()),
        "datasets": each.collect::<Vec<_>>(),
        "hooks": tracer.points().iter().map(|set| hooks(set)).collect::<Vec<_>>(),
        "cost": tracer.cost(), "examples": tracer.examples(),
    });
    if let Some(entry) = there {
        out["needs"] = entry.needs.iter().map(Needed::data).collect();
        match &entry.works {
            Works::Yes { hooks: here } => out["here"] = here.as_slice().into(),
            Works::No { reason, .. } => out["reason"] = reason.as_str().into(),
        }
    }
    out
}

/// Appends columns with their descriptions.
fn columns_of(all: &[Column], columns: usize, out: &mut String) {
    let name = 2 + all
        .iter()
        .map(|column| column.name.len())
        .max()
        .unwrap_or(0);
    let kind = all
        .iter()
        .map(|column| kind_words(column).len())
        .max()
        .unwrap_or(0);
    for column in all {
        let about = match in_table(column) {
            true => column.about.to_string(),
            false => format!("{} (-o wide)", column.about),
        };
        let about = wrap(&about, columns.saturating_sub(name + kind + 4).max(20));
        let cells = [
            vec![format!("  {}", column.name)],
            vec![kind_words(column)],
            about,
        ];
        beside(&cells, &[name, kind], out);
    }
}

fn column_data(column: &Column) -> serde_json::Value {
    json!({
        "name": column.name, "kind": column.kind.word(), "unit": column.unit().word(),
        "role": column.role.word(), "wide": column.wide, "about": column.about,
    })
}

fn page(
    tracer: &'static dyn Erased,
    there: Option<&Entry>,
    columns: usize,
    palette: Palette,
) -> String {
    let works = there.map(|entry| &entry.works);
    let mut out = String::new();
    let mut paragraphs = tracer.about().lines();
    let first = format!(
        "{}: {}",
        tracer.name(),
        paragraphs.next().unwrap_or_default()
    );
    lines(&wrap(&first, columns), &mut out);
    for paragraph in paragraphs {
        lines(&wrap(paragraph, columns), &mut out);
    }
    let head = |out: &mut String, text: &str| {
        out.push('\n');
        palette.paint(Palette::BOLD, out, |out| out.push_str(text));
        out.push('\n');
    };
    head(&mut out, "OPTIONS");
    let flags: Vec<String> = tracer
        .options()
        .iter()
        .map(|option| format!("  {}", flag_with_value(option)))
        .collect();
    let width = flags.iter().map(String::len).max().unwrap_or(0);
    for (flag, option) in flags.into_iter().zip(tracer.options()) {
        let about = wrap(&option.help(), columns.saturating_sub(width + 2).max(20));
        beside(&[vec![flag], about], &[width], &mut out);
    }
    if tracer.options().is_empty() {
        out.push_str("  none\n");
    }
    out.push_str("  Flags of all tracers (selection, bounds, output): `tracejob run --help`.\n");
    head(&mut out, "COLUMNS");
    for (at, dataset) in tracer.datasets().iter().enumerate() {
        if at > 0 {
            let first = dataset.about.lines().next().unwrap_or_default();
            head(&mut out, &format!("COLUMNS of {}", dataset.name));
            lines(&wrap(first, columns), &mut out);
        }
        columns_of(&dataset.columns, columns, &mut out);
    }
    out.push('\n');
    let mut fact = |name: &str, text: &str| {
        let start = out.len();
        beside(
            &[
                vec![name.to_owned()],
                wrap(text, columns.saturating_sub(7).max(20)),
            ],
            &[5],
            &mut out,
        );
        if palette.on {
            out.replace_range(
                start..start + name.len(),
                &format!("{}{name}\x1b[0m", Palette::BOLD),
            );
        }
    };
    for (at, set) in tracer.points().iter().enumerate() {
        let here = matches!(works, Some(Works::Yes { hooks: here }) if *here == hooks(set));
        let mark = if here { " (here)" } else { "" };
        fact(
            if at == 0 { "HOOKS" } else { "   or" },
            &format!("{}{mark}", hooks(set).join(", ")),
        );
    }
    fact("COST", tracer.cost());
    let class = tracer.class();
    fact("CLASS", &format!("{}: {}", class.word(), class.about()));
    fact("NEEDS", &Needs::of(tracer).to_string());
    for need in there.into_iter().flat_map(Entry::missing) {
        let remedy = { need.remedy.as_ref() }.map_or(String::new(), |how| format!("; {how}"));
        let lacks = match need.required {
            true => format!("{}, for {}{remedy}", need.name, need.reason),
            false => format!("{}, for {} (optional){remedy}", need.name, need.reason),
        };
        fact("LACKS", &lacks);
    }
    if let Some(Works::No { reason, remedy }) = works {
        let remedy = remedy
            .as_ref()
            .map_or(String::new(), |remedy| format!("; {remedy}"));
        fact("HERE", &format!("no: {reason}{remedy}"));
    }
    head(&mut out, "EXAMPLES");
    for example in tracer.examples() {
        out.push_str(&format!("  tracejob run {} {example}\n", tracer.name()));
    }
    out
}

fn lines(lines: &[String], out: &mut String) {
    for line in lines {
        out.push_str(line);
        out.push('\n');
    }
}

/// Returns the kind of a column in words: `number, ns`, `histogram of ns`.
pub(crate) fn kind_words(column: &Column) -> String {
    match (column.kind.word(), column.kind.of(), column.unit().word()) {
        (kind, "", "") => kind.to_owned(),
        ("number", "", unit) => unit.to_owned(),
        (kind, "", of) | (kind, of, _) => format!("{kind} of {of}"),
    }
}

/// Returns each point as text: `raw_tp sys_enter`.
pub(crate) fn hooks(set: &[Point]) -> Vec<String> {
    set.iter().map(ToString::to_string).collect()
}

/// Returns the flag of an option.
pub(crate) fn flag(option: &Opt) -> String {
    format!("--{}", option.name.replace('_', "-"))
}

/// Returns the flag with the placeholder of its value.
pub(crate) fn flag_with_value(option: &Opt) -> String {
    let value = option.kind.form().placeholder();
    match value.is_empty() {
        true => flag(option),
        false => format!("{} {value}", flag(option)),
    }
}

/// Returns the word for a source of rows.
pub(crate) fn source_word(source: Source) -> &'static str {
    match source {
        Source::Ring => "events",
        Source::PerCpu => "table",
        Source::Shared => "shared table",
        Source::Snapshot => "snapshot",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_every_option_and_column_and_fits() {
        for tracer in tracers::ALL {
            let works = Works::Yes {
                hooks: hooks(&tracer.points()[0]),
            };
            let lacks = Needed {
                name: "CAP_SYSLOG".to_owned(),
                required: false,
                reason: "names of kernel functions".to_owned(),
                met: false,
                remedy: Some("run it with sudo, or ask whoever runs the agent for it".to_owned()),
            };
            let entry = Entry::of(*tracer, vec![lacks], works);
            for columns in [80, 100] {
                let page = page(*tracer, Some(&entry), columns, Palette::default());
                let class = tracer.class();
                assert!(
                    page.contains(&format!("CLASS  {class}: {}", class.about())),
                    "{page}"
                );
                assert!(
                    page.contains("LACKS  CAP_SYSLOG, for names of kernel functions"),
                    "{page}"
                );
                for dataset in tracer.datasets() {
                    for column in dataset.columns {
                        assert!(page.contains(&*column.name), "{page}");
                    }
                }
                for option in tracer.options() {
                    assert!(page.contains(&flag(option)), "{page}");
                }
                assert!(page.contains("(here)"), "{page}");
                let words = |line: &str| line.trim_start().contains(' ');
                let long: Vec<&str> = page
                    .lines()
                    .filter(|line| {
                        line.chars().count() > columns
                            && words(line)
                            && !line.contains("tracejob run")
                    })
                    .collect();
                assert!(long.is_empty(), "{long:#?}");
            }
        }
    }

    #[test]
    fn the_same_is_there_as_data() {
        for tracer in tracers::ALL {
            let data = data(*tracer, None);
            assert_eq!(
                data["columns"].as_array().map(Vec::len),
                Some(tracer.columns().len())
            );
            for (of, received) in tracer
                .datasets()
                .iter()
                .zip(data["datasets"].as_array().unwrap())
            {
                let (name, columns) = (&received["name"], received["columns"].as_array().unwrap());
                assert_eq!(
                    (name.as_str(), columns.len()),
                    (Some(of.name), of.columns.len())
                );
            }
            assert_eq!(
                data["options"].as_array().map(Vec::len),
                Some(tracer.options().len())
            );
        }
    }
}
