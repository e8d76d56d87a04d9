//! Presentation of rows: outputs, screens, and the loop of a running trace.

pub(crate) mod account;
pub(crate) mod output;
pub(crate) mod render;
pub(crate) mod screen;
pub(crate) mod shape;
pub(crate) mod sink;
pub(crate) mod text;
pub(crate) mod view;

use crate::source::Feed;
use account::{Rows, account_json, account_text, is_whole};
use anyhow::{Result, anyhow};
use engine::{Account, Update};
use output::Outputs;
use render::{Output, Status, Wall};
use std::{
    io::{self, ErrorKind, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};
use text::wrap_lines;
use tracers::Batch;

/// Minimum interval between two updates of the status line.
const TICK: Duration = Duration::from_millis(100);
/// Interval of the status line while no rows arrive: it shows whole seconds, and a resized terminal is redrawn after at most this time.
const IDLE: Duration = Duration::from_millis(500);
/// Maximum wait for an update if no output is live.
const LONG: Duration = Duration::from_secs(10);
/// Exit status of an incomplete trace.
const PARTIAL: u8 = 3;

/// Shows a trace until its account. `json` selects JSON for the account.
pub(crate) fn show(
    feed: Box<dyn Feed>,
    outputs: Outputs,
    tracer: &'static str,
    limit: Option<Duration>,
    json: bool,
) -> Result<ExitCode> {
    let running = Running {
        feed,
        outputs,
        tracer,
        limit,
        started: Instant::now(),
        rows: 0,
        lost: 0,
        tables: Vec::new(),
        failed: None,
        status_at: Instant::now(),
        // The first line follows after a tick.
        status_is_stale: true,
    };
    running.finish(json)
}

/// Returns a sentence about the datasets of an account, if there are several.
fn datasets_text(names: &[String]) -> String {
    match names {
        [] | [_] => String::new(),
        several => format!(
            "The counts cover the datasets {}: an event counts once in each of them.\n",
            several.join(" and ")
        ),
    }
}

/// A running trace with its outputs.
struct Running {
    feed: Box<dyn Feed>,
    outputs: Outputs,
    tracer: &'static str,
    limit: Option<Duration>,
    started: Instant,
    rows: u64,
    lost: u64,
    /// Latest table of each dataset.
    tables: Vec<Batch>,
    failed: Option<anyhow::Error>,
    /// Time of the last update of the status line.
    status_at: Instant,
    /// Whether an update was skipped since then.
    status_is_stale: bool,
}

impl Running {
    fn finish(mut self, json: bool) -> Result<ExitCode> {
        if let Some(note) = self.outputs.note.take() {
            let _ = io::stderr().write_all(format!("{note}\n").as_bytes());
        }
        if json {
            // From now on a signal ends the trace with its account. Programs that start us can wait for this line.
            let started = serde_json::json!({"started": {"tracer": self.tracer}});
            // One write: the started command may write there too. Errors are ignored: a closed standard error has no reader.
            let _ = io::stderr().write_all(format!("{started}\n").as_bytes());
        }
        let account = loop {
            let live = self.outputs.all.iter().any(|(output, _)| output.is_live());
            let pause = match (live, self.status_is_stale) {
                (false, _) => LONG,
                (true, false) => IDLE,
                (true, true) => TICK,
            };
            let update = match self.feed.next(pause) {
                Ok(update) => update,
                Err(error) => match self.feed.cut_off() {
                    None => return Err(error),
                    Some((account, tables)) => {
                        // The error is reported, and the rows until then are shown.
                        self.failed = Some(error);
                        tables.into_iter().for_each(|table| self.keep(table));
                        break account;
                    }
                },
            };
            match update {
                Some(Update::Rows(batch)) => {
                    if batch.dataset == self.outputs.main {
                        self.rows += batch.rows() as u64;
                    }
                    let wall = self.wall();
                    self.output(Some(&batch), |output| output.rows(&batch, wall));
                }
                Some(Update::Table(batch)) => {
                    if batch.dataset == self.outputs.main {
                        self.rows = batch.rows() as u64;
                    }
                    let (wall, elapsed) = (self.wall(), self.started.elapsed());
                    self.output(Some(&batch), |output| output.table(&batch, wall, elapsed));
                    self.keep(batch);
                }
                Some(Update::Progress(account)) => self.lost = account.lost.total(),
                Some(Update::Done(account)) => break account,
                None => {}
            }
            self.update_status();
        };
        self.end(&account, json)
    }

    fn wall(&self) -> Wall {
        self.feed.wall()
    }

    /// Updates the status line, at most once per [`TICK`].
    fn update_status(&mut self) {
        self.status_is_stale = self.status_at.elapsed() < TICK;
        if self.status_is_stale {
            return;
        }
        self.status_at = Instant::now();
        let elapsed = self.started.elapsed();
        let progress = self.feed.progress();
        let left = self.limit.map(|limit| limit.saturating_sub(elapsed));
        let status = Status {
            what: progress
                .as_ref()
                .map_or_else(|| self.tracer.to_owned(), |progress| progress.nodes.clone()),
            elapsed,
            left: progress.map_or(left, |progress| progress.left),
            rows: self.rows,
            lost: self.lost,
        };
        self.output(None, |output| output.status(&status));
    }

    /// Replaces the latest table of a dataset.
    fn keep(&mut self, table: Batch) {
        self.tables.retain(|one| one.dataset != table.dataset);
        self.tables.push(table);
    }

    /// Calls `give` for every output; with a batch, only for outputs that show its dataset. An output that fails ends the trace, and the
    /// others still receive all rows.
    fn output(
        &mut self,
        batch: Option<&Batch>,
        mut give: impl FnMut(&mut dyn Output) -> io::Result<()>,
    ) {
        let mut at = 0;
        while let Some((output, only)) = self.outputs.all.get_mut(at) {
            if batch.is_some_and(|batch| !output::shows(*only, batch)) {
                at += 1;
                continue;
            }
            match give(output.as_mut()) {
                Ok(()) => at += 1,
                Err(error) => {
                    drop(self.outputs.all.remove(at));
                    self.feed.stop();
                    self.note(error);
                }
            }
        }
    }

    fn note(&mut self, error: io::Error) {
        match error.kind() {
            // The reader closed the pipe: this is the end and not an error.
            ErrorKind::BrokenPipe => {}
            _ => {
                self.failed
                    .get_or_insert_with(|| anyhow!(error).context("cannot write rows"));
            }
        }
    }

    fn end(mut self, account: &Account, json: bool) -> Result<ExitCode> {
        let (mut tables, wall) = (std::mem::take(&mut self.tables), self.wall());
        tables.sort_by_key(|table| table.dataset);
        let beside = self.feed.beside(account);
        let mut message = Vec::new();
        for (mut output, only) in std::mem::take(&mut self.outputs.all) {
            let shown = tables.iter().filter(|table| output::shows(only, table));
            match output.end(&shown.collect::<Vec<_>>(), wall, account) {
                Ok(sentence) => message.extend(sentence),
                Err(error) => self.note(error),
            }
        }
        let text = match json {
            true => format!("{}\n", account_json(account, &beside)),
            false => {
                let message = message
                    .iter()
                    .map(|sentence| format!("{sentence}\n"))
                    .collect::<String>();
                let datasets = datasets_text(&self.outputs.datasets);
                let rows = Rows::of(self.rows, self.outputs.top);
                let text = message + &account_text(account, rows, &beside) + &datasets;
                match io::stderr().is_terminal() {
                    true => wrap_lines(&text, screen::size().columns),
                    false => text,
                }
            }
        };
        // Errors are ignored: a closed standard error has no reader.
        let _ = io::stderr().write_all(text.as_bytes());
        match self.failed {
            Some(error) => Err(error),
            None if beside.failed.is_some() => Ok(ExitCode::FAILURE),
            None if is_whole(account, &beside) => Ok(ExitCode::SUCCESS),
            None => Ok(ExitCode::from(PARTIAL)),
        }
    }
}
