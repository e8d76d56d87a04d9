//! Canned rows.
