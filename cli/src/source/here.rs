//! A trace of this process.

use super::{Feed, Progress, remote::Beside};
use anyhow::Result;
use engine::{Account, Trace, Update};
use rows::Wall;
use std::time::Duration;
use tracers::Batch;

impl Feed for Trace {
    fn next(&mut self, timeout: Duration) -> Result<Option<Update>> {
        Ok(Self::next(self, timeout)?)
    }

    fn wall(&self) -> Wall {
        rows::wall(u64::try_from(self.clock().unix_ns(0)).unwrap_or(0))
    }

    fn stop(&self) {
        self.handle().stop();
    }

    fn beside(&self, _: &Account) -> Beside {
        Beside::default()
    }

    fn progress(&self) -> Option<Progress> {
        None
    }

    fn cut_off(&mut self) -> Option<(Account, Vec<Batch>)> {
        None
    }
}
