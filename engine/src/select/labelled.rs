//! The sets of labels that a trace's targets have had: they are kept until its end, for its last row.

use crate::limits::LABELS_BYTES;
use crate::{Error, Labels};
use std::{collections::HashMap, sync::Arc};

/// Bytes of a set beside its text: itself and its counts, and its places in the list and in the map.
const SET_BYTES: usize = size_of::<Labels>() + 16 + size_of::<Arc<Labels>>() + 32;

/// Sets of labels by the number that the kernel side gives their events.
#[derive(Debug)]
pub(super) struct Labelled {
    sets: Vec<Arc<Labels>>,
    numbers: HashMap<Arc<Labels>, u32>,
    bytes: usize,
}

impl Labelled {
    /// One whose number 0 is this.
    pub(super) fn new(first: Labels) -> Self {
        let first = Arc::new(first);
        Self {
            bytes: size(&first),
            sets: vec![Arc::clone(&first)],
            numbers: HashMap::from([(first, 0)]),
        }
    }

    /// The number of a set that is known.
    pub(super) fn known(&self, labels: &Labels) -> Option<u32> {
        self.numbers.get(labels).copied()
    }

    /// The number of a set.
    ///
    /// # Errors
    /// Where there is no room for one more.
    pub(super) fn number(&mut self, labels: Labels) -> Result<u32, Error> {
        if let Some(number) = self.known(&labels) {
            return Ok(number);
        }
        let bytes = self.bytes + size(&labels);
        if bytes > LABELS_BYTES {
            return Err(Error::TooManyLabels(LABELS_BYTES));
        }
        self.bytes = bytes;
        let (labels, number) = (Arc::new(labels), self.sets.len() as u32);
        self.sets.push(Arc::clone(&labels));
        self.numbers.insert(labels, number);
        Ok(number)
    }

    /// The set with a number.
    pub(super) fn set(&self, number: u32) -> &Labels {
        // A number that is not there would be a bug of the kernel side; its row has no labels then.
        self.sets.get(number as usize).unwrap_or(&self.sets[0])
    }
}

fn size(labels: &Labels) -> usize {
    let Labels(text) = labels;
    SET_BYTES + text.iter().map(String::capacity).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_labels_take_no_more_than_their_bytes_and_known_ones_nothing() {
        let mut labelled = Labelled::new(Labels::default());
        let set = |number: u32| Labels([0; 4].map(|_| format!("{number:0253}")));
        let refused = (0..).find(|number| labelled.number(set(*number)).is_err());
        let refused = refused.unwrap();
        assert!((3000..5000).contains(&refused), "{refused}");
        assert_eq!(labelled.number(set(7)).unwrap(), 8);
        assert_eq!(labelled.set(8), &set(7));
        assert!(labelled.bytes <= LABELS_BYTES);
    }
}
