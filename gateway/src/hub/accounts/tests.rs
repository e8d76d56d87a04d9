//! Accounts of a node in every state of its agent and its traces.

use super::*;

fn node(link: Link, traces: Vec<Trace>) -> Node {
    Node {
        link,
        traces,
        ..Node::new("node-0".into())
    }
}

fn stage(name: &str, events: u64) -> v1::Stage {
    v1::Stage {
        name: name.to_owned(),
        events,
    }
}

/// Returns an account that balances.
fn account(delivered: u64, lost: u64) -> v1::Account {
    v1::Account {
        produced: delivered + lost,
        delivered,
        lost: match lost {
            0 => Vec::new(),
            lost => vec![stage("ring_full", lost)],
        },
        complete: lost == 0,
        ..v1::Account::default()
    }
}

fn ended(instance: u64, account: v1::Account) -> Trace {
    Trace {
        ended: Some(account),
        ..Trace::new(instance)
    }
}

/// Returns the state, the reason and the account of a node.
fn of(node: &Node) -> (NodeState, String, v1::Account) {
    let node = node.account(false);
    let state = node.state();
    (state, node.reason, node.account.unwrap_or_default())
}

#[test]
fn the_accounts_of_a_nodes_traces_add_up_stage_by_stage() {
    let other = v1::Account {
        lost: vec![stage("ring_full", 1), stage("map_full", 2)],
        produced: 8,
        delivered: 5,
        user_stacks: Some(v1::UserStacks {
            delivered: 5,
            truncated: 1,
            empty: 2,
            short: 3,
        }),
        ..v1::Account::default()
    };
    let traces = vec![
        ended(1, account(10, 3)),
        ended(2, other.clone()),
        ended(3, other),
    ];
    let (state, reason, sum) = of(&node(Link::Answered, traces));
    assert_eq!((state, reason.as_str()), (NodeState::Ended, ""));
    assert_eq!((sum.produced, sum.delivered), (29, 20));
    assert_eq!(sum.lost, [stage("ring_full", 5), stage("map_full", 4)]);
    let stacks = v1::UserStacks {
        delivered: 10,
        truncated: 2,
        empty: 4,
        short: 6,
    };
    assert_eq!(sum.user_stacks, Some(stacks));
    assert!(!sum.complete);
}

#[test]
fn sums_of_hostile_numbers_do_not_overflow() {
    let huge = v1::Account {
        produced: u64::MAX,
        lost: vec![stage("a", u64::MAX)],
        untraced: vec![Default::default(); 100],
        ..v1::Account::default()
    };
    let traces = vec![ended(1, huge.clone()), ended(2, huge)];
    let (_, _, sum) = of(&node(Link::Answered, traces));
    assert_eq!(sum.produced, u64::MAX);
    assert_eq!(sum.lost, [stage("a", u64::MAX)]);
    assert_eq!(sum.untraced.len(), UNTRACED_MAX);
    let mut trace = Trace::new(1);
    for number in 0..1000 {
        trace.add_lost(v1::Lost {
            stages: vec![stage(&number.to_string(), u64::MAX), stage("0", 1)],
            missed_runs: u64::MAX,
        });
    }
    assert_eq!(trace.lost.len(), LOST_MAX);
    assert_eq!((trace.lost["0"], trace.missed_runs), (u64::MAX, u64::MAX));
}

#[test]
fn a_running_trace_counts_the_rows_that_arrived_and_balances() {
    let mut running = Trace::new(7);
    // The agent is ahead of its stream.
    running.reported = v1::Account {
        filtered: 4,
        sampled: 2,
        beyond_limit: 1,
        ..account(1000, 0)
    };
    running.arrived(1, 0, 10);
    running.arrived(3, 25, 10);
    running.add_lost(v1::Lost {
        stages: vec![stage("ring_full", 5)],
        missed_runs: 3,
    });
    let node = node(Link::Answered, vec![running]);
    let (state, _, sum) = of(&node);
    assert_eq!(state, NodeState::Running);
    assert!(!sum.complete);
    assert_eq!((sum.delivered, sum.missed_runs), (35, 3));
    assert_eq!(sum.produced, 35 + 4 + 2 + 1 + 5);
    // The account of a table is the agent's, because its rows replace each other.
    let of_table = node.account(true).account.unwrap_or_default();
    assert_eq!(of_table.delivered, 1000);
    assert_eq!(of_table.produced, 1000 + 4 + 2 + 1 + 5);
}

#[test]
fn an_account_with_unknown_parts_is_not_complete() {
    let unfinished = || Trace::new(1);
    let broken = || Link::Broken("connection refused".to_owned());
    let failed = Trace {
        failed: Some(("KernelRefused".to_owned(), "no memory".to_owned())),
        ..Trace::new(1)
    };
    let restarted = vec![unfinished(), ended(2, account(1, 0))];
    let runs_again = vec![unfinished(), Trace::new(2)];
    for (node, state, reason) in [
        (
            node(broken(), vec![unfinished()]),
            NodeState::Left,
            "AgentUnreachable",
        ),
        (
            node(Link::Answered, vec![failed]),
            NodeState::Left,
            "KernelRefused",
        ),
        (
            node(Link::Answered, restarted),
            NodeState::Left,
            "AgentRestarted",
        ),
        // The second trace runs: the first one's missing account makes the sum incomplete.
        (
            node(Link::Answered, runs_again),
            NodeState::Running,
            "AgentRestarted",
        ),
    ] {
        let (is, why, sum) = of(&node);
        assert_eq!((is, why.as_str()), (state, reason));
        assert!(!sum.complete, "{reason}");
    }
    // All messages were received before the connection broke.
    let (state, _, sum) = of(&node(broken(), vec![ended(1, account(2, 0))]));
    assert_eq!((state, sum.complete), (NodeState::Ended, true));
}

#[test]
fn the_same_instance_is_the_same_trace() {
    let mut node = Node::new("node-0".into());
    assert!(!node.is_known() && !node.is_over() && !node.is_settled());
    assert_eq!([node.begin(5), node.begin(5), node.begin(6)], [0, 0, 1]);
    assert_eq!(node.traces.len(), 2);
    node.link = Link::Answered;
    assert!(node.is_running() && !node.is_settled());
    node.traces[1].ended = Some(account(0, 0));
    assert!(node.is_over() && node.is_settled());
}
