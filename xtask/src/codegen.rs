//! `codegen`: writes every generated file, or checks that the committed files are up to date.
//!
//! Always generated into a folder of their own first, so that checking and writing cannot differ.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{process, programs, screen::Step, setup, test, workspace};

/// Arguments of `codegen`.
#[derive(clap::Args, Debug, Default)]
pub(crate) struct Args {
    /// Writes nothing; fails and names the files that are not what would be written.
    #[arg(long)]
    check: bool,
}

/// A program that writes files into a folder that it is given.
struct Generator {
    name: &'static str,
    /// Description of the output.
    writes: &'static str,
    package: &'static str,
    /// The program or example, and its arguments; the folder follows.
    program: &'static [&'static str],
    /// Folder of the repository with the generated files.
    folder: &'static str,
    /// Folders in it that hold nothing but what it writes: a file too many is stale.
    owns: &'static [&'static str],
}

const GENERATORS: [Generator; 4] = [
    Generator {
        name: "proto",
        package: "proto",
        writes: "Rust from the .proto files",
        program: &["gen"],
        folder: "proto/src/gen",
        owns: &[""],
    },
    Generator {
        name: "tracejob",
        package: "cli",
        writes: "pages of the tracers, man page, completions, schema",
        program: &["tracejob", "codegen"],
        folder: "docs",
        owns: &["tracers", "completions"],
    },
    Generator {
        name: "crd",
        package: "crd",
        writes: "definitions and admission policy of our Kubernetes objects, classes of tracers, the chart's README",
        program: &["definitions"],
        folder: "charts/tracejob",
        owns: &["files/crds", "files/admission"],
    },
    Generator {
        name: "profiles",
        package: "agent",
        writes: "what confines the agent on a node: seccomp, AppArmor",
        program: &["tracejob-agent", "write-profiles"],
        folder: "charts/tracejob/files/profiles",
        owns: &[""],
    },
];

/// Files by their path from a generator's folder.
type Files = BTreeMap<PathBuf, Vec<u8>>;

/// A file that is not what would be written.
#[derive(Debug, PartialEq, Eq)]
enum Stale {
    Missing(PathBuf),
    Different(PathBuf),
    TooMany(PathBuf),
}

/// Writes the stale files, or names them.
pub(crate) fn run(args: &Args) -> Result<()> {
    if args.check {
        return test::only("codegen --check", &["generated files"]);
    }
    setup::build()?;
    for generator in &GENERATORS {
        // Sequential, because code of the first generator is compiled into the next.
        let program = programs::of_package(generator.package, generator.program[0])?;
        generator.run(&program, false)?;
    }
    Ok(())
}

/// The stage: an error that names the files that are not what would be written.
pub(crate) fn check() -> Result<String> {
    let mut stale_files = Vec::new();
    for generator in &GENERATORS {
        let program = programs::built()?.file(generator.program[0])?;
        let stale = generator.run(program, true)?;
        stale_files.extend(stale.iter().map(|stale| described(stale, generator.folder)));
    }
    if stale_files.is_empty() {
        return Ok("ok".to_owned());
    }
    bail!(
        "generated files differ from their sources; run `cargo xtask codegen` and commit:\n  {}",
        stale_files.join("\n  ")
    )
}

impl Generator {
    fn run(&self, program: &Path, check: bool) -> Result<Vec<Stale>> {
        let Self {
            name,
            writes,
            package: _,
            program: words,
            folder,
            owns,
        } = self;
        let name = format!("codegen {name}");
        let step = Step::start(&name, &format!("generating: {writes}"));
        let fresh = workspace::target().join("codegen").join(self.name);
        empty(&fresh)?;
        let mut command = Command::new(program);
        command.args(&words[1..]).arg(&fresh);
        process::quietly(&step, &name.replace(' ', "-"), &mut command)?;
        let generated = read(&fresh)?;
        if generated.is_empty() {
            bail!(
                "{} wrote nothing into {}",
                process::shown(&command),
                fresh.display()
            );
        }
        let home = workspace::root().join(folder);
        let mut committed = Files::new();
        for path in generated.keys() {
            if let Ok(bytes) = fs::read(home.join(path)) {
                committed.insert(path.clone(), bytes);
            }
        }
        for owned in owns.iter().filter(|owned| home.join(owned).is_dir()) {
            let files = read(&home.join(owned))?;
            committed.extend(
                files
                    .into_iter()
                    .map(|(path, bytes)| (Path::new(owned).join(path), bytes)),
            );
        }
        let stale = compare(&generated, &committed);
        if !check {
            write(&home, &stale, &generated)?;
        }
        let verb = if check { "stale" } else { "written" };
        step.done(&format!(
            "{} files, {} {verb}",
            generated.len(),
            stale.len()
        ));
        Ok(stale)
    }
}

fn described(stale: &Stale, folder: &str) -> String {
    let what = match stale {
        Stale::Missing(_) => "is missing",
        Stale::Different(_) => "is stale",
        Stale::TooMany(_) => "has no source any more",
    };
    format!(
        "{} {what}",
        Path::new(folder).join(path_of(stale)).display()
    )
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

fn write(home: &Path, stale: &[Stale], generated: &Files) -> Result<()> {
    for file in stale {
        match file {
            Stale::Missing(path) | Stale::Different(path) => {
                let to = home.join(path);
                if let Some(folder) = to.parent() {
                    fs::create_dir_all(folder)
                        .with_context(|| format!("creating {}", folder.display()))?;
                }
                fs::write(&to, &generated[path])
                    .with_context(|| format!("writing {}", to.display()))?;
            }
            Stale::TooMany(path) => fs::remove_file(home.join(path))
                .with_context(|| format!("removing {}", path.display()))?,
        }
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

/// Returns all files below a folder.
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
    fn missing_different_and_superfluous_files_have_different_findings() {
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
