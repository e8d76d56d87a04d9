//! Processes that lie many cgroups below the one that is selected.

use tests::{Cgroup, Trace, Workload, needs};

/// More levels than cgroups that can be selected lie deep.
const LEVELS: usize = 40;

/// Traces a cgroup, and opens files in one that lies many levels below it and in one beside it.
fn sees_what_lies_deep_below(top: &Cgroup, beside: &Cgroup) {
    let [below, apart] = [top, beside].map(|group| group.nested("below", LEVELS));
    let opens = "open-times 50 openat /dev/null 0 0";
    let mut inside = Workload::behind_gate(&opens);
    let mut outside = Workload::behind_gate(&opens);
    below[0].add(inside.pid());
    apart[0].add(outside.pid());
    let trace = Trace::of("open")
        .with(&["--cgroup".as_ref(), top.path().as_os_str()])
        .start();
    outside.finish();
    inside.finish();
    let outcome = trace.stop();
    assert_eq!(outcome.complete().produced, 50);
    assert_eq!(outcome.rows_where("pid", inside.pid()).len(), 50);
}

#[test]
fn a_process_40_cgroups_below_the_selected_one_is_seen() {
    needs!("open");
    sees_what_lies_deep_below(&Cgroup::new(), &Cgroup::new());
}

#[test]
fn a_process_40_cgroups_of_version_1_below_the_selected_one_is_seen() {
    needs!("open");
    let name = |of: &str| format!("tracejob-test-{}-deep-{of}", std::process::id());
    let groups = ["top", "beside"].map(|of| Cgroup::of_version_1(&name(of)));
    let [Some(top), Some(beside)] = groups else {
        println!(
            "SKIPPED open::depth::a_process_40_cgroups_of_version_1_below_the_selected_one_is_seen: cgroup v1 is not mounted here"
        );
        return;
    };
    sees_what_lies_deep_below(&top, &beside);
}
