//! Stages of a longer task. Independent stages run in parallel, as far as processors are free.
//!
//! A failed stage is reported at once. Stages that need it are not run; all others still are.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow, bail};

use crate::screen::{duration, line, table};

/// A stage, which shows its own steps.
pub(crate) struct Stage {
    name: &'static str,
    about: &'static str,
    needs: Vec<&'static str>,
    cpus: usize,
    run: Box<dyn FnOnce() -> Result<String> + Send>,
}

impl Stage {
    /// Creates a stage that mostly waits for a network or timers, and needs no other. `run` returns its result in a few words.
    pub(crate) fn new(
        name: &'static str,
        about: &'static str,
        run: impl FnOnce() -> Result<String> + Send + 'static,
    ) -> Self {
        Self {
            name,
            about,
            needs: Vec::new(),
            cpus: 0,
            run: Box::new(run),
        }
    }

    /// Stages that must have succeeded before this one starts.
    #[must_use]
    pub(crate) fn after(mut self, needs: &[&'static str]) -> Self {
        self.needs.extend(needs);
        self
    }

    /// Processors that the stage keeps busy. Stages run side by side while the sum is at most the machine's number of processors.
    #[must_use]
    pub(crate) fn cpus(mut self, cpus: usize) -> Self {
        self.cpus = cpus;
        self
    }
}

/// Share of this machine that each stage takes, from 0 to 1.
pub(crate) fn shares(stages: &[Stage]) -> BTreeMap<&'static str, f64> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let share = |stage: &Stage| stage.cpus.clamp(1, cpus) as f64 / cpus as f64;
    stages
        .iter()
        .map(|stage| (stage.name, share(stage)))
        .collect()
}

/// A table of the stages: what each does, and which others it needs.
pub(crate) fn list(stages: &[Stage]) -> String {
    let row = |stage: &Stage| {
        vec![
            stage.name.to_owned(),
            stage.about.to_owned(),
            stage.needs.join(", "),
        ]
    };
    let rows: Vec<_> = stages.iter().map(row).collect();
    table(&["STAGE", "DOES", "NEEDS"], &rows)
}

/// Returns the stages with these names and all that they need; every stage if no name is given.
///
/// # Errors
/// A name that no stage has.
pub(crate) fn chosen(stages: Vec<Stage>, names: &[impl AsRef<str>]) -> Result<Vec<Stage>> {
    if names.is_empty() {
        return Ok(stages);
    }
    let mut wanted = BTreeSet::new();
    let mut open: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    while let Some(name) = open.pop() {
        let Some(stage) = stages.iter().find(|stage| stage.name == name) else {
            let known: Vec<&str> = stages.iter().map(|stage| stage.name).collect();
            bail!(
                "no stage is called {name:?}; there are {}",
                known.join(", ")
            );
        };
        if wanted.insert(stage.name) {
            open.extend(&stage.needs);
        }
    }
    let mut stages = stages;
    stages.retain(|stage| wanted.contains(stage.name));
    Ok(stages)
}

/// Result of a stage.
struct Ended {
    name: &'static str,
    began: Duration,
    took: Duration,
    result: Result<String>,
}

/// Runs all stages and prints their table; an error if any stage failed or could not run.
pub(crate) fn run_all(task: &str, stages: Vec<Stage>) -> Result<()> {
    let cpus = thread::available_parallelism().map_or(1, usize::from);
    let started = Instant::now();
    let ended = schedule(stages, cpus);
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for Ended {
        name,
        began,
        took,
        result,
    } in &ended
    {
        let result = match result {
            Ok(text) => text.clone(),
            Err(error) => {
                failed.push((name, error));
                "FAILED".to_owned()
            }
        };
        rows.push(vec![
            (*name).to_owned(),
            duration(*began),
            duration(*took),
            result,
        ]);
    }
    println!("\n{}", table(&["STAGE", "BEGAN", "TOOK", "RESULT"], &rows));
    let took = duration(started.elapsed());
    if failed.is_empty() {
        println!("{task}: all stages passed, in {took}");
        return Ok(());
    }
    // Printed at the time of the failure, and repeated here for readers of the end.
    for (name, error) in &failed {
        println!("{name}: {error:#}\n");
    }
    let names: Vec<&str> = failed.iter().map(|(name, _)| **name).collect();
    bail!(
        "{task}: {} of {} stages failed, in {took}: {}; `cargo xtask test --only \"{}\"` runs one of them with what it needs",
        names.len(),
        rows.len(),
        names.join(", "),
        names[0]
    )
}

