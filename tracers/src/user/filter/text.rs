//! The text of a condition: words and symbols, each with its place, and what is made of them. Columns and kinds are in `typed`.
//!
//! ```text
//! any        = all { "||" all }
//! all        = one { "&&" one }
//! one        = "!" one | "(" any ")" | COLUMN [ operator value | "in" "(" value { "," value } ")" ]
//! operator   = "==" | "=" | "!=" | "<" | "<=" | ">" | ">="
//! value      = WORD | "'" text "'" | '"' text '"'
//! ```

use super::{Mistake, Operator};
use crate::escape;
use core::ops::Range;
use std::{boxed::Box, format, string::String, vec, vec::Vec};

/// Most bytes of a condition.
pub(super) const MOST_BYTES: usize = 4096;
/// Most `!` and parentheses around one another.
pub(super) const MOST_DEPTH: usize = 32;
/// Most values that columns are compared with.
pub(super) const MOST_VALUES: usize = 64;

/// A condition before its columns are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
    Test(Word, Check),
}

/// What is required of a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Check {
    /// It is true.
    True,
    Compare(Operator, Word),
    In(Vec<Word>),
}

/// A name or a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Word {
    pub(super) pieces: Vec<Piece>,
    pub(super) place: Range<usize>,
    quoted: bool,
}

/// A part of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Char(char),
    /// `*`: any characters, or none.
    Many,
    /// `?`: one character.
    One,
}

impl Word {
    /// Its text; `None` where it is a pattern.
    pub(super) fn plain(&self) -> Option<String> {
        let plain = self.pieces.iter().map(|piece| match piece {
            Piece::Char(c) => Some(*c),
            Piece::Many | Piece::One => None,
        });
        plain.collect()
    }

    /// Its text for messages: escaped, and not long.
    pub(super) fn shown(&self) -> String {
        const LONGEST: usize = 60;
        let mut shown = String::new();
        let escaped = escape::escaped(self.written().as_bytes());
        escape::cut_right(&escaped, LONGEST, &mut shown);
        shown
    }

    /// Its text as it is written.
    pub(super) fn written(&self) -> String {
        let written = self.pieces.iter().map(|piece| match piece {
            Piece::Char(c) => *c,
            Piece::Many => '*',
            Piece::One => '?',
        });
        written.collect()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(Word),
    Symbol(&'static str),
    End,
}

impl Token {
    fn described(&self) -> String {
        match self {
            Self::Word(word) => format!("`{}`", word.shown()),
            Self::Symbol(symbol) => format!("`{symbol}`"),
            Self::End => "the end".into(),
        }
    }
}

/// Longer ones first.
const SYMBOLS: [&str; 12] = [
    "&&", "||", "==", "!=", "<=", ">=", "=", "<", ">", "!", "(", ")",
];
/// Characters that end a word.
const ENDS: &[char] = &['(', ')', ',', '"', '\'', '=', '!', '<', '>', '&', '|'];

/// Reads a condition.
pub(super) fn read(text: &str) -> Result<Node, Mistake> {
    if text.len() > MOST_BYTES {
        let bytes = text.len();
        return Err(Mistake::new(
            format!("the condition has {bytes} bytes: write at most {MOST_BYTES}"),
            0..0,
        ));
    }
    let mut parser = Parser {
        text,
        at: 0,
        token: Token::End,
        place: 0..0,
        depth: 0,
        values: 0,
    };
    parser.advance()?;
    if parser.token == Token::End {
        return Err(Mistake::new(
            "the condition is empty: write a comparison, such as pid == 1",
            0..0,
        ));
    }
    let node = parser.any()?;
    match parser.token {
        Token::End => Ok(node),
        _ => Err(parser.unexpected("`&&`, `||` or the end")),
    }
}

struct Parser<'a> {
    text: &'a str,
    /// Where the next token begins, or the white space before it.
    at: usize,
    token: Token,
    place: Range<usize>,
    depth: usize,
    values: usize,
}

impl Parser<'_> {
    fn any(&mut self) -> Result<Node, Mistake> {
        let mut parts = vec![self.all()?];
        while self.take("||")? {
            parts.push(self.all()?);
        }
        Ok(one_or(parts, Node::Any))
    }

    fn all(&mut self) -> Result<Node, Mistake> {
        let mut parts = vec![self.one()?];
        while self.take("&&")? {
            parts.push(self.one()?);
        }
        Ok(one_or(parts, Node::All))
    }

    fn one(&mut self) -> Result<Node, Mistake> {
        let place = self.place.clone();
        if self.take("!")? {
            self.deeper(place)?;
            let part = self.one()?;
            self.depth -= 1;
            return Ok(Node::Not(Box::new(part)));
        }
        if self.take("(")? {
            self.deeper(place)?;
            let part = self.any()?;
            self.depth -= 1;
            self.expect(")")?;
            return Ok(part);
        }
        let column = self.word("a column")?;
        let check = self.check()?;
        Ok(Node::Test(column, check))
    }

    fn deeper(&mut self, place: Range<usize>) -> Result<(), Mistake> {
        self.depth += 1;
        match self.depth > MOST_DEPTH {
            false => Ok(()),
            true => Err(Mistake::new(
                format!("more than {MOST_DEPTH} parentheses or `!` nested: reduce the nesting"),
                place,
            )),
        }
    }

