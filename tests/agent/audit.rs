//! The audit log: callers and targets of each trace, with any names.

use crate::{
    daemon::{Daemon, process, spec},
    start,
};
use proto::v1;
use serde_json::Value;
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};
use tests::{Workload, folder, needs, until};

struct Audited {
    daemon: Daemon,
    folder: PathBuf,
}

impl Drop for Audited {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

async fn audited() -> Audited {
    let folder = folder();
    let config = format!("audit: {}", folder.join("audit.log").display());
    Audited {
        daemon: Daemon::start(&config).await,
        folder,
    }
}

fn lines(file: &Path) -> Vec<Value> {
    let text = fs::read_to_string(file).unwrap_or_default();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// Waits for as many lines.
fn first(file: &Path, count: usize) -> Vec<Value> {
    until("the audit's lines", || {
        let lines = lines(file);
        (lines.len() >= count).then_some(lines)
    })
}

#[tokio::test]
async fn every_start_end_and_refusal_is_a_line_with_caller_and_targets() {
    needs!("open");
    let audited = audited().await;
    let (daemon, file) = (&audited.daemon, audited.folder.join("audit.log"));
    let mut workload =
        Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    let mut client = daemon.client().await;
    let labelled = v1::TraceSpec {
        targets: vec![v1::Target {
            labels: Some(v1::Labels {
                namespace: "shop".to_owned(),
                pod: "web-0".to_owned(),
                ..v1::Labels::default()
            }),
            ..process(workload.pid())
        }],
        ..spec("open", &workload)
    };
    client.start_trace(start("a", 3, labelled)).await.unwrap();
    // Once more is no second start.
    let host = v1::TraceSpec {
        targets: vec![v1::Target {
            target: Some(v1::target::Target::Host(v1::Host {})),
            ..v1::Target::default()
        }],
        ..spec("open", &workload)
    };
    client.start_trace(start("b", 1, host)).await.unwrap_err();
    workload.finish();
    daemon.until_over("a").await;
    let all = first(&file, 3);
    let events: Vec<&str> = all
        .iter()
        .filter_map(|line| line["event"].as_str())
        .collect();
    assert_eq!(events, ["start", "refused", "end"]);
    let me = rustix::process::geteuid().as_raw();
    let caller = format!("uid {me} pid {}", std::process::id());
    let [begun, refused, ended] = &all[..] else {
        panic!("{all:?}")
    };
    assert_eq!(
        (&begun["who"], &begun["uid"]),
        (&caller.as_str().into(), &"a".into())
    );
    assert_eq!(
        (&begun["tracer"], &begun["generation"]),
        (&"open".into(), &3.into())
    );
    let target = format!("process {} (shop/web-0)", workload.pid());
    assert_eq!(begun["targets"][0], target);
    assert!(begun["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(
        (&refused["reason"], &refused["targets"][0]),
        (&"PolicyDenied".into(), &"host".into())
    );
    assert!(refused["message"].as_str().unwrap().contains("policy.host"));
    assert_eq!(
        (&ended["produced"], &ended["delivered"], &ended["lost"]),
        (&10.into(), &10.into(), &0.into())
    );
    assert_eq!(ended["ended"], "target_gone");
    assert_eq!(
        fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o600
    );
}

#[tokio::test]
async fn what_somebody_calls_his_cgroup_cannot_write_a_line_of_its_own() {
    let audited = audited().await;
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let hostile = "a\n{\"event\":\"start\"}\n\x1b[2J\u{202e}\u{9b}31m\u{9d}0;x\u{7f}\u{2028}";
    let named = v1::TraceSpec {
        targets: vec![v1::Target {
            target: Some(v1::target::Target::Cgroup(hostile.to_owned())),
            ..v1::Target::default()
        }],
        ..spec("open", &workload)
    };
    assert!(audited.daemon.trace(named).await.is_err());
    let all = first(&audited.folder.join("audit.log"), 1);
    assert_eq!(all.len(), 1);
    assert_eq!(all[0]["event"], "refused");
    assert_eq!(all[0]["targets"][0], format!("cgroup {hostile}"));
    let raw = fs::read(audited.folder.join("audit.log")).unwrap();
    let raw = String::from_utf8(raw).unwrap();
    let line = raw.strip_suffix('\n').unwrap();
    assert!(line.chars().all(rows::escape::is_printable), "{line:?}");
}

#[tokio::test]
async fn a_file_that_was_renamed_is_left_and_a_new_one_made() {
    let audited = audited().await;
    let file = audited.folder.join("audit.log");
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = audited.daemon.client().await;
    let wrong = spec("no_such_tracer", &workload);
    client
        .start_trace(start("a", 1, wrong.clone()))
        .await
        .unwrap_err();
    assert_eq!(first(&file, 1).len(), 1);
    fs::rename(&file, audited.folder.join("audit.log.1")).unwrap();
    client.start_trace(start("b", 1, wrong)).await.unwrap_err();
    assert_eq!(first(&file, 1)[0]["uid"], "b");
    assert_eq!(lines(&audited.folder.join("audit.log.1")).len(), 1);
}

#[tokio::test]
async fn a_disk_that_is_full_ends_no_trace_and_is_counted() {
    needs!("open");
    let folder = folder();
    let socket = folder.join("run/metrics.sock");
    let config = format!(
        "audit: /dev/full\nmetrics: {{listen: 'unix://{}'}}",
        socket.display()
    );
    let daemon = Daemon::start(&config).await;
    let mut workload =
        Workload::behind_gate(&["open-times", "10", "openat", "/dev/null", "0", "0"]);
    let mut events = daemon.trace(spec("open", &workload)).await.unwrap();
    workload.finish();
    events.read_all().await.unwrap();
    assert_eq!(events.account().produced, 10);
    let text = crate::metrics::scrape(&socket);
    let failures = text
        .lines()
        .find_map(|line| line.strip_prefix("tracejob_audit_failures_total "));
    assert_eq!(failures, Some("2"), "its start and its end");
    fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn where_there_is_no_room_for_a_whole_line_there_is_none_of_it() {
    // 2 to 4 KiB and no more, as a disk that runs full in the middle of a line; the file is named without its folder.
    let daemon = Daemon::by_shell("trap '' XFSZ; ulimit -f 4", "audit: audit.log");
    let file = daemon.folder().join("audit.log");
    let workload = Workload::behind_gate(&["getppid", "1"]);
    let mut client = daemon.client().await;
    for uid in 0..100 {
        let wrong = spec("no_such_tracer", &workload);
        let refused = client.start_trace(start(&uid.to_string(), 1, wrong));
        refused.await.unwrap_err();
    }
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.ends_with('\n'), "{text}");
    let whole = lines(&file).len();
    assert!((1..100).contains(&whole), "{whole} lines");
    fs::rename(&file, daemon.folder().join("audit.log.1")).unwrap();
    let wrong = spec("no_such_tracer", &workload);
    client.start_trace(start("b", 1, wrong)).await.unwrap_err();
    assert_eq!(first(&file, 1)[0]["uid"], "b");
}
