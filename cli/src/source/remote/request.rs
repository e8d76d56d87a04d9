//! Requests of traces in protobuf.

use crate::usage::Usage;
use engine::{Limits, Selector};
use proto::v1::{self, target::Target as Wire};
use tracers::Spec;

/// Returns the request of a trace.
///
/// # Errors
/// If an agent cannot trace a target.
pub(crate) fn spec(
    spec: &Spec,
    targets: &[Selector],
    limits: &Limits,
    filter: Option<&str>,
) -> Result<v1::TraceSpec, Usage> {
    let Limits {
        duration,
        max_events,
        ring_bytes,
        interval,
        budget,
        // The node's own.
        quota: _,
    } = limits;
    let budget = v1::Budget {
        cpu_percent: budget.cpu_percent.unwrap_or(0),
        events_per_second: budget.events_per_second.unwrap_or(0),
        memory_bytes: budget.memory_bytes.unwrap_or(0),
    };
    let time = |time: std::time::Duration| {
        prost_types::Duration::try_from(time)
            .map_err(|_| Usage("the time is too long for a trace".to_owned()))
    };
    Ok(v1::TraceSpec {
        tracer: spec.tracer().name().to_owned(),
        options: Some(client::options(spec)),
        targets: targets.iter().map(target).collect::<Result<_, _>>()?,
        duration: duration.map(time).transpose()?,
        max_events: max_events.unwrap_or(0),
        ring_bytes: (*ring_bytes).into(),
        interval: Some(time(*interval)?),
        budget: Some(budget).filter(|budget| *budget != v1::Budget::default()),
        label_columns: Vec::new(),
        filter: filter.unwrap_or_default().to_owned(),
    })
}

fn target(selector: &Selector) -> Result<v1::Target, Usage> {
    let wire = match selector {
        Selector::Process(pid) | Selector::ProcessSince(pid, _) => Wire::Process(*pid),
        Selector::Cgroup(path) => match path.to_str() {
            Some(path) => Wire::Cgroup(path.to_owned()),
            None => {
                let message = "the path of a cgroup must be UTF-8 when an agent traces it";
                return Err(Usage(message.to_owned()));
            }
        },
        Selector::Container(id) | Selector::PodContainer(_, id) => Wire::Container(id.clone()),
        Selector::Pod(uid) => Wire::Pod(uid.clone()),
        Selector::Host => Wire::Host(v1::Host {}),
        Selector::Command(_) => {
            let message = "an agent does not start commands: start the command on the agent's host and pass --pid";
            return Err(Usage(message.to_owned()));
        }
    };
    Ok(v1::Target {
        target: Some(wire),
        start_ticks: match selector {
            Selector::ProcessSince(_, ticks) => *ticks,
            _ => 0,
        },
        labels: None,
        pod_uid: match selector {
            Selector::PodContainer(pod, _) => pod.clone(),
            _ => String::new(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tracers::{Draft, OptValue};

    #[test]
    fn the_request_contains_everything_of_the_command_line() {
        let mut requested = Draft::new(tracers::named("tcp_connect").unwrap());
        requested.set("port", OptValue::Number(443)).unwrap();
        let requested = requested.finish().unwrap();
        let limits = Limits {
            duration: Some(Duration::from_millis(1500)),
            max_events: Some(7),
            ring_bytes: 65536,
            interval: Duration::from_millis(200),
            ..Limits::default()
        };
        let targets = [
            Selector::Process(42),
            Selector::Cgroup("a.slice".into()),
            Selector::Container("3f2a".to_owned()),
            Selector::Host,
        ];
        let spec = spec(&requested, &targets, &limits, Some("pid > 1")).unwrap();
        assert_eq!(spec.filter, "pid > 1");
        let options = spec.options.unwrap().fields;
        assert_eq!(options.len(), 1, "what is not set is not sent: {options:?}");
        assert_eq!(
            options["port"].kind,
            Some(prost_types::value::Kind::NumberValue(443.0))
        );
        let wire: Vec<Wire> = spec.targets.into_iter().filter_map(|t| t.target).collect();
        assert_eq!(wire[0], Wire::Process(42));
        assert_eq!(wire[1], Wire::Cgroup("a.slice".to_owned()));
        assert_eq!(wire[2], Wire::Container("3f2a".to_owned()));
        assert_eq!(wire[3], Wire::Host(v1::Host {}));
        let duration = spec.duration.unwrap();
        assert_eq!((duration.seconds, duration.nanos), (1, 500_000_000));
        assert_eq!((spec.max_events, spec.ring_bytes), (7, 65536));
        assert_eq!(spec.interval.unwrap().nanos, 200_000_000);
    }

    #[test]
    fn a_command_is_refused_with_what_to_do() {
        let requested = Spec::new("open").unwrap();
        let command = [Selector::Command(vec!["ls".into()])];
        let Usage(text) = spec(&requested, &command, &Limits::default(), None).unwrap_err();
        assert!(
            text.contains("does not start commands") && text.contains("--pid"),
            "{text}"
        );
    }
}
