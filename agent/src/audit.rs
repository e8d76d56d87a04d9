//! The audit: a line for each start, change, end and refusal, with the caller and the targets.

use super::{
    caller::Caller,
    counters::Counters,
    limits::{AUDIT_TARGETS, AUDIT_TARGETS_BYTES, ID_BYTES, PATH_BYTES},
    text::{cut, printable},
    trace::Trace,
};
use anyhow::{Context, Result};
use engine::Reason;
use proto::v1::{self, change::Change, target::Target as Selector};
use rustix::fs::OFlags;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    slice,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tonic::Status;
use tonic_types::StatusExt;

/// The destination of the lines.
pub(crate) struct Audit {
    file: Option<Open>,
    counters: Arc<Counters>,
    /// The last line could not be written.
    failing: AtomicBool,
}

struct Open {
    path: PathBuf,
    file: Mutex<File>,
}

/// A line. Fields without a value are left out.
#[derive(Default, Serialize)]
struct Line<'a> {
    time: String,
    event: &'static str,
    who: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    generation: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    tracer: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    targets: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_seconds: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    produced: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lost: Option<u64>,
}

/// The fields of a spec that lines contain.
#[derive(Debug, Default)]
pub(crate) struct Requested {
    tracer: String,
    targets: Vec<String>,
    duration_seconds: Option<i64>,
}

impl Requested {
    pub(crate) fn of(spec: Option<&v1::TraceSpec>) -> Self {
        let Some(spec) = spec else {
            return Self::default();
        };
        Self {
            tracer: cut(spec.tracer.clone(), ID_BYTES),
            targets: bounded(&spec.targets, &mut AUDIT_TARGETS_BYTES.clone()),
            duration_seconds: spec.duration.map(|duration| duration.seconds),
        }
    }
}

impl Audit {
    /// Opens the file.
    ///
    /// # Errors
    /// If the file cannot be opened, or is a link.
    pub(crate) fn open(path: Option<PathBuf>, counters: Arc<Counters>) -> Result<Self> {
        let file = path.map(|path| {
            let file =
                open(&path).with_context(|| format!("audit: cannot open {}", path.display()))?;
            anyhow::Ok(Open {
                path,
                file: Mutex::new(file),
            })
        });
        Ok(Self {
            file: file.transpose()?,
            counters,
            failing: AtomicBool::new(false),
        })
    }

    /// Records that a trace has started.
    pub(super) fn started(&self, trace: &Trace, requested: &Requested) {
        self.write(Line {
            event: "start",
            ..line(&trace.caller, &trace.uid, trace.generation, requested)
        });
    }

    /// Records that a trace was refused, or could not start.
    pub(super) fn refused(
        &self,
        caller: &Caller,
        uid: &str,
        generation: u64,
        requested: &Requested,
        status: &Status,
    ) {
        let uid = cut(uid.to_owned(), ID_BYTES);
        self.write(Line {
            event: "refused",
            reason: reason(status),
            message: Some(status.message()),
            ..line(caller, &uid, generation, requested)
        });
    }

    /// Records a request for a trace of another caller.
    pub(super) fn refused_to(
        &self,
        event: &'static str,
        trace: &Trace,
        caller: &Caller,
        status: &Status,
    ) {
        self.write(Line {
            event,
            reason: reason(status),
            message: Some(status.message()),
            ..line(caller, &trace.uid, trace.generation, &Requested::default())
        });
    }

    /// A trace's targets were changed, or some or all of them were not.
    pub(super) fn updated(
        &self,
        trace: &Trace,
        caller: &Caller,
        targets: Vec<String>,
        failed: Option<&Status>,
    ) {
        self.write(Line {
            event: "update",
            targets: &targets,
            reason: failed.and_then(reason),
            message: failed.map(Status::message),
            ..line(caller, &trace.uid, trace.generation, &Requested::default())
        });
    }

    /// Records that a caller requested the end.
    pub(super) fn stopped(&self, trace: &Trace, caller: &Caller) {
        self.write(Line {
            event: "stop",
            ..line(caller, &trace.uid, trace.generation, &Requested::default())
        });
    }

