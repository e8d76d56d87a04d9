//! The account of a trace as text and JSON: events produced, delivered and lost, and the cost.

use crate::{
    show::render::{count, plural, size, span},
    source::remote::{Beside, Gaps, Node, State},
};
use engine::{Account, BpfCost, Cost, Ended, UserStacks};
use serde_json::json;
use std::{os::unix::process::ExitStatusExt, time::Duration};

/// Maximum number of incomplete nodes to name.
const NAMED: usize = 10;

/// Returns whether the trace is complete and its counts add up.
pub(crate) fn is_whole(account: &Account, beside: &Beside) -> bool {
    account.complete() && beside.complete() && balances(account, beside)
}

/// Returns whether the counts add up, including stages of newer agents.
fn balances(account: &Account, beside: &Beside) -> bool {
    // What is known of a node that has not ended is no account.
    if beside.left || beside.nodes.iter().any(|node| node.state != State::Ended) {
        return true;
    }
    let others = beside.lost_total();
    account
        .produced
        .checked_sub(others)
        .is_some_and(|produced| {
            Account {
                produced,
                ..account.clone()
            }
            .balanced()
        })
}

/// Number of rows shown, of all rows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rows {
    shown: u64,
    all: u64,
}

impl Rows {
    /// Returns the numbers for all rows, or for the first `top` rows.
    pub(crate) fn of(all: u64, top: Option<usize>) -> Self {
        let shown = top.map_or(all, |top| all.min(top as u64));
        Self { shown, all }
    }

    fn text(self) -> String {
        let Self { shown, all } = self;
        match shown == all {
            true => plural(all, "row"),
            false => format!("{} of {} shown", count(shown), plural(all, "row")),
        }
    }
}

