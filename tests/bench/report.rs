//! What is printed: Markdown for people, JSON for programs.

use crate::{
    contest::{Contest, Standing},
    rows::{Row, of},
    starts::Figure,
    stats::Estimate,
};
use serde_json::{Value, json};
use std::fmt::Write as _;

/// What is wanted of a number, and how it is.
pub(crate) struct Goal {
    pub(crate) wanted: String,
    pub(crate) is: String,
    /// `None` where it could not be measured.
    pub(crate) reached: Option<bool>,
}

impl Goal {
    /// Maximum ratio of our overhead to that of another tool.
    pub(crate) fn ratio(standing: &Standing, ours: &str, other: &str, most: f64) -> Self {
        let wanted = format!("adds at most {most} × {other}");
        let both = of(standing, ours).zip(of(standing, other));
        match both {
            None => Self {
                wanted,
                is: "not measured".to_owned(),
                reached: None,
            },
            Some((ours, other)) => {
                let ratio = ours.by(other);
                Self {
                    wanted,
                    is: shown(ratio, 2),
                    reached: Some(ratio.median <= most),
                }
            }
        }
    }

    /// Minimum rate of the workload, relative to its rate alone.
    pub(crate) fn rate(standing: &Standing, ours: &str, least: f64) -> Self {
        let wanted = format!("at least {least} of the rate alone");
        let Some(measured) = of(standing, ours) else {
            return Self {
                wanted,
                is: "not measured".to_owned(),
                reached: None,
            };
        };
        let rates: Vec<f64> = measured
            .slowdown
            .iter()
            .map(|slowdown| 1.0 / slowdown)
            .collect();
        let rate = crate::stats::estimate(&rates);
        Self {
            wanted,
            is: shown(rate, 3),
            reached: Some(rate.median >= least),
        }
    }
}

fn shown(estimate: Estimate, digits: usize) -> String {
    let Estimate { median, low, high } = estimate;
    format!("{median:.digits$} ({low:.digits$} to {high:.digits$})")
}

/// A part of the report.
pub(crate) struct Section {
    pub(crate) markdown: String,
    pub(crate) json: Value,
    /// What must be and is not, whatever the times: events that were not seen.
    pub(crate) wrong: Vec<String>,
}

impl Section {
    /// Of single figures.
    pub(crate) fn figures(
        title: &str,
        about: &str,
        figures: &[Figure],
        goals: &[Goal],
        quick: bool,
    ) -> Self {
        let mut markdown = format!("## {title}\n\n{about}\n\n| figure | value |\n| --- | --- |\n");
        for Figure { what, shown, .. } in figures {
            // Writing to a string cannot fail.
            let _ = writeln!(markdown, "| {what} | {shown} |");
        }
        if !quick {
            tell_goals(&mut markdown, goals);
        }
        let rows: serde_json::Map<String, Value> = figures
            .iter()
            .map(|figure| (figure.what.clone(), figure.json.clone()))
            .collect();
        Self {
            markdown,
            json: json!({ "title": title, "figures": rows, "goals": goals_json(goals) }),
            wrong: Vec::new(),
        }
    }

    /// Of a contest.
    pub(crate) fn of(row: &Row, contest: &Contest, standing: &Standing, quick: bool) -> Self {
        let mut markdown = format!("## {}\n\n{}\n", row.title, row.about);
        // Writing to a string cannot fail.
        let _ = write!(
            markdown,
            "A call is {}: {:.0} ns alone; {} rounds, {} discarded.\n\n",
            row.unit, standing.alone, standing.rounds, standing.thrown_out
        );
        markdown += "| tool | adds, ns a call | takes, × alone | tracejob adds, × it | events seen | reported lost |\n";
        markdown += "| --- | ---: | ---: | ---: | ---: | ---: |\n";
        let (mut tools, mut wrong) = (Vec::new(), Vec::new());
        let ours = of(standing, "tracejob").cloned();
        for tool in &standing.tools {
            let name = tool.name;
            let measured = match &tool.result {
                Ok(measured) => measured,
                Err(why) => {
                    let _ = writeln!(markdown, "| {name} | could not run: {why} | | | | |");
                    tools.push(json!({ "name": name, "refused": why }));
                    if name == "tracejob" {
                        wrong.push(format!("{}: {why}", row.title));
                    }
                    continue;
                }
            };
            let (added, slowdown) = (
                measured.estimate(),
                crate::stats::estimate(&measured.slowdown),
            );
            let ratio = ours
                .as_ref()
                .filter(|_| name != "tracejob")
                .map(|ours| ours.by(measured));
            let seen = match measured.seen {
                None => "not reported".to_owned(),
                Some((seen, of)) => format!("{:.2} %", seen as f64 * 100.0 / of.max(1) as f64),
            };
            let _ = writeln!(
                markdown,
                "| {name} | {} | {} | {} | {seen} | {} |",
                shown(added, 0),
                shown(slowdown, 2),
                ratio.map_or_else(|| "1".to_owned(), |ratio| shown(ratio, 2)),
                measured.lost
            );
            tools.push(json!({
                "name": name, "added_ns": measured.added, "slowdown": measured.slowdown,
                "seen": measured.seen, "lost": measured.lost,
            }));
            if name == "tracejob" && row.all_seen {
                let (seen, there) = measured.seen.unwrap_or((0, 0));
                // Other faults and calls of the workload are seen as well; not one of those that are timed may be missing
                // unreported. Losses depend on the machine, and are in the column above.
                if seen + measured.lost < there || there == 0 {
                    let lost = measured.lost;
                    wrong.push(format!(
                        "{}: {seen} of {there} events were seen, and {lost} reported lost",
                        row.title
                    ));
                }
            }
        }
        let goals = (row.goals)(standing);
        if !quick {
            tell_goals(&mut markdown, &goals);
        }
        Self {
            markdown,
            json: json!({
                "title": row.title, "step": contest.step, "calls": contest.calls, "chunks": contest.chunks,
                "alone_ns": standing.alone, "rounds": standing.rounds, "thrown_out": standing.thrown_out,
                "tools": tools, "goals": goals_json(&goals),
            }),
            wrong,
        }
    }
}

fn tell_goals(markdown: &mut String, goals: &[Goal]) {
    markdown.push('\n');
    for goal in goals {
        let verdict = match goal.reached {
            Some(true) => "reached",
            Some(false) => "NOT REACHED",
            None => "open",
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            markdown,
            "- Goal: {}. Measured: {}, {verdict}.",
            goal.wanted, goal.is
        );
    }
}

fn goals_json(goals: &[Goal]) -> Vec<Value> {
    let json =
        |goal: &Goal| json!({ "wanted": goal.wanted, "is": goal.is, "reached": goal.reached });
    goals.iter().map(json).collect()
}
