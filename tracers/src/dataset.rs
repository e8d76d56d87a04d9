//! Further datasets of a tracer: rows of another struct, which leave the kernel another way.

#[cfg(feature = "user")]
use crate::Dataset;
use crate::{Event, Source};

/// A dataset that a tracer has besides its first, which is the tracer's own rows.
#[derive(Clone, Copy, Debug)]
pub struct Further {
    /// Its name, in snake case; no other dataset of the tracer has it.
    pub name: &'static str,
    /// How its rows leave the kernel: as no other dataset's of the tracer, since a source has one set of maps.
    pub source: Source,
    /// All of it, by its name.
    #[cfg(feature = "user")]
    pub make: fn(&'static str) -> Dataset,
}

/// A further dataset: the rows of `T`.
pub const fn further<T: Event>(name: &'static str) -> Further {
    Further {
        name,
        source: T::SOURCE,
        #[cfg(feature = "user")]
        make: Dataset::of::<T>,
    }
}

/// Refuses, when it is compiled, two datasets of one source: programs could not tell their maps apart, nor the reader their records.
#[cfg(feature = "user")]
pub(crate) const fn check(first: Source, further: &[Further]) {
    let mut at = 0;
    while at < further.len() {
        let mut before = 0;
        assert!(
            further[at].source as u8 != first as u8,
            "the datasets of a tracer come each from a source of its own"
        );
        while before < at {
            assert!(
                further[at].source as u8 != further[before].source as u8,
                "the datasets of a tracer come each from a source of its own"
            );
            before += 1;
        }
        at += 1;
    }
}
