//! Stages of a longer task: all run, whatever fails, and a table tells at the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::screen::{duration, table};

/// One stage; it shows itself what it does.
pub(crate) struct Stage {
    /// As in the table.
    pub(crate) name: &'static str,
    /// Does it; the text tells what came of it, in a few words.
    pub(crate) run: Box<dyn FnOnce() -> Result<String>>,
}

impl Stage {
    /// A stage by its name.
    pub(crate) fn new(name: &'static str, run: impl FnOnce() -> Result<String> + 'static) -> Self {
        Self {
            name,
            run: Box::new(run),
        }
    }
}

/// Runs all; an error if any failed.
pub(crate) fn run_all(task: &str, stages: Vec<Stage>) -> Result<()> {
    let started = Instant::now();
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for Stage { name, run } in stages {
        let since = Instant::now();
        let result = run();
        let result = match result {
            Ok(text) => text,
            Err(error) => {
                let why = format!("{name}: {error:#}\n");
                // At once, for the one who watches, and again below the table, for the one who comes when all is over.
                println!("{why}");
                failed.push((name, why));
                "FAILED".to_owned()
            }
        };
        rows.push(vec![name.to_owned(), seconds(since.elapsed()), result]);
    }
    println!("\n{}", table(&["STAGE", "TIME", "RESULT"], &rows));
    let took = duration(started.elapsed());
    if failed.is_empty() {
        println!("{task}: all is well, in {took}");
        return Ok(());
    }
    for (_, why) in &failed {
        println!("{why}");
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    bail!(
        "{task} failed in {} of {} stages, in {took}: {}",
        names.len(),
        rows.len(),
        names.join(", ")
    )
}

fn seconds(time: Duration) -> String {
    format!("{:>12}", duration(time))
}
