//! The terminal: one spinner for each running step, one line for each completed step, and tables.
//!
//! If standard output is not a terminal, each step prints a line at its start and a line at its end.

use std::{
    fmt,
    fs::File,
    io::{self, IsTerminal, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Columns kept for a step's name.
const NAME_COLUMNS: usize = 22;
/// Interval of redrawing a spinner.
const TICK: Duration = Duration::from_millis(250);

/// All spinners of this process.
static SPINNERS: LazyLock<MultiProgress> =
    LazyLock::new(|| MultiProgress::with_draw_target(ProgressDrawTarget::stdout()));

/// A step under way. Its spinner goes when this is dropped.
pub(crate) struct Step {
    name: String,
    started: Instant,
    spinner: ProgressBar,
    log: Arc<Mutex<Option<PathBuf>>>,
}

impl Step {
    /// Starts a step; `doing` describes its work and its reason.
    pub(crate) fn start(name: &str, doing: &str) -> Self {
        let log = Arc::<Mutex<Option<PathBuf>>>::default();
        let spinner = SPINNERS.add(ProgressBar::new_spinner());
        if is_live() {
            let followed = Arc::clone(&log);
            let last = move |_: &ProgressState, out: &mut dyn fmt::Write| {
                let log = followed.lock().unwrap_or_else(PoisonError::into_inner);
                // The formatter of a spinner cannot report errors.
                let _ = out.write_str(&log.as_deref().and_then(last_line).unwrap_or_default());
            };
            let template = format!("{{prefix:{NAME_COLUMNS}}} {{msg}} … {{elapsed}}  {{last:40!}}");
            let style = ProgressStyle::with_template(&template).expect("the template is valid");
            spinner.set_style(style.with_key("last", last));
            spinner.set_prefix(name.to_owned());
            spinner.set_message(doing.to_owned());
            spinner.enable_steady_tick(TICK);
        } else {
            print_line(name, &format!("{doing} …"));
        }
        Self {
            name: name.to_owned(),
            started: Instant::now(),
            spinner,
            log,
        }
    }

    /// Shows the last line of this log beside the spinner.
    pub(crate) fn follow(&self, log: PathBuf) {
        *self.log.lock().unwrap_or_else(PoisonError::into_inner) = Some(log);
    }

    /// Replaces the text beside the spinner.
    pub(crate) fn update(&self, state: String) {
        self.spinner.set_message(state);
    }

    /// Ends the step with its result.
    pub(crate) fn done(self, result: &str) {
        self.spinner.finish_and_clear();
        let took = self.started.elapsed();
        let time = match took < Duration::from_secs(1) {
            true => String::new(),
            false => format!("  ({})", duration(took)),
        };
        print_line(&self.name, &format!("{result}{time}"));
    }

    /// Ends the step as failed. The caller returns the error, which is printed once, by the stage.
    pub(crate) fn failed(self) {
        self.done("FAILED");
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.spinner.finish_and_clear();
    }
}

/// Prints one line: a name and a text.
pub(crate) fn print_line(name: &str, text: &str) {
    line(&format!("{name:<NAME_COLUMNS$} {text}"));
}

/// Prints text above all spinners.
pub(crate) fn line(text: &str) {
    // A hidden set of spinners would swallow the line.
    SPINNERS.suspend(|| println!("{text}"));
}

/// Returns whether standard output is a terminal.
fn is_live() -> bool {
    io::stdout().is_terminal()
}

fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let length = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(500)))
        .ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    let tail = String::from_utf8_lossy(&tail);
    let line = tail
        .lines()
        .rev()
        .map(str::trim)
        .find(|line| !line.is_empty())?;
    Some(line.replace(|c: char| c.is_control(), " "))
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

/// Aligned columns under a header; the last column is not padded.
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
