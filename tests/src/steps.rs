//! Steps of a workload, as tests write them.

use std::ffi::{OsStr, OsString};

/// The words of a workload's steps: one text, `openat 3 /dev/null , pause-forever`, or a list where a word has a blank or no UTF-8.
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
