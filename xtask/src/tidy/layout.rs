//! Paths and names of files, and the contents of the catalogue.

use super::{Finding, SourceFile};

/// Path of the catalogue.
pub(super) const CATALOGUE: &str = "tracers/src/catalogue.rs";

/// An entry of the catalogue: `tcp_connect::TcpConnect`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its module and its name.
    pub(super) name: String,
    /// Its event's type.
    pub(super) event: String,
    /// The line in the catalogue, from 1.
    pub(super) line: usize,
}

/// The entries of the list `catalogue! { … }`, in their order.
pub(super) fn entries(files: &[SourceFile]) -> Vec<Entry> {
    let text = files
        .iter()
        .find(|file| file.path == CATALOGUE)
        .map_or("", |file| &file.text);
    let listed = text
        .lines()
        .enumerate()
        .skip_while(|(_, line)| !line.starts_with("catalogue!"));
    let listed = listed
        .skip(1)
        .take_while(|(_, line)| !line.starts_with('}'));
    let entry = |(at, line): (usize, &str)| {
        let (name, event) = line.trim().trim_end_matches(',').split_once("::")?;
        Some(Entry {
            name: name.trim().to_owned(),
            event: event.trim().to_owned(),
            line: at + 1,
        })
    };
    listed.filter_map(entry).collect()
}

pub(super) fn catalogue_is_whole(files: &[SourceFile]) -> Vec<Finding> {
    let entries = entries(files);
    let mut findings = Vec::new();
    if entries.is_empty() {
        return vec![Finding::new(
            CATALOGUE,
            0,
            "has no list `catalogue! { module::Event, … }`",
        )];
    }
    for pair in entries.windows(2) {
        if pair[0].name >= pair[1].name {
            findings.push(Finding::new(
                CATALOGUE,
                pair[1].line,
                format!("{} belongs before {}", pair[1].name, pair[0].name),
            ));
        }
    }
    for Entry { name, event, line } in &entries {
        if *event != camel(name) {
            findings.push(Finding::new(
                CATALOGUE,
                *line,
                format!("the event of {name} is called {}, not {event}", camel(name)),
            ));
        }
        let wanted = [
            format!("tracers/src/catalogue/{name}.rs"),
            format!("agent-ebpf/src/bin/{name}.rs"),
            format!("tests/tracers/{name}.rs"),
            format!("docs/tracers/{name}.md"),
        ];
        for path in wanted {
            if !files.iter().any(|file| file.path == path) {
                let remedy = if path.ends_with(".md") {
                    "; `cargo xtask codegen` writes it"
                } else {
                    ""
                };
                findings.push(Finding::new(
                    CATALOGUE,
                    *line,
                    format!("{name} has no {path}{remedy}"),
                ));
            }
        }
    }
    // The other way round: a program that no entry names is embedded for nothing.
    for file in files {
        for (folder, ending) in [("agent-ebpf/src/bin/", ".rs"), ("docs/tracers/", ".md")] {
            let name = file
                .path
                .strip_prefix(folder)
                .and_then(|rest| rest.strip_suffix(ending));
            let Some(name) = name.filter(|name| !name.contains('/') && *name != "README") else {
                continue;
            };
            if !entries.iter().any(|entry| entry.name == name) {
                findings.push(Finding::new(
                    &file.path,
                    0,
                    format!("the catalogue in {CATALOGUE} has no {name}"),
                ));
            }
        }
    }
    findings
}

/// `tcp_connect` as a type's name: `TcpConnect`.
pub(crate) fn camel(name: &str) -> String {
    name.split('_')
        .map(|word| {
            word.get(..1).unwrap_or_default().to_uppercase() + word.get(1..).unwrap_or_default()
        })
        .collect()
}

/// Names that any file could have.
const VAGUE: [&str; 10] = [
    "util", "utils", "common", "helper", "helpers", "manager", "types", "misc", "mod", "shared",
];

pub(super) fn file_names(files: &[SourceFile]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for SourceFile { path, .. } in files.iter().filter(|file| file.path.ends_with(".rs")) {
        for part in path.trim_end_matches(".rs").split('/') {
            if VAGUE.contains(&part) {
                findings.push(Finding::new(
                    path,
                    0,
                    format!("{part:?} could be anything: name it by what it holds"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{super::tree, *};

    const LIST: &str = "pub struct X;\ncatalogue! {\n    exec::Exec,\n    tcp_life::TcpLife,\n    open::Open,\n}\n";

    #[test]
    fn the_catalogues_entries_are_read() {
        let found = entries(&tree(&[(CATALOGUE, LIST)]));
        assert_eq!(found.len(), 3);
        assert_eq!(
            found[1],
            Entry {
                name: "tcp_life".into(),
                event: "TcpLife".into(),
                line: 4
            }
        );
    }

    #[test]
    fn an_unsorted_entry_and_missing_files_are_found() {
        let findings = catalogue_is_whole(&tree(&[
            (CATALOGUE, LIST),
            ("tracers/src/catalogue/exec.rs", ""),
            ("agent-ebpf/src/bin/stray.rs", ""),
        ]));
        let texts: Vec<_> = findings
            .iter()
            .map(|finding| finding.what.as_str())
            .collect();
        assert!(texts.contains(&"open belongs before tcp_life"), "{texts:?}");
        assert!(texts.contains(&"exec has no tests/tracers/exec.rs"));
        assert!(
            texts.contains(&"exec has no docs/tracers/exec.md; `cargo xtask codegen` writes it")
        );
        assert!(!texts.contains(&"exec has no tracers/src/catalogue/exec.rs"));
        assert!(texts.contains(&"the catalogue in tracers/src/catalogue.rs has no stray"));
    }

    #[test]
    fn vague_names_are_found_and_others_are_not() {
        let files = tree(&[
            ("agent/src/mod.rs", ""),
            ("cli/src/utils/x.rs", ""),
            ("agent/src/types.rs", ""),
            ("agent/src/model.rs", ""),
            ("docs/common.md", ""),
        ]);
        assert_eq!(file_names(&files).len(), 3);
    }

    #[test]
    fn a_tracers_type_is_its_name_in_camel_case() {
        assert_eq!(camel("tcp_connect"), "TcpConnect");
        assert_eq!(camel("exec"), "Exec");
    }
}
