//! An agent's account as the library has it, and what there is to say beside it.

use super::words;
use agent::{Account, BpfCost, Cost, Ended, Lost};
use proto::v1;
use std::time::Duration;

/// Longer than any trace: no sum of two such times is too large.
const LONGEST: Duration = Duration::from_secs(1 << 40);
/// More stages than there will be.
const STAGES: usize = 64;

/// What there is to say of a trace elsewhere beside its account. Nothing, for one that ran here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Losses at stages that only newer agents have.
    pub(crate) lost: Vec<(String, u64)>,
    /// What this reader was too slow for, where there was such.
    pub(crate) gaps: Option<Gaps>,
    /// Why it ended, where only newer agents say so.
    pub(crate) ended: Option<String>,
    /// The agent says that something is missing, and no count of ours does.
    pub(crate) incomplete: bool,
    /// There is no account: what is called one is what was seen until the agent was gone.
    pub(crate) cut_off: bool,
    /// Further sentences for a person.
    pub(crate) said: Vec<&'static str>,
}

/// What a reader did not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gaps {
    /// How many times.
    pub(crate) count: u64,
    /// Rows in them; not known where the agent does not say.
    pub(crate) rows: Option<u64>,
}

impl Beside {
    /// Events that were lost at stages that only newer agents have.
    pub(crate) fn lost_total(&self) -> u64 {
        self.lost
            .iter()
            .fold(0, |sum, (_, events)| sum.saturating_add(*events))
    }

    /// Whether nothing is missing, for certain.
    pub(crate) fn complete(&self) -> bool {
        self.gaps.is_none() && self.lost_total() == 0 && !self.incomplete && !self.cut_off
    }

    /// Takes note of rows that do not come.
    pub(super) fn gap(&mut self, rows: Option<u64>) {
        let before = self.gaps.unwrap_or(Gaps {
            count: 0,
            rows: Some(0),
        });
        self.gaps = Some(Gaps {
            count: before.count.saturating_add(1),
            rows: before
                .rows
                .zip(rows)
                .map(|(all, more)| all.saturating_add(more)),
        });
    }
}

/// Adds what was lost to the books.
pub(super) fn add_lost(
    told: v1::Lost,
    account: &mut Account,
    beside: &mut Beside,
) -> Result<(), String> {
    let v1::Lost {
        stages,
        missed_runs,
    } = told;
    account.missed_runs = account.missed_runs.saturating_add(missed_runs);
    add_stages(stages, &mut account.lost, &mut beside.lost)
}

fn add_stages(
    stages: Vec<v1::Stage>,
    lost: &mut Lost,
    others: &mut Vec<(String, u64)>,
) -> Result<(), String> {
    for v1::Stage { name, events } in stages {
        let known = match name.as_str() {
            "ring_full" => &mut lost.ring_full,
            "map_full" => &mut lost.map_full,
            "unreadable" => &mut lost.unreadable,
            "busy" => &mut lost.busy,
            "over_quota" => &mut lost.over_quota,
            "malformed" => &mut lost.malformed,
            _ if events == 0 => continue,
            _ => {
                let name = words(&name);
                match others.iter().position(|(other, _)| *other == name) {
                    Some(at) => &mut others[at].1,
                    None if others.len() < STAGES => {
                        others.push((name, 0));
                        let last = others.len() - 1;
                        &mut others[last].1
                    }
                    None => return Err(format!("more than {STAGES} stages of loss")),
                }
            }
        };
        *known = known
            .checked_add(events)
            .ok_or("more losses than can be counted")?;
    }
    Ok(())
}

/// The account at the end.
pub(super) fn account(told: v1::Account, beside: &mut Beside) -> Result<Account, String> {
    let v1::Account {
        produced,
        delivered,
        beyond_limit,
        lost: stages,
        missed_runs,
        stacks_missing,
        complete,
        elapsed,
        cost,
        ended,
        sampled,
        // Of jobs.
        nodes: _,
        missed_rows: _,
        late_rows: _,
    } = told;
    let mut lost = Lost::default();
    beside.lost.clear();
    add_stages(stages, &mut lost, &mut beside.lost)?;
    let all = [
        lost.ring_full,
        lost.map_full,
        lost.unreadable,
        lost.busy,
        lost.over_quota,
        lost.malformed,
        beside.lost_total(),
        delivered,
        beyond_limit,
        sampled,
    ];
    // From here on sums are in range.
    all.into_iter()
        .try_fold(0u64, u64::checked_add)
        .ok_or("more events than can be counted")?;
    let v1::Cost {
        bpf,
        reader,
        kernel_bytes,
        bpf_runs,
        bpf_measured,
    } = cost.unwrap_or_default();
    let bpf = bpf.map(|bpf| {
        Ok::<_, String>(BpfCost {
            time: time(Some(bpf))?,
            runs: bpf_runs,
            measured: bpf_measured.clamp(0.0, 1.0),
        })
    });
    let (ended, other) = match ended.as_str() {
        "" => (None, None),
        "duration" => (Some(Ended::Duration), None),
        "max_events" => (Some(Ended::MaxEvents), None),
        "target_gone" => (Some(Ended::TargetGone), None),
        "stopped" => (Some(Ended::Stopped), None),
        // One of how many it kept is not told.
        "budget" => (Some(Ended::Budget(0)), None),
        word => (None, Some(words(word))),
    };
    beside.ended = other;
    let account = Account {
        produced,
        delivered,
        beyond_limit,
        sampled,
        lost,
        stacks_missing,
        missed_runs,
        elapsed: time(elapsed)?,
        cost: Cost {
            bpf: bpf.transpose()?,
            reader: time(reader)?,
            kernel_bytes,
        },
        ended,
    };
    beside.incomplete = !complete && account.complete() && beside.lost_total() == 0;
    Ok(account)
}

fn time(told: Option<prost_types::Duration>) -> Result<Duration, String> {
    let time = told.map_or(Ok(Duration::ZERO), Duration::try_from);
    match time {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err("a time that is none".to_owned()),
    }
}
