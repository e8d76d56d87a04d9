//! The node's policy: allowed tracers, targets and limits of a trace. No request extends it.

use engine::{Bounds, Budget, Limits, Selector, Target};
use serde::{Deserialize, Deserializer, de::Error as _};
use std::time::Duration;
use tracers::{Capability, Class, Erased, UnknownClass};

/// Limits of requests.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// Classes whose tracers may run. The agent keeps the capabilities of these classes and no others.
    #[serde(deserialize_with = "classes")]
    pub(crate) classes: Vec<Class>,
    /// Allowed tracers of these classes; absent is all of them.
    pub(crate) tracers: Option<Vec<String>>,
    /// Kinds of targets that may be selected; absent is all of them. Targets that select everything also require `host`.
    pub(crate) targets: Option<Vec<TargetKind>>,
    /// Whether a trace may select everything on the node: with `host`, or by a cgroup or process that contains pods or the agent.
    pub(crate) host: bool,
    /// Namespaces whose pods are not traced, by the labels of targets. If the list is not empty, a target in a pod requires that label.
    pub(crate) denied_namespaces: Vec<String>,
    /// Maximum duration of a trace, and the duration of a trace without one, in seconds.
    pub(crate) max_duration_seconds: u64,
    /// Maximum number of running traces.
    pub(crate) max_traces: usize,
    /// Maximum ring size of a trace in bytes.
    pub(crate) max_ring_bytes: u32,
    /// Maximum memory of a trace in bytes: its maps, ring, queue and log.
    pub(crate) max_trace_bytes: u64,
    /// Maximum memory of all traces in bytes.
    pub(crate) max_node_bytes: u64,
    /// Maximum CPU time of a trace, in per cent of one CPU; absent is no limit.
    pub(crate) max_cpu_percent: Option<u32>,
    /// Maximum rate of delivered events of a trace; absent is no limit.
    pub(crate) max_events_per_second: Option<u64>,
    /// Rate of events per second that each cgroup gets regardless of the events of others.
    pub(crate) fair_events_per_second: u32,
    /// Size of a trace's log in bytes, for readers that are slow or start late.
    pub(crate) replay_bytes: usize,
    /// Time for which an ended trace can be read, in seconds.
    pub(crate) keep_seconds: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            classes: Class::DEFAULT.to_vec(),
            tracers: None,
            targets: None,
            host: false,
            denied_namespaces: vec!["kube-system".to_owned()],
            max_duration_seconds: 3600,
            max_traces: 20,
            max_ring_bytes: 16 << 20,
            max_trace_bytes: 256 << 20,
            max_node_bytes: 1 << 30,
            max_cpu_percent: None,
            max_events_per_second: None,
            fair_events_per_second: 1000,
            replay_bytes: 8 << 20,
            keep_seconds: 60,
        }
    }
}

/// A kind of target.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) enum TargetKind {
    Pod,
    Container,
    Process,
    Cgroup,
}

impl TargetKind {
    /// The kind of a target; the host is of none.
    fn of(selector: &Selector) -> Option<Self> {
        match selector {
            Selector::Pod(_) => Some(Self::Pod),
            Selector::Container(_) | Selector::PodContainer(..) => Some(Self::Container),
            Selector::Process(_) | Selector::ProcessSince(..) | Selector::Command(_) => {
                Some(Self::Process)
            }
            Selector::Cgroup(_) => Some(Self::Cgroup),
            Selector::Host => None,
        }
    }

    fn plural(self) -> &'static str {
        match self {
            Self::Pod => "pods",
            Self::Container => "containers",
            Self::Process => "processes",
            Self::Cgroup => "cgroups",
        }
    }
}

/// The line of the classes that may run.
const CLASSES: &str = "policy.classes";
/// The line of the tracers that may run.
const TRACERS: &str = "policy.tracers";

/// `observe and payload`
pub(crate) fn words(classes: &[Class]) -> String {
    let words: Vec<&str> = classes.iter().map(|class| class.word()).collect();
    words.join(" and ")
}

