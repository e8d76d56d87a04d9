//! What is in Rust files: unsafe code and its reasons, things left undone, registries, openings.

use super::{Finding, SourceFile};

/// Where unsafe code may be, and why.
const UNSAFE: [(&str, &str); 4] = [
    ("agent-ebpf/", "kernel programs read through raw pointers"),
    (
        "agent/src/bpf.rs",
        "bpf(2) takes a union of structs with pointers",
    ),
    (
        "agent/src/launch.rs",
        "a started command's descriptor is known only by its number",
    ),
    (
        "tests/src/bin/workload/raw.rs",
        "system calls as no library makes them, 32-bit ones too",
    ),
];

/// Crates whose root cannot forbid unsafe code, because a file of theirs is in `UNSAFE`; they deny it.
const DENYING: [&str; 2] = ["agent-ebpf/", "agent/"];

pub(super) fn unsafe_places(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let SourceFile { path, text } = file;
        let expected = UNSAFE.iter().any(|(place, _)| path.starts_with(place));
        if !expected {
            for (at, _) in text
                .lines()
                .enumerate()
                .filter(|(_, line)| has_unsafe(line))
            {
                let places = UNSAFE
                    .map(|(place, why)| format!("{place} ({why})"))
                    .join(", ");
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("unsafe code is in {places}, and not here"),
                ));
            }
        }
        let is_root = ["src/lib.rs", "src/main.rs"]
            .iter()
            .any(|root| path.split_once('/').is_some_and(|(_, rest)| rest == *root));
        let denies = DENYING.iter().any(|place| path.starts_with(place));
        if is_root && !denies && !text.contains("#![forbid(unsafe_code)]") {
            findings.push(Finding::new(path, 0, "lacks #![forbid(unsafe_code)]"));
        }
        if is_root
            && denies
            && !path.starts_with("agent-ebpf/")
            && !text.contains("#![deny(unsafe_code)]")
        {
            findings.push(Finding::new(
                path,
                0,
                "lacks #![deny(unsafe_code)]: only the modules that need it allow it",
            ));
        }
    }
    findings
}

/// A block, function, impl or trait; attributes such as `#[unsafe(no_mangle)]` are not meant.
fn has_unsafe(line: &str) -> bool {
    let code = without_text(line);
    [
        "unsafe {",
        "unsafe fn",
        "unsafe impl",
        "unsafe trait",
        "unsafe extern",
    ]
    .iter()
    .any(|form| code.contains(form))
}

/// The line without comment and string literals. A string over several lines is not seen as one: none of these rules needs it.
fn without_text(line: &str) -> String {
    let mut code = String::new();
    let mut chars = line.chars().peekable();
    let mut in_string = false;
    while let Some(c) = chars.next() {
        match (c, in_string) {
            ('\\', true) => {
                chars.next();
            }
            ('"', _) => in_string = !in_string,
            ('/', false) if chars.peek() == Some(&'/') => break,
            ('\'', false) => {
                code.push('\'');
                // A character literal may hold a quote: '"', '\''.
                let mut ahead = chars.clone();
                if let (Some(inner), Some(end)) = (ahead.next(), ahead.next())
                    && (inner == '\\' || end == '\'')
                {
                    chars.next();
                    chars.next();
                }
            }
            (c, false) => code.push(c),
            (_, true) => {}
        }
    }
    code
}

pub(super) fn unsafe_reasons(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for SourceFile { path, text } in files.iter().filter(|file| file.path.ends_with(".rs")) {
        let lines: Vec<&str> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if without_text(line).contains("unsafe {") && !has_reason(&lines, at) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    "an unsafe block without a `// SAFETY:` line above it",
                ));
            }
        }
    }
    findings
}

/// Whether the statement that the block is in has its reason above it, or in the line itself.
fn has_reason(lines: &[&str], at: usize) -> bool {
    if lines[at].contains("// SAFETY: ") {
        return true;
    }
    for line in lines[..at].iter().rev().map(|line| line.trim()) {
        if line.starts_with("//") {
            if line.starts_with("// SAFETY: ") {
                return true;
            }
            continue;
        }
        // The statement before this one: what is above it is about something else.
        if line.is_empty() || line.ends_with(';') || line.ends_with('}') {
            return false;
        }
    }
    false
}

/// In pieces, so that this file does not hold what it looks for.
const LEFTOVERS: [(&str, &str); 4] = [
    (
        concat!("#[ig", "nore"),
        "a test runs, or says itself that it was SKIPPED and why",
    ),
    (
        concat!("to", "do!("),
        "write it, or leave out what promises it",
    ),
    (
        concat!("unimple", "mented!("),
        "write it, or leave out what promises it",
    ),
    (concat!("d", "bg!("), "left over from debugging"),
];

pub(super) fn leftovers(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for SourceFile { path, text } in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for (at, line) in text.lines().enumerate() {
            let code = without_text(line);
            for (leftover, remedy) in LEFTOVERS
                .iter()
                .filter(|(leftover, _)| code.contains(leftover))
            {
                findings.push(Finding::new(path, at + 1, format!("{leftover}…: {remedy}")));
            }
        }
    }
    findings
}

