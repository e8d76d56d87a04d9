//! Durations in messages.

use std::time::Duration;

/// Returns the duration of a message, if it is present and not negative.
pub fn duration(message: Option<prost_types::Duration>) -> Option<Duration> {
    message.and_then(|duration| Duration::try_from(duration).ok())
}

/// Returns the sum of two durations, of which each may be absent. An invalid duration counts as absent.
pub fn sum(
    a: Option<prost_types::Duration>,
    b: Option<prost_types::Duration>,
) -> Option<prost_types::Duration> {
    let parts = [duration(a), duration(b)].into_iter().flatten();
    let sum = parts.reduce(Duration::saturating_add)?;
    let longest = prost_types::Duration {
        seconds: i64::MAX,
        nanos: 0,
    };
    Some(sum.try_into().unwrap_or(longest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sum_carries_nanoseconds_and_leaves_absent_and_invalid_durations_out() {
        let of = |seconds, nanos| Some(prost_types::Duration { seconds, nanos });
        let half = of(1, 500_000_000);
        assert_eq!(sum(half, half), of(3, 0));
        assert_eq!(sum(None, half), half);
        assert_eq!(sum(half, of(-5, 0)), half);
        assert_eq!(sum(None, of(-5, 0)), None);
        assert_eq!(sum(of(i64::MAX, 0), of(i64::MAX, 0)), of(i64::MAX, 0));
    }
}
