//! Durations of tests over all stages of this run: the slowest tests, and the cost of each tracer.
//!
//! Tests of one stage run side by side, so a tracer's cost is its tests' share of the stage's time; and stages run side by side,
//! so that a stage on one of two processors costs half of its time.

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

/// Durations of the stages.
static STAGES: Mutex<BTreeMap<String, Duration>> = Mutex::new(BTreeMap::new());

/// Records the durations of a stage's tests, and of the stage.
pub(crate) fn record(stage: &str, times: &BTreeMap<String, Duration>, took: Duration) {
    let mut all = TIMES.lock().unwrap_or_else(PoisonError::into_inner);
    let times = times.iter();
    all.extend(times.map(|(test, time)| ((stage.to_owned(), test.clone()), *time)));
    let mut stages = STAGES.lock().unwrap_or_else(PoisonError::into_inner);
    stages.insert(stage.to_owned(), took);
}

/// The slowest tests, and each tracer's share: `NAME::TEST` is a test of the tracer `NAME`.
/// `shares` is how much of the machine each stage took, from 0 to 1.
pub(crate) fn report(tracers: &[String], shares: &BTreeMap<&str, f64>) -> String {
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
    let stages = STAGES.lock().unwrap_or_else(PoisonError::into_inner);
    let weigh = |(stage, took): (&String, &Duration)| {
        let share = shares.get(stage.as_str()).copied().unwrap_or(1.0);
        (stage.clone(), took.mul_f64(share))
    };
    let stages = stages.iter().map(weigh).collect();
    let costs = costs(&all, &stages, tracers);
    if !costs.is_empty() {
        let rows: Vec<_> = costs
            .into_iter()
            .map(|(tracer, (time, tests))| vec![seconds(time), tests.to_string(), tracer])
            .collect();
        text += "\n";
        text += &table(&["SECONDS", "TESTS", "TRACER, IN ALL STAGES"], &rows);
    }
    text
}

/// Time and number of test runs by tracer; `stages` is how long each would have taken on the whole machine.
fn costs(
    all: &BTreeMap<(String, String), Duration>,
    stages: &BTreeMap<String, Duration>,
    tracers: &[String],
) -> BTreeMap<String, (Duration, usize)> {
    let mut sums = BTreeMap::<&str, f64>::new();
    for ((stage, _), time) in all {
        *sums.entry(stage).or_default() += time.as_secs_f64();
    }
    let mut costs = BTreeMap::<String, (Duration, usize)>::new();
    for ((stage, test), time) in all {
        // `exec::…`, and a tracer's own test of a program that tests all of them: `loading::exec`.
        let of = test
            .split("::")
            .find(|part| tracers.iter().any(|tracer| tracer == part));
        if let Some(tracer) = of {
            let cost = costs.entry(tracer.to_owned()).or_default();
            let took = stages.get(stage).copied().unwrap_or_default();
            cost.0 += took.mul_f64(time.as_secs_f64() / sums[stage.as_str()].max(1e-9));
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
        // This kernel runs two tests at a time, a test kernel one.
        let took = |stage: &str, millis| (stage.to_owned(), Duration::from_millis(millis));
        let stages = BTreeMap::from([took("this kernel", 50), took("kernel 6.1", 1250)]);
        let costs = costs(&all, &stages, &["exec".to_owned(), "open".to_owned()]);
        assert_eq!(costs.len(), 1);
        let (time, tests) = costs["exec"];
        assert_eq!((time.as_millis(), tests), (50 + 350, 3));
    }
}