/// In pieces, so that this file does not name them.
const REGISTRIES: [&str; 8] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("crates.io-", "index"),
    concat!("deb.", "debian.org"),
    concat!("archive.", "debian.org"),
    concat!("pypi", ".org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
];

pub(super) fn registries(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // Cargo itself writes them into its lock file.
    for SourceFile { path, text } in files
        .iter()
        .filter(|file| !file.path.ends_with("Cargo.lock"))
    {
        for (at, line) in text.lines().enumerate() {
            for host in REGISTRIES.iter().filter(|host| line.contains(**host)) {
                findings.push(Finding::new(
                    path,
                    at + 1,
                    format!("{host} is named: take the machine's own"),
                ));
            }
        }
    }
    findings
}

pub(super) fn openings(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    // What a program wrote says that instead.
    let opens = |line: &str| {
        line.starts_with("//! ")
            || line.starts_with("// @generated")
            || line.to_lowercase().contains("generated")
    };
    for SourceFile { path, text } in files
        .iter()
        .filter(|file| file.path.ends_with(".rs") && !file.path.contains("/ui/"))
    {
        let first = text
            .lines()
            .find(|line| !line.starts_with("#!") && !line.trim().is_empty());
        if !first.is_some_and(opens) {
            findings.push(Finding::new(
                path,
                1,
                "the first line is `//! …`: the file's job, and what it does not do",
            ));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    #[test]
    fn unsafe_code_is_found_where_it_is_not_expected() {
        let block = "#![forbid(unsafe_code)]\n// SAFETY: x.\nlet a = unsafe { f() };\n";
        assert_eq!(unsafe_places(&tree(&[("cli/src/main.rs", block)])).len(), 1);
        assert!(
            unsafe_places(&tree(&[
                ("agent-ebpf/src/emit.rs", block),
                ("agent/src/bpf.rs", block)
            ]))
            .is_empty()
        );
        assert!(
            unsafe_places(&tree(&[(
                "cli/src/x.rs",
                "#[unsafe(no_mangle)]\n// unsafe { }\nlet a = \"unsafe { }\";"
            )]))
            .is_empty()
        );
    }

    #[test]
    fn a_crate_forbids_unsafe_code() {
        assert_eq!(
            unsafe_places(&tree(&[
                ("cli/src/lib.rs", "//! x"),
                ("agent/src/lib.rs", "//! x"),
                ("cli/src/table.rs", "//! x")
            ]))
            .len(),
            2
        );
        assert!(
            unsafe_places(&tree(&[
                ("cli/src/lib.rs", "#![forbid(unsafe_code)]"),
                ("agent/src/lib.rs", "#![deny(unsafe_code)]")
            ]))
            .is_empty()
        );
    }

    #[test]
    fn an_unsafe_block_needs_its_reason() {
        let reasons = |text| unsafe_reasons(&tree(&[("agent-ebpf/src/x.rs", text)])).len();
        assert_eq!(
            reasons("// SAFETY: it is ours.\nlet a = unsafe { f() };"),
            0
        );
        assert_eq!(
            reasons(
                "// SAFETY: it is ours,\n// wholly.\nlet a = g(\n    1,\n    unsafe { f() },\n);"
            ),
            0
        );
        assert_eq!(reasons("let a = unsafe { f() };"), 1);
        assert_eq!(
            reasons(
                "// SAFETY: of the one before.\nlet b = unsafe { g() };\nlet a = unsafe { f() };"
            ),
            1
        );
        assert_eq!(reasons("// Why not.\nlet a = unsafe { f() };"), 1);
    }

    #[test]
    fn leftovers_are_found_in_code_only() {
        let files = tree(&[(
            "a/src/x.rs",
            concat!(
                "to",
                "do!();\nlet s = \"to",
                "do!(\"; // d",
                "bg!(x)\n#[ig",
                "nore = \"x\"]\n"
            ),
        )]);
        let lines: Vec<_> = leftovers(&files)
            .iter()
            .map(|finding| finding.line)
            .collect();
        assert_eq!(lines, [1, 3]);
    }

    #[test]
    fn registries_are_found_but_not_in_the_lock_file() {
        let line = concat!("deb http://deb.", "debian.org/debian sid main");
        assert_eq!(registries(&tree(&[("docs/x.md", line)])).len(), 1);
        assert!(registries(&tree(&[("Cargo.lock", line)])).is_empty());
    }

    #[test]
    fn a_file_opens_with_its_job() {
        let files = tree(&[
            ("a/src/x.rs", "use x;\n//! Late."),
            ("a/src/y.rs", "#![no_std]\n//! Early."),
            ("a/src/z.rs", "// Generated by y."),
        ]);
        assert_eq!(
            openings(&files)
                .iter()
                .map(|finding| finding.path.as_str())
                .collect::<Vec<_>>(),
            ["a/src/x.rs"]
        );
    }
}
