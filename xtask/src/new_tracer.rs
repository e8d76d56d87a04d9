//! `new-tracer NAME`: writes a tracer's three files and its line in the catalogue. The result compiles and passes its tests.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    process,
    tidy::camel,
    toolchain,
    workspace::{self, short},
};

/// Arguments of `new-tracer`.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// A noun or noun_verb of what it shows, in lower case: tcp_accept, page_fault.
    name: String,
}

const CATALOGUE: &str = "tracers/src/catalogue.rs";
const TESTS: &str = "tests/tracers/main.rs";

/// Path and template of each file. NAME and EVENT stand for the names of the tracer and its event.
const TEMPLATES: [(&str, &str); 3] = [
    (
        "tracers/src/catalogue/NAME.rs",
        include_str!("new_tracer/options.rs.in"),
    ),
    (
        "agent-ebpf/src/bin/NAME.rs",
        include_str!("new_tracer/kernel.rs.in"),
    ),
    (
        "tests/tracers/NAME.rs",
        include_str!("new_tracer/test.rs.in"),
    ),
];

/// Names that do not compile, or that collide with the name of a module.
const KEYWORDS: [&str; 20] = [
    "as", "async", "await", "break", "const", "crate", "dyn", "else", "enum", "extern", "fn",
    "gen", "impl", "match", "mod", "move", "static", "type", "use", "where",
];

/// Modules of `tracers`, which would hide the tracer's, and of its tests.
const MODULES: [&str; 15] = [
    "arch",
    "catalogue",
    "cell",
    "class",
    "conformance",
    "control",
    "kind",
    "lib",
    "main",
    "option",
    "point",
    "prelude",
    "record",
    "source",
    "user",
];

/// Writes them; refuses before it has written anything.
pub(crate) fn run(args: &Args) -> Result<()> {
    let root = workspace::root();
    let name = &args.name;
    check_name(name)?;
    toolchain::ensure_rust()?;
    let catalogue = read(&root.join(CATALOGUE))?;
    let tests = read(&root.join(TESTS))?;
    let line = format!("    {name}::{},", camel(name));
    let catalogue = insert_sorted(&catalogue, |text| text.starts_with("catalogue!"), &line)
        .with_context(|| format!("adding {name} to {CATALOGUE}"))?;
    let tests = insert_module(&tests, name).with_context(|| format!("adding {name} to {TESTS}"))?;
    let files: Vec<(PathBuf, String)> = TEMPLATES
        .iter()
        .map(|(path, template)| (root.join(path.replace("NAME", name)), fill(template, name)))
        .collect();
    if let Some((path, _)) = files.iter().find(|(path, _)| path.exists()) {
        bail!("{} exists already", short(path));
    }
    for (path, text) in files.iter().chain([
        &(root.join(CATALOGUE), catalogue),
        &(root.join(TESTS), tests),
    ]) {
        fs::write(path, text).with_context(|| format!("writing {}", short(path)))?;
        println!("{}", short(path));
    }
    // How a line is broken depends on how long the name is.
    let mut rustfmt = Command::new("rustfmt");
    toolchain::pin(&mut rustfmt);
    process::output(
        rustfmt
            .args(["--edition", "2024"])
            .args(files.iter().map(|(path, _)| path)),
    )?;
    println!(
        "\nIt reports every selected task that ends. Next: its columns and options (tracers/src/catalogue/{name}.rs), its hook (agent-ebpf/src/bin/{name}.rs),\n\
         what must be true of its rows (tests/tracers/{name}.rs); then `cargo xtask codegen`, `cargo test -p tests {name}::`, `cargo xtask vm -- {name}::`."
    );
    Ok(())
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {}", short(path)))
}

fn fill(template: &str, name: &str) -> String {
    template
        .replace("EVENT", &camel(name))
        .replace("NAME", name)
}

/// `tcp_accept`, and not `TcpAccept`, `tcp__accept`, `2tcp` or `type`.
fn check_name(name: &str) -> Result<()> {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
    };
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if !starts_well || !name.split('_').all(word) {
        bail!(
            "{name:?} is no name of a tracer: words of a-z and 0-9 joined by _, as in tcp_accept"
        );
    }
    if KEYWORDS.contains(&name) || MODULES.contains(&name) {
        bail!(
            "{name:?} is a word of Rust or a module of the catalogue or its tests: choose another"
        );
    }
    // A map of this name would be cut: BPF_OBJ_NAME_LEN is for programs and maps; a tracer's name is only ours, but it is typed often.
    if name.len() > 32 {
        bail!("{name:?} is {} characters long; 32 are enough", name.len());
    }
    Ok(())
}

