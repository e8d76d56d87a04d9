//! Each corpus, and mutations of it that are the same each time.

use super::{TARGETS, Target};
use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

/// Mutations of each target's corpus, all together.
const MUTATIONS: u64 = 20_000;
/// The longest input, bytes.
const LONGEST: usize = 4096;

fn folder(target: Target) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("corpus").join(target.name)
}

fn corpus(target: Target) -> Vec<Vec<u8>> {
    let folder = folder(target);
    let files = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{folder:?}: {error}"));
    let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder:?} is empty");
    paths.iter().map(|path| fs::read(path).unwrap()).collect()
}

/// splitmix64: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }

    /// A place, and one not before it.
    fn span(&mut self, length: usize) -> (usize, usize) {
        let start = self.below(length + 1);
        (start, start + self.below((length - start).min(64) + 1))
    }
}

/// Changes that readers stumble over: bits, edges of numbers, cuts, repetitions, and pieces of others.
fn mutate(data: &mut Vec<u8>, others: &[Vec<u8>], random: &mut Random) {
    const EDGES: [u64; 8] = [
        0,
        1,
        0x7f,
        0xff,
        0x7fff_ffff,
        0xffff_ffff,
        1 << 63,
        u64::MAX,
    ];
    let at = random.below(data.len());
    match random.below(7) {
        0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
        1 if !data.is_empty() => data[at] = random.next() as u8,
        2 => {
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            let count = [1, 2, 4, 8][random.below(4)].min(data.len() - at.min(data.len()));
            data[at..at + count].copy_from_slice(&edge[..count]);
        }
        3 => data.truncate(at),
        4 => {
            let (start, end) = random.span(data.len());
            data.drain(start..end);
        }
        5 => {
            let (start, end) = random.span(data.len());
            let piece = data[start..end].to_vec();
            data.splice(at..at, piece);
        }
        _ => {
            let other = &others[random.below(others.len())];
            let (start, end) = random.span(other.len());
            data.splice(at..at, other[start..end].iter().copied());
        }
    }
    data.truncate(LONGEST);
}

fn run(target: Target, data: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| (target.run)(data)));
    assert!(
        outcome.is_ok(),
        "{} panicked at \"{}\"",
        target.name,
        data.escape_ascii()
    );
}

#[test]
fn no_reader_of_foreign_bytes_panics_at_its_corpus_or_at_mutations_of_it() {
    std::thread::scope(|scope| {
        for target in TARGETS {
            scope.spawn(move || run_all(target));
        }
    });
}

/// Runs a target on its corpus and on mutations of it.
fn run_all(target: Target) {
    let corpus = corpus(target);
    for data in &corpus {
        assert!(data.len() <= LONGEST, "a corpus is small: {}", target.name);
        run(target, data);
    }
    let mut random = Random(1);
    for _ in 0..MUTATIONS {
        let mut data = corpus[random.below(corpus.len())].clone();
        for _ in 0..=random.below(4) {
            mutate(&mut data, &corpus, &mut random);
        }
        run(target, &data);
    }
}

#[test]
fn every_corpus_has_its_target() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for folder in fs::read_dir(root).unwrap() {
        let name = folder.unwrap().file_name();
        let known = TARGETS.iter().any(|target| name == target.name);
        assert!(known, "{name:?} belongs to no target");
    }
}