    /// Records that a trace has ended.
    pub(super) fn ended(&self, trace: &Trace, failed: Option<Reason>) {
        let account = super::wire::account(&trace.account());
        self.write(Line {
            event: "end",
            tracer: &trace.schema.tracer,
            reason: failed.map(|reason| reason.word().to_owned()),
            ended: Some(account.ended).filter(|why| !why.is_empty()),
            produced: Some(account.produced),
            delivered: Some(account.delivered),
            lost: Some(account.lost.iter().map(|stage| stage.events).sum()),
            ..line(
                &trace.caller,
                &trace.uid,
                trace.generation,
                &Requested::default(),
            )
        });
    }

    /// Writes a line. A failed write does not end the trace: it is counted, and logged once until a write succeeds.
    fn write(&self, line: Line<'_>) {
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            ..line
        };
        let Ok(text) = serde_json::to_string(&line) else {
            return self.failed(&io::Error::other("a line is no JSON"));
        };
        let Some(open) = &self.file else {
            tracing::info!(target: "audit", record = text);
            return;
        };
        let mut text = printable(&text).into_owned();
        text.push('\n');
        match open.append(text.as_bytes()) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("writing audit records succeeds again");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &io::Error) {
        self.counters.audit_failed();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!("cannot write audit records, which are counted as lost: {error}");
        }
    }
}

impl Open {
    /// Appends a whole line, from any thread. If the file was renamed or removed, a new one is created.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut here, there) = (file.metadata()?, fs::symlink_metadata(&self.path));
        if !there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            *file = open(&self.path)?;
            here = file.metadata()?;
        }
        file.write_all(line).inspect_err(|_| {
            // When the disk is full, a part of the line may be written. It is removed, so that the next line is not appended to it.
            let _ = file.set_len(here.len());
        })
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
}

fn line<'a>(
    caller: &'a Caller,
    uid: &'a str,
    generation: u64,
    requested: &'a Requested,
) -> Line<'a> {
    let Requested {
        tracer,
        targets,
        duration_seconds,
    } = requested;
    Line {
        who: &caller.who,
        uid,
        generation,
        tracer,
        targets,
        duration_seconds: *duration_seconds,
        ..Line::default()
    }
}

/// An update's changes, as text.
pub(super) fn changes(update: &v1::Update) -> Vec<String> {
    let mut room = AUDIT_TARGETS_BYTES;
    let mut all = Vec::new();
    for change in update.changes.iter().take(AUDIT_TARGETS) {
        let (word, targets) = match &change.change {
            Some(Change::Add(target)) => ("add", slice::from_ref(target)),
            Some(Change::Remove(target)) => ("remove", slice::from_ref(target)),
            Some(Change::Only(of)) => ("only", &of.targets[..]),
            None => ("nothing", &[][..]),
        };
        let targets = bounded(targets, &mut room);
        all.push(format!("{word} {}", targets.join(", ")));
        if room == 0 {
            break;
        }
    }
    if all.len() < update.changes.len() {
        all.push(format!("and {} more", update.changes.len() - all.len()));
    }
    all
}

/// Returns the first targets that fit a line, and the number of the others. No room is left if there are others.
fn bounded(targets: &[v1::Target], room: &mut usize) -> Vec<String> {
    let mut all = Vec::new();
    for target in targets.iter().take(AUDIT_TARGETS) {
        // What is longer is refused.
        let text = cut(target_text(target), 2 * PATH_BYTES);
        let json = serde_json::to_string(&text).unwrap_or_default();
        let left = room.checked_sub(printable(&json).len());
        *room = left.unwrap_or(0);
        if left.is_none() {
            break;
        }
        all.push(text);
    }
    if all.len() < targets.len() {
        *room = 0;
        all.push(format!("and {} more", targets.len() - all.len()));
    }
    all
}

fn reason(status: &Status) -> Option<String> {
    Some(status.get_details_error_info()?.reason)
}

fn target_text(target: &v1::Target) -> String {
    let selector = match &target.target {
        Some(Selector::Process(pid)) => format!("process {pid}"),
        Some(Selector::Cgroup(path)) => format!("cgroup {path}"),
        Some(Selector::Container(id)) => format!("container {id}"),
        Some(Selector::Pod(uid)) => format!("pod {uid}"),
        Some(Selector::Host(v1::Host {})) => "host".to_owned(),
        None => "nothing".to_owned(),
    };
    let v1::Labels {
        node,
        namespace,
        pod,
        container,
    } = target.labels.clone().unwrap_or_default();
    let mut labels = vec![node, namespace, pod, container];
    labels.retain(|label| !label.is_empty());
    match labels.is_empty() {
        true => selector,
        false => format!("{selector} ({})", labels.join("/")),
    }
}
