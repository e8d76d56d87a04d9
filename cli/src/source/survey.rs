//! Support of tracers on this machine, or on an agent's.

use super::remote::{self, words};
use anyhow::Result;
use engine::{Check, Kernel, Support, Verdict};
use proto::v1;
use serde_json::json;
use tracers::{Erased, Family};

/// Tracers and checks of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Survey {
    /// Release of the kernel; `None` if it cannot be read.
    pub(crate) kernel: Option<String>,
    /// Version of the agent; `None` for this machine.
    pub(crate) agent: Option<String>,
    /// All tracers, sorted by name.
    pub(crate) tracers: Vec<Entry>,
    /// Checks of the machine, if requested.
    pub(crate) checks: Vec<Check>,
}

/// Selection of the checks of the machine, which take longer.
enum Checks {
    Yes,
    No,
}

/// A tracer and its support.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) name: String,
    /// Family, if the tracer is in the catalogue.
    pub(crate) family: Option<Family>,
    /// Word of the class, possibly of a newer agent.
    pub(crate) class: String,
    /// Description in one sentence.
    pub(crate) about: String,
    /// Needs of the tracer on that machine.
    pub(crate) needs: Vec<Needed>,
    pub(crate) works: Works,
}

/// A need of a tracer, and whether it is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Needed {
    pub(crate) name: String,
    /// Whether the tracer requires it.
    pub(crate) required: bool,
    /// Purpose.
    pub(crate) reason: String,
    pub(crate) met: bool,
    /// Remedy, if it is not met.
    pub(crate) remedy: Option<String>,
}

/// Support of a tracer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Works {
    /// The tracer works, with these hooks: `raw_tp sys_enter`.
    Yes { hooks: Vec<String> },
    /// The tracer does not work.
    No {
        reason: String,
        /// Remedy, if there is one.
        remedy: Option<String>,
    },
}

impl Survey {
    /// Returns the tracers of an agent's machine, or of this one.
    pub(crate) fn of(address: Option<&remote::Address>) -> Result<Self> {
        match address {
            None => Ok(Self::here(&Kernel::read(), Checks::No)),
            Some(address) => {
                let agent = remote::Agent::connect(address)?;
                Ok(Self::there(agent.capabilities()?, agent.url()))
            }
        }
    }

    /// Returns the tracers and the checks of a machine.
    pub(crate) fn checked(address: Option<&remote::Address>) -> Result<Self> {
        match address {
            None => Ok(Self::here(&Kernel::read(), Checks::Yes)),
            // The checks are always included.
            address => Self::of(address),
        }
    }

