//! Counts by power of two: item n counts values of 2^n to 2^(n+1) - 1, item 0 also those of 0.

macro_rules! histograms {
    ($($(#[$meta:meta])* $name:ident: $buckets:literal of $unit:ident;)*) => { $(
        shared! {
            $(#[$meta])*
            /// Bucket n counts those of 2^n to 2^(n+1) - 1, bucket 0 also those of 0, the last everything larger.
            $name (pub [u64; $buckets]);
        }
        impl $name {
            /// The last bucket.
            pub const LAST: usize = $buckets - 1;

            /// The bucket of a value.
            #[inline(always)]
            pub const fn bucket(value: u64) -> usize {
                let log2 = 63 - (value | 1).leading_zeros() as usize;
                if log2 > Self::LAST { Self::LAST } else { log2 }
            }
        }
        #[cfg(feature = "user")]
        impl crate::Cell for $name {
            fn columns(base: crate::Column, out: &mut std::vec::Vec<crate::Column>) {
                out.push(base.kind(crate::Kind::Log2 { unit: crate::Unit::$unit }));
            }
            fn push(&self, out: &mut crate::Cursor<'_>) {
                out.list(user::trimmed(&self.0));
            }
        }
    )* };
}
histograms! {
    /// A histogram of durations in ns; its last bucket begins at 34 s.
    Log2Ns: 36 of Nanoseconds;
    /// A histogram of durations in µs; its last bucket begins at 36 minutes.
    Log2Us: 32 of Microseconds;
    /// A histogram of sizes in bytes; its last bucket begins at 1 TiB.
    Log2Bytes: 41 of Bytes;
    /// A histogram of sizes in pages; its last bucket begins at 2^28, 1 TiB in pages of 4 KiB.
    Log2Pages: 29 of Pages;
}

#[cfg(feature = "user")]
pub(super) use user::This;
#[cfg(feature = "user")]
pub use user::percentile;

#[cfg(feature = "user")]
mod user {
    use super::super::{form::*, plain::*};

    /// The kind.
    #[derive(Clone, Copy)]
    pub(in crate::kind) struct This {
        /// Of the values that were counted.
        pub(in crate::kind) unit: Unit,
    }

    impl Form for This {
        const NAME: &'static str = "log2";
        const WORD: &'static str = "histogram";
        const TRUST: Trust = Trust::Kernel;
        const NAMING: Naming = Naming::None;
        const LOOK: Look = Look { width: 10, cut: Cut::Never, right: false };
        const BESIDE: Beside = Beside::Nothing;
        #[cfg(test)]
        const SAMPLE: Sample = Sample { value: Value::List(&[2, 0, 300]), text: "302", json: "[[0,2],[4,300]]", csv: "0:2 4:300" };

        fn store(self) -> Store {
            Store::Buckets
        }
        fn compared(self) -> Compared {
            Compared::Never("it is a histogram")
        }
        fn basic(self) -> Option<Basic> {
            Some(Basic::Log2)
        }
        fn of(self) -> &'static str {
            self.unit.word()
        }
        fn sent(unit: Unit) -> Option<Self> {
            Some(Self { unit })
        }
        /// How many values there are. A table of counts draws the buckets instead.
        fn text(self, value: Value<'_>, shown: Shown<'_>, out: &mut String) -> Tone {
            plain::text(value, shown, out)
        }
        fn json(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            let Value::List(buckets) = value else {
                return plain::json(value, shown, out);
            };
            json::list(lower_bounds(buckets), out, |(from, count), out| {
                out.push(b'[');
                json::integer(from, out);
                out.push(b',');
                json::integer(count, out);
                out.push(b']');
            });
        }
        fn csv(self, value: Value<'_>, shown: Shown<'_>, out: &mut Vec<u8>) {
            let Value::List(buckets) = value else {
                return plain::csv(value, shown, out);
            };
            for (index, (from, count)) in lower_bounds(buckets).enumerate() {
                separate(index, b' ', out);
                json::integer(from, out);
                out.push(b':');
                json::integer(count, out);
            }
        }
    }

    pub(super) fn trimmed(buckets: &[u64]) -> &[u64] {
        let used = buckets
            .iter()
            .rposition(|&n| n > 0)
            .map_or(0, |last| last + 1);
        &buckets[..used]
    }

    /// The buckets that have something in them: the smallest value that belongs there, and how many did.
    fn lower_bounds(buckets: &[u64]) -> impl Iterator<Item = (u64, u64)> {
        let some = buckets.iter().enumerate().filter(|(_, count)| **count > 0);
        some.map(|(n, count)| {
            let from = match n {
                0 => 0,
                n => 1u64.checked_shl(n as u32).unwrap_or(u64::MAX),
            };
            (from, *count)
        })
    }

    /// The value that `per_cent` of what was counted do not exceed, by the upper end of its bucket; `None` for nothing counted.
    pub fn percentile(buckets: &[u64], per_cent: u64) -> Option<u64> {
        let total: u128 = buckets.iter().map(|&n| u128::from(n)).sum();
        let wanted = (total * u128::from(per_cent)).div_ceil(100);
        let mut seen = 0;
        let at = buckets.iter().position(|&n| {
            seen += u128::from(n);
            n > 0 && seen >= wanted
        })?;
        Some(
            1u64.checked_shl(at as u32 + 1)
                .map_or(u64::MAX, |next| next - 1),
        )
    }

    #[test]
    fn a_percentile_is_the_upper_end_of_its_bucket() {
        let alone = |at: usize| {
            let mut buckets = std::vec![0; at];
            buckets.push(1);
            percentile(&buckets, 99)
        };
        assert_eq!(percentile(&[], 99), None);
        assert_eq!(percentile(&[0, 0], 99), None);
        assert_eq!(percentile(&[99, 1], 99), Some(1));
        assert_eq!(percentile(&[98, 2], 99), Some(3));
        assert_eq!(alone(14), Some((1 << 15) - 1));
        assert_eq!(alone(63), Some(u64::MAX));
    }

    #[test]
    fn the_last_bucket_takes_everything_larger() {
        use crate::{Log2Bytes, Log2Ns, Log2Pages, Log2Us};
        assert_eq!((Log2Ns::bucket(0), Log2Ns::bucket(1023)), (0, 9));
        assert_eq!(Log2Ns::bucket(u64::MAX), 35);
        assert_eq!(Log2Bytes::bucket((1 << 40) - 1), 39);
        assert_eq!(Log2Bytes::bucket(1 << 40), 40);
        assert_eq!(Log2Us::bucket(u64::MAX), 31);
        assert_eq!(Log2Pages::bucket(u64::MAX), 28);
    }
}
