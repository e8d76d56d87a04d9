//! `exec` against programs that start, and programs that cannot.

mod answered;

use crate::{
    Columns, Task,
    conformance::{Entry, Expects, conforms},
    during, result, steps,
};
use serde_json::{Value, json};
use std::{ffi::OsStr, fs, os::unix::ffi::OsStrExt, path::PathBuf};
use tests::{
    Outcome, Report, Steps, Trace, Workload, bytes, check, copy_of_workload, executable, folder,
    needs, program,
};

/// The entry of the conformance suite. The program does not exist, so that the process stays what it is.
const CONFORMANCE: Entry = Entry {
    storm: 2000,
    ..Entry::of(
        "exec",
        "exec-fails-times {} execve /no/such/program zero",
        Expects::Events(1),
    )
};
conforms!(CONFORMANCE);

/// A workload traced from its gate to its end.
fn traced(words: &(impl Steps + ?Sized)) -> (Outcome, Report, Workload) {
    traced_after("", words)
}

fn traced_after(
    before: &(impl Steps + ?Sized),
    words: &(impl Steps + ?Sized),
) -> (Outcome, Report, Workload) {
    let mut workload = Workload::behind_gate_after(before, words);
    let trace = Trace::of("exec").of_process(&workload).start();
    let report = workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    (outcome, report, workload)
}

fn columns(task: &Task, report: &Report, ppid: u32, filename: &[u8], args: &[&[u8]]) -> Columns {
    let args: Vec<Value> = args.iter().map(|arg| bytes(arg)).collect();
    let mut wanted = task.columns();
    wanted.extend([
        ("time", during(report)),
        ("ppid", ppid.into()),
        ("filename", bytes(filename).into()),
        ("args", args.into()),
    ]);
    wanted
}

/// A program that does nothing: the workload itself, with no step that matters, at a path of its own.
struct Programs(PathBuf);

impl Programs {
    fn new() -> Self {
        let folder = folder();
        // Another user is to execute them too.
        fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    fn nothing(&self, name: impl AsRef<OsStr>) -> PathBuf {
        let path = self.0.join(name.as_ref());
        copy_of_workload(&path);
        path
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        // What cannot be removed is in /tmp.
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_program_that_starts_is_one_row_with_its_file_its_arguments_and_its_parent() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing("true");
    let before = "ids 4321 1234";
    let (outcome, report, workload) =
        traced_after(&before, &format!("spawn {} zero getppid 1", path.display()));
    let child = report.number("child") as u32;
    let task = Task {
        uid: 4321,
        gid: 1234,
        comm: "true",
        ..Task::process(child)
    };
    let mut wanted = columns(
        &task,
        &report,
        workload.pid(),
        path.as_os_str().as_bytes(),
        &[b"zero", b"getppid", b"1"],
    );
    wanted.extend(result(0, None));
    check(outcome.row(), &wanted);
}

#[test]
fn execveat_is_a_row_like_execve() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing("at");
    let (outcome, report, _) = traced(&format!("spawn-at {} zero getppid 1", path.display()));
    let row = outcome.row();
    assert_eq!(row["filename"], json!(path));
    assert_eq!(row["pid"], report.note("child"));
    assert_eq!(row["args"], json!(["zero", "getppid", "1"]));
}

/// A call that fails with this error; the caller's words are what it has.
fn failure(call: &str, path: &OsStr, before: &str, uid: u32, errno: i32, error: &str) {
    let (outcome, report, workload) = traced_after(
        before,
        &steps(&[&"exec-fails", &call, &path, &"zero", &"", &"two words"]),
    );
    assert_eq!(report.note("result"), json!(-errno));
    let task = Task {
        uid,
        gid: uid,
        ..Task::workload(&workload)
    };
    let mut wanted = columns(
        &task,
        &report,
        std::process::id(),
        path.as_bytes(),
        &[b"zero", b"", b"two words"],
    );
    wanted.extend(result((-errno).into(), Some(error)));
    check(outcome.row(), &wanted);
}

#[test]
fn a_program_that_is_not_there_is_one_row_with_enoent() {
    needs!("exec");
    failure(
        "execve",
        "/no/such/program".as_ref(),
        "",
        0,
        libc::ENOENT,
        "ENOENT",
    );
    failure(
        "execveat",
        "/no/such/program".as_ref(),
        "",
        0,
        libc::ENOENT,
        "ENOENT",
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_failure_through_the_32_bit_table_is_a_row_with_its_arguments() {
    needs!("exec");
    failure(
        "execve32",
        "/no/such/program".as_ref(),
        "",
        0,
        libc::ENOENT,
        "ENOENT",
    );
    failure(
        "execveat32",
        "/no/such/program".as_ref(),
        "",
        0,
        libc::ENOENT,
        "ENOENT",
    );
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_32_bit_program_is_a_row_like_any_other() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.0.join("old");
    executable(&path, tests::program32());
    let (outcome, report, _) = traced(&format!("spawn {} zero one", path.display()));
    let row = outcome.row();
    assert_eq!(row["filename"], json!(path));
    assert_eq!(row["args"], json!(["zero", "one"]));
    assert_eq!(row["comm"], json!("old"));
    assert_eq!(row["pid"], report.note("child"));
}

#[test]
fn a_program_that_may_not_be_executed_is_one_row_with_eacces() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing("forbidden");
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
    failure(
        "execve",
        path.as_os_str(),
        "ids 4321 4321",
        4321,
        libc::EACCES,
        "EACCES",
    );
}

#[test]
fn a_file_that_is_no_program_is_one_row_with_enoexec() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.0.join("text");
    executable(&path, "no program\n");
    failure("execve", path.as_os_str(), "", 0, libc::ENOEXEC, "ENOEXEC");
}

#[test]
fn a_script_is_one_row_with_its_interpreter_and_its_own_name() {
    needs!("exec");
    let programs = Programs::new();
    let interpreter = programs.nothing("interpreter");
    let script = programs.0.join("script");
    // The interpreter gets its one argument, the script's path, and what the script was given.
    executable(&script, format!("#!{} getppid\n", interpreter.display()));
    let link = programs.0.join("1");
    fs::rename(&script, &link).unwrap();
    let mut workload = Workload::behind_gate(&format!(
        "chdir {} , spawn 1 lost , getppid 1",
        programs.0.display()
    ));
    let trace = Trace::of("exec").of_process(&workload).start();
    workload.finish();
    let outcome = trace.finish();
    outcome.complete();
    let row = outcome.row();
    assert_eq!(row["filename"], json!(interpreter));
    assert_eq!(row["comm"], json!("1"));
    assert_eq!(row["args"], json!([interpreter, "getppid", "1"]));
}

#[test]
fn arguments_that_are_not_utf8_are_kept_to_the_byte() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing(OsStr::from_bytes(b"caf\xe9"));
    let odd = OsStr::from_bytes(b"\xff\x01\xfe");
    let (outcome, _, _) = traced(&steps(&[&"spawn", &path, &odd, &"getppid", &"1"]));
    let row = outcome.row();
    assert_eq!(row["filename"], bytes(path.as_os_str().as_bytes()));
    assert_eq!(row["args"], json!([bytes(odd.as_bytes()), "getppid", "1"]));
    assert_eq!(row["comm"], bytes(b"caf\xe9"));
    let (outcome, _, _) = traced(&steps(&[
        &"exec-fails",
        &"execve",
        &OsStr::from_bytes(b"/\xff/none"),
        &odd,
    ]));
    assert_eq!(outcome.row()["filename"], bytes(b"/\xff/none"));
    assert_eq!(outcome.row()["args"], json!([bytes(odd.as_bytes())]));
}

