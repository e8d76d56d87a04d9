//! Tests that need the machine for themselves: on the test kernels they run after all others, one at a time.

mod storm;
