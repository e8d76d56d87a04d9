//! `tracejob` in a real pseudo-terminal, with its screen read by a terminal emulator.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panics"
)]

mod screen;

use screen::Terminal;
use std::process::{Child, Command};
use tests::{Agent, skips_runs};

/// A process that makes system calls until it is dropped. The screen is redrawn only where no command writes to it as well,
/// so what is traced runs elsewhere.
struct Busy(Child);

impl Busy {
    fn start() -> Self {
        let script = "while :; do date +%s > /dev/null; done";
        Self(Command::new("sh").arg("-c").arg(script).spawn().unwrap())
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Checks that the trace ends by itself and lost nothing, except runs that the kernel skipped.
fn ends_well(terminal: &mut Terminal) {
    let status = terminal.end();
    let all = terminal.everything();
    let skipped = skips_runs() && all.contains("0 lost") && all.contains("skipped by the kernel");
    match status {
        Some(0) => assert!(all.contains("complete: "), "{all}"),
        Some(3) => assert!(skipped, "{all}"),
        other => panic!("it ended with {other:?}: {all}"),
    }
}

fn run(tracer: &str, options: &[&str]) -> Vec<String> {
    let args = ["run", tracer].into_iter().chain(options.iter().copied());
    args.map(ToString::to_string).collect()
}

#[test]
fn a_table_of_counts_is_redrawn_in_place_and_ctrl_c_ends_it_with_the_whole_table_and_its_account() {
    let busy = Busy::start();
    let options = ["--interval", "200ms", "--pid", &busy.pid()];
    let mut terminal = Terminal::start(24, 100, &run("syscall_count", &options));
    terminal.wait_for("a row of the live table", |screen| {
        screen.contains("SYSCALL") && screen.contains("wait4")
    });
    let calls = |screen: &str| -> u64 {
        let row = screen
            .lines()
            .find(|line| line.starts_with("wait4") || line.starts_with("read "));
        let cells: Vec<&str> = row
            .map(|row| row.split_whitespace().collect())
            .unwrap_or_default();
        cells
            .get(2)
            .and_then(|n| n.replace(',', "").parse().ok())
            .unwrap_or(0)
    };
    let before =
        terminal.wait_for_value("a count", |screen| Some(calls(screen)).filter(|n| *n > 0));
    terminal.wait_for("the growing count in the same row", |screen| {
        calls(screen) > before
    });
    let headings = terminal
        .screen()
        .lines()
        .filter(|line| line.starts_with("SYSCALL"))
        .count();
    assert_eq!(headings, 1, "redrawn, not repeated:\n{}", terminal.screen());
    assert!(
        terminal.screen().contains("0 lost"),
        "{}",
        terminal.screen()
    );

    terminal.type_in(b"\x03");
    ends_well(&mut terminal);
    assert!(terminal.echoes(), "the terminal is as it was");
    assert!(!terminal.cursor_is_hidden(), "the cursor is back");
}

#[test]
fn a_table_by_an_agent_is_redrawn_in_place_as_one_here_and_ctrl_c_ends_it() {
    let (agent, busy) = (Agent::start(""), Busy::start());
    let options = ["--interval", "200ms", "--pid", &busy.pid()];
    let args: Vec<String> = ["--agent".to_owned(), agent.url()]
        .into_iter()
        .chain(run("syscall_count", &options))
        .collect();
    let mut terminal = Terminal::start(24, 100, &args);
    terminal.wait_for("a row of the live table", |screen| {
        screen.contains("SYSCALL") && screen.contains("wait4") && screen.contains("0 lost")
    });
    terminal.wait_for("the table once and the status", |screen| {
        let headings = screen.lines().filter(|line| line.starts_with("SYSCALL"));
        headings.count() == 1 && screen.contains("stop with Ctrl-C")
    });
    terminal.type_in(b"\x03");
    ends_well(&mut terminal);
    assert!(terminal.echoes(), "the terminal is as it was");
}

#[test]
fn every_row_fits_the_width_also_after_the_window_changed_its_size() {
    let busy = Busy::start();
    let options = ["--interval", "200ms", "--pid", &busy.pid()];
    let mut terminal = Terminal::start(24, 120, &run("syscall_count", &options));
    terminal.wait_for("the table", |screen| screen.contains("LATENCY"));
    terminal.resize(20, 60);
    terminal.wait_for("the table in its new width", |screen| {
        let rows: Vec<&str> = screen
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        // Nothing was wrapped: the heading is one line, and below it come rows that begin with a name.
        rows.len() > 3
            && rows[0].starts_with("SYSCALL")
            && rows[1..rows.len() - 1]
                .iter()
                .all(|row| row.starts_with(|c: char| c.is_ascii_lowercase()))
    });
    terminal.type_in(b"\x03");
    ends_well(&mut terminal);
}

#[test]
fn rows_come_as_they_happen_and_what_a_target_calls_its_files_cannot_move_the_cursor() {
    let hostile = "/tmp/\x1b[2J\x1b[31mred\u{202e}\x07";
    let script = format!("cat '{hostile}' 2>/dev/null; sleep 60");
    let options = ["--failed-only", "--", "sh", "-c", &script];
    let mut terminal = Terminal::start(24, 140, &run("open", &options));
    let escaped = r"\x1b[2J\x1b[31mred";
    terminal.wait_for("the row, escaped, while the command still runs", |_| {
        terminal.everything().contains(escaped)
    });
    let all = terminal.everything();
    assert!(all.contains(r"\u{202e}"), "{all}");
    assert!(all.contains("LATENCY"), "the heading was not wiped:\n{all}");
    assert!(all.contains("ENOENT"), "{all}");
    terminal.type_in(b"\x03");
    ends_well(&mut terminal);
}

#[test]
fn a_bounded_run_shows_its_remaining_time() {
    let busy = Busy::start();
    // Longer than any machine takes to show it.
    let options = ["--duration", "2h", "--pid", &busy.pid()];
    let mut terminal = Terminal::start(24, 100, &run("exec", &options));
    terminal.wait_for("the time that is left", |screen| screen.contains("m left"));
    terminal.type_in(b"\x03");
    ends_well(&mut terminal);
}

#[test]
fn a_second_ctrl_c_ends_it_at_once() {
    let busy = Busy::start();
    let mut terminal = Terminal::start(24, 100, &run("syscall_count", &["--pid", &busy.pid()]));
    terminal.wait_for("the status line", |screen| screen.contains("lost"));
    terminal.type_in(b"\x03");
    terminal.type_in(b"\x03");
    assert!(terminal.end().is_some_and(|status| status != 2), "it ended");
    assert!(terminal.echoes());
}

#[test]
fn nothing_is_coloured_where_no_color_is_set() {
    let mut terminal = Terminal::start_with(24, 100, &["list".to_owned()], &[("NO_COLOR", "1")]);
    assert_eq!(terminal.end(), Some(0));
    assert!(
        !terminal.sent().contains("\x1b[1m") && !terminal.sent().contains("\x1b[3"),
        "{:?}",
        terminal.sent()
    );
}
