//! Tracers' names in places that should work for any tracer.

use super::{
    Finding, SourceFile,
    layout::{self, Entry},
};

/// Where tracers may be named: their own files, automation (the demo is a list of commands to type), and what is generated from prose.
const ALLOWED: [&str; 6] = [
    "tracers/src/",
    "agent-ebpf/src/bin/",
    // Objects of the agent's unit tests, which have rows of a tracer.
    "agent-ebpf/src/selftest",
    "tests/",
    "xtask/",
    "proto/src/gen/",
];

/// What begins a file's unit tests: an example has to be of something, and gives no tracer what others lack.
const UNIT_TESTS: &str = "#[cfg(test)]";

/// On a line that has it, an ordinary word is one: `"open"` as a file's mode, say.
const ORDINARY: &str = "tidy: an ordinary word";

pub(super) fn tracers_outside_their_files(files: &[SourceFile]) -> Vec<Finding> {
    let entries = layout::entries(files);
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        if ALLOWED.iter().any(|allowed| file.path.starts_with(allowed)) {
            continue;
        }
        let lines: Vec<&str> = file.text.lines().collect();
        // A module of tests in a file of its own leaves the rest of this one code.
        let begins_tests =
            |pair: &[&str]| pair[0].starts_with(UNIT_TESTS) && pair[1].ends_with('{');
        let code = lines.windows(2).position(begins_tests);
        let lines = lines[..code.unwrap_or(lines.len())].iter().enumerate();
        for (at, line) in lines.filter(|(_, line)| !line.contains(ORDINARY)) {
            if let Some(entry) = entries.iter().find(|entry| names(line, entry)) {
                findings.push(Finding::new(
                    &file.path,
                    at + 1,
                    format!(
                        "{} is named: decide by its columns or its source",
                        entry.name
                    ),
                ));
            }
        }
    }
    findings
}

/// Returns whether a line names a tracer.
fn names(line: &str, entry: &Entry) -> bool {
    let Entry {
        name,
        event,
        line: _,
    } = entry;
    let as_option =
        event.get(..1).unwrap_or_default().to_lowercase() + event.get(1..).unwrap_or_default();
    if name.contains('_') {
        return [name, event, &as_option]
            .into_iter()
            .any(|form| has_word(line, form));
    }
    // `open` and `exec` are common words; these forms name a tracer.
    let forms = [
        format!("\"{name}\""),
        format!("tracers::{name}"),
        format!("{name}::{event}"),
        format!("Spec::{event}"),
        format!("tracejob run {name}"),
    ];
    forms.iter().any(|form| has_word(line, form))
}

/// Returns whether the line contains `word` as a whole identifier.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(part) && !after.is_some_and(part)
    })
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    fn found(path: &str, line: &str) -> bool {
        let catalogue = "catalogue! {\n    open::Open,\n    tcp_connect::TcpConnect,\n}\n";
        !tracers_outside_their_files(&tree(&[(layout::CATALOGUE, catalogue), (path, line)]))
            .is_empty()
    }

    #[test]
    fn a_tracers_name_outside_its_files_is_found() {
        for line in [
            "if name == \"tcp_connect\" {",
            "use tracers::tcp_connect::TcpConnect;",
            "\"tcpConnect\" => 1,",
            "if name == \"open\" {",
            "use tracers::open;",
            "use tracers::open::Open;",
            "//! Try `tracejob run open -- ls`.",
        ] {
            assert!(found("cli/src/main.rs", line), "{line}");
        }
    }

    #[test]
    fn words_that_only_look_like_one_are_not() {
        for line in [
            "file.open(path)",
            "fs::OpenOptions::new()",
            "inet_tcp_connect_timeout",
            "Opened",
            "fn open() {",
            "mode: \"open\", // tidy: an ordinary word",
        ] {
            assert!(!found("cli/src/main.rs", line), "{line}");
        }
    }

    #[test]
    fn unit_tests_may_name_one() {
        assert!(!found(
            "cli/src/job.rs",
            "fn f() {}\n#[cfg(test)]\nmod tests {\n    const NAME: &str = \"tcp_connect\";"
        ));
    }

    #[test]
    fn its_own_files_may_name_it() {
        for path in [
            "tracers/src/catalogue/tcp_connect.rs",
            "agent-ebpf/src/bin/tcp_connect.rs",
            "tests/tracers/tcp_connect.rs",
            "docs/tracers/tcp_connect.md",
        ] {
            assert!(!found(path, "tcp_connect"), "{path}");
        }
    }
}
