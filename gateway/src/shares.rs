//! Shares of a replica: places for readers, and memory for the logs of jobs.

use crate::limits::{FULL_LOGS, JOBS, READERS, READERS_PER_USER};
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

/// Returns the bytes that each of `jobs` logs may keep. A single log may keep `most`.
pub(crate) fn log_bytes(most: usize, jobs: usize) -> usize {
    most.min(most.saturating_mul(FULL_LOGS) / jobs.max(1))
}

/// Places of readers.
#[derive(Clone, Default)]
pub(crate) struct Readers(Arc<Mutex<HashMap<String, usize>>>);

/// The limit that a reader exceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Full {
    #[error(
        "this replica has reached its limit of {READERS} readers: try again, another replica may have room"
    )]
    Readers,
    #[error("you have {READERS_PER_USER} readers at this replica, which is the limit for one user")]
    ReadersOfUser,
    #[error(
        "this replica has reached its limit of {JOBS} jobs: try again, another replica may have room"
    )]
    Jobs,
}

/// The place of a reader, which is freed when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    readers: Readers,
    user: String,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    /// Gives a user's reader a place.
    ///
    /// # Errors
    /// [`Full`] if no place is free.
    pub(crate) fn enter(&self, user: &str) -> Result<Place, Full> {
        let mut users = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if users.values().sum::<usize>() >= READERS {
            return Err(Full::Readers);
        }
        let of_user = users.entry(user.to_owned()).or_default();
        if *of_user >= READERS_PER_USER {
            return Err(Full::ReadersOfUser);
        }
        *of_user += 1;
        Ok(Place {
            readers: self.clone(),
            user: user.to_owned(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut users = self
            .readers
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(of_user) = users.get_mut(&self.user) {
            *of_user -= 1;
            if *of_user == 0 {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_user_has_at_most_a_fifth_of_all_places_and_frees_them() {
        let readers = Readers::default();
        let all = |user: &str| std::iter::from_fn(|| readers.enter(user).ok()).collect::<Vec<_>>();
        let ann = all("ann");
        assert_eq!(ann.len(), READERS_PER_USER);
        assert_eq!(readers.enter("ann").unwrap_err(), Full::ReadersOfUser);
        let others: Vec<_> = (0..10).flat_map(|n| all(&format!("user {n}"))).collect();
        assert_eq!(ann.len() + others.len(), READERS);
        assert_eq!(readers.enter("bob").unwrap_err(), Full::Readers);
        drop(ann);
        assert!(readers.enter("bob").is_ok());
        drop(others);
        assert!(readers.0.lock().unwrap().is_empty());
    }

    #[test]
    fn all_logs_together_are_as_large_as_sixteen_full_logs() {
        for jobs in 1..=JOBS {
            let each = log_bytes(32 << 20, jobs);
            assert!(
                each * jobs <= 512 << 20 && each >= 2 << 20,
                "{jobs}: {each}"
            );
        }
        assert_eq!(log_bytes(32 << 20, 16), 32 << 20);
    }
}
