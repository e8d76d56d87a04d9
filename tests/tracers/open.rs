//! `open` against files whose paths, flags and outcomes are known.

use crate::{Columns, Who, during, result};
use serde_json::{Value, json};
use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
    path::{Path, PathBuf},
};
use tests::{Cgroup, Outcome, Report, Trace, Wanted, Workload, bytes, check, folder, in_vm, needs};

/// A folder that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        Self(folder())
    }

    fn file(&self, name: impl AsRef<OsStr>) -> PathBuf {
        let path = self.0.join(name.as_ref());
        fs::write(&path, "text").unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Steps of a workload.
fn steps(words: &[&dyn AsRef<OsStr>]) -> Vec<OsString> {
    words.iter().map(|word| word.as_ref().to_owned()).collect()
}

/// A workload traced from its gate to its end.
fn traced(words: &[&dyn AsRef<OsStr>]) -> (Outcome, Report, Workload) {
    traced_after(&[], words)
}

fn traced_after(before: &[&str], words: &[&dyn AsRef<OsStr>]) -> (Outcome, Report, Workload) {
    let mut workload = Workload::behind_gate_after(before, &steps(words));
    let trace = Trace::of("open").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report, workload)
}

/// What every row has; a cut path has one column more.
fn columns(
    who: &Who,
    report: &Report,
    path: &[u8],
    flags: &str,
    mode: &str,
    resolved: bool,
) -> Columns {
    let mut wanted = who.columns();
    let (began, ended) = report.boottime_ns;
    wanted.extend([
        ("time", during(report)),
        ("latency_ns", Wanted::Within(1, ended - began)),
        ("flags", flags.into()),
        ("mode", mode.into()),
        ("resolved", resolved.into()),
        ("path", bytes(path).into()),
    ]);
    wanted
}

fn os(path: &Path) -> &[u8] {
    path.as_os_str().as_bytes()
}

