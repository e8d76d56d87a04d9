//! libFuzzer's harness of all targets: TRACEJOB_FUZZ names the one.
#![no_main]

use fuzz::{TARGETS, Target};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("TRACEJOB_FUZZ").unwrap_or_default();
    let found = TARGETS.into_iter().find(|target| target.name == name);
    found.unwrap_or_else(|| panic!("TRACEJOB_FUZZ is {name:?}, which is no target"))
});

fuzz_target!(|data: &[u8]| (TARGET.run)(data));
