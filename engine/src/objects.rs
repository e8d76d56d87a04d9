//! The kernel programs, as they were built.

static OBJECTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/objects.rs"));

/// The object of a tracer; `None` where there is no tracer of that name.
pub fn object(name: &str) -> Option<&'static [u8]> {
    OBJECTS
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, object)| *object)
}
