//! A terminal with a region of last lines that is redrawn in place, below permanent lines.
//!
//! No alternate screen, no raw mode, no hidden cursor: whatever ends the program, there is nothing to restore.

use rustix::{fd::AsFd, stdio, termios};
use std::io::{self, Write};

/// Terminal with a redrawn region.
#[derive(Debug)]
pub(crate) struct Screen<W> {
    to: W,
    /// Width of each line of the region when it was drawn.
    drawn: Vec<usize>,
}

/// Line of the region.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    /// Text with colours.
    pub(crate) text: String,
    /// Width; at most that of the screen.
    pub(crate) width: usize,
}

/// Size of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Size {
    /// Columns.
    pub(crate) columns: usize,
    /// Rows.
    pub(crate) rows: usize,
}

/// Returns the size of the terminal of standard output or standard error.
pub(crate) fn size() -> Size {
    let of = |fd: &dyn AsFdDyn| {
        termios::tcgetwinsize(fd.fd())
            .ok()
            .filter(|size| size.ws_col > 0)
    };
    match of(&stdio::stdout()).or_else(|| of(&stdio::stderr())) {
        Some(size) => Size {
            columns: size.ws_col.into(),
            rows: usize::from(size.ws_row).max(2),
        },
        None => Size {
            columns: 80,
            rows: 24,
        },
    }
}

trait AsFdDyn {
    fn fd(&self) -> rustix::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsFdDyn for T {
    fn fd(&self) -> rustix::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}

impl<W: Write> Screen<W> {
    /// Creates a region at the cursor.
    pub(crate) fn new(to: W) -> Self {
        Self {
            to,
            drawn: Vec::new(),
        }
    }

    /// Writes lines above the region and redraws the region, in one write to avoid flicker.
    pub(crate) fn draw(&mut self, above: &str, region: &[Line], columns: usize) -> io::Result<()> {
        let mut out = String::with_capacity(above.len() + 256);
        if !self.drawn.is_empty() {
            // A terminal that has become narrower has broken the longer lines.
            let rows: usize = self
                .drawn
                .iter()
                .map(|width| width.div_ceil(columns.max(1)).max(1))
                .sum();
            out.push('\r');
            if rows > 1 {
                out.push_str(&format!("\x1b[{}A", rows - 1));
            }
        }
        for line in above.split_inclusive('\n') {
            match line.strip_suffix('\n') {
                Some(line) => {
                    out.push_str(line);
                    out.push_str("\x1b[K\r\n");
                }
                None => out.push_str(line),
            }
        }
        for (index, line) in region.iter().enumerate() {
            if index > 0 {
                out.push_str("\r\n");
            }
            out.push_str(&line.text);
            out.push_str("\x1b[K");
        }
        out.push_str("\x1b[J");
        self.drawn = region.iter().map(|line| line.width).collect();
        self.to.write_all(out.as_bytes())?;
        self.to.flush()
    }

    /// Removes the region.
    pub(crate) fn clear(&mut self, columns: usize) -> io::Result<()> {
        match self.drawn.is_empty() {
            true => Ok(()),
            false => self.draw("", &[], columns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Line {
        Line {
            text: text.to_owned(),
            width: text.len(),
        }
    }

    #[test]
    fn a_region_is_drawn_over_itself_and_what_stays_goes_above() {
        let mut screen = Screen::new(Vec::new());
        screen.draw("", &[line("head"), line("1 row")], 80).unwrap();
        screen.to.clear();
        screen.draw("stays\n", &[line("2 rows")], 80).unwrap();
        let text = String::from_utf8(screen.to.clone()).unwrap();
        assert_eq!(text, "\r\x1b[1Astays\x1b[K\r\n2 rows\x1b[K\x1b[J");
        screen.to.clear();
        screen.clear(80).unwrap();
        assert_eq!(screen.to, b"\r\x1b[J");
        screen.to.clear();
        screen.clear(80).unwrap();
        assert!(screen.to.is_empty(), "there is nothing left to take away");
    }

    #[test]
    fn lines_that_a_narrower_terminal_broke_are_counted_as_they_stand() {
        let mut screen = Screen::new(Vec::new());
        screen
            .draw("", &[line(&"x".repeat(70)), line("short")], 80)
            .unwrap();
        screen.to.clear();
        screen.draw("", &[line("x")], 40).unwrap();
        assert!(screen.to.starts_with(b"\r\x1b[2A"));
    }
}