/// One call, one row: by which call, what is passed and what the row says of it.
fn one_call(call: &str, passed: (u64, u64), shown: (&str, &str)) {
    let folder = Folder::new();
    let path = folder.file("a file");
    let (flags, mode) = (passed.0.to_string(), passed.1.to_string());
    let before = ["ids", "4321", "1234", ",", "comm", "an opener"];
    fs::set_permissions(
        &folder.0,
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (outcome, report, workload) =
        traced_after(&before, &[&"open", &call, &path, &flags, &mode]);
    let who = Who {
        uid: 4321,
        gid: 1234,
        comm: "an opener",
        ..Who::workload(&workload)
    };
    let fd = report.note("result").as_i64().unwrap();
    assert!(fd > 2, "{fd}");
    let mut wanted = columns(&who, &report, os(&path), shown.0, shown.1, true);
    wanted.extend(result(fd, None));
    check(outcome.row(), &wanted);
}

#[test]
fn openat_is_one_row_with_path_flags_mode_and_descriptor() {
    needs!("open");
    one_call("openat", (0o102, 0o640), ("O_RDWR|O_CREAT", "0640"));
}

#[test]
fn open_is_one_row_with_path_flags_mode_and_descriptor() {
    needs!("open");
    one_call("open", (0o2000, 0), ("O_RDONLY|O_APPEND", "0000"));
}

#[test]
fn openat2_is_one_row_with_path_flags_mode_and_descriptor() {
    needs!("open");
    one_call(
        "openat2",
        (0o2000101, 0o600),
        ("O_WRONLY|O_CREAT|O_CLOEXEC", "0600"),
    );
}

#[test]
fn creat_is_one_row_with_the_flags_that_it_stands_for() {
    needs!("open");
    one_call("creat", (0, 0o644), ("O_WRONLY|O_CREAT|O_TRUNC", "0644"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn calls_through_the_32_bit_table_are_rows_like_any_other() {
    needs!("open");
    one_call("open32", (0o2, 0), ("O_RDWR", "0000"));
    one_call("openat32", (0o101, 0o600), ("O_WRONLY|O_CREAT", "0600"));
    one_call("openat232", (0o101, 0o600), ("O_WRONLY|O_CREAT", "0600"));
    one_call("creat32", (0, 0o600), ("O_WRONLY|O_CREAT|O_TRUNC", "0600"));
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_file_that_a_32_bit_program_opens_is_a_row_like_any_other() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.path("old");
    tests::executable(&path, tests::program32());
    let (outcome, _, _) = traced(&[&"spawn", &path, &"zero"]);
    let row = outcome.row();
    assert_eq!(
        (&row["path"], &row["comm"]),
        (&json!("/dev/null"), &json!("old"))
    );
    assert_eq!(
        (&row["flags"], &row["result"]),
        (&json!("O_RDONLY"), &json!(3))
    );
    assert_eq!(row["resolved"], json!(true));
}

fn one_failure(call: &str, path: &[u8], flags: u64, shown: &str, errno: i32, error: &str) {
    let (outcome, report, workload) = traced(&[
        &"open",
        &call,
        &OsStr::from_bytes(path),
        &flags.to_string(),
        &"0",
    ]);
    assert_eq!(report.note("result"), json!(-errno));
    let mut wanted = columns(
        &Who::workload(&workload),
        &report,
        path,
        shown,
        "0000",
        false,
    );
    wanted.extend(result((-errno).into(), Some(error)));
    check(outcome.row(), &wanted);
}

#[test]
fn a_file_that_is_not_there_is_one_row_with_enoent_and_the_callers_text() {
    needs!("open");
    one_failure(
        "openat",
        b"/no/such/../file",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
    one_failure(
        "open",
        b"no such file",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
    one_failure(
        "openat2",
        b"/no/such/file",
        1,
        "O_WRONLY",
        libc::ENOENT,
        "ENOENT",
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_failure_through_the_32_bit_table_is_a_row_with_its_text() {
    needs!("open");
    one_failure(
        "openat32",
        b"/no/such/file/32",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
    one_failure(
        "openat232",
        b"/no/such/file/32",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
}

#[test]
fn failures_have_their_own_errors() {
    needs!("open");
    one_failure(
        "openat",
        b"/dev/null/x",
        0,
        "O_RDONLY",
        libc::ENOTDIR,
        "ENOTDIR",
    );
    one_failure("openat", b"/", 1, "O_WRONLY", libc::EISDIR, "EISDIR");
    one_failure(
        "openat",
        b"/dev/null",
        0o300,
        "O_RDONLY|O_CREAT|O_EXCL",
        libc::EEXIST,
        "EEXIST",
    );
    one_failure("openat", b"", 0, "O_RDONLY", libc::ENOENT, "ENOENT");
}

#[test]
fn a_file_that_may_not_be_read_is_one_row_with_eacces() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("secret");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let (outcome, _, _) = traced_after(
        &["ids", "4321", "4321"],
        &[&"open", &"openat", &path, &"0", &"0"],
    );
    let row = outcome.row();
    assert_eq!(
        (&row["result_error"], &row["uid"]),
        (&json!("EACCES"), &json!(4321))
    );
    assert_eq!(row["path"], bytes(os(&path)));
}

#[test]
fn a_path_that_cannot_be_read_is_a_row_with_efault_and_no_path() {
    needs!("open");
    let (outcome, _, _) = traced(&[&"open-bad-pointer"]);
    assert_eq!(outcome.row()["result_error"], json!("EFAULT"));
    assert_eq!(outcome.row()["path"], json!(""));
}

#[test]
fn a_text_longer_than_a_path_can_be_is_cut_and_says_so() {
    needs!("open");
    let long = "/x".repeat(3000);
    let (outcome, _, _) = traced(&[&"open", &"openat", &long, &"0", &"0"]);
    let row = outcome.row();
    assert_eq!(row["result_error"], json!("ENAMETOOLONG"));
    assert_eq!(row["path_cut"], json!(true));
    // PATH_MAX with its zero byte.
    assert_eq!(row["path"], json!(long[..4095]));
}

#[test]
fn names_that_are_not_utf8_are_kept_to_the_byte() {
    needs!("open");
    let folder = Folder::new();
    let name = OsStr::from_bytes(b"\xff\xfe caf\xe9 \x01");
    let path = folder.file(name);
    let (outcome, _, _) = traced(&[&"open", &"openat", &path, &"0", &"0"]);
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
    assert!(outcome.row()["path"]["base64"].is_string());
    one_failure(
        "openat",
        b"/\xff\xfe/not/there",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
}

#[test]
fn a_relative_path_is_shown_as_the_kernel_resolved_it() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("here");
    fs::create_dir(folder.path("sub")).unwrap();
    let (outcome, _, _) = traced(&[
        &"chdir",
        &folder.path("sub"),
        &",",
        &"open",
        &"openat",
        &"../sub/.././here",
        &"0",
        &"0",
    ]);
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
    assert_eq!(outcome.row()["resolved"], json!(true));
}

#[test]
fn a_symbolic_link_is_shown_as_what_it_leads_to() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("target");
    symlink("target", folder.path("one")).unwrap();
    symlink(folder.path("one"), folder.path("two")).unwrap();
    let (outcome, _, _) = traced(&[&"open", &"openat", &folder.path("two"), &"0", &"0"]);
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
}

#[test]
fn the_root_and_a_files_own_mount_are_shown_as_they_are() {
    needs!("open");
    let (outcome, _, _) = traced(&[
        &"open", &"openat", &"/", &"0", &"0", &",", &"open", &"openat", &"/proc", &"0", &"0",
    ]);
    let paths: Vec<&Value> = outcome.rows.iter().map(|row| &row["path"]).collect();
    assert_eq!(paths, [&json!("/"), &json!("/proc")]);
}

#[test]
fn a_path_in_a_mounted_filesystem_is_followed_through_its_mount() {
    needs!("open");
    let (outcome, _, _) = traced(&[&"open", &"openat", &"/proc/version", &"0", &"0"]);
    assert_eq!(outcome.row()["path"], json!("/proc/version"));
}

#[test]
fn a_process_in_another_root_shows_paths_as_it_sees_them() {
    needs!("open");
    let folder = Folder::new();
    let below = folder.path("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("file"), "text").unwrap();
    let before = ["chroot", folder.0.to_str().unwrap()];
    let (outcome, _, _) = traced_after(&before, &[&"open", &"openat", &"/below/file", &"0", &"0"]);
    assert_eq!(outcome.row()["path"], json!("/below/file"));
}

#[test]
fn a_file_below_a_bind_mount_is_shown_at_the_place_where_it_was_opened() {
    needs!("open");
    let folder = Folder::new();
    let (real, shown) = (folder.path("real"), folder.path("shown"));
    for path in [&real, &shown] {
        fs::create_dir(path).unwrap();
    }
    fs::create_dir(real.join("deep")).unwrap();
    fs::write(real.join("deep/file"), "text").unwrap();
    let before = ["bind", real.to_str().unwrap(), shown.to_str().unwrap()];
    let file = shown.join("deep/file");
    let (outcome, _, _) = traced_after(&before, &[&"open", &"openat", &file, &"0", &"0"]);
    assert_eq!(outcome.row()["path"], bytes(os(&file)));
}

/// The path of a file so deep, as the row has it, with whether it was cut.
fn deep(levels: usize, name_bytes: usize) -> (String, bool, String) {
    let folder = Folder::new();
    let (outcome, _, _) = traced(&[
        &"chdir",
        &folder.0,
        &",",
        &"open-deep",
        &levels.to_string(),
        &name_bytes.to_string(),
    ]);
    let row = outcome.row();
    let whole = format!(
        "{}{}/leaf",
        folder.0.display(),
        format!("/{}", "d".repeat(name_bytes)).repeat(levels)
    );
    (
        row["path"].as_str().unwrap().to_owned(),
        row["path_cut"] == true,
        whole,
    )
}

#[test]
fn a_path_longer_than_path_max_is_whole() {
    needs!("open");
    let (path, cut, whole) = deep(24, 200);
    assert!(whole.len() > 4096);
    assert!(!cut);
    assert_eq!(path, whole);
}

#[test]
fn a_path_with_more_components_than_are_followed_is_cut_at_the_root_and_says_so() {
    needs!("open");
    let (path, cut, whole) = deep(60, 3);
    assert!(cut, "{path}");
    let end = path
        .strip_prefix("...")
        .expect("it is marked where it is cut");
    assert!(whole.ends_with(end), "{path}");
    assert!(end.matches('/').count() >= 30, "{path}");
}

#[test]
fn a_path_with_more_bytes_than_fit_is_cut_at_the_root_and_says_so() {
    needs!("open");
    let (path, cut, whole) = deep(36, 250);
    assert!(cut, "{} bytes without a mark", path.len());
    let end = path
        .strip_prefix("...")
        .expect("it is marked where it is cut");
    assert!(whole.ends_with(end), "{path}");
}

#[test]
fn a_call_that_waits_has_its_whole_latency() {
    needs!("open");
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let (outcome, report, workload) = traced(&[&"open-fifo", &fifo, &"100"]);
    let (began, ended) = report.boottime_ns;
    let waiting = outcome.row_where("flags", "O_RDONLY");
    let mut wanted = columns(
        &Who::workload(&workload),
        &report,
        os(&fifo),
        "O_RDONLY",
        "0000",
        true,
    );
    wanted.retain(|(column, _)| *column != "latency_ns");
    wanted.push(("latency_ns", Wanted::Within(99_000_000, ended - began)));
    wanted.extend(result(waiting["result"].as_i64().unwrap(), None));
    check(waiting, &wanted);
    // Its writer is another thread of the same process.
    let writer = outcome.row_where("flags", "O_WRONLY");
    assert_eq!(writer["pid"], waiting["pid"]);
    assert_ne!(writer["tid"], waiting["tid"]);
}

#[test]
fn only_slow_calls_are_shown_where_that_is_asked() {
    needs!("open");
    let folder = Folder::new();
    let (fifo, file) = (folder.path("fifo"), folder.file("file"));
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let words = steps(&[
        &"open-fifo",
        &fifo,
        &"300",
        &",",
        &"open",
        &"openat",
        &file,
        &"0",
        &"0",
    ]);
    let outcome = Trace::of("open")
        .with(&["--min-latency-ns", "200ms"])
        .workload(&words)
        .run();
    assert_eq!(outcome.complete().produced, 1);
    assert_eq!(outcome.row()["path"], bytes(os(&fifo)));
}

#[test]
fn only_failures_and_only_writers_are_shown_where_that_is_asked() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let missing = folder.path("missing");
    let mut words = Vec::new();
    for (path, flags) in [
        (&file, "0"),
        (&file, "1"),
        (&file, "2"),
        (&missing, "0"),
        (&missing, "1"),
    ] {
        words.extend(steps(&[&"open", &"openat", path, &flags, &"0", &","]));
    }
    words.pop();
    let shown = |options: &[&str]| {
        let outcome = Trace::of("open").with(options).workload(&words).run();
        outcome.complete();
        let of = |path: &Path| outcome.rows_where("path", bytes(os(path))).len();
        (of(&file), of(&missing), outcome.account().produced as usize)
    };
    let (whole, absent, _) = shown(&[]);
    assert_eq!((whole, absent), (3, 2));
    let (whole, absent, all) = shown(&["--failed-only"]);
    assert_eq!((whole, absent), (0, 2));
    assert!(all >= 2);
    assert_eq!(shown(&["--write-only"]), (2, 1, 3));
    assert_eq!(shown(&["--write-only", "--failed-only"]), (0, 1, 1));
}

#[test]
fn the_command_is_seen_from_its_first_call_on() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let outcome = Trace::of("open")
        .workload(&steps(&[&"open", &"openat", &file, &"0", &"0"]))
        .run();
    outcome.complete();
    let row = outcome.row_where("path", bytes(os(&file)));
    assert_eq!(row["pid"], json!(outcome.report().pid));
    // Nothing of what starts the command is in it.
    assert_eq!(
        outcome.rows_where("pid", outcome.report().pid).len(),
        outcome.rows.len()
    );
}

#[test]
fn another_process_is_not_seen() {
    needs!("open");
    let folder = Folder::new();
    let (mine, other) = (folder.file("mine"), folder.file("other"));
    let mut beside = Workload::behind_gate(&steps(&[
        &"open-times",
        &"50",
        &"openat",
        &other,
        &"0",
        &"0",
    ]));
    let mut selected =
        Workload::behind_gate(&steps(&[&"open-times", &"2", &"openat", &mine, &"0", &"0"]));
    let trace = Trace::of("open").of_process(&selected).start();
    beside.finish();
    selected.finish();
    let outcome = trace.finish();
    assert_eq!(outcome.complete().produced, 2);
    assert_eq!(outcome.rows_where("path", bytes(os(&mine))).len(), 2);
}

#[test]
fn a_process_is_traced_with_the_children_it_has_and_those_that_are_yet_to_come() {
    needs!("open");
    let folder = Folder::new();
    let (before, after) = (folder.file("before"), folder.file("after"));
    // The first child waits at the gate of its own; grandchildren come when everything runs.
    let words = steps(&[
        &"fork", &"gate", &";", &"open", &"openat", &before, &"0", &"0", &";", &"fork", &"open",
        &"openat", &after, &"0", &"0",
    ]);
    let mut workload = Workload::child_behind_gate(&words);
    let trace = Trace::of("open").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let child = outcome.row_where("path", bytes(os(&before)));
    let grandchild = outcome.row_where("path", bytes(os(&after)));
    assert_ne!(child["pid"], json!(workload.pid()));
    assert_ne!(grandchild["pid"], child["pid"]);
}

#[test]
fn a_fork_in_the_middle_loses_and_doubles_nothing() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let mut words = Vec::new();
    for _ in 0..50 {
        words.extend(steps(&[&"open", &"openat", &file, &"0", &"0", &","]));
        words.extend(steps(&[
            &"fork",
            &"open-times",
            &"3",
            &"openat",
            &file,
            &"0",
            &"0",
            &",",
        ]));
    }
    words.pop();
    let (outcome, report, workload) = traced(
        &words
            .iter()
            .map(|word| word as &dyn AsRef<OsStr>)
            .collect::<Vec<_>>(),
    );
    assert_eq!(outcome.account().produced, 50 + 150);
    assert_eq!(outcome.rows_where("pid", workload.pid()).len(), 50);
    for child in report.all("child") {
        assert_eq!(outcome.rows_where("pid", child).len(), 3);
    }
}

#[test]
fn threads_have_their_own_numbers_and_their_process_in_common() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let (outcome, report, workload) = traced(&[
        &"threads",
        &"4",
        &"open-times",
        &"25",
        &"openat",
        &file,
        &"0",
        &"0",
    ]);
    assert_eq!(outcome.account().produced, 100);
    assert_eq!(outcome.rows_where("pid", workload.pid()).len(), 100);
    for tid in report.all("tid") {
        assert_eq!(outcome.rows_where("tid", tid).len(), 25);
    }
}

#[test]
fn a_process_in_a_pid_namespace_has_both_its_numbers() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let (outcome, report, _) = traced(&[&"newpid", &"open", &"openat", &file, &"0", &"0"]);
    let row = outcome.row_where("path", bytes(os(&file)));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["ns_pid"], json!(1));
}

#[test]
fn a_process_that_is_killed_in_the_call_is_a_row_with_erestartsys() {
    needs!("open");
    let folder = Folder::new();
    let fifo = folder.path("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    // 257 is openat: arch/x86/entry/syscalls/syscall_64.tbl; 56 that of include/uapi/asm-generic/unistd.h.
    let number = if cfg!(target_arch = "x86_64") {
        "257"
    } else {
        "56"
    };
    let mut workload = Workload::behind_gate(&steps(&[
        &"killed-in",
        &number,
        &"open",
        &"openat",
        &fifo,
        &"0",
        &"0",
    ]));
    let trace = Trace::of("open").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row_where("path", bytes(os(&fifo)));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["result_error"], json!("ERESTARTSYS"));
    assert_eq!(row["resolved"], json!(false));
}

#[test]
fn a_container_is_traced_by_the_beginning_of_its_id_with_everything_below_it() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let id: String = format!("{:08x}{:08x}", std::process::id(), 0xc0ff_ee00u32).repeat(4);
    let container = Cgroup::named(&format!("cri-containerd-{id}.scope"));
    let inner = container.below("inner");
    let beside = Cgroup::new();
    let mut workloads = [&container, &inner, &beside].map(|group| {
        let workload = Workload::behind_gate(&steps(&[&"open", &"openat", &file, &"0", &"0"]));
        group.add(workload.pid());
        workload
    });
    let trace = Trace::of("open").with(&["--container", &id[..16]]).start();
    for workload in &mut workloads {
        workload.finish();
    }
    let outcome = trace.stop();
    assert_eq!(outcome.complete().produced, 2);
    assert_eq!(
        outcome.row_where("cgroup", container.id())["pid"],
        json!(workloads[0].pid())
    );
    assert_eq!(
        outcome.row_where("cgroup", inner.id())["pid"],
        json!(workloads[1].pid())
    );
}

#[test]
fn the_host_is_everything_but_the_tracer_itself() {
    needs!("open");
    if !in_vm() {
        return; // Others' processes run on this machine.
    }
    let folder = Folder::new();
    let (one, two) = (folder.file("one"), folder.file("two"));
    let mut workloads = [&one, &two]
        .map(|file| Workload::behind_gate(&steps(&[&"open", &"openat", file, &"0", &"0"])));
    let trace = Trace::of("open").with(&["--host"]).start();
    let tracer = trace.pid();
    for workload in &mut workloads {
        workload.finish();
    }
    let outcome = trace.stop();
    outcome.complete();
    for (file, workload) in [&one, &two].into_iter().zip(&workloads) {
        assert_eq!(
            outcome.row_where("path", bytes(os(file)))["pid"],
            json!(workload.pid())
        );
    }
    assert_eq!(outcome.rows_where("pid", tracer).len(), 0);
}

#[test]
fn a_storm_is_counted_to_the_last_call() {
    needs!("open");
    let folder = Folder::new();
    let file = folder.file("file");
    let mut workload = Workload::behind_gate(&steps(&[
        &"open-times",
        &"5000",
        &"openat",
        &file,
        &"0",
        &"0",
    ]));
    let trace = Trace::of("open")
        .with(&["--ring", "4KiB"])
        .of_process(&workload)
        .start();
    trace.while_nobody_reads(|| workload.finish());
    let outcome = trace.finish();
    let account = outcome.account();
    assert_eq!(account.produced, 5000);
    assert_eq!(account.delivered + account.lost.ring_full, 5000);
    assert!(
        account.lost.ring_full > 0 && account.delivered > 0,
        "{}",
        account.raw
    );
    assert_eq!(outcome.status, Some(3));
}
