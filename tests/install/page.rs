//! The command blocks of docs/install.md, by their headings.

use std::path::Path;

/// Begins the first line of a block that is not run; the reason follows.
const NOT_RUN: &str = "# not run by the tests";

/// A block of commands.
pub(crate) struct Block {
    /// The heading that it is under.
    pub(crate) heading: String,
    /// The commands.
    pub(crate) text: String,
}

impl Block {
    /// Reason on the page for which it is not run; `None` if it is run.
    pub(crate) fn not_run(&self) -> Option<&str> {
        let first = self.text.lines().next()?;
        Some(first.strip_prefix(NOT_RUN)?.split_once(": ")?.1)
    }
}

/// All blocks, in their order.
pub(crate) fn blocks() -> Vec<Block> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/install.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (mut heading, mut open) = ("", None);
    let mut blocks = Vec::new();
    for line in page.lines() {
        match (&mut open, line) {
            (None, "```sh") => open = Some(String::new()),
            (None, _) if line.starts_with("```") => panic!("{line}: a block that is not run"),
            (None, _) if line.starts_with('#') => heading = line.trim_start_matches(['#', ' ']),
            (None, _) => {}
            (Some(_), "```") => blocks.push(Block {
                heading: heading.to_owned(),
                text: open.take().unwrap(),
            }),
            (Some(text), _) => *text += &format!("{line}\n"),
        }
    }
    blocks
}