    /// Returns the tracers of this machine. If the kernel cannot be used, the list contains the reason.
    fn here(kernel: &Result<Kernel, engine::Error>, checks: Checks) -> Self {
        let works = |tracer: &'static dyn Erased| match kernel {
            Ok(kernel) => Works::of(&kernel.support(tracer)),
            Err(error) => Works::No {
                reason: error.to_string(),
                remedy: None,
            },
        };
        let needs = |tracer: &'static dyn Erased| match kernel {
            Ok(kernel) => kernel.needs(tracer).into_iter().map(Needed::of).collect(),
            // The kernel is what is missing.
            Err(_) => Vec::new(),
        };
        let of = |tracer: &&'static dyn Erased| Entry::of(*tracer, needs(*tracer), works(*tracer));
        let kernel = kernel.as_ref();
        Self {
            kernel: kernel.ok().map(|kernel| kernel.release().to_owned()),
            agent: None,
            tracers: tracers::ALL.iter().map(of).collect(),
            checks: match kernel {
                _ if matches!(checks, Checks::No) => Vec::new(),
                Ok(kernel) => kernel.checks(),
                Err(error) => vec![Check {
                    name: "kernel".into(),
                    verdict: Verdict::Missing,
                    detail: error.to_string(),
                    remedy: None,
                }],
            },
        }
    }

    fn there(received: v1::GetCapabilitiesResponse, url: &str) -> Self {
        let v1::GetCapabilitiesResponse {
            kernel_release,
            agent_version,
            tracers: received,
            checks,
        } = received;
        let version = words(&agent_version);
        let found = |name: &str| received.iter().find(|tracer| tracer.name == name);
        let mut tracers: Vec<Entry> = tracers::ALL
            .iter()
            .map(|tracer| {
                let received = found(tracer.name());
                let needs = received.map(|received| {
                    received
                        .requirements
                        .iter()
                        .map(Needed::of_message)
                        .collect()
                });
                let works = received.map(Works::of_message);
                Entry::of(
                    *tracer,
                    needs.unwrap_or_default(),
                    works.unwrap_or_else(|| Works::No {
                        reason: format!("the agent ({version}) does not have this tracer"),
                        remedy: None,
                    }),
                )
            })
            .collect();
        let newer = received
            .iter()
            .filter(|tracer| tracers::find(&tracer.name).is_none());
        tracers.extend(newer.map(|tracer| Entry {
            name: words(&tracer.name),
            family: None,
            class: words(&tracer.class),
            about: words(first(&tracer.about)),
            needs: tracer.requirements.iter().map(Needed::of_message).collect(),
            works: Works::No {
                reason: format!(
                    "this tracejob ({}) does not have this tracer",
                    env!("CARGO_PKG_VERSION")
                ),
                remedy: Some(format!("use a tracejob of the agent's version ({version})")),
            },
        }));
        let ours = env!("CARGO_PKG_VERSION");
        let same = version == ours;
        let mut all = vec![Check {
            name: "agent".into(),
            verdict: if same { Verdict::Ok } else { Verdict::Limited },
            detail: match same {
                true => format!("{version} at {url}"),
                false => format!(
                    "{version} at {url}, but this tracejob is {ours}: features of only one of the versions are unavailable"
                ),
            },
            remedy: None,
        }];
        all.extend(checks.into_iter().map(check));
        Self {
            kernel: Some(words(&kernel_release)),
            agent: Some(version),
            tracers,
            checks: all,
        }
    }

    /// Returns the number of tracers that work.
    pub(crate) fn able(&self) -> usize {
        let able = |entry: &&Entry| matches!(entry.works, Works::Yes { .. });
        self.tracers.iter().filter(able).count()
    }
}

impl Entry {
    pub(crate) fn of(tracer: &dyn Erased, needs: Vec<Needed>, works: Works) -> Self {
        Self {
            name: tracer.name().to_owned(),
            family: Some(tracer.family()),
            class: tracer.class().word().to_owned(),
            about: first(tracer.about()).to_owned(),
            needs,
            works,
        }
    }

    /// Returns the needs that are not met. A tracer that works without them has less detail in its rows.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &Needed> {
        self.needs.iter().filter(|need| !need.met)
    }
}

impl Needed {
    fn of(checked: engine::Checked) -> Self {
        let engine::Checked {
            need,
            required,
            missing,
        } = checked;
        Self {
            name: need.what.name().to_owned(),
            required,
            reason: need.reason.to_owned(),
            met: missing.is_none(),
            remedy: missing,
        }
    }

    fn of_message(received: &v1::Requirement) -> Self {
        let v1::Requirement {
            name,
            required,
            reason,
            met,
            remedy,
        } = received;
        Self {
            name: words(name),
            required: *required,
            reason: words(reason),
            met: *met,
            remedy: some(remedy),
        }
    }

    /// Returns the need as JSON.
    pub(crate) fn data(&self) -> serde_json::Value {
        let Self {
            name,
            required,
            reason,
            met,
            remedy,
        } = self;
        json!({"name": name, "required": required, "reason": reason, "met": met, "remedy": remedy})
    }
}

impl Works {
    pub(crate) fn of(support: &Support) -> Self {
        match support {
            Support::Yes { points } => Self::Yes {
                hooks: points.iter().map(ToString::to_string).collect(),
            },
            Support::No { reason, remedy } => Self::No {
                reason: reason.clone(),
                remedy: remedy.clone(),
            },
        }
    }

