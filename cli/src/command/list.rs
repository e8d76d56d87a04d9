//! `list`: the tracers, and whether they work on this machine.

use crate::{
    show::{
        output::palette,
        render::Palette,
        screen::size,
        text::{beside, wrap},
    },
    source::{
        remote::Address,
        survey::{Entry, Needed, Survey, Works, family_word},
    },
};
use anyhow::Result;
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use tracers::Family;

/// Maximum width of prose, for readability.
const WIDEST: usize = 120;

/// Prints the tracers.
pub(crate) fn list(json: bool, agent: Option<&Address>) -> Result<()> {
    let survey = Survey::of(agent)?;
    let text = match json {
        true => format!("{:#}\n", data(&survey)),
        false => {
            let columns = if io::stdout().is_terminal() {
                size().columns.min(WIDEST)
            } else {
                WIDEST
            };
            table(&survey, columns, palette(&io::stdout()))
        }
    };
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn data(survey: &Survey) -> serde_json::Value {
    let tracers: Vec<_> = survey
        .tracers
        .iter()
        .map(|entry| {
            let mut data = json!({
                "name": entry.name, "family": family_word(entry.family), "class": entry.class, "about": entry.about,
                "needs": entry.needs.iter().map(Needed::data).collect::<Vec<_>>(),
            });
            match &entry.works {
                Works::Yes { hooks } => {
                    data["supported"] = true.into();
                    data["hooks"] = hooks.as_slice().into();
                }
                Works::No { reason, remedy } => {
                    data["supported"] = false.into();
                    data["reason"] = reason.as_str().into();
                    data["remedy"] = remedy.as_deref().into();
                }
            }
            data
        })
        .collect();
    let mut data = json!({ "kernel": survey.kernel, "tracers": tracers });
    if let Some(agent) = &survey.agent {
        data["agent"] = agent.as_str().into();
    }
    data
}

/// Returns the kinds of hooks, each once.
fn kinds(hooks: &[String]) -> Vec<&str> {
    let kinds = hooks.iter().filter_map(|hook| hook.split(' ').next());
    let mut kinds: Vec<&str> = kinds.collect();
    kinds.sort_unstable();
    kinds.dedup();
    kinds
}

/// Returns the width that the last column needs for a tracer, so that its lines are readable.
fn longest_word(entry: &Entry) -> usize {
    match &entry.works {
        Works::Yes { hooks } if entry.missing().next().is_none() => {
            let widths = kinds(hooks).into_iter().map(|kind| kind.len() + 1);
            widths.max().unwrap_or(0)
        }
        // Sentences.
        Works::Yes { .. } | Works::No { .. } => 35,
    }
}

fn table(survey: &Survey, columns: usize, palette: Palette) -> String {
    let entries = &survey.tracers;
    let mut families: Vec<Option<Family>> = entries.iter().map(|entry| entry.family).collect();
    families.sort_by_key(|family| (family.is_none(), *family));
    families.dedup();
    let name = 2 + entries
        .iter()
        .map(|entry| entry.name.len())
        .max()
        .unwrap_or(0);
    let shows = entries
        .iter()
        .map(|entry| entry.about.chars().count())
        .max()
        .unwrap_or(0);
    let class = "CLASS".len();
    let classes = entries.iter().map(|entry| entry.class.chars().count());
    let class = classes.max().unwrap_or(0).max(class);
    // The last column is as wide as its longest word, or wider if it contains sentences.
    let least = 5 + entries.iter().map(longest_word).max().unwrap_or(0);
    let shows = shows.min(columns.saturating_sub(name + class + 6 + least).max(18));
    let here = columns.saturating_sub(name + class + shows + 6).max(20);
    let widths = [name, class, shows];
    let mut out = String::new();
    palette.paint(Palette::BOLD, &mut out, |out| {
        let here = if survey.agent.is_none() {
            "HERE"
        } else {
            "THERE"
        };
        out.push_str(&format!(
            "{:name$}  {:class$}  {:shows$}  {here}",
            "TRACER", "CLASS", "SHOWS"
        ));
    });
    out.push('\n');
    for family in families {
        palette.paint(Palette::DIM, &mut out, |out| {
            out.push_str(family_word(family))
        });
        out.push('\n');
        for entry in entries.iter().filter(|entry| entry.family == family) {
            let message = match &entry.works {
                Works::Yes { hooks } => {
                    let kinds = kinds(hooks).join(", ");
                    let lines = wrap(&kinds, here.saturating_sub(5));
                    let lines = lines.iter().enumerate();
                    let mut message: Vec<String> = lines
                        .map(|(at, line)| {
                            format!("{}  {line}", if at == 0 { "yes" } else { "   " })
                        })
                        .collect();
                    for need in entry.missing() {
                        let lacks = format!("no {}, for {}", need.name, need.reason);
                        let lines = wrap(&lacks, here.saturating_sub(5));
                        message.extend(lines.into_iter().map(|line| format!("     {line}")));
                    }
                    message
                }
                Works::No { reason, remedy } => {
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
                vec![format!("  {}", entry.name)],
                vec![entry.class.clone()],
                wrap(&entry.about, shows),
                message,
            ];
            beside(&cells, &widths, &mut out);
        }
    }
    let (able, all) = (survey.able(), entries.len());
    let (here, place) = match &survey.agent {
        None => ("here", ""),
        Some(_) => ("there", " --agent …"),
    };
    out.push_str(&match able == all {
        true => format!("All {all} work {here}. For details: `tracejob{place} describe TRACER`.\n"),
        false => format!("{able} of {all} work {here}. For details: `tracejob{place} describe TRACER`, `tracejob{place} doctor`.\n"),
    });
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::describe::hooks;

    #[test]
    fn unavailable_tracers_have_a_reason_and_no_line_is_too_long() {
        let entries: Vec<Entry> = tracers::ALL
            .iter()
            .enumerate()
            .map(|(at, tracer)| {
                let works = match at {
                    0 => Works::No {
                        reason: "uprobe.multi libc:free needs CAP_SYS_PTRACE".to_owned(),
                        remedy: Some("run it with sudo, or `sudo setcap cap_sys_ptrace+ep $(command -v tracejob)`".to_owned()),
                    },
                    _ => Works::Yes { hooks: hooks(&tracer.points()[0]) },
                };
                let need = Needed {
                    name: "CAP_SYSLOG".to_owned(),
                    required: false,
                    reason: "names of kernel functions".to_owned(),
                    met: at != 1,
                    remedy: None,
                };
                Entry::of(*tracer, vec![need], works)
            })
            .collect();
        let survey = Survey {
            kernel: None,
            agent: None,
            tracers: entries,
            checks: Vec::new(),
        };
        let all = survey.tracers.len();
        for columns in [80, 100, 120] {
            let text = table(&survey, columns, Palette::default());
            assert!(text.contains("no   uprobe.multi"), "{text}");
            // A tracer that works with unmet needs lists them.
            assert!(text.contains("     no CAP_SYSLOG, for"), "{text}");
            assert!(
                text.contains("payload  ") && text.contains("observe  "),
                "{text}"
            );
            assert!(
                text.lines()
                    .rev()
                    .skip(1)
                    .all(|line| line.chars().count() <= columns),
                "{text}"
            );
            assert!(text.ends_with(&format!(
                "{} of {} work here. For details: `tracejob describe TRACER`, `tracejob doctor`.\n",
                all - 1,
                all
            )));
        }
    }
}
