//! `oom_kill` against cgroups that run out of memory, with known victims.

use crate::{
    Task,
    conformance::{Entry, Expects, Identity, Limit, Producer, conforms},
    during,
};
use serde_json::json;
use std::fs;
use tests::{Cgroup, Outcome, Report, Trace, Wanted, Workload, check, needs};

/// The entry of the conformance suite. Children are killed one after the other, each for its own allocation.
const CONFORMANCE: Entry = Entry {
    producer: Producer::Noted("victim"),
    identity: Identity::of_process("victim_pid"),
    limit: Some(Limit::Memory(8 << 20)),
    // More than 4 KiB hold.
    storm: 40,
    ..Entry::of("oom_kill", "victims {}", Expects::Events(1))
};
conforms!(CONFORMANCE);

const LIMIT: u64 = 32 << 20;

/// The OOM killer's liking for a process: proc(5). Lowering it would take CAP_SYS_RESOURCE.
fn set_oom_score_adj(workload: &Workload, value: i32) {
    fs::write(
        format!("/proc/{}/oom_score_adj", workload.pid()),
        value.to_string(),
    )
    .unwrap();
}

/// A process that eats what its cgroup has until it is killed for it.
fn eater(group: &Cgroup) -> Workload {
    let workload = Workload::of_own_file_behind_gate_after("ids 4321 1234 , comm an_eater", "eat");
    group.add(workload.pid());
    workload
}

fn eats_until_it_is_killed(workload: &mut Workload) {
    workload.go();
    let status = workload.wait();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&status),
        Some(libc::SIGKILL)
    );
}

/// The wall clock from before a workload began to now.
fn since(report: &Report) -> Report {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    Report {
        realtime_ns: (report.realtime_ns.0, now.as_nanos() as u64),
        ..report.clone()
    }
}

#[test]
fn a_process_that_eats_its_cgroups_memory_is_one_row_with_what_it_held() {
    needs!("oom_kill");
    let group = Cgroup::with_memory(LIMIT);
    let mut workload = eater(&group);
    set_oom_score_adj(&workload, 321);
    let trace = Trace::of("oom_kill").of_process(&workload).start();
    eats_until_it_is_killed(&mut workload);
    let report = since(&workload.reports()[0]);
    let outcome = trace.finish();
    outcome.complete();
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "an_eater",
        ..Task::workload(&workload)
    };
    let mut wanted = task.columns();
    let row = outcome.row();
    wanted.retain(|(column, _)| *column != "cgroup");
    wanted.extend([
        ("time", during(&report)),
        ("cgroup", row["cgroup"].clone().into()),
        ("victim_pid", workload.pid().into()),
        ("victim_uid", 4321.into()),
        ("victim_comm", "an_eater".into()),
        // Its pages and the kernel's own for it share the limit; counters are per CPU and lag a little.
        ("anon_rss_bytes", Wanted::Within(LIMIT * 3 / 4, LIMIT)),
        ("file_rss_bytes", Wanted::Within(0, 16 << 20)),
        // Where the root is a tmpfs, the program itself is shared memory.
        ("shmem_rss_bytes", Wanted::Within(0, 16 << 20)),
        ("swap_bytes", 0.into()),
        ("total_vm_bytes", Wanted::Within(LIMIT, LIMIT + (1 << 30))),
        (
            "page_table_bytes",
            Wanted::Within(LIMIT / 4096 * 8, 4 << 20),
        ),
        ("victim_memory_cgroup", group.id().into()),
        ("victim_oom_score_adj", 321.into()),
    ]);
    check(row, &wanted);
}

/// A large process that has done nothing lately is killed because a small one wants more: victim and trigger.
fn killed_for_another(select: impl Fn(&Workload, &Workload) -> Trace) -> (Outcome, u32, u32) {
    killed_for_another_in(&Cgroup::with_memory(LIMIT), select)
}

