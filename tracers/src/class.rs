//! What a tracer reveals or changes. Policies, capabilities and rights go by it.

use core::{fmt, str::FromStr};

/// What a tracer reveals or changes: a node's policy and a cluster's rights allow it by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// What happens: calls, connections, faults, with names of files and programs.
    Observe,
    /// Contents that programs exchange or are given: packets, names looked up, arguments.
    Payload,
    /// Arbitrary reads of memory, of the kernel or of a process.
    Memory,
    /// Changes to what the target sees.
    Act,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 4] = [Self::Observe, Self::Payload, Self::Memory, Self::Act];

    /// The classes that a node allows where its configuration names none.
    pub const DEFAULT: [Self; 2] = [Self::Observe, Self::Payload];

    /// Returns the word of the class in configurations, in the API and in names of roles.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Observe => "observe",
            Self::Payload => "payload",
            Self::Memory => "memory",
            Self::Act => "act",
        }
    }

    /// Returns what a tracer of this class reveals or changes, in a few words.
    pub const fn about(self) -> &'static str {
        match self {
            Self::Observe => "events and counts",
            Self::Payload => "contents that programs exchange or receive",
            Self::Memory => "arbitrary reads of memory",
            Self::Act => "changes to what the target sees",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Error of an unknown class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownClass;

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("unknown class; classes:")?;
        for (at, class) in Class::ALL.into_iter().enumerate() {
            let before = if at == 0 { " " } else { ", " };
            write!(f, "{before}{class}")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownClass {}

impl FromStr for Class {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        { Self::ALL.into_iter() }
            .find(|class| class.word() == word)
            .ok_or(UnknownClass)
    }
}
