//! Names of objects, as the API server takes them. Who builds a path of a name checks it first: `..` and `/` in it would lead elsewhere.

/// Returns whether this can be the name of a namespace: a label of DNS (RFC 1123).
pub fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// Returns whether this can be the name of a job: labels of DNS with dots between them. As in Kubernetes, only the whole is bounded.
pub fn is_job(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !text.is_empty() && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_elsewhere_in_a_path_is_no_name() {
        for name in ["a", "a-b", "0", "a.b-c.d", &"a".repeat(253)] {
            assert!(is_job(name), "{name}");
        }
        assert!(is_namespace("shop-1") && is_namespace(&"a".repeat(63)));
        let evil = [
            "",
            ".",
            "..",
            "a..b",
            "../../b/tracejobs/y",
            "a/b",
            "a%2fb",
            "a?b",
            "a#b",
            "a b",
            "-a",
            "a-",
            "A",
            "ä",
            "a\n",
            &"a".repeat(254),
        ];
        for name in evil {
            assert!(!is_job(name) && !is_namespace(name), "{name}");
        }
        assert!(!is_namespace("a.b") && !is_namespace(&"a".repeat(64)));
    }
}
