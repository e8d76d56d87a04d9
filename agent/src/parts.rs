//! Limits on the parts of a request, counted before it is decoded: an empty target takes two bytes of a message and a hundred in memory.

use super::{
    limits::{LABEL_COLUMNS, OPTIONS_BYTES, TARGETS},
    wire::Violation,
};

/// What a call's messages hold that takes more memory than bytes of the message: proto/tracejob/v1/agent.proto has the numbers.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// `StartTraceRequest`
    Start,
    /// `UpdateTargetsRequest`
    Update,
    /// `TraceRequest`
    Trace,
    Other,
}

impl Kind {
    /// That of a path of HTTP.
    pub(crate) fn of(path: &str) -> Self {
        match path.strip_prefix("/tracejob.v1.Agent/") {
            Some("StartTrace") => Self::Start,
            Some("UpdateTargets") => Self::Update,
            Some("Trace") => Self::Trace,
            _ => Self::Other,
        }
    }

    /// Counts what is in a message.
    ///
    /// # Errors
    /// If a limit is exceeded, or the message cannot be parsed.
    pub(crate) fn check(self, message: &[u8]) -> Result<(), Violation> {
        if matches!(self, Self::Other) {
            return Ok(());
        }
        let mut parts = Parts::default();
        for field in fields(message) {
            match (self, field?) {
                (Self::Start, (3, spec)) | (Self::Trace, (1, spec)) => parts.add_spec(spec)?,
                (Self::Update | Self::Trace, (3, update)) => parts.add_update(update)?,
                _ => {}
            }
        }
        Ok(())
    }
}

/// Counts the parts of a message by name, over all its occurrences: the last of several specs is merged with the previous ones.
#[derive(Default)]
struct Parts {
    targets: usize,
    options_bytes: usize,
    label_columns: usize,
    changed: usize,
}

impl Parts {
    fn add_spec(&mut self, spec: &[u8]) -> Result<(), Violation> {
        for field in fields(spec) {
            match field? {
                (2, options) => self.options_bytes += options.len(),
                (3, _) => self.targets += 1,
                (9, _) => self.label_columns += 1,
                _ => {}
            }
            // No more is counted than has to be.
            self.check()?;
        }
        Ok(())
    }

    fn add_update(&mut self, update: &[u8]) -> Result<(), Violation> {
        for change in fields(update) {
            let (2, change) = change? else { continue };
            self.changed += 1;
            for only in fields(change) {
                let (3, only) = only? else { continue };
                for target in fields(only) {
                    self.changed += usize::from(target?.0 == 1);
                    self.check()?;
                }
            }
            self.check()?;
        }
        Ok(())
    }

    fn check(&self) -> Result<(), Violation> {
        // An update with `only` contains each target twice.
        let bounds = [
            ("spec.targets", self.targets, TARGETS),
            ("spec.options", self.options_bytes, OPTIONS_BYTES),
            ("spec.label_columns", self.label_columns, LABEL_COLUMNS),
            ("update.changes", self.changed, 2 * TARGETS + 1),
        ];
        let beyond = bounds.into_iter().find(|(_, is, most)| is > most);
        beyond.map_or(Ok(()), |(field, _, most)| {
            let unit = match field {
                "spec.options" => " bytes",
                _ => "",
            };
            Err(Violation {
                field,
                why: format!("at most {most}{unit} are allowed"),
            })
        })
    }
}

/// Number and content of each field; numbers have no content here.
fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u64, &[u8]), Violation>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = next_field(&mut bytes);
        if field.is_none() {
            bytes = &[];
        }
        Some(field.ok_or_else(|| Violation {
            field: "request",
            why: "it is no message of this API".to_owned(),
        }))
    })
}

fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, &'a [u8])> {
    let key = varint(bytes)?;
    let length = match key & 7 {
        0 => {
            varint(bytes)?;
            0
        }
        1 => 8,
        2 => usize::try_from(varint(bytes)?).ok()?,
        5 => 4,
        // Groups, which the API has none of: what is behind them could not be counted.
        _ => return None,
    };
    Some((key >> 3, bytes.split_off(..length)?))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.split_off_first()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use proto::v1;

    fn targets(count: usize) -> Vec<v1::Target> {
        vec![v1::Target::default(); count]
    }

    fn only_and_adds(count: usize) -> v1::Update {
        use v1::change::Change;
        let change = |change| v1::Change {
            change: Some(change),
        };
        let only = Change::Only(v1::Targets {
            targets: targets(count),
        });
        let adds = targets(count).into_iter().map(Change::Add);
        v1::Update {
            version: u64::MAX,
            changes: std::iter::once(only).chain(adds).map(change).collect(),
        }
    }

    #[test]
    fn targets_are_counted_before_they_are_decoded_in_each_place_where_they_may_be() {
        use v1::trace_request::Request;
        let spec = |count| v1::TraceSpec {
            tracer: "open".to_owned(),
            targets: targets(count),
            max_events: u64::MAX,
            ..v1::TraceSpec::default()
        };
        let start = |count| v1::StartTraceRequest {
            generation: 7,
            spec: Some(spec(count)),
            ..v1::StartTraceRequest::default()
        };
        let update = |count| v1::UpdateTargetsRequest {
            update: Some(only_and_adds(count)),
            ..v1::UpdateTargetsRequest::default()
        };
        let trace = |request| v1::TraceRequest {
            request: Some(request),
        };
        type Make<'a> = &'a dyn Fn(usize) -> Vec<u8>;
        let cases: [(Kind, &str, Make<'_>); 4] = [
            (Kind::Start, "spec.targets", &|n| start(n).encode_to_vec()),
            (Kind::Update, "update.changes", &|n| {
                update(n).encode_to_vec()
            }),
            (Kind::Trace, "spec.targets", &|n| {
                trace(Request::Start(spec(n))).encode_to_vec()
            }),
            (Kind::Trace, "update.changes", &|n| {
                trace(Request::Update(only_and_adds(n))).encode_to_vec()
            }),
        ];
        for (kind, field, make) in cases {
            kind.check(&make(TARGETS)).unwrap();
            assert_eq!(kind.check(&make(TARGETS + 1)).unwrap_err().field, field);
        }
        // In two specs, which a decoder merges.
        let twice = start(TARGETS - 1).encode_to_vec().repeat(2);
        assert!(Kind::Start.check(&twice).is_err());
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        // A group, a length beyond the end, a number without an end.
        for bytes in [&[0x0b_u8, 0x0c][..], &[0x1a, 5, 0], &[0x80; 11], &[0x08]] {
            assert!(Kind::Start.check(bytes).is_err(), "{bytes:?}");
        }
    }
}
