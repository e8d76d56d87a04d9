//! The queue of jobs. The number of running jobs is limited, per namespace and in total. The oldest job of the namespace with the fewest
//! running jobs starts first. The last places are reserved for other namespaces, so that a few namespaces cannot take all.

use k8s_openapi::jiff::Timestamp;
use std::{
    cmp::Reverse,
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Maximum numbers of running jobs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quota {
    /// Jobs of one namespace. All ClusterTraceJobs together count as one namespace.
    pub(crate) each: usize,
    /// Jobs of all namespaces.
    pub(crate) all: usize,
}

impl Quota {
    /// Returns whether a namespace may start another job: it may have at most as many running jobs as there are free places.
    fn lets(self, runs: usize, free: usize) -> bool {
        runs < self.each && runs <= free
    }
}

/// Running and waiting jobs.
#[derive(Debug)]
pub(crate) struct Queue {
    quota: Quota,
    jobs: Mutex<HashMap<String, Place>>,
}

/// A job in the queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Namespace of the job; empty for a ClusterTraceJob.
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

    /// Adds a job that runs already or starts to wait.
    pub(crate) fn enter(&self, uid: &str, place: Place) {
        let mut jobs = self.jobs();
        let runs = place.runs;
        jobs.entry(uid.to_owned()).or_insert(place).runs |= runs;
    }

    /// Removes a job that has ended, is suspended or was deleted. Returns whether it was in the queue.
    pub(crate) fn leave(&self, uid: &str) -> bool {
        self.jobs().remove(uid).is_some()
    }

    /// Returns the running or waiting jobs of one namespace or of all.
    pub(crate) fn places(&self, namespace: Option<&str>) -> Vec<Place> {
        let jobs = self.jobs();
        let meant = |place: &&Place| {
            namespace.is_none_or(|name| place.namespace == name || place.namespace.is_empty())
        };
        jobs.values().filter(meant).cloned().collect()
    }

    /// Returns the numbers of running and waiting jobs.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let jobs = self.jobs();
        let running = jobs.values().filter(|place| place.runs).count();
        (running, jobs.len() - running)
    }

    /// Returns the place of a job.
    pub(crate) fn place(&self, uid: &str) -> Option<Place> {
        self.jobs().get(uid).cloned()
    }

    /// Starts a job if it may run.
    ///
    /// # Errors
    /// The reason why the job waits. The text does not change with each job before it.
    pub(crate) fn admit(&self, uid: &str) -> Result<(), String> {
        let mut jobs = self.jobs();
        let Some(own) = jobs.get(uid) else {
            return Err("it is not in the queue".to_owned());
        };
        if own.runs {
            return Ok(());
        }
        if !next(&jobs, self.quota).iter().any(|next| next == uid) {
            return Err(why(&jobs, self.quota, own));
        }
        if let Some(place) = jobs.get_mut(uid) {
            place.runs = true;
        }
        Ok(())
    }

    /// Returns the uids of waiting jobs that may start now.
    pub(crate) fn next(&self) -> Vec<String> {
        next(&self.jobs(), self.quota)
    }
}

/// Returns the number of running jobs by namespace.
fn running(jobs: &HashMap<String, Place>) -> HashMap<&str, usize> {
    let mut running = HashMap::new();
    for place in jobs.values().filter(|place| place.runs) {
        *running.entry(place.namespace.as_str()).or_default() += 1;
    }
    running
}