/// Inserts `line` in order among the lines between the one that `opens` the list and the `}` that ends it.
fn insert_sorted(text: &str, opens: impl Fn(&str) -> bool, line: &str) -> Result<String> {
    let mut lines: Vec<&str> = text.lines().collect();
    let Some(start) = lines.iter().position(|line| opens(line)) else {
        bail!("it has no list `catalogue! {{ … }}`")
    };
    let Some(length) = lines[start + 1..]
        .iter()
        .position(|line| line.starts_with('}'))
    else {
        bail!("its list has no end")
    };
    let list = &lines[start + 1..start + 1 + length];
    if list.contains(&line) {
        bail!("the list has it already");
    }
    let at = list
        .iter()
        .position(|other| *other > line)
        .unwrap_or(length);
    lines.insert(start + 1 + at, line);
    Ok(lines.join("\n") + "\n")
}

/// Puts `mod NAME;` among the others of its kind.
fn insert_module(text: &str, name: &str) -> Result<String> {
    let line = format!("mod {name};");
    let mut lines: Vec<&str> = text.lines().collect();
    if lines.contains(&line.as_str()) {
        bail!("it has `{line}` already");
    }
    let modules: Vec<usize> = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.starts_with("mod "))
        .map(|(at, _)| at)
        .collect();
    let Some(last) = modules.last() else {
        bail!("it has no `mod …;` to put the new one beside")
    };
    let at = modules
        .iter()
        .copied()
        .find(|at| *lines[*at] > *line)
        .unwrap_or(last + 1);
    lines.insert(at, &line);
    Ok(lines.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalid_names_are_refused() {
        for name in [
            "",
            "TcpAccept",
            "tcp__accept",
            "_tcp",
            "tcp_",
            "2tcp",
            "tcp-accept",
            "type",
            "lib",
            "option",
            "conformance",
            "../x",
            "a b",
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
        for name in ["tcp_accept", "exec", "tcp_connect6"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
    }

    #[test]
    fn the_catalogues_line_goes_where_it_belongs() {
        let text = "x\ncatalogue! {\n    exec::Exec,\n    open::Open,\n}\n";
        let opens = |text: &str| text.starts_with("catalogue!");
        let with = |line: &str| insert_sorted(text, opens, line).unwrap();
        assert_eq!(
            with("    mmap::Mmap,"),
            "x\ncatalogue! {\n    exec::Exec,\n    mmap::Mmap,\n    open::Open,\n}\n"
        );
        assert_eq!(
            with("    swap::Swap,"),
            "x\ncatalogue! {\n    exec::Exec,\n    open::Open,\n    swap::Swap,\n}\n"
        );
        assert_eq!(
            with("    bio::Bio,"),
            "x\ncatalogue! {\n    bio::Bio,\n    exec::Exec,\n    open::Open,\n}\n"
        );
        assert!(insert_sorted(text, opens, "    open::Open,").is_err());
        assert!(insert_sorted("x\n", opens, "    open::Open,").is_err());
    }

    #[test]
    fn the_test_module_goes_where_it_belongs() {
        let text = "//! Tests.\nmod exec;\nmod open;\n\nfn f() {}\n";
        assert_eq!(
            insert_module(text, "mmap").unwrap(),
            "//! Tests.\nmod exec;\nmod mmap;\nmod open;\n\nfn f() {}\n"
        );
        assert_eq!(
            insert_module(text, "swap").unwrap(),
            "//! Tests.\nmod exec;\nmod open;\nmod swap;\n\nfn f() {}\n"
        );
        assert!(insert_module(text, "open").is_err());
    }

    #[test]
    fn a_template_is_filled_with_both_names() {
        assert_eq!(
            fill("use tracers::NAME::EVENT;", "tcp_accept"),
            "use tracers::tcp_accept::TcpAccept;"
        );
    }
}
