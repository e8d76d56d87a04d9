//! Who traced whom: a line for each start, change, end and refusal.

use super::{counters::Counters, job::Job};
use agent::Reason;
use anyhow::{Context, Result};
use proto::v1::{self, change::Change, target::Target as Whom};
use rustix::fs::OFlags;
use serde::Serialize;
use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};
use tonic::Status;
use tonic_types::StatusExt;

/// Where the lines go.
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

/// A line. What was not asked for or is not known is left out.
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
    #[serde(skip_serializing_if = "Vec::is_empty")]
    targets: Vec<String>,
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

/// Targets in a line: there may be thousands.
const TARGETS: usize = 100;

impl Audit {
    /// Opens the file.
    ///
    /// # Errors
    /// Where it cannot be opened, or is a link.
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

    /// A trace runs.
    pub(super) fn started(&self, job: &Job) {
        self.write(Line {
            event: "start",
            ..asked(&job.who, &job.uid, job.generation, &job.spec)
        });
    }

    /// A trace was not to be, or could not start.
    pub(super) fn refused(
        &self,
        who: &str,
        uid: &str,
        generation: u64,
        spec: &v1::TraceSpec,
        status: &Status,
    ) {
        self.write(Line {
            event: "refused",
            reason: reason(status),
            message: Some(status.message()),
            ..asked(who, uid, generation, spec)
        });
    }

    /// A trace's targets, as text.
    pub(super) fn changes(&self, update: &v1::Update) -> Vec<String> {
        let text = |change: &v1::Change| match &change.change {
            Some(Change::Add(target)) => format!("add {}", target_text(target)),
            Some(Change::Remove(target)) => format!("remove {}", target_text(target)),
            Some(Change::Only(of)) => {
                let all = of.targets.iter().take(TARGETS).map(target_text);
                format!("only {}", all.collect::<Vec<_>>().join(", "))
            }
            None => "nothing".to_owned(),
        };
        update.changes.iter().take(TARGETS).map(text).collect()
    }

    /// They were changed, or were not.
    pub(super) fn updated(
        &self,
        job: &Job,
        who: &str,
        targets: Vec<String>,
        failed: Option<&Status>,
    ) {
        self.write(Line {
            event: "update",
            who,
            uid: &job.uid,
            generation: job.generation,
            targets,
            reason: failed.and_then(reason),
            message: failed.map(Status::message),
            ..Line::default()
        });
    }

    /// Somebody asked for its end.
    pub(super) fn stopped(&self, job: &Job, who: &str) {
        self.write(Line {
            event: "stop",
            who,
            uid: &job.uid,
            generation: job.generation,
            ..Line::default()
        });
    }

    /// It is over.
    pub(super) fn ended(&self, job: &Job, failed: Option<Reason>) {
        let account = super::wire::account(&job.account());
        self.write(Line {
            event: "end",
            reason: failed.map(|reason| reason.word().to_owned()),
            ended: Some(account.ended).filter(|why| !why.is_empty()),
            produced: Some(account.produced),
            delivered: Some(account.delivered),
            lost: Some(account.lost.iter().map(|stage| stage.events).sum()),
            targets: Vec::new(),
            duration_seconds: None,
            ..asked(&job.who, &job.uid, job.generation, &job.spec)
        });
    }

    /// A line that cannot be written ends no trace: it is counted, and told of once until one can be again.
    fn write(&self, line: Line<'_>) {
        let line = Line {
            time: jiff::Timestamp::now().to_string(),
            ..line
        };
        let Ok(mut text) = serde_json::to_string(&line) else {
            return self.failed(&io::Error::other("a line is no JSON"));
        };
        let Some(open) = &self.file else {
            tracing::info!(target: "audit", record = text);
            return;
        };
        text.push('\n');
        match open.append(text.as_bytes()) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("audit records are written again");
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&self, error: &io::Error) {
        self.counters.audit_failed();
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::error!("audit records are lost, and counted: {error}");
        }
    }
}

impl Open {
    /// Whole lines only, from whatever thread. A file that was renamed or removed is left, and a new one made.
    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut here, there) = (file.metadata()?, fs::symlink_metadata(&self.path));
        if !there.is_ok_and(|there| (there.dev(), there.ino()) == (here.dev(), here.ino())) {
            *file = open(&self.path)?;
            here = file.metadata()?;
        }
        file.write_all(line).inspect_err(|_| {
            // A disk that runs full takes a part of a line, which the next one would be glued to. What is no file has no length.
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

fn asked<'a>(who: &'a str, uid: &'a str, generation: u64, spec: &'a v1::TraceSpec) -> Line<'a> {
    Line {
        who,
        uid,
        generation,
        tracer: &spec.tracer,
        targets: spec.targets.iter().take(TARGETS).map(target_text).collect(),
        duration_seconds: spec.duration.map(|duration| duration.seconds),
        ..Line::default()
    }
}

fn reason(status: &Status) -> Option<String> {
    Some(status.get_details_error_info()?.reason)
}

fn target_text(target: &v1::Target) -> String {
    let whom = match &target.target {
        Some(Whom::Process(pid)) => format!("process {pid}"),
        Some(Whom::Cgroup(path)) => format!("cgroup {path}"),
        Some(Whom::Container(id)) => format!("container {id}"),
        Some(Whom::Pod(uid)) => format!("pod {uid}"),
        Some(Whom::Host(v1::Host {})) => "host".to_owned(),
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
        true => whom,
        false => format!("{whom} ({})", labels.join("/")),
    }
}
