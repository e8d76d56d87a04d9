//! `tracejob diff` of two recorded profiles whose difference is known.

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};
use tests::{folder, needs, program, tracejob, tracejob_path};

/// Size of each allocation: hardly anything else in a program is so large.
const BYTES: &str = "70000";

/// Records the allocations of a workload as a profile.
fn record(profile: &Path, malloc: &str, calloc: &str) {
    let traced = tracejob(&["run", "malloc", "--sample-every", "1B"])
        .args(["--min-size", "70000B", "-o"])
        .arg(format!("pprof={}", profile.display()))
        .arg("--")
        .arg(program("workload"))
        .args(["allocate", "malloc", malloc, BYTES, ","])
        .args(["allocate", "calloc", calloc, BYTES])
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&traced.stderr);
    assert!(traced.status.success(), "{stderr}");
}

fn diff(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(tracejob_path());
    command.arg("diff").args(args).current_dir(folder);
    command.output().unwrap()
}

fn stdout(folder: &Path, args: &[&str]) -> String {
    let output = diff(folder, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// Own and total shares of a function in a table, in percent.
fn shares(table: &str, function: &str) -> Vec<f64> {
    let line = table.lines().find(|line| line.ends_with(function));
    let line = line.unwrap_or_else(|| panic!("no {function} in {table}"));
    let words = line.split_whitespace().take(6);
    words.map(|word| word.parse().unwrap()).collect()
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 1.0
}

#[test]
fn a_known_difference_of_two_recordings_is_in_every_output() {
    needs!("malloc");
    let folder = folder();
    // Shares of 75 % and 25 % become 25 % and 75 % of a longer run.
    record(&folder.join("before.pb.gz"), "300", "100");
    record(&folder.join("after.pb.gz"), "1000", "3000");
    let files = ["before.pb.gz", "after.pb.gz"];
    let table = stdout(&folder, &files);
    println!("{table}");
    for (function, expected) in [
        ("by_calloc", [25.0, 75.0, 50.0]),
        ("by_malloc", [75.0, 25.0, -50.0]),
    ] {
        let found = shares(&table, function);
        let expected = [expected, expected].concat();
        let same = found.iter().zip(&expected).all(|(a, b)| near(*a, *b));
        assert!(same, "{found:?} is not {expected:?}: {table}");
    }
    // The first functions are those whose own share changed; the program is no function.
    let rows: Vec<&str> = table.lines().skip(4).collect();
    assert!(rows[0].ends_with("by_calloc") && rows[1].ends_with("by_malloc"));
    assert!(!rows.iter().any(|row| row.ends_with("  workload")));
    let top = stdout(&folder, &[&files[..], &["--top", "1"]].concat());
    assert_eq!(top.lines().count(), 5);

    let folded = stdout(&folder, &[&files[..], &["-o", "folded"]].concat());
    let mut totals = [0; 2];
    let mut calloc = [0; 2];
    for line in folded.lines() {
        let (rest, after) = line.rsplit_once(' ').unwrap();
        let (stack, before) = rest.rsplit_once(' ').unwrap();
        assert!(stack.starts_with("workload;"), "{line}");
        for (side, weight) in [before, after].into_iter().enumerate() {
            let weight: u64 = weight.parse().unwrap();
            totals[side] += weight;
            if stack.ends_with("by_calloc") {
                calloc[side] += weight;
            }
        }
    }
    assert_eq!(totals, [1_000_000; 2]);
    assert!(near(calloc[0] as f64 / 10_000.0, 25.0) && near(calloc[1] as f64 / 10_000.0, 75.0));

    let wanted = ["-o", "flamegraph=diff.svg"];
    assert_eq!(stdout(&folder, &[&files[..], &wanted].concat()), "");
    let svg = fs::read_to_string(folder.join("diff.svg")).unwrap();
    let title = |function: &str| {
        let titles = svg.split("<title>").skip(1);
        let titles = titles.filter_map(|rest| rest.split("</title>").next());
        let mut titles = titles.filter(|title| title.contains(function));
        titles.next().unwrap().to_owned()
    };
    let (grew, shrank) = (title("by_calloc"), title("by_malloc"));
    assert!(grew.contains("%; +"), "{grew}");
    assert!(shrank.contains("%; -"), "{shrank}");
    assert!(svg.contains("rgb(255,100,100)") && svg.contains("before.pb.gz → after.pb.gz"));

    // The plugin of kubectl is the same program, and needs no cluster for it.
    let plugin = folder.join("kubectl-tracejob");
    symlink(tracejob_path(), &plugin).unwrap();
    let mut plugin = Command::new(plugin);
    let output = plugin.arg("diff").args(files).current_dir(&folder);
    assert_eq!(
        String::from_utf8(output.output().unwrap().stdout).unwrap(),
        table
    );

    let same = diff(&folder, &["before.pb.gz", "./before.pb.gz"]);
    assert_eq!(
        String::from_utf8(same.stderr).unwrap(),
        "error: before.pb.gz and ./before.pb.gz are the same file; diff compares two profiles\n"
    );
    let by_number = [&files[..], &["--sample", "allocations"]].concat();
    let found = shares(&stdout(&folder, &by_number), "by_calloc");
    assert!(near(found[1], 75.0), "{found:?}");
    let output = diff(&folder, &[&files[..], &["--sample", "time"]].concat());
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(
        error.starts_with(
            "error: the profiles have no common sample type \"time\": before.pb.gz has "
        ) && error.contains("; after.pb.gz has ")
            && error.contains("allocations (count)"),
        "{error}"
    );
    fs::remove_dir_all(folder).unwrap();
}

#[test]
fn files_that_cannot_be_compared_have_one_clear_error_each() {
    let folder = folder();
    let file = |name: &str, bytes: &[u8]| fs::write(folder.join(name), bytes).unwrap();
    file("empty", b"");
    file("text", b"main;work 12\n");
    file("cut.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\xff");
    file("other", b"main;work 13\n");
    fs::create_dir(folder.join("folder")).unwrap();
    let wrong = "it is not a pprof profile; `tracejob run TRACER -o pprof=FILE` writes one";
    for (args, status, error) in [
        (
            &["none", "text"][..],
            1,
            "cannot read none: No such file or directory",
        ),
        (&["folder", "text"], 1, "cannot read folder: Is a directory"),
        (
            &["empty", "text"],
            1,
            "cannot read empty: the file is empty",
        ),
        (&["text", "other"], 1, &format!("cannot read text: {wrong}")),
        (
            &["cut.gz", "text"],
            1,
            "cannot read cut.gz: cannot decompress the file: ",
        ),
        (&["text"], 2, "diff requires AFTER"),
        (
            &["text", "text", "-o", "json"],
            2,
            "--output \"json\": unknown format; formats: table, folded, flamegraph",
        ),
        (
            &["text", "text", "-o", "folded", "--top", "3"],
            2,
            "--top is an option of the table",
        ),
        (
            &["text", "text", "--agent", "unix:///x"],
            2,
            "diff reads files on this machine and has no option --agent",
        ),
    ] {
        let output = diff(&folder, args);
        let found = String::from_utf8(output.stderr).unwrap();
        assert!(
            found.starts_with(&format!("error: {error}")),
            "{args:?}: {found}"
        );
        assert_eq!(found.lines().count(), 1, "{found}");
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        assert!(output.stdout.is_empty());
    }
    fs::remove_dir_all(folder).unwrap();
}
