//! Conversion of an agent's account to the library's, with details beside it.

use super::words;
use engine::{Account, BpfCost, Cost, Ended, Lost, Untraced, UserStacks};
use proto::v1;
use std::time::Duration;

/// Maximum duration; the sum of two does not overflow.
const LONGEST: Duration = Duration::from_secs(1 << 40);
/// Maximum number of stages of loss.
const STAGES: usize = 64;
/// Maximum number of reasons for untraced files.
const REASONS: usize = 16;
/// Maximum number of nodes; Kubernetes supports 5,000.
const NODES: usize = 20_000;

/// Details of a remote trace beside its account. Empty for a local trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Beside {
    /// Losses at stages that only newer agents have.
    pub(crate) lost: Vec<(String, u64)>,
    /// Rows that this reader missed, if any.
    pub(crate) gaps: Option<Gaps>,
    /// Reason of the end, if only newer agents have it.
    pub(crate) ended: Option<String>,
    /// Whether the agent reports the account as incomplete, and no known count explains it.
    pub(crate) incomplete: bool,
    /// Whether, in addition, no other detail explains it.
    pub(crate) unsaid: bool,
    /// Whether the account is provisional, because the connection was lost.
    pub(crate) cut_off: bool,
    /// Further sentences for the user.
    pub(crate) notes: Vec<&'static str>,
    /// Known nodes of a job.
    pub(crate) nodes: Vec<Node>,
    /// Number of nodes that should run a job, if known.
    pub(crate) desired: Option<u64>,
    /// Rows of a job that arrived out of order.
    pub(crate) late_rows: u64,
    /// Reason and message of a failed job.
    pub(crate) failed: Option<(String, String)>,
    /// Whether the reader detached and the job continues.
    pub(crate) left: bool,
}

/// State of a job on one node. Its texts are escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    /// Name of the node.
    pub(crate) name: String,
    /// State of the job on the node.
    pub(crate) state: State,
    /// Reason of a problem; empty without one.
    pub(crate) reason: String,
    /// Message of a problem.
    pub(crate) message: String,
    /// Events produced on the node, as far as known.
    pub(crate) produced: u64,
    /// Events delivered.
    pub(crate) delivered: u64,
    /// Events lost in all stages.
    pub(crate) lost: u64,
}

/// State of a job on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// The node sends rows.
    Running,
    /// The node sent its account.
    Ended,
    /// The agent does not answer any more, or was restarted.
    Left,
    /// The node should run the job, but was never reached.
    Unreached,
    /// A state of newer gateways.
    Other,
}

impl State {
    /// Returns the word of the state in JSON.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Ended => "ended",
            Self::Left => "left",
            Self::Unreached => "unreached",
            Self::Other => "unknown",
        }
    }
}

/// Rows that a reader missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gaps {
    /// Number of gaps.
    pub(crate) count: u64,
    /// Rows in the gaps; `None` if the agent does not report it.
    pub(crate) rows: Option<u64>,
}

impl Beside {
    /// Returns the events lost at stages of newer agents.
    pub(crate) fn lost_total(&self) -> u64 {
        self.lost
            .iter()
            .fold(0, |sum, (_, events)| sum.saturating_add(*events))
    }

    /// Returns whether the details report no loss.
    pub(crate) fn complete(&self) -> bool {
        self.gaps.is_none()
            && self.lost_total() == 0
            && !self.incomplete
            && !self.cut_off
            && self.failed.is_none()
            && (self.left || self.troubled().next().is_none())
    }

    /// Returns the nodes without a complete account.
    pub(crate) fn troubled(&self) -> impl Iterator<Item = &Node> {
        let nodes = self.nodes.iter();
        nodes.filter(|node| node.state != State::Ended || !node.reason.is_empty())
    }

    /// Records the state of nodes.
    pub(super) fn record_nodes(&mut self, received: Vec<v1::NodeAccount>) -> Result<(), String> {
        for node in received {
            let node = read_node(node);
            // They are sorted by name.
            let place = self
                .nodes
                .binary_search_by(|known| known.name.cmp(&node.name));
            match place {
                Ok(at) => self.nodes[at] = node,
                Err(at) if self.nodes.len() < NODES => self.nodes.insert(at, node),
                Err(_) => return Err(format!("more than {NODES} nodes")),
            }
        }
        Ok(())
    }

