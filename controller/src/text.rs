//! Agents' text in Kubernetes objects.

use rows::text::excerpt;

/// Returns an agent's text for an object: on one line, at most `most` characters, without control characters.
pub(crate) fn words(text: &str, most: usize) -> String {
    excerpt(&text.replace('\n', " "), most)
}
