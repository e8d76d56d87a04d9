//! Properties of every run: its bounds, its end, its account under a storm, and that it leaves nothing in the kernel.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "tests fail by panics")]

mod alone;
mod bounds;
mod closed;
mod conditions;
mod diff;
mod filters;
mod idle;
mod killed;
mod loading;
mod names;
mod namespaces;
mod points;
mod refused;
mod root;
mod short_stacks;
mod slots;