    /// Records missed rows.
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

fn read_node(received: v1::NodeAccount) -> Node {
    let state = match received.state() {
        v1::NodeState::Running => State::Running,
        v1::NodeState::Ended => State::Ended,
        v1::NodeState::Left => State::Left,
        v1::NodeState::Unreached => State::Unreached,
        v1::NodeState::Unspecified => State::Other,
    };
    let v1::NodeAccount {
        node,
        state: _,
        account,
        reason,
        message,
    } = received;
    let account = account.unwrap_or_default();
    let lost = account.lost.iter();
    Node {
        name: words(&node),
        state,
        reason: words(&reason),
        message: words(&message),
        produced: account.produced,
        delivered: account.delivered,
        lost: lost.fold(0, |sum, stage| sum.saturating_add(stage.events)),
    }
}

/// Adds losses to the account.
pub(super) fn add_lost(
    received: v1::Lost,
    account: &mut Account,
    beside: &mut Beside,
) -> Result<(), String> {
    let v1::Lost {
        stages,
        missed_runs,
    } = received;
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
            .ok_or("the counts of lost events overflow")?;
    }
    Ok(())
}

fn stacks(received: v1::UserStacks) -> UserStacks {
    let v1::UserStacks {
        delivered,
        truncated,
        empty,
        short,
    } = received;
    UserStacks {
        delivered,
        truncated,
        empty,
        short,
    }
}

/// Converts the final account.
pub(super) fn account(received: v1::Account, beside: &mut Beside) -> Result<Account, String> {
    let v1::Account {
        produced,
        delivered,
        filtered,
        beyond_limit,
        lost: stages,
        missed_runs,
        stacks_missing,
        stacks_truncated,
        stacks_not_unwound,
        complete,
        elapsed,
        cost,
        ended,
        sampled,
        nodes,
        missed_rows,
        late_rows,
        untraced,
        untraced_count,
        user_stacks,
    } = received;
    beside.record_nodes(nodes)?;
    beside.late_rows = beside.late_rows.saturating_add(late_rows);
    if missed_rows > 0 {
        // Most of them, or all, were reported as gaps.
        let received = beside.gaps.unwrap_or(Gaps {
            count: 1,
            rows: Some(0),
        });
        beside.gaps = Some(Gaps {
            rows: received.rows.map(|rows| rows.max(missed_rows)),
            ..received
        });
    }
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
        filtered,
        beyond_limit,
        sampled,
    ];
    // From here on sums are in range.
    all.into_iter()
        .try_fold(0u64, u64::checked_add)
        .ok_or("the counts of events overflow")?;
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
        // The API does not report the share that was kept.
        "budget" => (Some(Ended::Budget(0)), None),
        word => (None, Some(words(word))),
    };
    beside.ended = other;
    let account = Account {
        produced,
        delivered,
        filtered,
        beyond_limit,
        sampled,
        lost,
        stacks_missing,
        stacks_truncated,
        stacks_not_unwound,
        user_stacks: user_stacks.map(stacks).unwrap_or_default(),
        missed_runs,
        untraced: Untraced {
            count: untraced_count,
            reasons: { untraced.iter().take(REASONS) }
                .map(|reason| words(reason))
                .collect(),
        },
        elapsed: time(elapsed)?,
        cost: Cost {
            bpf: bpf.transpose()?,
            reader: time(reader)?,
            kernel_bytes,
        },
        ended,
    };
    // Incomplete nodes and missed rows explain it, and are reported.
    let explained = beside.troubled().next().is_some() || beside.gaps.is_some();
    beside.incomplete = !complete && account.complete() && beside.lost_total() == 0;
    beside.unsaid = beside.incomplete && !explained;
    Ok(account)
}

fn time(received: Option<prost_types::Duration>) -> Result<Duration, String> {
    let time = received.map_or(Ok(Duration::ZERO), Duration::try_from);
    match time {
        Ok(time) if time <= LONGEST => Ok(time),
        _ => Err("an invalid time".to_owned()),
    }
}
