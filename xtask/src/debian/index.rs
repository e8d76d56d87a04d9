//! What a suite has: apt's package list, and which of two versions is newer.

use std::cmp::Ordering;

/// One package in one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    /// Its name, which for kernels holds the release: `linux-image-6.1.0-56-cloud-amd64`.
    pub(crate) name: String,
    /// Debian's version of it: `6.1.192-2`.
    pub(crate) version: String,
}

/// The packages in the output of `apt-cache dumpavail`.
pub(crate) fn parse(text: &str) -> Vec<Package> {
    let mut packages = Vec::new();
    for paragraph in text.split("\n\n") {
        let field = |name: &str| {
            paragraph
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if let (Some(name), Some(version)) = (field("Package"), field("Version")) {
            packages.push(Package {
                name: name.to_owned(),
                version: version.to_owned(),
            });
        }
    }
    packages
}

/// Which of two versions is newer, as deb-version(7) orders them.
pub(crate) fn compare_versions(one: &str, other: &str) -> Ordering {
    let (epoch, rest) = split_epoch(one);
    let (other_epoch, other_rest) = split_epoch(other);
    let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, "0"));
    let (other_upstream, other_revision) = other_rest.rsplit_once('-').unwrap_or((other_rest, "0"));
    epoch
        .cmp(&other_epoch)
        .then_with(|| compare_parts(upstream, other_upstream))
        .then_with(|| compare_parts(revision, other_revision))
}

fn split_epoch(version: &str) -> (u64, &str) {
    version
        .split_once(':')
        .and_then(|(epoch, rest)| Some((epoch.parse().ok()?, rest)))
        .unwrap_or((0, version))
}

/// Compares a run of non-digits, then a number, then again.
fn compare_parts(mut one: &str, mut other: &str) -> Ordering {
    while !one.is_empty() || !other.is_empty() {
        let (text, rest) = split_while(one, |c| !c.is_ascii_digit());
        let (other_text, other_rest) = split_while(other, |c| !c.is_ascii_digit());
        let order = compare_text(text, other_text);
        let (number, rest) = split_while(rest, |c| c.is_ascii_digit());
        let (other_number, other_rest) = split_while(other_rest, |c| c.is_ascii_digit());
        let (number, other_number) = (
            number.trim_start_matches('0'),
            other_number.trim_start_matches('0'),
        );
        let order = order
            .then_with(|| number.len().cmp(&other_number.len()))
            .then_with(|| number.cmp(other_number));
        if order.is_ne() {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

fn split_while(text: &str, belongs: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !belongs(c)).unwrap_or(text.len()))
}

/// A tilde sorts before the end, the end before letters, letters before all else.
fn compare_text(one: &str, other: &str) -> Ordering {
    let weight = |c: Option<char>| match c {
        Some('~') => 0,
        None => 1,
        Some(c) if c.is_ascii_alphabetic() => 2 + u32::from(c),
        Some(c) => 1000 + u32::from(c),
    };
    let (mut one, mut other) = (one.chars(), other.chars());
    loop {
        let (a, b) = (one.next(), other.next());
        let order = weight(a).cmp(&weight(b));
        if order.is_ne() || a.is_none() {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_read_with_their_versions() {
        let text = "Package: linux-image-6.1-cloud-amd64\nSource: linux (6.1.1-1)\nVersion: 6.1.192-2\nDescription: x\n Version: no\n\n\
                    Package: broken\n\nPackage: cpio\nVersion: 2.13+dfsg-7.1\n";
        let found = parse(text);
        assert_eq!(found.len(), 2);
        assert_eq!(
            found[0],
            Package {
                name: "linux-image-6.1-cloud-amd64".into(),
                version: "6.1.192-2".into()
            }
        );
        assert_eq!(found[1].version, "2.13+dfsg-7.1");
    }

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        for (older, newer) in [
            ("6.12.9-1", "6.12.115-1"),
            ("7.3.4-1~bpo13+1", "7.3.4-1"),
            ("7.2.13-1", "7.3.4-1~bpo13+1"),
            ("5.10.223-1", "1:5.2"),
            ("1.0~rc1", "1.0"),
            ("1.0", "1.0a"),
            ("1.0a", "1.0+b"),
            ("1:7.2+dfsg-7+deb12u9", "1:7.2+dfsg-7+deb12u18+b3"),
        ] {
            assert_eq!(
                compare_versions(older, newer),
                Ordering::Less,
                "{older} < {newer}"
            );
            assert_eq!(
                compare_versions(newer, older),
                Ordering::Greater,
                "{newer} > {older}"
            );
        }
        assert_eq!(compare_versions("1.02", "1.2-0"), Ordering::Equal);
    }
}
