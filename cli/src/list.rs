//! `list`: what can be traced here, and what cannot and why.

use crate::{
    output::palette,
    render::Palette,
    screen::size,
    text::{beside, first, wrap},
};
use agent::{Kernel, Support};
use anyhow::Result;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use tracers::{Erased, Family};

/// Prose wider than this is hard to read, whatever the terminal.
const WIDEST: usize = 120;

/// Prints it.
pub(crate) fn list(json: bool) -> Result<()> {
    // A machine where nothing can be traced still has a list that says so.
    let kernel = Kernel::read();
    let supports: Vec<(&dyn Erased, Support)> = tracers::ALL
        .iter()
        .map(|tracer| (*tracer, support(&kernel, *tracer)))
        .collect();
    let text = match json {
        true => format!("{:#}\n", data(kernel.as_ref().ok(), &supports)),
        false => {
            let columns = if io::stdout().is_terminal() {
                size().columns.min(WIDEST)
            } else {
                WIDEST
            };
            table(&supports, columns, palette(&io::stdout()))
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

/// Whether a tracer works on this kernel; where that cannot be read, none does.
pub(crate) fn support(
    kernel: &Result<Kernel, agent::Error>,
    tracer: &'static dyn Erased,
) -> Support {
    match kernel {
        Ok(kernel) => kernel.support(tracer),
        Err(error) => Support::No {
            reason: error.to_string(),
            remedy: None,
        },
    }
}

/// One word for a family.
pub(crate) fn family_word(family: Family) -> String {
    format!("{family:?}").to_lowercase()
}

fn data(kernel: Option<&Kernel>, supports: &[(&dyn Erased, Support)]) -> serde_json::Value {
    let tracers: Vec<_> = supports
        .iter()
        .map(|(tracer, support)| {
            let mut entry = json!({
                "name": tracer.name(), "family": family_word(tracer.family()), "about": first(tracer.about()),
            });
            match support {
                Support::Yes { hooks } => {
                    entry["supported"] = true.into();
                    entry["hooks"] = hooks.iter().map(|hook| format!("{} {}", hook.kind.word(), hook.target)).collect();
                }
                Support::No { reason, remedy } => {
                    entry["supported"] = false.into();
                    entry["reason"] = reason.as_str().into();
                    entry["remedy"] = remedy.as_deref().into();
                }
            }
            entry
        })
        .collect();
    json!({ "kernel": kernel.map(Kernel::release), "tracers": tracers })
}

fn table(supports: &[(&'static dyn Erased, Support)], columns: usize, palette: Palette) -> String {
    let mut families: Vec<Family> = supports.iter().map(|(tracer, _)| tracer.family()).collect();
    families.sort();
    families.dedup();
    let name = 2 + supports
        .iter()
        .map(|(tracer, _)| tracer.name().len())
        .max()
        .unwrap_or(0);
    let shows = supports
        .iter()
        .map(|(tracer, _)| first(tracer.about()).chars().count())
        .max()
        .unwrap_or(0);
    // What is said of this machine needs some room as well.
    let shows = shows.min(columns.saturating_sub(name + 4 + 40).max(24));
    let here = columns.saturating_sub(name + shows + 4).max(20);
    let widths = [name, shows];
    let mut out = String::new();
    palette.paint(Palette::BOLD, &mut out, |out| {
        out.push_str(&format!("{:name$}  {:shows$}  HERE", "TRACER", "SHOWS"));
    });
    out.push('\n');
    for family in families {
        palette.paint(Palette::DIM, &mut out, |out| {
            out.push_str(&family_word(family))
        });
        out.push('\n');
        for (tracer, support) in supports
            .iter()
            .filter(|(tracer, _)| tracer.family() == family)
        {
            let said = match support {
                Support::Yes { hooks } => {
                    let mut kinds: Vec<&str> = hooks.iter().map(|hook| hook.kind.word()).collect();
                    kinds.sort_unstable();
                    kinds.dedup();
                    vec![format!("yes  {}", kinds.join(", "))]
                }
                Support::No { reason, remedy } => {
                    let why = remedy
                        .as_ref()
                        .map_or(reason.clone(), |remedy| format!("{reason}; {remedy}"));
                    let lines = wrap(&why, here.saturating_sub(5));
                    let lines = lines.iter().enumerate();
                    lines
                        .map(|(at, line)| {
                            format!("{}  {line}", if at == 0 { "no " } else { "   " })
                        })
                        .collect()
                }
            };
            let cells = [
                vec![format!("  {}", tracer.name())],
                wrap(first(tracer.about()), shows),
                said,
            ];
            beside(&cells, &widths, &mut out);
        }
    }
    let able = supports
        .iter()
        .filter(|(_, support)| matches!(support, Support::Yes { .. }))
        .count();
    let all = supports.len();
    out.push_str(&match able == all {
        true => format!("All {all} work here. `tracejob describe TRACER` tells more.\n"),
        false => format!("{able} of {all} work here. `tracejob describe TRACER` tells more, `tracejob doctor` what is missing.\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_work_here_says_why_and_no_line_is_too_long() {
        let supports: Vec<(&'static dyn Erased, Support)> = tracers::ALL
            .iter()
            .enumerate()
            .map(|(at, tracer)| {
                let support = match at {
                    0 => Support::No {
                        reason: "perf_event_open needs CAP_SYS_ADMIN while kernel.perf_event_paranoid is 3".to_owned(),
                        remedy: Some("`sysctl kernel.perf_event_paranoid=2` allows it".to_owned()),
                    },
                    _ => Support::Yes { hooks: tracer.hooks()[0] },
                };
                (*tracer, support)
            })
            .collect();
        for columns in [80, 100, 120] {
            let text = table(&supports, columns, Palette::default());
            assert!(text.contains("no   perf_event_open needs"), "{text}");
            assert!(
                text.lines()
                    .rev()
                    .skip(1)
                    .all(|line| line.chars().count() <= columns),
                "{text}"
            );
            assert!(text.ends_with(&format!("{} of {} work here. `tracejob describe TRACER` tells more, `tracejob doctor` what is missing.\n", supports.len() - 1, supports.len())));
        }
    }
}