    fn of_message(received: &v1::Tracer) -> Self {
        match received.unsupported.as_str() {
            "" => Self::Yes {
                hooks: received.hooks.iter().map(|hook| words(hook)).collect(),
            },
            reason => Self::No {
                reason: words(reason),
                remedy: some(&received.remedy),
            },
        }
    }
}

/// Reads a check of an agent. A verdict of a newer agent counts as limited.
fn check(message: v1::Check) -> Check {
    let v1::Check {
        name,
        verdict,
        detail,
        remedy,
    } = message;
    let known = Verdict::ALL
        .into_iter()
        .find(|known| known.word() == verdict);
    Check {
        name: words(&name).into(),
        verdict: known.unwrap_or(Verdict::Limited),
        detail: words(&detail),
        remedy: some(&remedy),
    }
}

fn some(text: &str) -> Option<String> {
    Some(words(text)).filter(|text| !text.is_empty())
}

/// Returns the first sentence of a description, up to a colon or full stop.
fn first(about: &str) -> &str {
    let line = about.lines().next().unwrap_or_default();
    let line = line.split(": ").next().unwrap_or(line);
    line.trim_end_matches('.')
}

/// Returns a family's name; tracers that are not in the catalogue have another.
pub(crate) fn family_word(family: Option<Family>) -> &'static str {
    family.map_or("others", Family::word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_sentence_stands_for_all() {
        assert_eq!(
            first("Closed connections: who and how long.\nMore."),
            "Closed connections"
        );
        assert_eq!(first("Only failures."), "Only failures");
    }

    #[test]
    fn an_agents_tracers_are_merged_with_the_catalogue_by_name() {
        let known = tracers::ALL[0].name();
        let tracer = |name: &str, unsupported: &str| v1::Tracer {
            name: name.to_owned(),
            about: "What\x1b[2J it shows.\nMore.".to_owned(),
            unsupported: unsupported.to_owned(),
            hooks: vec!["raw_tp a".to_owned()],
            class: "novel\x1b".to_owned(),
            requirements: vec![v1::Requirement {
                name: "CAP_SYSLOG".to_owned(),
                reason: "names".to_owned(),
                remedy: "ask\x07".to_owned(),
                ..v1::Requirement::default()
            }],
            ..v1::Tracer::default()
        };
        let received = v1::GetCapabilitiesResponse {
            kernel_release: "6.18".to_owned(),
            agent_version: "9.0".to_owned(),
            tracers: vec![tracer(known, ""), tracer("newer_one", "")],
            checks: vec![v1::Check {
                name: "cgroups".to_owned(),
                verdict: "novel".to_owned(),
                ..v1::Check::default()
            }],
        };
        let survey = Survey::there(received, "unix:///a");
        assert_eq!(survey.able(), 1);
        let of = |name: &str| {
            survey
                .tracers
                .iter()
                .find(|entry| entry.name == name)
                .unwrap()
        };
        let works = Works::Yes {
            hooks: vec!["raw_tp a".to_owned()],
        };
        assert_eq!(of(known).works, works);
        let newer = of("newer_one");
        assert!(
            matches!(&newer.works, Works::No { reason, .. } if reason.contains("does not have this tracer"))
        );
        assert_eq!(newer.about, "What\\x1b[2J it shows");
        assert_eq!(newer.class, "novel\\x1b");
        // The class of a known tracer comes from the catalogue; unmet needs come from the agent.
        assert_eq!(of(known).class, tracers::ALL[0].class().word());
        let missing: Vec<&Needed> = of(known).missing().collect();
        assert_eq!(missing[0].name, "CAP_SYSLOG");
        assert_eq!(missing[0].remedy.as_deref(), Some("ask\\x07"));
        let older = &of(tracers::ALL[1].name()).works;
        assert!(
            matches!(older, Works::No { reason, .. } if reason.contains("the agent (9.0) does not have this tracer"))
        );
        let verdicts: Vec<Verdict> = survey.checks.iter().map(|check| check.verdict).collect();
        assert_eq!(verdicts, [Verdict::Limited, Verdict::Limited]);
    }
}
