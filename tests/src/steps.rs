//! Steps of a workload, as tests write them.

use std::ffi::{OsStr, OsString};

/// The steps of a workload: one text, `getppid 3 , pause-forever`, or a list of words where a word is empty, has a blank or is not UTF-8.
pub trait Steps {
    /// Returns the words.
    fn words(&self) -> Vec<OsString>;
}

impl Steps for str {
    fn words(&self) -> Vec<OsString> {
        self.split_ascii_whitespace().map(Into::into).collect()
    }
}

impl Steps for String {
    fn words(&self) -> Vec<OsString> {
        self.as_str().words()
    }
}

impl<T: AsRef<OsStr>> Steps for [T] {
    fn words(&self) -> Vec<OsString> {
        self.iter().map(|word| word.as_ref().to_owned()).collect()
    }
}

impl<T: AsRef<OsStr>, const N: usize> Steps for [T; N] {
    fn words(&self) -> Vec<OsString> {
        self.as_slice().words()
    }
}

impl<T: AsRef<OsStr>> Steps for Vec<T> {
    fn words(&self) -> Vec<OsString> {
        self.as_slice().words()
    }
}

impl<T: Steps + ?Sized> Steps for &T {
    fn words(&self) -> Vec<OsString> {
        (**self).words()
    }
}
