//! The check of a job's condition against its tracer's columns, before any agent receives it.

use crate::{plan::Denied, text::words};
use crd::TraceJobSpec;
use tracers::Filter;

/// Maximum length of an error in a status, in characters.
const MESSAGE: usize = 500;

/// Checks whether agents of this version can apply a job's condition.
///
/// # Errors
/// The error in the condition.
pub(crate) fn check(spec: &TraceJobSpec) -> Result<(), Denied> {
    let Some(text) = &spec.output.filter else {
        return Ok(());
    };
    let filters = Filter::of_datasets(text, &spec.tracer.plan().datasets);
    filters.map(drop).map_err(|mistake| Denied {
        reason: "InvalidCondition",
        message: words(&format!("spec.output.where: {mistake}"), MESSAGE),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_condition_that_is_wrong_is_refused_with_its_field_and_the_nearest_column() {
        let check = |condition: &str| {
            let output = json!({"where": condition});
            let tracer = tracers::camel(tracers::ALL[0].name());
            let spec = json!({"tracer": {tracer: {}}, "output": output});
            let spec: TraceJobSpec = serde_json::from_value(spec).unwrap();
            super::check(&spec)
        };
        assert_eq!(check("pid > 1 && pod == web"), Ok(()));
        let Denied { reason, message } = check("pidd > 1").unwrap_err();
        assert_eq!(reason, "InvalidCondition");
        assert!(
            message.starts_with("spec.output.where: ") && message.contains("pid"),
            "{message}"
        );
    }
}
