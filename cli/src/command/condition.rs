//! Conditions of rows (`--where`, `spec.output.where`), checked before anything is traced.

use crate::usage::Usage;
use tracers::{Filter, Spec};

/// Returns the filters of a tracer's datasets, in their order; none without a condition. `from` names the place of the condition in errors.
///
/// # Errors
/// If the condition is invalid; the error has the mistake and its place.
pub(crate) fn filters(
    from: &str,
    condition: Option<&str>,
    spec: &Spec,
) -> Result<Vec<Option<Filter>>, Usage> {
    let Some(text) = condition else {
        return Ok(Vec::new());
    };
    let filters = Filter::of_datasets(text, &spec.plan().datasets);
    filters.map_err(|mistake| Usage(format!("{from}: {mistake}\n{}", mistake.marked(text))))
}
