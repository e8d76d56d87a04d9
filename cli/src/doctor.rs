//! `doctor`: what tracing needs of this machine.

use crate::{
    list::support,
    output::palette,
    render::Palette,
    screen::size,
    text::{beside, wrap},
};
use agent::{Check, Kernel, Support, Verdict};
use anyhow::Result;
use serde_json::json;
use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

/// Prose wider than this is hard to read, whatever the terminal.
const WIDEST: usize = 110;

/// Prints it. The exit status is 1 where nothing can be traced.
pub(crate) fn doctor(json: bool) -> Result<ExitCode> {
    let kernel = Kernel::read();
    let able = tracers::ALL
        .iter()
        .filter(|t| matches!(support(&kernel, **t), Support::Yes { .. }))
        .count();
    let checks = kernel?.checks();
    let text = match json {
        true => format!("{:#}\n", data(&checks, able)),
        false => {
            let columns = if io::stdout().is_terminal() {
                size().columns.min(WIDEST)
            } else {
                WIDEST
            };
            page(&checks, able, columns, palette(&io::stdout()))
        }
    };
    io::stdout().write_all(text.as_bytes())?;
    Ok(if able == 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn data(checks: &[Check], able: usize) -> serde_json::Value {
    let checks: Vec<_> = checks
        .iter()
        .map(|Check { name, verdict, detail, remedy }| {
            json!({ "name": name, "verdict": word(*verdict), "detail": detail, "remedy": remedy })
        })
        .collect();
    json!({ "checks": checks, "tracers": tracers::ALL.len(), "tracers_supported": able })
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Limited => "limited",
        Verdict::Missing => "missing",
    }
}

fn page(checks: &[Check], able: usize, columns: usize, palette: Palette) -> String {
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
                vec![check.name.to_owned()],
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
    let all = tracers::ALL.len();
    out.push_str(&format!(
        "\n{able} of {all} tracers work here; `tracejob list` shows which.\n"
    ));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_check_says_what_it_found_and_what_to_do() {
        let check = |name, verdict, detail: &str, remedy: Option<&str>| Check {
            name,
            verdict,
            detail: detail.to_owned(),
            remedy: remedy.map(str::to_owned),
        };
        let checks = [
            check("kernel", Verdict::Ok, "6.18.44", None),
            check(
                "kernel symbols",
                Verdict::Limited,
                "addresses are hidden: kernel.kptr_restrict is 2",
                Some("`sysctl kernel.kptr_restrict=1` shows kernel functions in stacks"),
            ),
        ];
        insta::assert_snapshot!(page(&checks, 0, 80, Palette::default()).replace(&tracers::ALL.len().to_string(), "N"), @r"
        kernel          ok       6.18.44
        kernel symbols  limited  addresses are hidden: kernel.kptr_restrict is 2
                                 `sysctl kernel.kptr_restrict=1` shows kernel functions
                                 in stacks

        0 of N tracers work here; `tracejob list` shows which.
        ");
        assert_eq!(data(&checks, 0)["checks"][1]["verdict"], "limited");
    }
}
