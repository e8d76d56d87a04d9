//! The account that closes every run, as `-o json` prints it.

use serde_json::Value;

/// Account of all events of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// Events that selection and options let through.
    pub produced: u64,
    /// Events in rows.
    pub delivered: u64,
    /// Events whose rows did not match the filter.
    pub filtered: u64,
    /// Events after the limit.
    pub beyond_limit: u64,
    /// Events that were left out to keep to a budget.
    pub sampled: u64,
    /// Events that were lost.
    pub lost: Lost,
    /// Runs of programs that the kernel skipped.
    pub missed_runs: u64,
    /// Whether nothing is missing.
    pub complete: bool,
    /// From attaching to detaching, ns.
    pub elapsed_ns: u64,
    /// Why it ended.
    pub ended: String,
    /// All of it as it was printed.
    pub raw: Value,
}

/// Lost events by stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// The ring was full.
    pub ring_full: u64,
    /// A map was full.
    pub map_full: u64,
    /// Memory could not be read.
    pub unreadable: u64,
    /// A program was interrupted while it had the scratch.
    pub busy: u64,
    /// The ring was filling up, and the cgroup had had its share.
    pub over_quota: u64,
    /// A record did not decode.
    pub malformed: u64,
}

impl Lost {
    /// All stages.
    pub fn total(&self) -> u64 {
        let Self {
            ring_full,
            map_full,
            unreadable,
            busy,
            over_quota,
            malformed,
        } = self;
        ring_full + map_full + unreadable + busy + over_quota + malformed
    }
}

/// A number of the account, or of a part of it.
fn number(value: &Value, key: &str) -> u64 {
    value[key]
        .as_u64()
        .unwrap_or_else(|| panic!("the account has no number {key}: {value}"))
}

impl Account {
    /// Number of stacks that are deeper than the recorded depth.
    pub fn stacks_truncated(&self) -> u64 {
        number(&self.raw, "stacks_truncated")
    }

    /// Number of stacks that were not unwound from a copy, or not up to their outermost frame.
    pub fn stacks_not_unwound(&self) -> u64 {
        number(&self.raw, "stacks_not_unwound")
    }

    /// Number of rows without a stack, for which there was no room.
    pub fn stacks_missing(&self) -> u64 {
        number(&self.raw, "stacks_missing")
    }

    pub(crate) fn read(raw: &Value) -> Self {
        let stage = |key| number(&raw["lost"], key);
        Self {
            produced: number(raw, "produced"),
            delivered: number(raw, "delivered"),
            filtered: number(raw, "filtered"),
            beyond_limit: number(raw, "beyond_limit"),
            sampled: number(raw, "sampled"),
            lost: Lost {
                ring_full: stage("ring_full"),
                map_full: stage("map_full"),
                unreadable: stage("unreadable"),
                busy: stage("busy"),
                over_quota: stage("over_quota"),
                malformed: stage("malformed"),
            },
            missed_runs: number(raw, "missed_runs"),
            complete: raw["complete"]
                .as_bool()
                .expect("an account has `complete`"),
            elapsed_ns: number(raw, "elapsed_ns"),
            ended: raw["ended"].as_str().unwrap_or_default().to_owned(),
            raw: raw.clone(),
        }
    }

    /// Checks what holds in every account. `rows` is the number of events in the rows, if they can be counted.
    pub(crate) fn must_balance(&self, rows: Option<u64>) {
        let left_out = self.filtered + self.beyond_limit + self.sampled;
        let sum = self.delivered + left_out + self.lost.total();
        assert_eq!(
            self.produced, sum,
            "produced and accounted for: {}",
            self.raw
        );
        // What an agent delivered to a reader that was too slow for it.
        let gaps = &self.raw["gaps"];
        let missed = gaps["rows"].as_u64().unwrap_or(0);
        if let Some(rows) = rows {
            assert_eq!(
                self.delivered,
                rows + missed,
                "delivered and printed: {}",
                self.raw
            );
        }
        let nothing_missing = self.lost.total() + self.missed_runs + self.sampled == 0
            && gaps.is_null()
            && self.raw["untraced"].is_null()
            && self.ended != "agent_gone";
        assert_eq!(self.complete, nothing_missing, "{}", self.raw);
        assert_eq!(self.lost.malformed, 0, "{}", self.raw);
    }
}
