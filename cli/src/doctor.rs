//! `doctor`: what tracing needs of this machine.

use crate::{
    output::palette,
    remote::Address,
    render::Palette,
    screen::size,
    survey::{Checked, Survey},
    text::{beside, wrap},
};
use agent::Verdict;
use anyhow::Result;
use serde_json::json;
use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Prose wider than this is hard to read, whatever the terminal.
const WIDEST: usize = 110;

/// Prints it. The exit status is 1 where nothing can be traced.
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
        .map(|Checked { name, verdict, detail, remedy }| {
            json!({ "name": name, "verdict": word(*verdict), "detail": detail, "remedy": remedy })
        })
        .collect();
    let needs: BTreeMap<&str, &str> = needs(survey)
        .into_iter()
        .flat_map(|(needs, names)| names.into_iter().map(move |name| (name, needs)))
        .collect();
    json!({
        "checks": checks, "tracers": survey.tracers.len(), "tracers_supported": survey.able(), "needs": needs,
    })
}

/// What a process must be allowed to, and for which tracers.
fn needs(survey: &Survey) -> Vec<(&'static str, Vec<&str>)> {
    let mut all: Vec<(&'static str, Vec<&str>)> = Vec::new();
    for entry in &survey.tracers {
        // What only a newer agent has is its own to say.
        let Some(tracer) = tracers::find(&entry.name) else {
            continue;
        };
        let needs = tracers::needs(tracer);
        match all.iter_mut().find(|(known, _)| *known == needs) {
            Some((_, names)) => names.push(&entry.name),
            None => all.push((needs, vec![&entry.name])),
        }
    }
    all
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Limited => "limited",
        Verdict::Missing => "missing",
    }
}

fn page(survey: &Survey, columns: usize, palette: Palette) -> String {
    let checks = &survey.checks;
    let name = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let verdict = "limited".len();
    let prose = columns.saturating_sub(name + verdict + 4).max(24);
    let mut out = String::new();
    for check in checks {
        let mut said = wrap(&check.detail, prose);
        said.extend(check.remedy.iter().flat_map(|remedy| wrap(remedy, prose)));
        let start = out.len();
        beside(
            &[
                vec![check.name.clone()],
                vec![word(check.verdict).to_owned()],
                said,
            ],
            &[name, verdict],
            &mut out,
        );
        if palette.on && check.verdict != Verdict::Ok {
            let at = start + name + 2;
            let word = word(check.verdict);
            out.replace_range(
                at..at + word.len(),
                &format!("{}{word}\x1b[0m", Palette::RED),
            );
        }
    }
    let (able, all) = (survey.able(), survey.tracers.len());
    out.push_str(&match &survey.agent {
        None => format!("\n{able} of {all} tracers work here; `tracejob list` shows which.\n"),
        Some(_) => format!(
            "\n{able} of {all} tracers work there; `tracejob --agent … list` shows which.\n"
        ),
    });
    for (needs, names) in needs(survey) {
        let line = format!("Needed for {}: {needs}.", names.join(", "));
        for line in wrap(&line, columns) {
            out.push_str(&line);
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_says_what_it_found_and_what_to_do() {
        let check = |name: &str, verdict, detail: &str, remedy: Option<&str>| Checked {
            name: name.to_owned(),
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

        0 of 0 tracers work here; `tracejob list` shows which.
        ");
        assert_eq!(data(&survey)["checks"][1]["verdict"], "limited");
    }
}
