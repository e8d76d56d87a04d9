//! Text of agents in objects of Kubernetes.

use rows::text::excerpt;

/// Returns an agent's text as it may stand in an object: on one line, `most` characters at most, without characters that a terminal acts on.
pub(crate) fn words(text: &str, most: usize) -> String {
    excerpt(&text.replace('\n', " "), most)
}