/// Returns the account as text.
pub(crate) fn account_text(account: &Account, rows: Rows, beside: &Beside) -> String {
    let Account {
        produced,
        delivered,
        filtered,
        beyond_limit,
        sampled,
        lost,
        stacks_missing,
        stacks_truncated,
        stacks_not_unwound,
        user_stacks,
        missed_runs,
        untraced,
        elapsed,
        cost,
        ended,
    } = account;
    let Beside {
        lost: others,
        gaps,
        ended: other,
        incomplete: _,
        unsaid,
        cut_off,
        notes,
        nodes,
        desired,
        late_rows,
        failed,
        left,
    } = beside;
    let verdict = match failed {
        Some(_) => "FAILED",
        None if *left => "so far",
        None if account.complete() && beside.complete() => "complete",
        None => "PARTIAL",
    };
    let mut out = format!(
        "{}, {verdict}: {}{}{} produced, {} delivered",
        rows.text(),
        nodes_text(nodes, *desired),
        if *cut_off || *left { "at least " } else { "" },
        count(*produced),
        count(*delivered),
    );
    if *filtered > 0 {
        out.push_str(&format!(", {} filtered", count(*filtered)));
    }
    if *beyond_limit > 0 {
        out.push_str(&format!(", {} beyond the limit", count(*beyond_limit)));
    }
    if *sampled > 0 {
        out.push_str(&format!(", {} sampled out", count(*sampled)));
    }
    let lost_total = lost.total() + beside.lost_total();
    out.push_str(&format!(", {} lost", count(lost_total)));
    let some: Vec<_> = lost
        .stages()
        .into_iter()
        .filter(|(_, count, _)| *count > 0)
        .collect();
    if lost_total > 0 {
        let ours = some.iter().map(|(stage, n, _)| (*stage, *n));
        let others = others.iter().map(|(stage, n)| (stage.as_str(), *n));
        let stages: Vec<String> = ours
            .chain(others)
            .map(|(stage, n)| format!("{} {}", count(n), stage.replace('_', " ")))
            .collect();
        out.push_str(&format!(" ({})", stages.join(", ")));
    }
    let costs = match (left, cut_off) {
        (true, _) => "The job continues without this reader.".to_owned(),
        (false, false) => cost_text(cost, elapsed.as_secs_f64()),
        (false, true) => "No account was received, so the cost is unknown.".to_owned(),
    };
    out.push_str(&format!(" in {}. {costs}\n", span(*elapsed)));
    if let Some((reason, message)) = failed {
        out.push_str(&format!("The job failed ({reason}): {message}.\n"));
    }
    if !left {
        out.extend(beside.troubled().take(NAMED).map(node_text));
        let more = beside.troubled().count().saturating_sub(NAMED);
        if more > 0 {
            out.push_str(&format!(
                "… and {more} more {}.\n",
                if more == 1 { "node" } else { "nodes" }
            ));
        }
    }
    for (stage, _, remedy) in some {
        out.push_str(&format!(
            "{}: {remedy}.\n",
            capital(&stage.replace('_', " "))
        ));
    }
    if *sampled > 0 {
        let share = 100.0 * produced.saturating_sub(*sampled) as f64 / (*produced).max(1) as f64;
        out.push_str(&format!(
            "The trace kept {share:.1} % of the events to stay within its budget: counts and sums of tables are estimates.\n"
        ));
    }
    if *stacks_missing > 0 {
        out.push_str(&format!(
            "{} without a stack: the stack map was full.\n",
            plural(*stacks_missing, "row")
        ));
    }
    if *stacks_truncated > 0 {
        out.push_str(&format!(
            "{} truncated: deeper than kernel.perf_event_max_stack or their copy; they end with [deeper than recorded].\n",
            plural(*stacks_truncated, "stack")
        ));
    }
    if *stacks_not_unwound > 0 {
        out.push_str(&format!(
            "{} not unwound from a copy to the outermost frame: the ring was full (`--ring 8MiB`), or code has no unwind tables.\n",
            plural(*stacks_not_unwound, "stack")
        ));
    }
    if let Some(percent) = user_stacks.short_percent() {
        out.push_str(&format!(
            "{percent} % of user stacks have fewer than three frames: built without frame pointers?\n"
        ));
    }
    if *missed_runs > 0 {
        let runs = plural(*missed_runs, "program run");
        let missed = plural(*missed_runs, "event");
        out.push_str(&format!(
            "The kernel skipped {runs} (another run was active on that CPU); up to {missed} may be missing.\n"
        ));
    }
    for reason in &untraced.reasons {
        out.push_str(&format!("Not traced: {reason}.\n"));
    }
    let more = (untraced.count).saturating_sub(untraced.reasons.len() as u64);
    if more > 0 {
        out.push_str(&format!("Not traced: {} more.\n", plural(more, "file")));
    }
    if let Some(Gaps { count: gaps, rows }) = gaps {
        let rows = rows.map_or("some rows".to_owned(), |rows| plural(rows, "row"));
        let gaps = plural(*gaps, "gap");
        out.push_str(&match nodes.is_empty() {
            true => format!("Missed {rows} in {gaps}: this reader was too slow. Narrow the selection, or raise policy.replayBytes on that node.\n"),
            false => format!("Missed {rows} in {gaps}: this reader was too slow, or attached too late. Narrow the selection.\n"),
        });
    }
    if *late_rows > 0 {
        out.push_str(&format!(
            "{} out of order: nodes were slow, or their clocks differ.\n",
            plural(*late_rows, "row")
        ));
    }
    if *unsaid {
        out.push_str(match nodes.is_empty() {
            true => "The agent reports missing events. Use a tracejob of the agent's version to see which.\n",
            false => "Events are missing on one of the nodes: `kubectl tracejob describe` shows the details.\n",
        });
    }
    if !balances(account, beside) {
        out.push_str(
            "The counts of this account do not add up: this is a bug, please report it.\n",
        );
    }
    match ended {
        Some(Ended::TargetGone) => out.push_str("All selected targets have exited.\n"),
        Some(Ended::Command(status)) => match (status.code(), status.signal()) {
            (Some(0), _) => {}
            (Some(code), _) => out.push_str(&format!("The command exited with status {code}.\n")),
            (None, signal) => out.push_str(&format!(
                "The command was killed by signal {}.\n",
                signal.unwrap_or(0)
            )),
        },
        Some(Ended::Budget(0)) => {
            out.push_str("The trace was ended because it exceeded its budget even with sampling.\n");
        }
        Some(Ended::Budget(of)) => out.push_str(&format!(
            "The trace was ended because it exceeded its budget even when it kept only 1 of {of} events.\n"
        )),
        Some(Ended::Duration | Ended::MaxEvents | Ended::Stopped) | None => {}
    }
    match other.as_deref() {
        // The user stopped it.
        Some("stopped") | None => {}
        Some("deleted") => out.push_str("The job was deleted while it was running.\n"),
        Some(word) => out.push_str(&format!("End reason: {}.\n", word.replace('_', " "))),
    }
    for sentence in notes {
        out.push_str(&format!("{sentence}\n"));
    }
    out
}

