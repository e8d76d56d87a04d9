//! `doctor`: requirements of tracing on a machine.

use crate::{
    show::{
        output::palette,
        render::Palette,
        screen::size,
        text::{beside, wrap},
    },
    source::{
        remote::Address,
        survey::{Entry, Needed, Survey, Works},
    },
};
use anyhow::Result;
use engine::{Check, Verdict};
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};
use tracers::{Class, Needs};

/// Maximum width of a page, for readability.
pub(super) const WIDEST: usize = 110;

/// Prints the checks. The exit status is 1 if no tracer works.
pub(crate) fn doctor(json: bool, agent: Option<&Address>) -> Result<ExitCode> {
    let survey = Survey::checked(agent)?;
    let text = match json {
        true => format!("{:#}\n", data(&survey)),
        false => {
            let columns = if io::stdout().is_terminal() {
                size().columns.min(WIDEST)
            } else {
                WIDEST
            };
            page(&survey, columns, palette(&io::stdout()))
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(match survey.able() {
        0 => ExitCode::FAILURE,
        _ => ExitCode::SUCCESS,
    })
}

fn data(survey: &Survey) -> serde_json::Value {
    let checks: Vec<_> = survey
        .checks
        .iter()
        .map(|Check { name, verdict, detail, remedy }| {
            json!({ "name": name, "verdict": verdict.word(), "detail": detail, "remedy": remedy })
        })
        .collect();
    let tracers: Vec<_> = survey
        .tracers
        .iter()
        .map(|entry| {
            json!({
                "name": entry.name, "class": entry.class, "supported": matches!(entry.works, Works::Yes { .. }),
                "needs": entry.needs.iter().map(Needed::data).collect::<Vec<_>>(),
            })
        })
        .collect();
    let needs: BTreeMap<&str, String> = survey
        .tracers
        .iter()
        .filter_map(|entry| {
            let tracer = tracers::find(&entry.name)?;
            Some((tracer.name(), Needs::of(tracer).to_string()))
        })
        .collect();
    json!({
        "checks": checks, "tracers": survey.tracers.len(), "tracers_supported": survey.able(), "needs": needs, "by_tracer": tracers,
    })
}

/// A need, and the tracers that have it.
struct Line<'a> {
    need: &'a Needed,
    tracers: Vec<&'a str>,
}

/// Returns every need of the tracers once, required ones first.
fn needs(survey: &Survey) -> Vec<Line<'_>> {
    let mut all: Vec<Line<'_>> = Vec::new();
    for entry in &survey.tracers {
        for need in &entry.needs {
            match all.iter_mut().find(|line| line.need == need) {
                Some(line) => line.tracers.push(&entry.name),
                None => all.push(Line {
                    need,
                    tracers: vec![&entry.name],
                }),
            }
        }
    }
    all.sort_by_key(|line| !line.need.required);
    all
}

/// Returns the tracers of each class.
fn classes(survey: &Survey) -> BTreeMap<&str, Vec<&Entry>> {
    let mut classes: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in &survey.tracers {
        classes.entry(&entry.class).or_default().push(entry);
    }
    classes
}

/// Returns the checks as a table of this width, with remedies below the findings.
pub(super) fn table(checks: &[Check], columns: usize, palette: Palette) -> String {
    let name = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let verdict = "limited".len();
    let prose = columns.saturating_sub(name + verdict + 4).max(24);
    let mut out = String::new();
    for check in checks {
        let mut message = wrap(&check.detail, prose);
        message.extend(check.remedy.iter().flat_map(|remedy| wrap(remedy, prose)));
        let start = out.len();
        beside(
            &[
                vec![check.name.clone().into_owned()],
                vec![check.verdict.word().to_owned()],
                message,
            ],
            &[name, verdict],
            &mut out,
        );
        if palette.on && check.verdict != Verdict::Ok {
            let at = start + name + 2;
            let word = check.verdict.word();
            out.replace_range(
                at..at + word.len(),
                &format!("{}{word}\x1b[0m", Palette::RED),
            );
        }
    }
    out
}

fn page(survey: &Survey, columns: usize, palette: Palette) -> String {
    let mut out = table(&survey.checks, columns, palette);
    let (able, all) = (survey.able(), survey.tracers.len());
    out.push_str(&match &survey.agent {
        None => format!("\n{able} of {all} tracers work here; see `tracejob list`.\n"),
        Some(_) => {
            format!("\n{able} of {all} tracers work there; see `tracejob --agent … list`.\n")
        }
    });
    let mut line = |line: &str| {
        for line in wrap(line, columns) {
            out.push_str(&line);
            out.push('\n');
        }
    };
    for (class, entries) in classes(survey) {
        let about = { class.parse::<Class>() }
            .map_or_else(|_| String::new(), |class| format!(" ({})", class.about()));
        let names: Vec<&str> = entries.iter().map(|entry| &*entry.name).collect();
        let able = entries
            .iter()
            .filter(|entry| matches!(entry.works, Works::Yes { .. }));
        line(&format!(
            "Class {class}{about}: {} of {} work: {}.",
            able.count(),
            entries.len(),
            names.join(", ")
        ));
    }
    for Line { need, tracers } in needs(survey) {
        let of = match tracers.len() == survey.tracers.len() {
            true => "every tracer".to_owned(),
            false => tracers.join(", "),
        };
        let verb = if need.required {
            "is required"
        } else {
            "is optional"
        };
        let missing = match (need.met, &need.remedy) {
            (true, _) => String::new(),
            (false, None) => " Missing.".to_owned(),
            (false, Some(remedy)) => format!(" Missing: {remedy}."),
        };
        line(&format!(
            "{} {verb} for {of}: {}.{missing}",
            need.name, need.reason
        ));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_has_its_result_and_its_remedy() {
        let check = |name: &str, verdict, detail: &str, remedy: Option<&str>| Check {
            name: name.to_owned().into(),
            verdict,
            detail: detail.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let checks = vec![
            check("kernel", Verdict::Ok, "6.18.44", None),
            check(
                "kernel symbols",
                Verdict::Limited,
                "addresses are hidden: kernel.kptr_restrict is 2",
                Some("`sysctl kernel.kptr_restrict=1` shows kernel functions in stacks"),
            ),
        ];
        let survey = Survey {
            kernel: None,
            agent: None,
            tracers: Vec::new(),
            checks,
        };
        insta::assert_snapshot!(page(&survey, 80, Palette::default()), @r"
        kernel          ok       6.18.44
        kernel symbols  limited  addresses are hidden: kernel.kptr_restrict is 2
                                 `sysctl kernel.kptr_restrict=1` shows kernel functions
                                 in stacks

        0 of 0 tracers work here; see `tracejob list`.
        ");
        assert_eq!(data(&survey)["checks"][1]["verdict"], "limited");
    }
}
