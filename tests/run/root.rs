//! `--root`: values of columns as frames.

use tests::{needs, program, tracejob};

#[test]
fn values_of_columns_are_the_first_frames_and_unknown_columns_are_refused() {
    needs!("page_fault");
    let run = |args: &[&str]| {
        let mut command = tracejob(&[&["run", "page_fault"], args, &["--"]].concat());
        let command = command.arg(program("workload"));
        let output = command.args(["touch", "50", "write"]).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let (status, folded, error) = run(&["-o", "folded", "--root", "pid,comm"]);
    assert_eq!(status, Some(0), "{error}");
    let line = folded.lines().find(|line| line.contains("write_pages"));
    let frames: Vec<&str> = line.unwrap().split(';').collect();
    assert!(frames[0].parse::<u32>().is_ok(), "{frames:?}");
    assert_eq!(frames[1], "workload");
    assert_ne!(frames[2], "workload");
    for (args, expected) in [
        (
            &["-o", "folded", "--root", "pid,pod"][..],
            "--root: \"pod\" is no column of page_fault that can be a frame; columns: ",
        ),
        (
            &["--root", "pid"],
            "--root is an option of -o folded, flamegraph=FILE and pprof=FILE",
        ),
    ] {
        let (status, _, error) = run(args);
        assert_eq!(status, Some(2), "{error}");
        assert!(error.starts_with(&format!("error: {expected}")), "{error}");
    }
}