/// Returns the nodes of a job: `2 of 2 nodes, `; empty without a job.
fn nodes_text(nodes: &[Node], desired: Option<u64>) -> String {
    if nodes.is_empty() && desired.is_none() {
        return String::new();
    }
    let there = nodes
        .iter()
        .filter(|node| node.state != State::Unreached)
        .count() as u64;
    let all = desired.unwrap_or(0).max(nodes.len() as u64);
    format!("{} of {}, ", count(there), plural(all, "node"))
}

/// Returns a line about an incomplete node.
fn node_text(node: &Node) -> String {
    let Node {
        name,
        state,
        reason,
        message,
        ..
    } = node;
    let why = match (reason.as_str(), message.as_str()) {
        ("", "") => String::new(),
        (reason, "") | ("", reason) => format!(": {reason}"),
        (reason, message) => format!(": {message} ({reason})"),
    };
    let how = match state {
        State::Left => "left before the job ended",
        State::Unreached => "was never reached",
        State::Running | State::Other => "has not reported its account",
        State::Ended => "did not record all events",
    };
    format!("{name} {how}{why}.\n")
}

fn cost_text(cost: &Cost, elapsed: f64) -> String {
    let Cost {
        bpf,
        reader,
        kernel_bytes,
    } = cost;
    let share = |seconds: f64| {
        let percent = 100.0 * seconds / elapsed.max(f64::MIN_POSITIVE);
        match percent {
            p if p >= 9.95 => format!("{p:.0} %"),
            p if p >= 0.995 => format!("{p:.1} %"),
            p if p >= 0.005 => format!("{p:.2} %"),
            _ => "less than 0.01 %".to_owned(),
        }
    };
    let memory = size(*kernel_bytes);
    match bpf {
        Some(bpf) => format!(
            "Cost {} of one CPU, {memory}.",
            share((bpf.time + *reader).as_secs_f64())
        ),
        None => format!(
            "Cost {} of one CPU to read, {memory}; the CPU time of the programs is unknown.",
            share(reader.as_secs_f64())
        ),
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map(|first| first.to_uppercase().chain(letters).collect())
        .unwrap_or_default()
}

/// Returns the account as a JSON object.
pub(crate) fn account_json(account: &Account, beside: &Beside) -> serde_json::Value {
    let Account {
        produced,
        delivered,
        filtered,
        beyond_limit,
        sampled,
        lost,
        stacks_missing,
        stacks_truncated,
        stacks_not_unwound,
        user_stacks,
        missed_runs,
        untraced,
        elapsed,
        cost,
        ended,
    } = account;
    let Cost {
        bpf,
        reader,
        kernel_bytes,
    } = cost;
    let stages: serde_json::Map<_, _> = lost
        .stages()
        .into_iter()
        .map(|(stage, count, _)| (stage.to_owned(), count.into()))
        .chain(
            beside
                .lost
                .iter()
                .map(|(stage, count)| (stage.clone(), (*count).into())),
        )
        .collect();
    let mut costs = json!({ "reader_ns": ns(*reader), "kernel_bytes": kernel_bytes });
    if let Some(BpfCost {
        time,
        runs,
        measured,
    }) = bpf
    {
        costs["bpf_ns"] = ns(*time).into();
        costs["bpf_runs"] = (*runs).into();
        costs["bpf_measured"] = (*measured).into();
    }
    let mut account = json!({
        "produced": produced, "delivered": delivered, "filtered": filtered, "beyond_limit": beyond_limit, "sampled": sampled, "lost": stages,
        "complete": account.complete() && beside.complete(), "stacks_missing": stacks_missing,
        "stacks_truncated": stacks_truncated, "stacks_not_unwound": stacks_not_unwound, "missed_runs": missed_runs,
        "elapsed_ns": ns(*elapsed), "cost": costs,
    });
    if user_stacks.short_percent().is_some() {
        let UserStacks {
            delivered,
            truncated,
            empty,
            short,
        } = user_stacks;
        account["user_stacks"] = json!({
            "delivered": delivered, "truncated": truncated, "empty": empty, "short": short,
        });
    }
    if untraced.count > 0 {
        account["untraced"] = json!({ "count": untraced.count, "reasons": untraced.reasons });
    }
    if let Some(Gaps { count, rows }) = beside.gaps {
        account["gaps"] = json!({ "count": count, "rows": rows });
    }
    if !beside.nodes.is_empty() || beside.desired.is_some() {
        account["nodes"] = beside.nodes.iter().map(node_json).collect();
        account["nodes_desired"] = json!(beside.desired);
        account["late_rows"] = beside.late_rows.into();
    }
    if let Some((reason, message)) = &beside.failed {
        account["failed"] = json!({ "reason": reason, "message": message });
    }
    let word = match ended {
        None if beside.left => "left",
        None if beside.cut_off && beside.desired.is_some() => "gateway_gone",
        None if beside.cut_off => "agent_gone",
        None => match &beside.ended {
            Some(word) => word,
            None => return json!({ "account": account }),
        },
        Some(Ended::Duration) => "duration",
        Some(Ended::MaxEvents) => "max_events",
        Some(Ended::TargetGone) => "target_gone",
        Some(Ended::Stopped) => "stopped",
        Some(Ended::Budget(_)) => "budget",
        Some(Ended::Command(status)) => {
            account["command"] = match status.signal() {
                Some(signal) => json!({ "signal": signal }),
                None => json!({ "exit_status": status.code() }),
            };
            "command"
        }
    };
    account["ended"] = word.into();
    json!({ "account": account })
}

fn node_json(node: &Node) -> serde_json::Value {
    let Node {
        name,
        state,
        reason,
        message,
        produced,
        delivered,
        lost,
    } = node;
    let mut data = json!({
        "node": name, "state": state.word(), "produced": produced, "delivered": delivered, "lost": lost,
    });
    if !reason.is_empty() || !message.is_empty() {
        data["reason"] = reason.as_str().into();
        data["message"] = message.as_str().into();
    }
    data
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::{BpfCost, Lost};
    use std::{os::unix::process::ExitStatusExt, process::ExitStatus, time::Duration};

    fn account() -> Account {
        Account {
            produced: 2,
            delivered: 2,
            elapsed: Duration::from_secs(30),
            cost: Cost {
                bpf: Some(BpfCost {
                    time: Duration::from_millis(4),
                    runs: 20,
                    measured: 0.1,
                }),
                reader: Duration::from_millis(2),
                kernel_bytes: 1_258_291,
            },
            ended: Some(Ended::Duration),
            ..Account::default()
        }
    }

    #[test]
    fn a_complete_trace_is_one_line() {
        insta::assert_snapshot!(account_text(&account(), Rows::of(2, None), &Beside::default()), @"2 rows, complete: 2 produced, 2 delivered, 0 lost in 30.0 s. Cost 0.02 % of one CPU, 1.2 MiB.");
    }

    #[test]
    fn losses_are_shown_with_stage_and_remedy() {
        let mut account = account();
        account.produced = 1_300_100;
        account.delivered = 1_204_511;
        account.beyond_limit = 90;
        account.lost = Lost {
            ring_full: 95_489,
            unreadable: 10,
            ..Lost::default()
        };
        account.stacks_missing = 1;
        account.stacks_truncated = 2000;
        account.stacks_not_unwound = 4;
        account.missed_runs = 3;
        account.cost.bpf = None;
        account.ended = Some(Ended::Command(ExitStatus::from_raw(2 << 8)));
        insta::assert_snapshot!(account_text(&account, Rows::of(1_204_511, None), &Beside::default()), @r"
        1,204,511 rows, PARTIAL: 1,300,100 produced, 1,204,511 delivered, 90 beyond the limit, 95,499 lost (95,489 ring full, 10 unreadable) in 30.0 s. Cost 0.01 % of one CPU to read, 1.2 MiB; the CPU time of the programs is unknown.
        Ring full: a larger ring (`--ring 8MiB`) or a narrower selection keeps up.
        Unreadable: the memory was gone or paged out when the event happened.
        1 row without a stack: the stack map was full.
        2,000 stacks truncated: deeper than kernel.perf_event_max_stack or their copy; they end with [deeper than recorded].
        4 stacks not unwound from a copy to the outermost frame: the ring was full (`--ring 8MiB`), or code has no unwind tables.
        The kernel skipped 3 program runs (another run was active on that CPU); up to 3 events may be missing.
        The command exited with status 2.
        ");
    }

    #[test]
    fn files_that_were_not_traced_are_named_and_the_account_is_not_complete() {
        let mut account = account();
        account.untraced.count = 10;
        account.untraced.reasons = vec!["functions of /x cannot be traced: why".to_owned()];
        let text = account_text(&account, Rows::of(2, None), &Beside::default());
        assert!(text.contains("PARTIAL"), "{text}");
        let named =
            "Not traced: functions of /x cannot be traced: why.\nNot traced: 9 files more.\n";
        assert!(text.contains(named), "{text}");
        let json = account_json(&account, &Beside::default());
        assert_eq!(json["account"]["complete"], false);
        assert_eq!(json["account"]["untraced"]["count"], 10);
    }

    #[test]
    fn short_user_stacks_are_reported_where_they_are_many() {
        let mut account = account();
        account.user_stacks = UserStacks {
            delivered: 1100,
            truncated: 1,
            empty: 100,
            short: 380,
        };
        let text = account_text(&account, Rows::of(2, None), &Beside::default());
        let line =
            "38 % of user stacks have fewer than three frames: built without frame pointers?";
        assert_eq!(text.lines().nth(1), Some(line), "{text}");
        let json = account_json(&account, &Beside::default());
        let numbers = json!({ "delivered": 1100, "truncated": 1, "empty": 100, "short": 380 });
        assert_eq!(json["account"]["user_stacks"], numbers);
        account.user_stacks.short = 99;
        let text = account_text(&account, Rows::of(2, None), &Beside::default());
        assert_eq!(text.lines().count(), 1, "{text}");
        let json = account_json(&account, &Beside::default());
        assert!(json["account"].get("user_stacks").is_none());
    }

    #[test]
    fn rows_that_are_not_shown_are_counted() {
        let text = account_text(&account(), Rows::of(1412, Some(20)), &Beside::default());
        assert!(
            text.starts_with("20 of 1,412 rows shown, complete: "),
            "{text}"
        );
        let text = account_text(&account(), Rows::of(7, Some(20)), &Beside::default());
        assert!(text.starts_with("7 rows, complete: "), "{text}");
    }

    #[test]
    fn books_that_do_not_balance_are_a_bug_that_is_not_hidden() {
        let mut account = account();
        account.produced = 3;
        assert!(
            account_text(&account, Rows::of(2, None), &Beside::default())
                .contains("The counts of this account do not add up")
        );
    }

    #[test]
    fn the_account_is_one_object() {
        let mut account = account();
        account.lost.ring_full = 4;
        account.cost.bpf = Some(BpfCost {
            time: Duration::from_nanos(5),
            runs: 6,
            measured: 0.5,
        });
        insta::assert_snapshot!(account_json(&account, &Beside::default()).to_string());
    }
}
