//! The status line at the bottom of a terminal: time left, rows, and lost events.

use super::{Output, Status, Wall, grid::Palette, human};
use crate::show::screen::{Line, Screen, size};
use engine::Account;
use rows::escape::{cut_right, width};
use std::{io, time::Duration};
use tracers::Batch;

/// Returns a line of text with its colours.
pub(super) fn painted(line: &str) -> Line {
    let mut width_ = 0;
    let mut rest = line;
    while let Some(at) = rest.find('\x1b') {
        width_ += width(&rest[..at]);
        // Ours all end in `m`; targets' text has none.
        rest = rest[at..].split_once('m').map_or("", |(_, after)| after);
    }
    Line {
        text: line.to_owned(),
        width: width_ + width(rest),
    }
}

/// Returns the status line, right-aligned to distinguish it from rows.
pub(super) fn status_line(
    status: &Status,
    hidden: usize,
    columns: usize,
    palette: Palette,
) -> Line {
    let Status {
        what,
        elapsed,
        left,
        rows,
        lost,
    } = status;
    let time = match left {
        Some(left) => format!("{} left", seconds(left.as_secs_f64().ceil() as u64)),
        None => format!("{}, stop with Ctrl-C", seconds(elapsed.as_secs())),
    };
    let mut message = format!("{what}  {time}  {}", human::plural(*rows, "row"));
    if hidden > 0 {
        let columns = human::plural(hidden as u64, "column");
        message.push_str(&format!("  +{columns}: -o wide"));
    }
    let lost_said = format!("  {} lost", human::count(*lost));
    // Three columns stay free: the cursor must not sit on the next line, not even after a terminal has shown `^C`.
    let room = columns.saturating_sub(3);
    let taken = width(&message) + width(&lost_said);
    let mut line = Line::default();
    if taken > room {
        let mut text = String::new();
        cut_right(&(message + &lost_said), room, &mut text);
        line.width = width(&text);
        palette.paint(Palette::DIM, &mut line.text, |out| out.push_str(&text));
        return line;
    }
    line.text.extend(std::iter::repeat_n(' ', room - taken));
    palette.paint(Palette::DIM, &mut line.text, |out| out.push_str(&message));
    let style = if *lost > 0 {
        Palette::RED
    } else {
        Palette::DIM
    };
    palette.paint(style, &mut line.text, |out| out.push_str(&lost_said));
    line.width = room;
    line
}

fn seconds(s: u64) -> String {
    match s {
        0..60 => format!("{s} s"),
        60..3600 => format!("{}m{:02}s", s / 60, s % 60),
        _ => format!("{}h{:02}m", s / 3600, s % 3600 / 60),
    }
}

/// Status line on standard error, if rows go elsewhere.
#[derive(Debug)]
pub(crate) struct StatusLine {
    screen: Screen<io::Stderr>,
    palette: Palette,
    line: Line,
}

impl StatusLine {
    /// Creates a status line at the cursor.
    pub(crate) fn new(palette: Palette) -> Self {
        Self {
            screen: Screen::new(io::stderr()),
            palette,
            line: Line::default(),
        }
    }
}

impl Output for StatusLine {
    fn rows(&mut self, _: &Batch, _: Wall) -> io::Result<()> {
        Ok(())
    }

    fn table(&mut self, _: &Batch, _: Wall, _: Duration) -> io::Result<()> {
        Ok(())
    }

    fn is_live(&self) -> bool {
        true
    }

    fn status(&mut self, status: &Status) -> io::Result<()> {
        let columns = size().columns;
        let line = status_line(status, 0, columns, self.palette);
        if line == self.line {
            return Ok(());
        }
        self.line = line;
        self.screen
            .draw("", std::slice::from_ref(&self.line), columns)
    }

    fn end(&mut self, _: &[&Batch], _: Wall, _: &Account) -> io::Result<Option<String>> {
        self.screen.clear(size().columns)?;
        Ok(None)
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        // An error ends the trace before its time; the terminal may be gone.
        let _ = self.screen.clear(size().columns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_fits_any_width() {
        let status = Status {
            what: "some_tracer".to_owned(),
            elapsed: Duration::from_secs(75),
            left: Some(Duration::from_millis(11_200)),
            rows: 1_204_511,
            lost: 17,
        };
        let line = |columns, hidden, on| status_line(&status, hidden, columns, Palette { on });
        assert_eq!(
            line(60, 0, false).text,
            "          some_tracer  12 s left  1,204,511 rows  17 lost"
        );
        assert!(
            line(80, 2, false)
                .text
                .ends_with("1,204,511 rows  +2 columns: -o wide  17 lost")
        );
        for columns in 1..100 {
            for on in [false, true] {
                let line = line(columns, 0, on);
                assert!(line.width <= columns.saturating_sub(3));
                assert_eq!(painted(&line.text).width, line.width);
            }
        }
    }
}
