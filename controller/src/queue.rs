//! Who may start: so many jobs of a namespace at a time, and so many of all; the oldest of each first, and the namespace first that has
//! least.

use k8s_openapi::jiff::Timestamp;
use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// At most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Of a namespace; ClusterTraceJobs together are one.
    pub(crate) each: usize,
    /// Of all.
    pub(crate) all: usize,
}

/// Jobs that run, and those that wait.
#[derive(Debug)]
pub(crate) struct Queue {
    quota: Quota,
    jobs: Mutex<HashMap<String, Place>>,
}

/// One job's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Empty of a ClusterTraceJob.
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) runs: bool,
}

impl Queue {
    pub(crate) fn new(quota: Quota) -> Self {
        Self {
            quota,
            jobs: Mutex::default(),
        }
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Place>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job that runs already, or waits from now on.
    pub(crate) fn enter(&self, uid: &str, place: Place) {
        let mut jobs = self.jobs();
        let runs = place.runs;
        jobs.entry(uid.to_owned()).or_insert(place).runs |= runs;
    }

    /// One that is over, suspended or gone.
    pub(crate) fn leave(&self, uid: &str) {
        self.jobs().remove(uid);
    }

    /// All that run or wait, of a namespace or of all.
    pub(crate) fn places(&self, namespace: Option<&str>) -> Vec<Place> {
        let jobs = self.jobs();
        let meant = |place: &&Place| {
            namespace.is_none_or(|name| place.namespace == name || place.namespace.is_empty())
        };
        jobs.values().filter(meant).cloned().collect()
    }

    /// How many run, and how many wait.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let jobs = self.jobs();
        let running = jobs.values().filter(|place| place.runs).count();
        (running, jobs.len() - running)
    }

    /// Where a job is.
    pub(crate) fn place(&self, uid: &str) -> Option<Place> {
        self.jobs().get(uid).cloned()
    }

    /// Whether a job may start, which it has then; else why it waits.
    pub(crate) fn admit(&self, uid: &str) -> Result<(), String> {
        let mut jobs = self.jobs();
        let Some(own) = jobs.get(uid).cloned() else {
            return Err("it is not in the queue".to_owned());
        };
        if own.runs {
            return Ok(());
        }
        let mut running: HashMap<&str, usize> = HashMap::new();
        for place in jobs.values().filter(|place| place.runs) {
            *running.entry(&place.namespace).or_default() += 1;
        }
        let of = |namespace: &str| running.get(namespace).copied().unwrap_or(0);
        let all: usize = running.values().sum();
        let whose = |namespace: &str| match namespace {
            "" => "ClusterTraceJobs".to_owned(),
            namespace => format!("jobs of namespace {namespace}"),
        };
        if of(&own.namespace) >= self.quota.each {
            return Err(format!(
                "{} {} run already, and that is how many may at once",
                self.quota.each,
                whose(&own.namespace)
            ));
        }
        if all >= self.quota.all {
            return Err(format!(
                "{all} jobs run already, and that is how many may at once"
            ));
        }
        // Who is before it: the same namespace's older ones, and the oldest of namespaces that have less.
        let free = self.quota.all - all;
        let rank = |place: &Place| (of(&place.namespace), place.created, place.name.clone());
        let waiting = jobs
            .values()
            .filter(|place| !place.runs && of(&place.namespace) < self.quota.each);
        let before = waiting.filter(|place| rank(place) < rank(&own)).count();
        if before >= free {
            return Err(format!("{before} jobs are before it"));
        }
        let older = jobs.values().filter(|place| {
            !place.runs
                && place.namespace == own.namespace
                && (place.created, &place.name) < (own.created, &own.name)
        });
        if older.count() >= self.quota.each - of(&own.namespace) {
            return Err(format!("older {} are before it", whose(&own.namespace)));
        }
        if let Some(place) = jobs.get_mut(uid) {
            place.runs = true;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(each: usize, all: usize, jobs: &[(&str, &str, i64)]) -> Queue {
        let queue = Queue::new(Quota { each, all });
        for (namespace, name, created) in jobs {
            let place = Place {
                namespace: (*namespace).to_owned(),
                name: (*name).to_owned(),
                created: Timestamp::from_second(*created).unwrap(),
                runs: false,
            };
            queue.enter(name, place);
        }
        queue
    }

    #[test]
    fn the_oldest_of_a_namespace_start_and_others_wait_for_their_end() {
        let queue = queue(
            2,
            9,
            &[
                ("a", "a3", 3),
                ("a", "a1", 1),
                ("a", "a2", 2),
                ("b", "b1", 9),
            ],
        );
        assert!(queue.admit("a3").unwrap_err().contains("namespace a"));
        queue.admit("a2").unwrap();
        queue.admit("b1").unwrap();
        queue.admit("a1").unwrap();
        let said = queue.admit("a3").unwrap_err();
        assert!(
            said.starts_with("2 jobs of namespace a run already"),
            "{said}"
        );
        queue.leave("a1");
        queue.admit("a3").unwrap();
        // Again is no second start.
        queue.admit("a3").unwrap();
    }

    #[test]
    fn a_namespace_that_has_none_is_before_one_that_has_some() {
        let queue = queue(
            9,
            2,
            &[
                ("a", "a1", 1),
                ("a", "a2", 2),
                ("a", "a3", 3),
                ("b", "b1", 9),
            ],
        );
        queue.admit("a1").unwrap();
        assert_eq!(queue.admit("a2").unwrap_err(), "1 jobs are before it");
        queue.admit("b1").unwrap();
        assert!(
            queue
                .admit("a2")
                .unwrap_err()
                .starts_with("2 jobs run already")
        );
        queue.leave("b1");
        assert!(queue.admit("a3").is_err());
        queue.admit("a2").unwrap();
    }

    #[test]
    fn what_runs_already_counts_from_the_start() {
        let queue = queue(1, 9, &[("a", "a2", 2)]);
        let runs = Place {
            namespace: "a".to_owned(),
            name: "a9".to_owned(),
            created: Timestamp::from_second(9).unwrap(),
            runs: true,
        };
        queue.enter("a9", runs);
        assert!(queue.admit("a2").is_err());
        queue.admit("a9").unwrap();
    }
}