/// What the workload's `…-with COUNT BYTES` passes.
fn many(count: usize, length: usize) -> Vec<String> {
    (0..count).map(|n| format!("{n:x<length$}")).collect()
}

/// Arguments in a row: whole, or the beginning of what was passed.
fn shown(outcome: &Outcome) -> (Vec<String>, bool) {
    let row = outcome.row();
    let args = row["args"]
        .as_array()
        .unwrap()
        .iter()
        .map(|arg| arg.as_str().unwrap().to_owned());
    (args.collect(), row["args_cut"] == true)
}

fn begins(args: &[String], whole: &[String]) {
    let (last, others) = args.split_last().unwrap();
    assert_eq!(others, &whole[..others.len()]);
    assert!(whole[others.len()].starts_with(last.as_str()), "{last}");
}

/// A program that ends well whatever its arguments: the workload does not.
fn script_that_ignores(programs: &Programs) -> PathBuf {
    let interpreter = programs.nothing("interpreter");
    let script = programs.0.join("ignores");
    executable(&script, format!("#!{} ignore\n", interpreter.display()));
    script
}

#[test]
fn a_hundred_arguments_are_whole() {
    needs!("exec");
    let programs = Programs::new();
    let path = script_that_ignores(&programs);
    let (outcome, _, _) = traced(&format!("spawn-with 100 12 {}", path.display()));
    let (args, cut) = shown(&outcome);
    assert!(!cut);
    // The kernel puts interpreter, its argument and the script's path in the place of the first.
    assert_eq!(args[3..], many(100, 12)[1..]);
}

#[test]
fn arguments_of_20_kb_are_cut_and_marked() {
    needs!("exec");
    let programs = Programs::new();
    let path = script_that_ignores(&programs);
    let (outcome, _, _) = traced(&format!("spawn-with 20 1000 {}", path.display()));
    let (args, cut) = shown(&outcome);
    assert!(cut);
    begins(&args[3..], &many(20, 1000)[1..]);
    assert!(args.iter().map(String::len).sum::<usize>() > 3800);
}