/// A denial of the node's policy, with the field that causes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    /// The line of the configuration: `policy.host`.
    pub(crate) line: &'static str,
    pub(crate) why: String,
}

impl Policy {
    /// Checks whether a tracer may run.
    pub(crate) fn tracer(&self, tracer: &dyn Erased) -> Result<(), Denied> {
        let (name, class) = (tracer.name(), tracer.class());
        if !self.classes.contains(&class) {
            return Err(Denied {
                line: CLASSES,
                why: format!(
                    "this node does not allow {name}, whose class is {} ({}); it allows {}",
                    class.word(),
                    class.about(),
                    words(&self.classes)
                ),
            });
        }
        match &self.tracers {
            Some(allowed) if !allowed.iter().any(|allowed| allowed == name) => Err(Denied {
                line: TRACERS,
                why: format!("this node does not allow {name}"),
            }),
            _ => Ok(()),
        }
    }

    /// Returns the change of the policy that allows a tracer that [`Self::tracer`] denies.
    pub(crate) fn remedy(tracer: &dyn Erased, denied: &Denied) -> String {
        let class = tracer.class();
        match denied.line {
            CLASSES => format!(
                "add {} to policy.classes of the agent's configuration, grant the agent {}, and restart it; in the chart, agent.policy.classes does all of that",
                class.word(),
                Capability::list(class.capabilities())
            ),
            line => format!(
                "add {} to {line} of the agent's configuration",
                tracer.name()
            ),
        }
    }

    /// The capabilities that the classes bring.
    pub(crate) fn capabilities(&self) -> Vec<Capability> {
        Class::capabilities_of(&self.classes)
    }

    /// Returns the bounds of targets that are checked when they are resolved.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            host: self.host,
            needs_namespace: !self.denied_namespaces.is_empty(),
        }
    }

    /// Checks whether a target may be selected, as the request describes it. [`Self::bounds`] applies to the resolved target.
    pub(crate) fn target(&self, target: &Target) -> Result<(), Denied> {
        match (TargetKind::of(&target.selector), &self.targets) {
            (None, _) => self.host()?,
            (Some(kind), Some(allowed)) if !allowed.contains(&kind) => {
                return Err(Denied {
                    line: "policy.targets",
                    why: format!("this node does not allow {} as targets", kind.plural()),
                });
            }
            _ => {}
        }
        match target.labels.namespace() {
            namespace if self.denied_namespaces.iter().any(|one| one == namespace) => Err(Denied {
                line: "policy.deniedNamespaces",
                why: format!("this node does not allow tracing pods of {namespace}"),
            }),
            _ => Ok(()),
        }
    }

    /// Returns whether a trace may select everything.
    fn host(&self) -> Result<(), Denied> {
        match self.host {
            true => Ok(()),
            false => Err(Denied {
                line: "policy.host",
                why: "this node does not allow tracing the whole host; select processes, cgroups or containers"
                    .to_owned(),
            }),
        }
    }

    /// Returns the limits of a trace.
    ///
    /// # Errors
    /// If the request exceeds a limit.
    pub(crate) fn limits(&self, requested: &Limits) -> Result<Limits, Denied> {
        let longest = Duration::from_secs(self.max_duration_seconds);
        let duration = requested.duration.unwrap_or(longest);
        if duration > longest {
            return Err(Denied {
                line: "policy.maxDurationSeconds",
                why: format!(
                    "this node allows a trace to run for at most {} s",
                    self.max_duration_seconds
                ),
            });
        }
        if requested.ring_bytes > self.max_ring_bytes {
            return Err(Denied {
                line: "policy.maxRingBytes",
                why: format!(
                    "this node allows a ring buffer of at most {} bytes",
                    self.max_ring_bytes
                ),
            });
        }
        let Budget {
            cpu_percent,
            events_per_second,
            memory_bytes,
        } = requested.budget;
        let less =
            |requested: Option<u64>, most: Option<u64>| requested.into_iter().chain(most).min();
        let cpu = less(
            cpu_percent.map(u64::from),
            self.max_cpu_percent.map(u64::from),
        );
        // What is kept for readers is not the trace's own.
        let memory = self
            .max_trace_bytes
            .saturating_sub(self.replay_bytes as u64);
        Ok(Limits {
            duration: Some(duration),
            budget: Budget {
                cpu_percent: cpu.and_then(|percent| u32::try_from(percent).ok()),
                events_per_second: less(events_per_second, self.max_events_per_second),
                memory_bytes: less(memory_bytes, Some(memory)),
            },
            quota: self.fair_events_per_second,
            ..requested.clone()
        })
    }
}

