//! The table of frames: each distinct one once, by number.
//!
//! Knows nothing of where frames come from.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

/// How many distinct frames are kept, each about 150 bytes with its share of names: 40 MB at most.
/// A frame beyond them is [`FrameId::TOO_MANY`].
const FRAMES_MAX: usize = 1 << 18;
/// Part of a table, one of this many, that tells places in functions apart. In the rest a function is one frame: a target decides where
/// its stacks seem to point, and thousands of places in its libraries must not take the room of all other names.
const FINE_PART: usize = 2;

/// The number of a frame in [`Frames`]. It stays valid as long as its symbolizer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(u32);

impl FrameId {
    /// The frame of every address after the table was full.
    pub const TOO_MANY: Self = Self(0);
    /// The frame of an address of which nothing is known, not even what it lies in.
    pub const UNKNOWN: Self = Self(1);

    /// Its place in a dense table, from 0.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One place in a program, as a reader wants to see it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Frame {
    /// The function, demangled. Without a symbol, the module's last part and the offset in its file (`libc.so.6+0x2a1c`), or `[unknown]`.
    pub name: Arc<str>,
    /// The file as the target names it, a kernel module's name, `[kernel]`, `[vdso]`, or `[unknown]`.
    pub module: Arc<str>,
    /// Bytes from the start of the function; for a caller, of the last byte of its call. Without a symbol: from the start of the file.
    /// Zero in inlined functions, and in all that are new once the table is half full.
    pub offset: u64,
    /// The source file, where debug information tells.
    pub file: Option<Arc<str>>,
    /// The line in it, from 1.
    pub line: Option<u32>,
    /// Whether the compiler put this function into the one of the following frame.
    pub inlined: bool,
}

/// The table of frames, read by [`FrameId`].
#[derive(Debug)]
pub struct Frames {
    frames: Vec<Arc<Frame>>,
    ids: HashMap<Arc<Frame>, FrameId>,
    words: HashSet<Arc<str>>,
    refused: u64,
    /// How many frames fit.
    most: usize,
}

impl Frames {
    pub(super) fn new() -> Self {
        Self::of(FRAMES_MAX)
    }

    /// A table for this many frames.
    fn of(most: usize) -> Self {
        let mut frames = Self {
            most,
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

    /// The frame of that number.
    pub fn get(&self, id: FrameId) -> &Frame {
        &self.frames[id.index()]
    }

    /// Every frame, in the order of their numbers.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Frame> {
        self.frames.iter().map(Arc::as_ref)
    }

    /// Whether places in functions are not told apart any more.
    pub(super) fn are_coarse(&self) -> bool {
        self.frames.len() >= self.most / FINE_PART
    }

    /// How many times a frame did not fit.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// That text, shared with all who said it before.
    pub(super) fn word(&mut self, text: &str) -> Arc<str> {
        if let Some(word) = self.words.get(text) {
            return word.clone();
        }
        let word: Arc<str> = text.into();
        // Bounded with the frames that they belong to: a few for each.
        if self.words.len() < 4 * self.most {
            self.words.insert(word.clone());
        }
        word
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
        if self.frames.len() >= self.most {
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
    fn the_first_frames_are_the_two_that_tell_nothing() {
        let frames = Frames::new();
        assert_eq!(&*frames.get(FrameId::TOO_MANY).name, "[too many frames]");
        assert_eq!(&*frames.get(FrameId::UNKNOWN).name, "[unknown]");
        assert_eq!(frames.iter().len(), 2);
    }

    #[test]
    fn a_half_full_table_has_room_for_functions_but_not_for_places() {
        let mut frames = Frames::of(MOST);
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
        let mut frames = Frames::of(MOST);
        for number in 0..MOST {
            frame(&mut frames, &number.to_string(), 0);
        }
        assert_eq!(frame(&mut frames, "g", 0), FrameId::TOO_MANY);
        assert_eq!(frames.refused(), 3);
        assert_eq!(frame(&mut frames, "1", 0).index(), 3);
    }
}
