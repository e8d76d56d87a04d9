//! Names of objects. A name is checked before it is put into a path of the API server, because `..` and `/` would address another object.

use std::fmt;

/// The name of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct JobName {
    /// The namespace; `None` for a ClusterTraceJob.
    pub namespace: Option<String>,
    /// The name within the namespace or cluster.
    pub name: String,
}

/// A part of a name that the API server would not accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// `namespace` or `name`.
    pub field: &'static str,
    /// The expected form, with an example.
    pub expected: &'static str,
}

impl JobName {
    /// Returns a name whose parts can be put into a path of the API server.
    ///
    /// # Errors
    /// If a part is not a valid name, and could address another object.
    pub fn new(namespace: Option<String>, name: String) -> Result<Self, Invalid> {
        if namespace.as_deref().is_some_and(|name| !is_namespace(name)) {
            return Err(Invalid {
                field: "namespace",
                expected: "expected a DNS label, such as shop-1",
            });
        }
        if !is_job(&name) {
            return Err(Invalid {
                field: "name",
                expected: "expected the name of a job, such as checkout-db.1",
            });
        }
        Ok(Self { namespace, name })
    }

    /// Returns the resource's name in RBAC and in paths.
    pub fn resource(&self) -> &'static str {
        match self.namespace {
            Some(_) => "tracejobs",
            None => "clustertracejobs",
        }
    }

    /// Returns the object as kubectl prints it: `tracejob.tracejob.dev/checkout-db`.
    pub fn object(&self) -> String {
        match self.namespace {
            Some(_) => format!("tracejob.{}/{}", crate::GROUP, self.name),
            None => format!("clustertracejob.{}/{}", crate::GROUP, self.name),
        }
    }

    /// Returns the object with its namespace: `tracejob.tracejob.dev/checkout-db in namespace shop`.
    pub fn shown(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} in namespace {namespace}", self.object()),
            None => self.object(),
        }
    }

    /// Returns the arguments of `kubectl tracejob` that name it: `checkout-db -n shop`.
    pub fn short(&self) -> String {
        match &self.namespace {
            Some(namespace) => format!("{} -n {namespace}", self.name),
            None => format!("ctj/{}", self.name),
        }
    }
}

impl fmt::Display for JobName {
    /// The form of objects in errors of the API server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let resource = self.resource();
        match &self.namespace {
            Some(namespace) => {
                write!(
                    f,
                    "{resource}.{} \"{namespace}/{}\"",
                    crate::GROUP,
                    self.name
                )
            }
            None => write!(f, "{resource}.{} \"{}\"", crate::GROUP, self.name),
        }
    }
}

/// Returns whether a text is a valid name of a namespace: a DNS label (RFC 1123).
fn is_namespace(text: &str) -> bool {
    text.len() <= 63 && is_label(text)
}

/// Returns whether a text is a valid name of a job: DNS labels separated by dots. As in Kubernetes, only the total length is limited.
fn is_job(text: &str) -> bool {
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
    fn path_separators_are_not_accepted_in_names() {
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