/// Causes a kill in a cgroup with this memory limit.
fn killed_for_another_in(
    group: &Cgroup,
    select: impl Fn(&Workload, &Workload) -> Trace,
) -> (Outcome, u32, u32) {
    let mut victim = Workload::of_own_file_behind_gate_after(
        "",
        &format!("comm a_victim , hold {} , until-eof", (LIMIT / 2)),
    );
    let mut trigger = Workload::of_own_file_behind_gate_after("", "comm a_trigger , eat");
    group.add(victim.pid());
    group.add(trigger.pid());
    set_oom_score_adj(&victim, 1000);
    set_oom_score_adj(&trigger, 7);
    victim.go();
    victim.message("holding");
    let trace = select(&victim, &trigger).start();
    trigger.go();
    // The victim goes first, and the trigger has no other to take from.
    victim.wait();
    trigger.wait();
    (trace.finish(), victim.pid(), trigger.pid())
}

#[test]
fn a_victim_is_distinguished_from_the_process_that_triggered_the_kill() {
    needs!("oom_kill");
    let (outcome, victim, trigger) = killed_for_another(|victim, trigger| {
        Trace::of("oom_kill").of_process(victim).of_process(trigger)
    });
    outcome.complete();
    assert_eq!(outcome.rows.len(), 2);
    let row = outcome.row_where("victim_pid", victim);
    assert_eq!(
        (&row["victim_comm"], &row["comm"]),
        (&json!("a_victim"), &json!("a_trigger"))
    );
    assert_eq!(
        (&row["pid"], &row["victim_oom_score_adj"]),
        (&json!(trigger), &json!(1000))
    );
    assert!(
        row["anon_rss_bytes"].as_u64().unwrap() >= LIMIT / 2 - (2 << 20),
        "{row}"
    );
    let own = outcome.row_where("victim_pid", trigger);
    assert_eq!(
        (&own["pid"], &own["victim_oom_score_adj"]),
        (&json!(trigger), &json!(7))
    );
}

#[test]
fn a_victim_30_cgroups_below_the_selected_one_is_seen() {
    needs!("oom_kill");
    let memory = Cgroup::with_memory(LIMIT);
    // The selected cgroup and the one that runs out of memory may be of two hierarchies. The process that triggers the kill is not in the
    // selected one.
    let outer = Cgroup::new();
    let is_another = memory.is_of_another_hierarchy(&outer);
    let selected = if is_another { &outer } else { &memory }.below("selected");
    let below = selected.nested("below", 30);
    let (outcome, victim, trigger) = killed_for_another_in(&memory, |victim, _| {
        below[0].add(victim.pid());
        // It would wait for the cgroup's end.
        let one = Trace::of("oom_kill").with(&["--max-events", "1"]);
        one.with(&["--cgroup".as_ref(), selected.path().as_os_str()])
    });
    assert_eq!(outcome.complete().produced, 1);
    let row = outcome.row();
    assert_eq!(
        (&row["victim_pid"], &row["pid"]),
        (&json!(victim), &json!(trigger))
    );
}

#[test]
fn a_process_that_is_killed_otherwise_is_not_seen() {
    needs!("oom_kill");
    let mut workload = Workload::behind_gate("kill 9");
    let trace = Trace::of("oom_kill").of_process(&workload).start();
    workload.go();
    workload.wait();
    assert_eq!(trace.finish().complete().produced, 0);
}

mod here {
    use super::*;

    #[test]
    fn a_kill_is_selected_by_its_victim_alone() {
        needs!("oom_kill");
        let (outcome, victim, trigger) =
            killed_for_another(|victim, _| Trace::of("oom_kill").of_process(victim));
        outcome.complete();
        assert_eq!(outcome.row()["victim_pid"], json!(victim));
        assert_eq!(outcome.row()["pid"], json!(trigger));
    }

    #[test]
    fn a_kill_is_selected_by_its_trigger_alone() {
        needs!("oom_kill");
        let (outcome, victim, trigger) =
            killed_for_another(|_, trigger| Trace::of("oom_kill").of_process(trigger));
        outcome.complete();
        assert_eq!(
            outcome.row_where("victim_pid", victim)["pid"],
            json!(trigger)
        );
    }
}
