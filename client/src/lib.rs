//! The agent's API from its client's side: what is asked of it, and rows from its messages. Whoever answers is not trusted:
//! every index in a batch is in range, or the batch is refused, and no name reaches a terminal unseen.
#![forbid(unsafe_code)]

mod batch;
mod options;
mod schema;

pub use options::options;
pub use schema::Schema;

/// The start of somebody else's text, as it may be printed.
fn shown(text: &str) -> String {
    text.chars()
        .take(128)
        .flat_map(char::escape_debug)
        .collect()
}
