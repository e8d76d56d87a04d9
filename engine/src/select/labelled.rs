//! The label sets of a trace's targets, kept until its end for its last row.

use crate::limits::LABELS_BYTES;
use crate::{Error, Labels};
use std::{collections::HashMap, sync::Arc};

/// Bytes of a set besides its text: the structure, its counts, and its entries in the list and in the map.
const SET_BYTES: usize = size_of::<Labels>() + 16 + size_of::<Arc<Labels>>() + 32;

/// Label sets by the number in the events of the kernel side.
#[derive(Debug)]
pub(super) struct Labelled {
    sets: Vec<Arc<Labels>>,
    numbers: HashMap<Arc<Labels>, u32>,
    bytes: usize,
}

impl Labelled {
    /// Creates the sets, with number 0.
    pub(super) fn new(first: Labels) -> Self {
        let first = Arc::new(first);
        Self {
            bytes: size(&first),
            sets: vec![Arc::clone(&first)],
            numbers: HashMap::from([(first, 0)]),
        }
    }

    /// Returns the number of an existing set.
    pub(super) fn known(&self, labels: &Labels) -> Option<u32> {
        self.numbers.get(labels).copied()
    }

    /// Returns the number of a set, which is added if needed.
    ///
    /// # Errors
    /// If there is no room for another set.
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

    /// Returns the set with a number.
    pub(super) fn set(&self, number: u32) -> &Labels {
        // An unknown number would be a bug of the kernel side; its row has no labels.
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
