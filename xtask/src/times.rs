//! How long tests took, over all stages of this run: the slowest, and what each tracer costs.

use std::{
    collections::BTreeMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::screen::table;

/// Tests that the report shows.
const SHOWN: usize = 10;

/// Times of tests by stage and test.
static TIMES: Mutex<BTreeMap<(String, String), Duration>> = Mutex::new(BTreeMap::new());

/// Keeps the times of one stage's tests.
pub(crate) fn record(stage: &str, times: &BTreeMap<String, Duration>) {
    let mut all = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let times = times.iter();
    all.extend(times.map(|(test, time)| ((stage.to_owned(), test.clone()), *time)));
}

/// The slowest tests, and each tracer's share: `NAME::TEST` is a test of the tracer `NAME`.
pub(crate) fn report(tracers: &[String]) -> String {
    let all = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    if all.is_empty() {
        return String::new();
    }
    let mut slowest: Vec<_> = all.iter().collect();
    slowest.sort_by(|one, other| other.1.cmp(one.1));
    let rows: Vec<_> = slowest
        .into_iter()
        .take(SHOWN)
        .map(|((stage, test), time)| vec![seconds(*time), stage.clone(), test.clone()])
        .collect();
    let mut text = table(&["SECONDS", "STAGE", "SLOWEST TESTS"], &rows);
    let costs = costs(&all, tracers);
    if !costs.is_empty() {
        let rows: Vec<_> = costs
            .into_iter()
            .map(|(tracer, (time, tests))| vec![seconds(time), tests.to_string(), tracer])
            .collect();
        text += "\n";
        text += &table(&["SECONDS", "TESTS", "TRACER, ON ALL KERNELS"], &rows);
    }
    text
}

/// Time and number of test runs by tracer.
fn costs(
    all: &BTreeMap<(String, String), Duration>,
    tracers: &[String],
) -> BTreeMap<String, (Duration, usize)> {
    let mut costs = BTreeMap::<String, (Duration, usize)>::new();
    for ((_, test), time) in all {
        // `exec::…`, and a tracer's own test of a program that tests all of them: `loading::exec`.
        let of = test
            .split("::")
            .find(|part| tracers.iter().any(|tracer| tracer == part));
        if let Some(tracer) = of {
            let cost = costs.entry(tracer.to_owned()).or_default();
            cost.0 += *time;
            cost.1 += 1;
        }
    }
    costs
}

fn seconds(time: Duration) -> String {
    format!("{:>7.1}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracers_cost_is_the_sum_over_stages() {
        let entry = |stage: &str, test: &str, millis| {
            (
                (stage.to_owned(), test.to_owned()),
                Duration::from_millis(millis),
            )
        };
        let all = BTreeMap::from([
            entry("this kernel", "exec::it_happens", 100),
            entry("kernel 6.1", "exec::it_happens", 300),
            entry("kernel 6.1", "loading::exec", 50),
            entry("kernel 6.1", "bounds::it_ends", 900),
        ]);
        let costs = costs(&all, &["exec".to_owned(), "open".to_owned()]);
        assert_eq!(costs.len(), 1);
        assert_eq!(costs["exec"], (Duration::from_millis(450), 3));
    }
}