fn next(jobs: &HashMap<String, Place>, quota: Quota) -> Vec<String> {
    let mut running = running(jobs);
    let mut free = quota.all.saturating_sub(running.values().sum());
    if free == 0 {
        return Vec::new();
    }
    // The oldest job of each namespace comes last.
    let mut waiting: HashMap<&str, Vec<(&String, &Place)>> = HashMap::new();
    for (uid, place) in jobs.iter().filter(|(_, place)| !place.runs) {
        let of = waiting.entry(&place.namespace).or_default();
        of.push((uid, place));
    }
    for of in waiting.values_mut() {
        of.sort_unstable_by_key(|(_, place)| Reverse((place.created, &place.name)));
    }
    let mut next = Vec::new();
    while free > 0 {
        let has = |namespace: &str| running.get(namespace).copied().unwrap_or(0);
        let first = waiting.iter().filter_map(|(namespace, of)| {
            let (_, oldest) = of.last()?;
            let may = quota.lets(has(namespace), free);
            may.then_some((has(namespace), oldest.created, *namespace))
        });
        let Some((.., namespace)) = first.min() else {
            break;
        };
        if let Some((uid, _)) = waiting.get_mut(namespace).and_then(Vec::pop) {
            next.push(uid.clone());
        }
        *running.entry(namespace).or_default() += 1;
        free -= 1;
    }
    next
}

fn why(jobs: &HashMap<String, Place>, quota: Quota, own: &Place) -> String {
    let running = running(jobs);
    let of_its_own = running.get(own.namespace.as_str()).copied().unwrap_or(0);
    let all: usize = running.values().sum();
    if of_its_own >= quota.each {
        let whose = match own.namespace.as_str() {
            "" => "ClusterTraceJobs".to_owned(),
            namespace => format!("jobs of namespace {namespace}"),
        };
        return format!("{} {whose} are running, which is the limit", quota.each);
    }
    if all >= quota.all {
        return format!("{all} jobs are running, which is the limit");
    }
    if !quota.lets(of_its_own, quota.all - all) {
        return "its namespace has more running jobs than there are free slots, which are reserved for other namespaces".to_owned();
    }
    "others, of namespaces that have less or older ones of its own, start first".to_owned()
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
        assert!(queue.admit("a3").unwrap_err().ends_with("start first"));
        queue.admit("a2").unwrap();
        queue.admit("b1").unwrap();
        queue.admit("a1").unwrap();
        let said = queue.admit("a3").unwrap_err();
        assert!(
            said.starts_with("2 jobs of namespace a are running"),
            "{said}"
        );
        queue.leave("a1");
        queue.admit("a3").unwrap();
        // A second admission changes nothing.
        queue.admit("a3").unwrap();
    }

    #[test]
    fn a_namespace_without_running_jobs_is_first() {
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
        let said = queue.admit("a2").unwrap_err();
        assert!(said.ends_with("start first"), "{said}");
        assert_eq!(queue.next(), ["b1"]);
        queue.admit("b1").unwrap();
        assert!(
            queue
                .admit("a2")
                .unwrap_err()
                .starts_with("2 jobs are running")
        );
        queue.leave("b1");
        assert!(queue.admit("a3").is_err());
        queue.admit("a2").unwrap();
    }

    #[test]
    fn a_few_namespaces_cannot_take_all_places() {
        let greedy: Vec<(String, String)> = (0..4)
            .flat_map(|of| (0..9).map(move |job| (format!("greedy{of}"), format!("g{of}-{job}"))))
            .collect();
        let jobs: Vec<(&str, &str, i64)> = greedy
            .iter()
            .map(|(of, name)| (of.as_str(), name.as_str(), 1))
            .collect();
        let queue = queue(5, 20, &jobs);
        // The namespaces take turns.
        for (_, name) in &greedy {
            let _ = queue.admit(name);
        }
        let late = |name: &str| Place {
            namespace: name.to_owned(),
            name: name.to_owned(),
            created: Timestamp::from_second(9).unwrap(),
            runs: false,
        };
        let (running, _) = queue.counts();
        assert!((10..20).contains(&running), "{running}");
        assert!(queue.next().is_empty(), "{:?}", queue.next());
        let said = queue.admit("g3-8").unwrap_err();
        assert!(said.contains("reserved for other namespaces"), "{said}");
        queue.enter("late", late("late"));
        queue.admit("late").unwrap();
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
