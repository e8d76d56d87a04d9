//! Every reader of foreign bytes as a function of bytes, which must return whatever the bytes are.
//!
//! `cargo test -p fuzz` replays each corpus with mutations of it, the same each time; `cargo xtask fuzz` searches for more with libFuzzer.
#![forbid(unsafe_code)]

/// Builds program files; of the tests of `symbols`.
#[allow(dead_code, reason = "the tests of `symbols` use it")]
#[path = "../../symbols/src/worker/build.rs"]
mod build;

use tracers::{ALL, Batch, Filter, LABELS};

/// A reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, which is that of its folder in `corpus/`.
    pub name: &'static str,
    /// Reads the bytes. It may refuse them, and may not panic.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 16] = [
    target("answers", tracejob::fuzzing::answers),
    target("condition", condition),
    target("config", config),
    target("demangle", demangle),
    target("elf", symbols::fuzzing::elf),
    target("escape", tracejob::fuzzing::terminal_text),
    target("kallsyms", symbols::fuzzing::kallsyms),
    target("perf_map", symbols::fuzzing::perf_map),
    target("process", symbols::fuzzing::process_texts),
    target("profile", tracejob::fuzzing::profile),
    target("records", records),
    target("request", agent::fuzzing::request),
    target("system", system),
    target("trace_job", trace_job),
    target("unwind", symbols::fuzzing::unwind),
    target("worker", symbols::fuzzing::messages),
];

const fn target(name: &'static str, run: fn(&[u8])) -> Target {
    Target { name, run }
}

/// A condition of a user, for every dataset: the first byte selects the dataset, with the label columns before its own.
fn condition(data: &[u8]) {
    let Some((first, text)) = data.split_first() else {
        return;
    };
    let Ok(text) = str::from_utf8(text) else {
        return;
    };
    let all: Vec<_> = { ALL.iter() }
        .flat_map(|tracer| tracer.datasets())
        .collect();
    let dataset = &all[usize::from(*first) % all.len()];
    match Filter::parse(text, &dataset.labelled()) {
        Ok(filter) => {
            let (early, late) = filter.by_time(LABELS.len());
            if let Some(early) = early {
                early.split(&dataset.columns);
            }
            if let Some(late) = late {
                let _ = late.with_labels([true, false, true, false]);
            }
        }
        Err(mistake) => {
            assert!(text.get(mistake.place()).is_some(), "{mistake:?}");
            assert_eq!(mistake.marked(text).lines().count(), 2);
        }
    }
}

/// The node's configuration.
fn config(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        agent::fuzzing::config(text);
    }
}

/// A TraceJob from a file.
fn trace_job(data: &[u8]) {
    if let Ok(text) = str::from_utf8(data) {
        tracejob::fuzzing::trace_job(text);
    }
}

/// Files of the system: any user may choose names in them.
fn system(data: &[u8]) {
    engine::fuzzing::system_texts(&String::from_utf8_lossy(data));
}

/// A function's name, as a compiler may have mangled it: read from a program that has it.
fn demangle(data: &[u8]) {
    // A name of a symbol ends with a zero.
    let name: Vec<u8> = data.iter().copied().take_while(|byte| *byte != 0).collect();
    let Ok(name) = String::from_utf8(name) else {
        return;
    };
    let program = build::Build::new().function(&name, 0x1000, 16).unstripped();
    symbols::fuzzing::program(&program, &[0x1000]);
}

/// Records of a dataset: the first byte selects the dataset, then each record has its length before it. Decoded records are rendered.
fn records(data: &[u8]) {
    let Some((first, mut rest)) = data.split_first() else {
        return;
    };
    // Those that come first for each tracer, then the further ones: a corpus keeps its meaning.
    let mut datasets: Vec<_> = ALL.iter().map(|tracer| tracer.datasets()).collect();
    let firsts: Vec<_> = datasets.iter_mut().map(|all| all.remove(0)).collect();
    let all: Vec<_> = firsts
        .into_iter()
        .chain(datasets.into_iter().flatten())
        .collect();
    let dataset = &all[usize::from(*first) % all.len()];
    let columns = &dataset.columns;
    let mut batch = Batch::new(columns);
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_le_bytes(*length)).min(after.len());
        let (record, after) = after.split_at(length);
        let rows = batch.rows();
        // Aligned, as in a ring.
        let aligned = record.to_vec();
        let decoded = dataset.decode(&aligned, &mut batch).is_ok();
        assert_eq!(batch.rows(), rows + usize::from(decoded));
        rest = after;
    }
    tracejob::fuzzing::rows(&batch, columns);
}

#[cfg(test)]
mod tests;
