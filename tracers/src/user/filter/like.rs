//! Constants for several values: patterns of text, networks of addresses, sets of names.

use super::text::Piece;
use crate::BitNames;
use core::fmt;
use ipnet::IpNet;
use std::{
    net::{IpAddr, Ipv6Addr},
    string::String,
    vec::Vec,
};
use wildmatch::WildMatchPattern;

/// Characters for `*` and `?` in compiled patterns, in which a literal `*` or `?` is itself. They are in a private area of Unicode.
const MANY: char = '\u{f0000}';
const ONE: char = '\u{f0001}';

/// A pattern of text: `*` stands for any characters, `?` for one.
#[derive(Clone, Debug, PartialEq)]
pub struct Pattern(WildMatchPattern<MANY, ONE>);

impl Eq for Pattern {}

impl Pattern {
    /// Compiles a pattern; `None` if it contains one of these two characters.
    pub(super) fn new(pieces: &[Piece]) -> Option<Self> {
        let pattern: Option<String> = { pieces.iter() }
            .map(|piece| match piece {
                Piece::Char(MANY | ONE) => None,
                Piece::Char(c) => Some(*c),
                Piece::Many => Some(MANY),
                Piece::One => Some(ONE),
            })
            .collect();
        pattern.map(|pattern| Self(WildMatchPattern::new(&pattern)))
    }

    /// Returns whether a whole text matches the pattern. Invalid UTF-8 is a character that only `*` and `?` match.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        self.0.matches(&String::from_utf8_lossy(text))
    }
}

/// A network: addresses with the same first bits. IPv4 addresses are mapped into IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    address: [u8; 16],
    bits: u8,
}

impl Network {
    /// All IPv4 addresses.
    pub(super) const IPV4: Self = Self {
        address: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        bits: 96,
    };

    /// Reads `10.0.0.0/8` or `fd00::/8`.
    pub(super) fn read(text: &str) -> Option<Self> {
        let net = text.parse::<IpNet>().ok()?.trunc();
        Some(Self {
            address: mapped(net.network()),
            bits: match net {
                IpNet::V4(net) => 96 + net.prefix_len(),
                IpNet::V6(net) => net.prefix_len(),
            },
        })
    }

    /// Returns whether it contains all IPv4 addresses, because it is a large network of IPv6.
    pub(super) fn is_around_ipv4(&self) -> bool {
        self.bits < Self::IPV4.bits && self.contains(&Self::IPV4.address)
    }

    /// Returns the first bytes of all its addresses, and the range of the following byte.
    pub(super) fn parts(&self) -> (&[u8], Option<(u8, u8)>) {
        let (whole, rest) = (usize::from(self.bits / 8), self.bits % 8);
        let (whole, after) = self.address.split_at(whole.min(16));
        let range = after.first().filter(|_| rest > 0);
        (whole, range.map(|first| (*first, first | (0xff >> rest))))
    }

    /// Returns whether it contains an address of 16 bytes, or of the 4 bytes of IPv4.
    pub(super) fn contains(&self, address: &[u8]) -> bool {
        let mut all = Self::IPV4.address;
        match address.len() {
            16 => all.copy_from_slice(address),
            4 => all[12..].copy_from_slice(address),
            _ => return false,
        }
        let (whole, range) = self.parts();
        let (begins, rest) = all.split_at(whole.len());
        let in_range = range.is_none_or(|(least, most)| {
            { rest.first() }.is_some_and(|byte| (least..=most).contains(byte))
        });
        begins == whole && in_range
    }
}

/// Returns the 16 bytes of an address.
pub(super) fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(four) => four.to_ipv6_mapped().octets(),
        IpAddr::V6(six) => Ipv6Addr::octets(&six),
    }
}

/// The names of the bits of a column's values.
#[derive(Clone, Copy)]
pub(super) struct Names(pub(super) BitNames);

impl Names {
    /// Returns every name of a number with at most two bits: a name such as O_SYNC stands for two.
    pub(super) fn all(self) -> Vec<String> {
        const PAIRED: u32 = 32;
        let one = (0..u64::BITS).map(|bit| 1 << bit);
        let two = (0..PAIRED).flat_map(|a| (0..a).map(move |b| 1 << a | 1 << b));
        let numbers = core::iter::once(0).chain(one).chain(two);
        let mut all: Vec<String> = Vec::new();
        numbers.for_each(|bits| (self.0)(bits, &mut |name| all.push(name.into())));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Returns whether a number has all these names. It is called for each row, and does not allocate.
    pub(super) fn has(self, number: u64, wanted: &[String]) -> bool {
        wanted.iter().all(|wanted| {
            let mut has = false;
            (self.0)(number, &mut |name| has |= name == wanted);
            has
        })
    }
}

impl PartialEq for Names {
    fn eq(&self, other: &Self) -> bool {
        core::ptr::fn_addr_eq(self.0, other.0)
    }
}

impl Eq for Names {}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Names")
    }
}
