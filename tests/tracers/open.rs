//! `open` against files with known paths, flags and results.

mod alone;
mod answered;
mod depth;
mod paths;
mod selection;
mod under_way;

use crate::{
    Columns, Task,
    conformance::{Entry, Expects, conforms},
    during, result, steps,
};
use serde_json::json;
use std::{
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};
use tests::{Outcome, Report, Steps, Trace, Wanted, Workload, bytes, check, folder, needs};

/// The entry of the conformance suite. The file is a device: nothing else is opened for it.
const CONFORMANCE: Entry = Entry {
    storm: 5000,
    ..Entry::of(
        "open",
        "open-times {} openat /dev/null 0 0",
        Expects::Events(1),
    )
};
conforms!(CONFORMANCE, on_every_kernel);

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

/// A workload traced from its gate to its end.
fn traced(words: &(impl Steps + ?Sized)) -> (Outcome, Report, Workload) {
    traced_after("", words)
}

fn traced_after(
    before: &(impl Steps + ?Sized),
    words: &(impl Steps + ?Sized),
) -> (Outcome, Report, Workload) {
    let mut workload = Workload::behind_gate_after(before, words);
    let trace = Trace::of("open").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report, workload)
}

/// What every row has; a cut path has one column more.
fn columns(
    task: &Task,
    report: &Report,
    path: &[u8],
    flags: &str,
    mode: &str,
    resolved: bool,
) -> Columns {
    let mut wanted = task.columns();
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

/// Checks the row of one call: the call, its arguments and the columns.
fn one_call(call: &str, passed: (u64, u64), shown: (&str, &str)) {
    let folder = Folder::new();
    let path = folder.file("a file");
    let (flags, mode) = (passed.0.to_string(), passed.1.to_string());
    let before = "ids 4321 1234 , comm an_opener";
    fs::set_permissions(
        &folder.0,
        std::os::unix::fs::PermissionsExt::from_mode(0o777),
    )
    .unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
    let (outcome, report, workload) =
        traced_after(before, &steps(&[&"open", &call, &path, &flags, &mode]));
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "an_opener",
        ..Task::workload(&workload)
    };
    let fd = report.note("result").as_i64().unwrap();
    assert!(fd > 2, "{fd}");
    let mut wanted = columns(&task, &report, os(&path), shown.0, shown.1, true);
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
    let (outcome, _, _) = traced(&format!("spawn {} zero", path.display()));
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
    let (outcome, report, workload) = traced(&steps(&[
        &"open",
        &call,
        &OsStr::from_bytes(path),
        &flags.to_string(),
        &"0",
    ]));
    assert_eq!(report.note("result"), json!(-errno));
    let mut wanted = columns(
        &Task::workload(&workload),
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
        "ids 4321 4321",
        &format!("open openat {} 0 0", path.display()),
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
    let (outcome, _, _) = traced("open-bad-pointer");
    assert_eq!(outcome.row()["result_error"], json!("EFAULT"));
    assert_eq!(outcome.row()["path"], json!(""));
    assert_eq!(outcome.row()["path_cut"], json!(true));
}

#[test]
fn a_text_longer_than_a_path_can_be_is_cut_and_marked() {
    needs!("open");
    let long = "/x".repeat(3000);
    let (outcome, _, _) = traced(&format!("open openat {long} 0 0"));
    let row = outcome.row();
    assert_eq!(row["result_error"], json!("ENAMETOOLONG"));
    assert_eq!(row["path_cut"], json!(true));
    // PATH_MAX with its zero byte.
    assert_eq!(row["path"], json!(long[..4095]));
}

mod here {
    use super::*;

    #[test]
    fn an_option_shows_only_slow_calls() {
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
        let words = format!(
            "open-fifo {} 250 , open openat {} 0 0",
            fifo.display(),
            file.display()
        );
        let outcome = Trace::of("open")
            .with(&["--min-latency-ns", "200ms"])
            .workload(&words)
            .run();
        let shown = outcome.complete().produced;
        let slow = |row: &serde_json::Value| row["latency_ns"].as_u64().unwrap() >= 200_000_000;
        assert!(outcome.rows.iter().all(slow), "{:?}", outcome.rows);
        assert_eq!(
            outcome.row_where("flags", "O_RDONLY")["path"],
            bytes(os(&fifo))
        );
        // On a busy machine any of the others may be slow, but not all: both ends of the pipe, the file, and how the reader waits.
        assert!(shown < 4, "{:?}", outcome.rows);
    }

    #[test]
    fn options_show_only_failures_and_only_writers() {
        needs!("open");
        let folder = Folder::new();
        let file = folder.file("file");
        let missing = folder.path("missing");
        let words = [
            (&file, "0"),
            (&file, "1"),
            (&file, "2"),
            (&missing, "0"),
            (&missing, "1"),
        ]
        .map(|(path, flags)| format!("open openat {} {flags} 0", path.display()))
        .join(" , ");
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
}