#[test]
fn no_argument_and_an_empty_one_are_distinguished() {
    needs!("exec");
    let (outcome, _, _) = traced(&steps(&[
        &"exec-fails",
        &"execve",
        &"/no/such/program",
        &"",
    ]));
    assert_eq!(outcome.row()["args"], json!([""]));
    let (outcome, _, _) = traced("exec-fails execve /no/such/program");
    assert_eq!(outcome.row()["args"], json!([]));
}

#[test]
fn a_thread_that_is_not_the_first_becomes_its_process() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing("thread");
    let (outcome, _, workload) =
        traced(&format!("exec-in-thread {} zero getppid 1", path.display()));
    let row = outcome.row();
    assert_eq!(
        (&row["pid"], &row["tid"]),
        (&json!(workload.pid()), &json!(workload.pid()))
    );
    assert_eq!(row["filename"], json!(path));
    assert_eq!(row["comm"], json!("thread"));
}

#[test]
fn a_process_that_executes_again_and_again_is_a_row_each_time() {
    needs!("exec");
    let programs = Programs::new();
    let (one, two) = (programs.nothing("one"), programs.nothing("two"));
    let (outcome, _, workload) = traced(&format!(
        "exec {} a exec {} b getppid 1",
        one.display(),
        two.display()
    ));
    let names: Vec<&Value> = outcome.rows.iter().map(|row| &row["filename"]).collect();
    assert_eq!(names, [&json!(one), &json!(two)]);
    assert_eq!(outcome.rows_where("pid", workload.pid()).len(), 2);
}

#[test]
fn the_command_itself_is_the_first_row() {
    needs!("exec");
    let programs = Programs::new();
    let path = programs.nothing("true");
    let outcome = Trace::of("exec")
        .workload(&format!("spawn {} zero getppid 1", path.display()))
        .run();
    outcome.complete();
    let [command, child] = outcome.rows.as_slice() else {
        panic!("{:?}", outcome.rows);
    };
    assert_eq!(
        command["filename"],
        json!(program("workload").canonicalize().unwrap())
    );
    assert_eq!(command["args"].as_array().unwrap().len(), 6);
    assert_eq!(child["ppid"], command["pid"]);
    assert_eq!(child["filename"], json!(path));
}

#[test]
fn a_program_in_another_root_is_shown_as_it_is_seen_there() {
    needs!("exec");
    let programs = Programs::new();
    let before = ["chroot", programs.0.to_str().unwrap()];
    let (outcome, _, _) = traced_after(&before, "exec-fails execve /not/there zero");
    assert_eq!(outcome.row()["filename"], json!("/not/there"));
}

mod here {
    use super::*;

    #[test]
    fn a_failure_with_more_arguments_than_are_read_is_cut_and_marked() {
        needs!("exec");
        let (outcome, _, _) = traced("exec-fails-with 100 12 /no/such/program");
        let (args, cut) = shown(&outcome);
        assert!(cut, "{} of 100 arguments", args.len());
        begins(&args, &many(100, 12));
        assert!(args.len() >= 64);
    }

    #[test]
    fn a_failure_with_as_many_arguments_as_are_read_is_whole() {
        needs!("exec");
        for count in [1, 63, 64] {
            let (outcome, _, _) = traced(&format!("exec-fails-with {count} 12 /no/such/program"));
            assert_eq!(shown(&outcome), (many(count, 12), false), "{count}");
        }
    }

    #[test]
    fn a_failure_with_an_argument_longer_than_is_read_is_cut_and_marked() {
        needs!("exec");
        let (outcome, _, _) = traced("exec-fails-with 2 3000 /no/such/program");
        let (args, cut) = shown(&outcome);
        assert!(
            cut,
            "{:?}",
            args.iter().map(String::len).collect::<Vec<_>>()
        );
        assert!(many(2, 3000)[0].starts_with(&args[0]));
    }

    #[test]
    fn a_failure_with_more_bytes_than_fit_is_cut_and_marked() {
        needs!("exec");
        let (outcome, _, _) = traced("exec-fails-with 20 1000 /no/such/program");
        let (args, cut) = shown(&outcome);
        assert!(cut, "{} of 20 arguments", args.len());
        begins(&args, &many(20, 1000));
    }

    #[test]
    fn an_option_shows_only_failures() {
        needs!("exec");
        let programs = Programs::new();
        let path = programs.nothing("true");
        let words = format!(
            "spawn {} zero getppid 1 , exec-fails-times 3 execve /no/such/program zero",
            path.display()
        );
        let outcome = Trace::of("exec")
            .with(&["--failed-only"])
            .workload(&words)
            .run();
        assert_eq!(outcome.complete().produced, 3);
        assert_eq!(outcome.rows_where("result_error", "ENOENT").len(), 3);
    }

    #[test]
    fn a_process_in_a_pid_namespace_has_both_its_numbers() {
        needs!("exec");
        let (outcome, report, workload) = traced("newpid exec-fails execve /no/such/program zero");
        let row = outcome.row();
        assert_eq!(row["pid"], report.note("child"));
        assert_eq!(row["ns_pid"], json!(1));
        assert_eq!(row["ppid"], json!(workload.pid()));
    }
}
