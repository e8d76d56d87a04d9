//! A reader that only counts: for streams that are too long to keep.

use crate::daemon::Daemon;
use proto::v1::{self, Account, StreamEventsResponse, stream_events_response::Item};
use std::collections::BTreeMap;
use tests::{deadline, skips_runs};
use tonic::{Status, Streaming};

/// Checks that a trace saw all events and lost none, except runs of programs that a kernel since Linux 7.0 skipped and the account counts.
pub(crate) fn saw_all(account: &Account, events: u64) {
    let lost: u64 = account.lost.iter().map(|stage| stage.events).sum();
    assert_eq!(lost, 0, "{account:?}");
    assert!(account.missed_runs == 0 || skips_runs(), "{account:?}");
    assert!(account.produced <= events, "{events}: {account:?}");
    assert!(
        account.produced + account.missed_runs >= events,
        "{events}: {account:?}"
    );
}

/// What has come of a stream so far. It checks as it goes that nothing is left out in silence.
pub(crate) struct Tally {
    stream: Streaming<StreamEventsResponse>,
    expected: Option<u64>,
    /// Number of rows of the trace until here; `None` before the first message.
    before: Option<u64>,
    pub(crate) rows: u64,
    /// Number of rows in gaps.
    pub(crate) gap_rows: u64,
    pub(crate) gaps: u64,
    /// Lost events by stage, as the stream reports them.
    pub(crate) lost: BTreeMap<String, u64>,
    account: Option<Account>,
}

impl Tally {
    /// Follows a trace from its beginning, and takes the schema.
    pub(crate) async fn follow(daemon: &Daemon, uid: &str) -> Self {
        let request = v1::StreamEventsRequest {
            uid: uid.to_owned(),
            from_sequence: 0,
            ..v1::StreamEventsRequest::default()
        };
        let stream = daemon.client().await.stream_events(request).await;
        Self::of(stream.unwrap().into_inner()).await
    }

    pub(crate) async fn of(mut stream: Streaming<StreamEventsResponse>) -> Self {
        let first = stream.message().await.unwrap().unwrap();
        assert!(matches!(first.item, Some(Item::Schema(_))), "{first:?}");
        Self {
            stream,
            expected: None,
            before: None,
            rows: 0,
            gap_rows: 0,
            gaps: 0,
            lost: BTreeMap::new(),
            account: None,
        }
    }

    /// Takes one message; false at the end.
    pub(crate) async fn next(&mut self) -> Result<bool, Status> {
        let message = tokio::time::timeout(3 * deadline(), self.stream.message());
        let Some(message) = message.await.expect("the stream to go on or to end")? else {
            return Ok(false);
        };
        assert!(self.account.is_none(), "nothing follows the account");
        let mut next = message.sequence + 1;
        let mut first = message.sequence;
        match message.item.unwrap() {
            Item::Batch(batch) => {
                let before = self.before.unwrap_or(message.rows_before);
                assert_eq!(message.rows_before, before, "each batch has its position");
                self.before = Some(before + u64::from(batch.rows));
                self.rows += u64::from(batch.rows);
            }
            Item::Gap(gap) => {
                self.gaps += 1;
                let rows = gap
                    .rows
                    .expect("a gap has its rows for a reader from the start");
                self.before = self.before.map(|before| before + rows);
                self.gap_rows += rows;
                (first, next) = (gap.first_sequence, gap.last_sequence + 1);
            }
            Item::Lost(lost) => {
                for stage in lost.stages {
                    *self.lost.entry(stage.name).or_default() += stage.events;
                }
            }
            Item::Account(account) => self.account = Some(account),
            Item::Schema(_) => panic!("a second schema"),
            Item::Nodes(_) => panic!("an agent is one node's"),
            // Rows of the first dataset are tallied.
            Item::Further(_) => {}
        }
        if let Some(expected) = self.expected {
            assert_eq!(first, expected, "none is left out in silence");
        }
        self.expected = Some(next);
        Ok(true)
    }

    /// Reads until it has this number of rows.
    pub(crate) async fn until_rows(&mut self, rows: u64) {
        while self.rows + self.gap_rows < rows {
            let more = self.next().await.unwrap();
            assert!(more, "it ended after {} rows of {rows}", self.rows);
        }
    }

    /// Reads the rest of the stream, and checks that the account adds up.
    pub(crate) async fn read_all(&mut self) -> Result<&Account, Status> {
        while self.next().await? {}
        let account = self.account.as_ref();
        let account = account.expect("a stream ends with its account");
        let lost: u64 = account.lost.iter().map(|stage| stage.events).sum();
        assert_eq!(
            account.produced,
            account.delivered + account.filtered + account.beyond_limit + lost
        );
        assert_eq!(self.rows + self.gap_rows, account.delivered);
        Ok(account)
    }
}
