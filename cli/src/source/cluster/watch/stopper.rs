//! The handle that ends the stream of a job and, except for `attach`, the job.

use super::super::{
    access::Cluster,
    error::{Doing, Error},
    job,
};
use crd::name::JobName;
use kube::Client;
use std::{
    io::{self, Write},
    sync::{Arc, OnceLock},
    time::Instant,
};
use tokio::runtime::Handle;

/// Action at the end of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Delete the job.
    Delete,
    /// Suspend the job.
    Suspend,
    /// Leave the job running.
    Detach,
}

/// Handle that ends the stream from any thread.
#[derive(Clone)]
pub(crate) struct Stopper {
    how: How,
    request_args: Arc<OnceLock<Instant>>,
    runtime: Handle,
    client: Client,
    url: String,
    name: JobName,
}

impl Stopper {
    pub(crate) fn new(cluster: &Cluster, name: &JobName, how: How) -> Self {
        Self {
            how,
            request_args: Arc::default(),
            runtime: cluster.runtime.handle().clone(),
            client: cluster.client.clone(),
            url: cluster.url.clone(),
            name: name.clone(),
        }
    }

    /// Requests the end; the remaining rows and the account follow.
    pub(crate) fn stop(&self) {
        if self.request_args.set(Instant::now()).is_err() || self.how == How::Detach {
            return;
        }
        let Self {
            how,
            client,
            url,
            name,
            ..
        } = self.clone();
        // It is over with the program at the latest, which deletes by itself what it does not keep.
        drop(self.runtime.spawn(async move {
            let (verb, done) = match how {
                How::Suspend => ("patch", job::suspend(&client, &name).await),
                How::Delete | How::Detach => ("delete", job::delete(&client, &name).await),
            };
            if let Err(error) = done {
                match Error::of(error, &url, Doing::on(&name, verb)) {
                    Error::NotFound { .. } => {}
                    error => {
                        // Errors are ignored: a closed standard error has no reader.
                        let _ = io::stderr().write_all(format!("warning: {error}\n").as_bytes());
                    }
                }
            }
        }));
    }

    /// Returns the requested action and its time; `None` before a request.
    pub(super) fn since(&self) -> Option<(How, Instant)> {
        self.request_args
            .get()
            .map(|request_args| (self.how, *request_args))
    }
}
