//! What a person sees of a step: what is done and why, how long it takes, how it ended.
//!
//! It knows nothing of what the steps are.

use std::{
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom, Write},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Columns kept for a step's name.
const NAME_COLUMNS: usize = 22;

/// A step under way; after a second it shows that it is.
pub(crate) struct Step {
    name: String,
    started: Instant,
    followed: Arc<Mutex<Option<PathBuf>>>,
    stop: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

impl Step {
    /// Begins a step; `doing` says what and why, for the one who waits.
    pub(crate) fn start(name: &str, doing: &str) -> Self {
        let (stop, stopped) = mpsc::channel();
        let followed = Arc::new(Mutex::new(None));
        let started = Instant::now();
        let ticker = thread::spawn({
            let (name, doing, followed) =
                (name.to_owned(), doing.to_owned(), Arc::clone(&followed));
            move || tick(&name, &doing, started, &followed, &stopped)
        });
        Self {
            name: name.to_owned(),
            started,
            followed,
            stop: Some(stop),
            ticker: Some(ticker),
        }
    }

    /// Shows the last line of this log beside the step.
    pub(crate) fn follow(&self, log: PathBuf) {
        *self.followed.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    }

    /// Ends the step, with what came of it.
    pub(crate) fn done(mut self, result: &str) {
        self.end(result);
    }

    /// Ends the step as failed; the error itself is printed by whoever handles it.
    pub(crate) fn failed(mut self) {
        self.end("FAILED");
    }

    fn end(&mut self, result: &str) {
        self.quiet();
        let took = self.started.elapsed();
        let time = if took < Duration::from_secs(1) {
            String::new()
        } else {
            format!("  ({})", duration(took))
        };
        say(&self.name, &format!("{result}{time}"));
    }

    fn quiet(&mut self) {
        drop(self.stop.take());
        if let Some(ticker) = self.ticker.take() {
            // It only prints: if it panicked, the step is not the worse for it.
            let _ = ticker.join();
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.quiet();
    }
}

/// One line: a name and what there is to say of it.
pub(crate) fn say(name: &str, text: &str) {
    println!("{name:<NAME_COLUMNS$} {text}");
}

fn tick(
    name: &str,
    doing: &str,
    started: Instant,
    followed: &Mutex<Option<PathBuf>>,
    stopped: &mpsc::Receiver<()>,
) {
    let live = is_live();
    let mut said = false;
    while let Err(RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_secs(1)) {
        let elapsed = started.elapsed();
        if live {
            let log = followed
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            let last = log.and_then(|log| last_line(&log)).unwrap_or_default();
            redraw(
                &[format!(
                    "{name:<NAME_COLUMNS$} {doing} … {}  {last}",
                    duration(elapsed)
                )],
                usize::from(said),
            );
            said = true;
        } else if !said {
            say(name, &format!("{doing} …"));
            said = true;
        }
    }
    if live && said {
        print!("\r\x1b[K\x1b[1A\r\x1b[K");
        flush();
    }
}

/// Whether lines can be redrawn.
pub(crate) fn is_live() -> bool {
    io::stdout().is_terminal()
}

/// Draws lines over the `above` lines that were drawn before, each cut to the terminal's width.
pub(crate) fn redraw(lines: &[String], above: usize) {
    let columns = terminal_size::terminal_size().map_or(80, |(width, _)| usize::from(width.0));
    let mut text = String::new();
    if above > 0 {
        text.push_str(&format!("\x1b[{above}A"));
    }
    for line in lines {
        let cut: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(columns.saturating_sub(1))
            .collect();
        text.push_str(&format!("\r\x1b[K{cut}\n"));
    }
    print!("{text}");
    flush();
}

fn flush() {
    // A closed terminal is no reason to stop the work.
    let _ = io::stdout().flush();
}

fn last_line(log: &PathBuf) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(500)))
        .ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail).into_owned();
    tail.lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())
        .map(str::to_owned)
}

/// `0.4 s`, `12 s`, `3 min 05 s`.
pub(crate) fn duration(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        _ => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

/// Aligned columns under a header; the last column is as long as it likes.
pub(crate) fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows
            .iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count());
        cells
            .chain([header[column].chars().count()])
            .max()
            .unwrap_or(0)
    };
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .enumerate()
            .map(|(column, cell)| format!("{cell:<0$}", width(column)))
            .collect();
        padded.join("  ").trim_end().to_owned() + "\n"
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text += &line(&mut row.iter().map(String::as_str).take(header.len()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_unit() {
        assert_eq!(duration(Duration::from_millis(420)), "0.4 s");
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
        assert_eq!(duration(Duration::from_secs(185)), "3 min 05 s");
    }

    #[test]
    fn a_table_is_aligned_and_has_no_trailing_blanks() {
        let rows = [
            vec!["5.10".to_owned(), "7".to_owned()],
            vec!["6".to_owned(), "12".to_owned()],
        ];
        assert_eq!(
            table(&["KERNEL", "PASSED"], &rows),
            "KERNEL  PASSED\n5.10    7\n6       12\n"
        );
    }
}
