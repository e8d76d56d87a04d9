//! What holds for any run, whatever it traces: its bounds, its end, its books under a storm, and that nothing stays behind.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod alone;
mod bounds;
mod closed;
mod conditions;
mod filters;
mod idle;
mod killed;
mod loading;
mod names;
mod namespaces;
mod points;
mod refused;
mod slots;
