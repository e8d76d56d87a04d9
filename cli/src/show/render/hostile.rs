//! Tests of hostile names in every format of stacks, read by other programs.

use super::{
    Output,
    fixture::{WALL, account, stack_columns, stacks_of, written},
    pprof::Pprof,
    stacks::{Flamegraph, Folded},
};
use std::{
    fs,
    process::{Command, Output as Said, Stdio},
};

const NAMES: usize = 300;

/// Returns distinct names made of pieces that are special for a terminal, XML, folded stacks or pprof.
fn names() -> Vec<String> {
    const PIECES: [&str; 30] = [
        "f",
        "::",
        " 12",
        " 0.5",
        ";",
        "\n",
        "\r",
        "\t",
        "\0",
        "\x1b[31m",
        "\x7f",
        "\u{9b}",
        "<b>",
        "&",
        "&amp;",
        "]]>",
        "<!--",
        "\"",
        "'",
        "_[k]",
        "_[j]",
        "\u{fffe}",
        "\u{ffff}",
        "\u{fdd0}",
        "\u{1fffe}",
        "\u{202e}",
        "\u{200b}",
        "\u{feff}",
        "日本",
        "e\u{301}\u{301}\u{301}",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |most: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % most as u64) as usize
    };
    (0..NAMES)
        .map(|number| {
            let mut name = format!("n{number}_");
            (0..=next(6)).for_each(|_| name.push_str(PIECES[next(PIECES.len())]));
            // The end is where a weight is.
            name + PIECES[number % PIECES.len()]
        })
        .collect()
}

fn rendered(make: impl FnOnce(crate::show::sink::Sink) -> Box<dyn Output>) -> Vec<u8> {
    written(|sink| {
        let stacks = stacks_of(&names());
        make(sink).end(&[&stacks], WALL, &account()).unwrap();
    })
}

/// Runs a program on a file with these bytes; `None` if the program is not installed.
fn read_by(test: &str, bytes: &[u8], program: &str, args: &[&str]) -> Option<Said> {
    let path = std::env::temp_dir().join(format!("tracejob-{test}-{}", std::process::id()));
    fs::write(&path, bytes).unwrap();
    let mut command = Command::new(program);
    let message = command.args(args).arg(&path).stdin(Stdio::null()).output();
    fs::remove_file(&path).unwrap();
    match message {
        Ok(message) => Some(message),
        Err(error) => {
            println!("SKIPPED render::hostile::{test}: {program}: {error}");
            None
        }
    }
}

#[test]
fn hostile_names_are_a_line_each_of_folded_stacks() {
    let bytes = rendered(|sink| Box::new(Folded::new(&stack_columns(), sink)));
    let text = String::from_utf8(bytes).unwrap();
    assert_eq!(text.lines().count(), NAMES);
    for line in text.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let (stack, weight) = line.rsplit_once(' ').unwrap();
        assert_eq!((stack.matches(';').count(), weight), (2, "7"), "{line:?}");
    }
}

#[test]
fn hostile_names_are_a_frame_each_of_a_flame_graph_that_is_xml() {
    let test = "hostile_names_are_a_frame_each_of_a_flame_graph_that_is_xml";
    let title = "a<b>&c".to_owned();
    let bytes = rendered(|sink| Box::new(Flamegraph::new(&stack_columns(), title, sink)));
    let script = "import sys, xml.etree.ElementTree as tree\nfor title in tree.parse(sys.argv[1]).iter('{http://www.w3.org/2000/svg}title'): print(ascii(title.text))";
    let Some(message) = read_by(test, &bytes, "python3", &["-c", script]) else {
        return;
    };
    assert!(
        message.status.success(),
        "{}",
        String::from_utf8_lossy(&message.stderr)
    );
    let titles = String::from_utf8(message.stdout).unwrap();
    for number in 0..NAMES {
        let name = format!("'n{number}_");
        let of = titles.lines().filter(|title| {
            title.starts_with(&name) || title.starts_with(&name.replace('\'', "\""))
        });
        let of: Vec<&str> = of.collect();
        assert_eq!(of.len(), 1, "{name}: {of:?}");
        assert!(of[0].contains("(7 faults, 0.33%)"), "{}", of[0]);
    }
}

#[test]
fn hostile_names_are_a_function_each_of_a_profile_that_pprof_reads() {
    let test = "hostile_names_are_a_function_each_of_a_profile_that_pprof_reads";
    let bytes = rendered(|sink| Box::new(Pprof::new(&stack_columns(), sink)));
    let args = ["tool", "pprof", "-symbolize=none", "-raw"];
    let Some(message) = read_by(test, &bytes, "go", &args) else {
        return;
    };
    assert!(
        message.status.success(),
        "{}",
        String::from_utf8_lossy(&message.stderr)
    );
    let text = String::from_utf8_lossy(&message.stdout);
    for number in 0..NAMES {
        let name = format!(" n{number}_");
        assert_eq!(text.matches(&name).count(), 1, "{name} in {text}");
    }
}
