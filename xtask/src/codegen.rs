//! `codegen`: every file that a program writes, and whether the committed ones are what it would write now.
//!
//! Always generated into a folder of their own first, so that checking and writing cannot differ.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{process, screen::Step, setup, toolchain, workspace};

/// What `codegen` is asked.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Writes nothing; fails and names the files that are not what would be written.
    #[arg(long)]
    check: bool,
}

/// A program that writes files into a folder as they should lie in the repository.
struct Generator {
    name: &'static str,
    /// What it writes, for the one who waits.
    writes: &'static str,
    /// What cargo is asked; the folder follows.
    program: &'static [&'static str],
    /// Folders that hold nothing but what it writes: a file too many is stale.
    owns: &'static [&'static str],
}

const GENERATORS: [Generator; 2] = [
    Generator {
        name: "tracejob",
        writes: "pages of the tracers, man page, completions, schema",
        program: &[
            "run",
            "--quiet",
            "--package",
            "cli",
            "--bin",
            "tracejob",
            "--",
            "codegen",
        ],
        owns: &["docs/tracers"],
    },
    Generator {
        name: "proto",
        writes: "Rust from the .proto files",
        program: &[
            "run",
            "--quiet",
            "--package",
            "proto",
            "--example",
            "gen",
            "--",
        ],
        owns: &["proto/src/gen"],
    },
];

/// Generated files by their path from the root.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A file that is not what would be written.
#[derive(Debug, PartialEq, Eq)]
enum Stale {
    Missing(PathBuf),
    Different(PathBuf),
    TooMany(PathBuf),
}

/// Writes what is stale, or names it.
pub(crate) fn run(args: &Args) -> Result<()> {
    setup::build()?;
    generate(args.check)
}

/// Like `run`, where setup has been done.
pub(crate) fn generate(check: bool) -> Result<()> {
    let root = workspace::root();
    let mut stale_files = Vec::new();
    for generator in &GENERATORS {
        let step = Step::start(
            &format!("codegen {}", generator.name),
            &format!("generating: {}", generator.writes),
        );
        let folder = workspace::target().join("codegen").join(generator.name);
        empty(&folder)?;
        let mut command: Command = toolchain::cargo();
        process::quietly(
            &step,
            &format!("codegen-{}", generator.name),
            command.args(generator.program).arg(&folder),
        )?;
        let generated = read(&folder)?;
        if generated.is_empty() {
            bail!(
                "the generator {} wrote nothing into {}",
                generator.name,
                folder.display()
            );
        }
        let mut committed = Files::new();
        for path in generated.keys() {
            if let Ok(bytes) = fs::read(root.join(path)) {
                committed.insert(path.clone(), bytes);
            }
        }
        for owned in generator
            .owns
            .iter()
            .filter(|owned| root.join(owned).is_dir())
        {
            committed.extend(
                read(&root.join(owned))?
                    .into_iter()
                    .map(|(path, bytes)| (Path::new(owned).join(path), bytes)),
            );
        }
        let stale = compare(&generated, &committed);
        if !check {
            write(&root, &stale, &generated)?;
        }
        let verb = if check { "stale" } else { "written" };
        step.done(&format!(
            "{} files, {} {verb}",
            generated.len(),
            stale.len()
        ));
        stale_files.extend(stale);
    }
    if check && !stale_files.is_empty() {
        let lines: Vec<String> = stale_files.iter().map(told).collect();
        bail!(
            "generated files are not what their sources say; run `cargo xtask codegen` and commit:\n  {}",
            lines.join("\n  ")
        );
    }
    Ok(())
}

fn told(stale: &Stale) -> String {
    match stale {
        Stale::Missing(path) => format!("{} is missing", path.display()),
        Stale::Different(path) => format!("{} is stale", path.display()),
        Stale::TooMany(path) => format!("{} is written by nobody any more", path.display()),
    }
}

fn compare(generated: &Files, committed: &Files) -> Vec<Stale> {
    let mut stale = Vec::new();
    for (path, bytes) in generated {
        match committed.get(path) {
            None => stale.push(Stale::Missing(path.clone())),
            Some(old) if old != bytes => stale.push(Stale::Different(path.clone())),
            Some(_) => {}
        }
    }
    stale.extend(
        committed
            .keys()
            .filter(|path| !generated.contains_key(*path))
            .cloned()
            .map(Stale::TooMany),
    );
    stale
}

fn write(root: &Path, stale: &[Stale], generated: &Files) -> Result<()> {
    for file in stale {
        match file {
            Stale::Missing(path) | Stale::Different(path) => {
                let to = root.join(path);
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder)
                        .with_context(|| format!("creating {}", folder.display()))?;
                }
                fs::write(&to, &generated[path])
                    .with_context(|| format!("writing {}", to.display()))?;
            }
            Stale::TooMany(path) => fs::remove_file(root.join(path))
                .with_context(|| format!("removing {}", path.display()))?,
        }
        println!("  {}", path_of(file).display());
    }
    Ok(())
}

fn path_of(stale: &Stale) -> &Path {
    match stale {
        Stale::Missing(path) | Stale::Different(path) | Stale::TooMany(path) => path,
    }
}

fn empty(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("removing {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))
}

/// All files below a folder.
fn read(folder: &Path) -> Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        let entries = fs::read_dir(&next).with_context(|| format!("reading {}", next.display()))?;
        for entry in entries {
            let path = entry
                .with_context(|| format!("reading {}", next.display()))?
                .path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            let relative = path.strip_prefix(folder).unwrap_or(&path).to_owned();
            files.insert(relative, bytes);
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_different_and_superfluous_files_are_told_apart() {
        let files = |list: &[(&str, &str)]| {
            list.iter()
                .map(|(path, text)| (PathBuf::from(path), text.as_bytes().to_vec()))
                .collect::<Files>()
        };
        let generated = files(&[("a", "1"), ("b", "2"), ("c", "3")]);
        let committed = files(&[("a", "1"), ("b", "old"), ("d", "4")]);
        let stale = compare(&generated, &committed);
        assert_eq!(
            stale,
            [
                Stale::Different("b".into()),
                Stale::Missing("c".into()),
                Stale::TooMany("d".into())
            ]
        );
    }
}
