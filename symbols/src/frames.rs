//! The table of distinct frames, by number. It is independent of the source of frames.

use crate::limits::{FRAME_TEXT_BYTES, FRAMES_MAX, WORDS_BYTES};
use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// Bytes of a frame in the table of frames, without its texts: `Frame` and its counts (96), its place and its entry by value (56).
const FRAME_BYTES: usize = 152;
/// Bytes of a text besides its characters: its counts, its entry, and the overhead of its allocation.
const WORD_BYTES: usize = 64;
/// Maximum bytes of a table of frames.
pub(super) const TABLE_BYTES: usize = FRAMES_MAX * FRAME_BYTES + WORDS_BYTES;
/// The first one of this many parts of a table distinguishes offsets in functions. In the rest a function is one frame: a target controls its
/// stacks, and thousands of offsets in its libraries must not use the room of all other names.
const FINE_PART: usize = 2;

/// The number of a frame in [`Frames`]. It stays valid as long as its symbolizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(u32);

impl FrameId {
    /// The frame of every address after the table was full.
    pub const TOO_MANY: Self = Self(0);
    /// The frame of an address in no known file.
    pub const UNKNOWN: Self = Self(1);

    /// Returns the index in a dense table, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A location in a program, as shown to users.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, demangled. Without a symbol, the module's last part and the offset in its file (`libc.so.6+0x2a1c`), or `[unknown]`.
    pub name: Arc<str>,
    /// The file as the target names it, a kernel module's name, `[kernel]`, `[vdso]`, or `[unknown]`.
    pub module: Arc<str>,
    /// Bytes from the start of the function; for a caller, of the last byte of its call. Without a symbol: from the start of the file.
    /// Zero in inlined functions, and in all new frames once the table is half full.
    pub offset: u64,
    /// The source file, if debug information has it.
    pub file: Option<Arc<str>>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// Whether this function is inlined into the function of the following frame.
    pub inlined: bool,
}

/// The table of frames, read by [`FrameId`].
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Arc<Frame>>,
    ids: HashMap<Arc<Frame>, FrameId>,
    words: HashSet<Arc<str>>,
    /// Bytes of all names, and the maximum.
    word_bytes: usize,
    most_word_bytes: usize,
    refused: u64,
    /// Maximum number of frames.
    most: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self::of(FRAMES_MAX, WORDS_BYTES)
    }

    /// Creates a table for this many frames with this many bytes of names.
    fn of(most: usize, most_word_bytes: usize) -> Self {
        let mut frames = Self {
            most,
            word_bytes: 0,
            most_word_bytes,
            frames: Vec::new(),
            ids: HashMap::new(),
            words: HashSet::new(),
            refused: 0,
        };
        for name in ["[too many frames]", "[unknown]"] {
            let (name, module) = (frames.word(name), frames.word("[unknown]"));
            frames.intern(Frame {
                name,
                module,
                offset: 0,
                file: None,
                line: None,
                inlined: false,
            });
        }
        frames
    }

    /// Returns the frame with a number.
    pub fn get(&self, id: FrameId) -> &Frame {
        &self.frames[id.index()]
    }

    /// Returns all frames, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter().map(Arc::as_ref)
    }

    /// Returns whether offsets in functions are no longer distinguished.
    pub(super) fn are_coarse(&self) -> bool {
        self.frames.len() >= self.most / FINE_PART
    }

    /// Returns the number of refused frames.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Returns a text, shortened if it is too long, and shared by all frames with the same text.
    pub(super) fn word(&mut self, text: &str) -> Arc<str> {
        let text = cut(text);
        if let Some(word) = self.words.get(&*text) {
            return word.clone();
        }
        let word: Arc<str> = (&*text).into();
        let bytes = self.word_bytes + word.len() + WORD_BYTES;
        if bytes <= self.most_word_bytes {
            self.word_bytes = bytes;
            self.words.insert(word.clone());
        }
        word
    }

    /// Whether all its texts had room.
    fn has_words_of(&self, frame: &Frame) -> bool {
        let texts = [Some(&frame.name), Some(&frame.module), frame.file.as_ref()];
        let mut texts = texts.into_iter().flatten();
        texts.all(|text| self.words.contains(text))
    }

    pub(super) fn intern(&mut self, mut frame: Frame) -> FrameId {
        if let Some(id) = self.ids.get(&frame) {
            return *id;
        }
        if self.are_coarse() {
            frame.offset = 0;
            frame.line = None;
            if let Some(id) = self.ids.get(&frame) {
                return *id;
            }
        }
        if self.frames.len() >= self.most || !self.has_words_of(&frame) {
            self.refused += 1;
            return FrameId::TOO_MANY;
        }
        let id = FrameId(self.frames.len() as u32);
        let frame = Arc::new(frame);
        self.frames.push(frame.clone());
        self.ids.insert(frame, id);
        id
    }
}