    fn check(&mut self) -> Result<Check, Mistake> {
        let operators = [
            ("==", Operator::Equal),
            ("=", Operator::Equal),
            ("!=", Operator::NotEqual),
            ("<=", Operator::AtMost),
            ("<", Operator::Less),
            (">=", Operator::AtLeast),
            (">", Operator::Greater),
        ];
        for (symbol, operator) in operators {
            if self.take(symbol)? {
                return Ok(Check::Compare(operator, self.value()?));
            }
        }
        let is_in =
            matches!(&self.token, Token::Word(word) if !word.quoted && word.written() == "in");
        if !is_in {
            self.count(&self.place.clone())?;
            return Ok(Check::True);
        }
        self.advance()?;
        self.expect("(")?;
        let mut values = vec![self.value()?];
        while self.take(",")? {
            values.push(self.value()?);
        }
        self.expect(")")?;
        Ok(Check::In(values))
    }

    fn value(&mut self) -> Result<Word, Mistake> {
        let value = self.word("a value")?;
        self.count(&value.place)?;
        Ok(value)
    }

    fn count(&mut self, place: &Range<usize>) -> Result<(), Mistake> {
        self.values += 1;
        match self.values > MOST_VALUES {
            false => Ok(()),
            true => Err(Mistake::new(
                format!("more than {MOST_VALUES} comparisons: use a pattern, a range or a network"),
                place.clone(),
            )),
        }
    }

    fn word(&mut self, wanted: &str) -> Result<Word, Mistake> {
        match &self.token {
            Token::Word(word) => {
                let word = word.clone();
                self.advance()?;
                Ok(word)
            }
            Token::Symbol(_) | Token::End => Err(self.unexpected(wanted)),
        }
    }

    /// Goes on behind this symbol, if it is next.
    fn take(&mut self, symbol: &str) -> Result<bool, Mistake> {
        let is_next = matches!(self.token, Token::Symbol(next) if next == symbol);
        if is_next {
            self.advance()?;
        }
        Ok(is_next)
    }

    fn expect(&mut self, symbol: &str) -> Result<(), Mistake> {
        match self.take(symbol)? {
            true => Ok(()),
            false => Err(self.unexpected(&format!("`{symbol}`"))),
        }
    }

    fn unexpected(&self, wanted: &str) -> Mistake {
        let found = self.token.described();
        let hint = match found.to_ascii_lowercase().as_str() {
            "`and`" => ": write `&&`",
            "`or`" => ": write `||`",
            _ => "",
        };
        Mistake::new(
            format!("expected {wanted}, found {found}{hint}"),
            self.place.clone(),
        )
    }

    /// Reads the next token.
    fn advance(&mut self) -> Result<(), Mistake> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        let (start, rest) = (self.at, &self.text[self.at..]);
        let Some(first) = rest.chars().next() else {
            (self.token, self.place) = (Token::End, start..start);
            return Ok(());
        };
        let symbols = SYMBOLS.iter().chain(&[","]);
        let symbol = { symbols }.find(|symbol| rest.starts_with(**symbol));
        self.token = match (first, symbol) {
            (_, Some(symbol)) => {
                self.at += symbol.len();
                Token::Symbol(symbol)
            }
            ('"' | '\'', None) => Token::Word(self.quoted(first)?),
            ('&' | '|', None) => {
                return Err(Mistake::new(
                    format!("expected `{first}{first}`, found `{first}`"),
                    start..start + 1,
                ));
            }
            _ => Token::Word(self.bare()?),
        };
        self.place = start..self.at;
        Ok(())
    }

    /// A word up to white space or a symbol.
    fn bare(&mut self) -> Result<Word, Mistake> {
        let start = self.at;
        let mut pieces = Vec::new();
        while let Some(c) = self.next_char() {
            if c.is_whitespace() || ENDS.contains(&c) {
                break;
            }
            pieces.push(self.piece(c)?);
        }
        Ok(Word {
            pieces,
            place: start..self.at,
            quoted: false,
        })
    }

    fn quoted(&mut self, quote: char) -> Result<Word, Mistake> {
        let start = self.at;
        let mut pieces = Vec::new();
        self.at += quote.len_utf8();
        while let Some(c) = self.next_char() {
            if c == quote {
                self.at += quote.len_utf8();
                return Ok(Word {
                    pieces,
                    place: start..self.at,
                    quoted: true,
                });
            }
            pieces.push(self.piece(c)?);
        }
        Err(Mistake::new(
            format!("the quoted text does not end: add {quote}"),
            start..self.text.len(),
        ))
    }

    fn next_char(&self) -> Option<char> {
        self.text[self.at..].chars().next()
    }

    /// Reads one character of a value, which begins with `c`.
    fn piece(&mut self, c: char) -> Result<Piece, Mistake> {
        let start = self.at;
        self.at += c.len_utf8();
        match c {
            '*' => return Ok(Piece::Many),
            '?' => return Ok(Piece::One),
            '\\' => {}
            c => return Ok(Piece::Char(c)),
        }
        match self.next_char() {
            Some(c @ ('\\' | '"' | '\'' | '*' | '?')) => {
                self.at += c.len_utf8();
                Ok(Piece::Char(c))
            }
            Some(_) | None => Err(Mistake::new(
                r#"\ escapes only \, ", ', * and ?: write \\ for a backslash"#,
                start..self.at,
            )),
        }
    }
}

fn one_or(mut parts: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    match parts.len() {
        1 => parts.remove(0),
        _ => many(parts),
    }
}