/// Runs the stages, and returns them in the order in which they ended.
fn schedule(stages: Vec<Stage>, cpus: usize) -> Vec<Ended> {
    let started = Instant::now();
    let mut waiting = stages;
    let (mut running, mut busy) = (0, 0);
    let mut ended: Vec<Ended> = Vec::new();
    let (sender, receiver) = mpsc::channel::<(usize, Ended)>();
    thread::scope(|scope| {
        loop {
            let mut free = cpus.saturating_sub(busy);
            let mut index = 0;
            while index < waiting.len() {
                match ready(&waiting[index], &ended) {
                    Ready::Later => index += 1,
                    Ready::Never(needed) => {
                        let stage = waiting.remove(index);
                        let result = Err(anyhow!("not run: it needs {needed}, which failed"));
                        ended.push(report(
                            stage.name,
                            started.elapsed(),
                            Duration::ZERO,
                            result,
                        ));
                        // Stages before it may need this one.
                        index = 0;
                    }
                    Ready::Now => {
                        let wanted = waiting[index].cpus.min(cpus);
                        if wanted > free {
                            // Later stages do not overtake, because a stage that needs every processor would never run.
                            free = 0;
                            index += 1;
                            continue;
                        }
                        let stage = waiting.remove(index);
                        free -= wanted;
                        busy += wanted;
                        running += 1;
                        let sender = sender.clone();
                        scope.spawn(move || {
                            let (name, began) = (stage.name, started.elapsed());
                            let since = Instant::now();
                            let result =
                                catch_unwind(AssertUnwindSafe(stage.run)).unwrap_or_else(|panic| {
                                    Err(anyhow!("panic: {}", panic_text(&*panic)))
                                });
                            // The receiver lives as long as this scope.
                            let _ =
                                sender.send((wanted, report(name, began, since.elapsed(), result)));
                        });
                    }
                }
            }
            if running == 0 {
                return;
            }
            let Ok((freed, stage)) = receiver.recv() else {
                return;
            };
            busy -= freed;
            running -= 1;
            ended.push(stage);
        }
    });
    // A need that is not among the stages, or a circle: a bug in the list, and no reason to leave a stage out silently.
    ended.extend(waiting.into_iter().map(|stage| {
        let result = Err(anyhow!("not run: it needs {}", stage.needs.join(", ")));
        report(stage.name, started.elapsed(), Duration::ZERO, result)
    }));
    ended
}

fn report(name: &'static str, began: Duration, took: Duration, result: Result<String>) -> Ended {
    if let Err(error) = &result {
        line(&format!("\n{name}: {error:#}\n"));
    }
    Ended {
        name,
        began,
        took,
        result,
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("without a message")
}

enum Ready {
    Now,
    Later,
    Never(&'static str),
}

fn ready(stage: &Stage, ended: &[Ended]) -> Ready {
    for &needed in &stage.needs {
        match ended.iter().find(|ended| ended.name == needed) {
            Some(ended) if ended.result.is_ok() => {}
            Some(_) => return Ready::Never(needed),
            None => return Ready::Later,
        }
    }
    Ready::Now
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Barrier, Mutex};

    fn stage(name: &'static str, log: &Arc<Mutex<Vec<&'static str>>>) -> Stage {
        let log = Arc::clone(log);
        Stage::new(name, "", move || {
            log.lock().unwrap().push(name);
            Ok(String::new())
        })
    }

    #[test]
    fn a_stage_runs_after_what_it_needs() {
        let log = Arc::default();
        let stages = vec![
            stage("c", &log).after(&["b"]),
            stage("b", &log).after(&["a"]),
            stage("a", &log),
        ];
        assert!(run_all("test", stages).is_ok());
        assert_eq!(*log.lock().unwrap(), ["a", "b", "c"]);
    }

    #[test]
    fn what_needs_a_failed_stage_is_not_run_and_all_else_is() {
        let log = Arc::default();
        let stages = vec![
            Stage::new("broken", "", || bail!("no")),
            stage("needs it", &log).after(&["broken"]),
            Stage::new("panics", "", || panic!("bug")),
            stage("needs both", &log).after(&["needs it", "other"]),
            stage("other", &log),
        ];
        let error = run_all("test", stages).unwrap_err().to_string();
        assert_eq!(*log.lock().unwrap(), ["other"]);
        assert!(error.starts_with("test: 4 of 5 stages failed"), "{error}");
        for name in ["broken", "needs it", "panics", "needs both"] {
            assert!(error.contains(name), "{error}");
        }
    }

    #[test]
    fn a_stage_whose_need_is_not_there_fails() {
        let log = Arc::default();
        assert!(run_all("test", vec![stage("a", &log).after(&["missing"])]).is_err());
    }

    #[test]
    fn stages_run_side_by_side_while_there_are_processors() {
        let both = Arc::new(Barrier::new(2));
        let meets = |name| {
            let both = Arc::clone(&both);
            Stage::new(name, "", move || {
                both.wait();
                Ok(String::new())
            })
            .cpus(1)
        };
        assert!(
            schedule(vec![meets("a"), meets("b")], 2)
                .iter()
                .all(|ended| ended.result.is_ok())
        );
    }

    #[test]
    fn a_stage_that_wants_every_processor_is_not_overtaken() {
        let log = Arc::default();
        let stages = vec![
            stage("one", &log).cpus(1),
            stage("all", &log).cpus(9).after(&["first"]),
            stage("late", &log).cpus(1).after(&["first"]),
            stage("first", &log),
        ];
        schedule(stages, 2);
        let log = log.lock().unwrap();
        let at = |name| log.iter().position(|other| *other == name);
        assert!(at("all") < at("late"), "{log:?}");
    }

    #[test]
    fn chosen_stages_come_with_what_they_need() {
        let stages = || {
            let log = Arc::default();
            vec![
                stage("a", &log),
                stage("b", &log).after(&["a"]),
                stage("c", &log),
            ]
        };
        let names = |stages: Vec<Stage>| stages.iter().map(|stage| stage.name).collect::<Vec<_>>();
        assert_eq!(names(chosen(stages(), &["b"]).unwrap()), ["a", "b"]);
        assert_eq!(chosen(stages(), &[""; 0]).unwrap().len(), 3);
        let error = chosen(stages(), &["d"]).err().unwrap().to_string();
        assert_eq!(error, "no stage is called \"d\"; there are a, b, c");
    }
}