/// A name or path of at most [`FRAME_TEXT_BYTES`] bytes. Of a longer one the middle is left out: `start…0123456789abcdef…end`.
/// The digits are a hash of the whole, so that names of which the same is left stay different.
pub(super) fn cut(text: &str) -> Cow<'_, str> {
    // Two marks of three bytes, and sixteen digits.
    const KEPT: usize = (FRAME_TEXT_BYTES - 2 * "…".len() - 16) / 2;
    if text.len() <= FRAME_TEXT_BYTES {
        return text.into();
    }
    // FNV-1a: the same on all nodes, since their tables are merged by name.
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let start = &text[..text.floor_char_boundary(KEPT)];
    let end = &text[text.ceil_char_boundary(text.len() - KEPT)..];
    format!("{start}…{hash:016x}…{end}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A small table: how large it is makes no difference but time.
    const MOST: usize = 1 << 10;

    fn frame(frames: &mut Frames, name: &str, offset: u64) -> FrameId {
        let (name, module) = (frames.word(name), frames.word("/bin/x"));
        let frame = Frame {
            name,
            module,
            offset,
            file: None,
            line: None,
            inlined: false,
        };
        frames.intern(frame)
    }

    #[test]
    fn an_equal_frame_has_an_equal_number() {
        let mut frames = Frames::new();
        let first = frame(&mut frames, "main", 4);
        assert_eq!(first, frame(&mut frames, "main", 4));
        assert_ne!(first, frame(&mut frames, "main", 5));
        assert_eq!(&*frames.get(first).name, "main");
    }

    #[test]
    fn a_long_name_is_cut_where_it_shows_and_two_that_differ_stay_two() {
        let long = |middle: &str| format!("{}{middle}{}", "é".repeat(1000), "z".repeat(2000));
        let names = ["a", "b", "ab"].map(|middle| cut(&long(middle)).into_owned());
        for name in &names {
            assert!(
                name.len() <= FRAME_TEXT_BYTES && name.len() > FRAME_TEXT_BYTES - 4,
                "{name}"
            );
            assert!(
                name.starts_with("éé") && name.ends_with("zz") && name.matches('…').count() == 2
            );
            assert_eq!(cut(name), name.as_str());
        }
        assert!(names[0] != names[1] && names[0] != names[2] && names[1] != names[2]);
        let fits = "x".repeat(FRAME_TEXT_BYTES);
        assert_eq!(cut(&fits), fits);
    }

    #[test]
    fn names_beyond_their_bytes_are_refused_and_known_ones_are_not() {
        let most = 20 * (FRAME_TEXT_BYTES + WORD_BYTES);
        let mut frames = Frames::of(MOST, most);
        let long = |number: usize| format!("{number}{}", "x".repeat(10_000));
        let first = frame(&mut frames, &long(0), 0);
        for number in 0..100 {
            frame(&mut frames, &long(number), 0);
        }
        let bytes: usize = frames
            .words
            .iter()
            .map(|word| word.len() + WORD_BYTES)
            .sum();
        assert!(bytes <= most, "{bytes}");
        assert!(frames.refused() > 70);
        assert_eq!(frame(&mut frames, &long(99), 0), FrameId::TOO_MANY);
        assert_eq!(frame(&mut frames, &long(0), 0), first);
        // The name is known, and this is another place in it.
        assert_ne!(frame(&mut frames, &long(0), 1), FrameId::TOO_MANY);
    }

    #[test]
    fn the_first_frames_are_the_two_that_tell_nothing() {
        let frames = Frames::new();
        assert_eq!(&*frames.get(FrameId::TOO_MANY).name, "[too many frames]");
        assert_eq!(&*frames.get(FrameId::UNKNOWN).name, "[unknown]");
        assert_eq!(frames.iter().len(), 2);
    }

    #[test]
    fn a_half_full_table_has_room_for_functions_but_not_for_places() {
        let mut frames = Frames::of(MOST, WORDS_BYTES);
        for offset in 1..=2 * MOST as u64 {
            frame(&mut frames, "f", offset);
        }
        assert_eq!(frames.iter().len(), MOST / 2 + 1);
        let g = frame(&mut frames, "g", 5);
        assert_eq!((&*frames.get(g).name, frames.get(g).offset), ("g", 0));
        assert_eq!(g, frame(&mut frames, "g", 6));
        let known = frame(&mut frames, "f", 7);
        assert_eq!(frames.get(known).offset, 7);
        assert_eq!(frames.refused(), 0);
    }

    #[test]
    fn a_full_table_refuses_and_counts() {
        let mut frames = Frames::of(MOST, WORDS_BYTES);
        for number in 0..MOST {
            frame(&mut frames, &number.to_string(), 0);
        }
        assert_eq!(frame(&mut frames, "g", 0), FrameId::TOO_MANY);
        assert_eq!(frames.refused(), 3);
        assert_eq!(frame(&mut frames, "1", 0).index(), 3);
    }
}