fn classes<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Class>, D::Error> {
    let words = Vec::<String>::deserialize(from)?;
    let found = words.iter().map(|word| {
        word.parse().map_err(|unknown: UnknownClass| {
            let word = word.escape_debug();
            D::Error::custom(format!(
                "policy.classes: there is no class \"{word}\"; {unknown}"
            ))
        })
    });
    found.collect()
}

#[cfg(test)]
mod tests {
    use super::super::config::Config;
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_yaml::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn no_request_widens_the_policy() {
        let policy = Policy {
            max_duration_seconds: 10,
            ..Policy::default()
        };
        let requested = |seconds| Limits {
            duration: seconds,
            ..Limits::default()
        };
        let longest = Some(Duration::from_secs(10));
        assert_eq!(policy.limits(&requested(None)).unwrap().duration, longest);
        let denied = policy
            .limits(&requested(Some(Duration::from_secs(11))))
            .unwrap_err();
        assert_eq!(denied.line, "policy.maxDurationSeconds");
        let ring = Limits {
            ring_bytes: u32::MAX,
            ..Limits::default()
        };
        assert_eq!(
            policy.limits(&ring).unwrap_err().line,
            "policy.maxRingBytes"
        );
        let only = Policy {
            tracers: Some(vec!["open".to_owned()]),
            ..Policy::default()
        };
        let exec = tracers::find("exec").unwrap();
        assert_eq!(only.tracer(exec).unwrap_err().line, "policy.tracers");
    }

    #[test]
    fn a_class_that_is_not_named_is_denied_with_the_line_to_change() {
        let of = |class: Class| {
            *tracers::ALL
                .iter()
                .find(|one| one.class() == class)
                .unwrap()
        };
        let (observes, payload) = (of(Class::Observe), of(Class::Payload));
        let by_default = Policy::default();
        assert_eq!(by_default.tracer(observes), Ok(()));
        assert_eq!(by_default.tracer(payload), Ok(()));
        let only = parse("policy: {classes: [observe]}").unwrap().policy;
        assert_eq!(only.tracer(observes), Ok(()));
        let denied = only.tracer(payload).unwrap_err();
        assert_eq!(denied.line, "policy.classes");
        assert!(denied.why.contains("class is payload"), "{}", denied.why);
        let remedy = Policy::remedy(payload, &denied);
        assert!(remedy.contains("add payload to policy.classes"), "{remedy}");
    }

    #[test]
    fn an_unknown_class_and_an_empty_list_are_refused_by_name() {
        let error = parse("policy: {classes: [observe, packets]}").unwrap_err();
        assert!(
            error.contains("\"packets\"") && error.contains("observe, payload, memory, act"),
            "{error}"
        );
        let none = parse("policy: {classes: []}").unwrap().check().unwrap_err();
        assert!(none.to_string().starts_with("policy.classes:"), "{none}");
    }

    #[test]
    fn the_right_over_the_network_comes_with_the_class_act_alone() {
        let of = |text: &str| parse(text).unwrap().policy.capabilities();
        assert!(!of("{}").contains(&Capability::NetAdmin));
        assert!(
            !of("policy: {classes: [observe, payload, memory]}").contains(&Capability::NetAdmin)
        );
        let act = of("policy: {classes: [act]}");
        assert!(act.contains(&Capability::NetAdmin) && !act.contains(&Capability::SysPtrace));
    }
}
