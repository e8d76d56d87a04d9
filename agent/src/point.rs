//! How programs are loaded and attached, by kind of point.

pub(crate) mod uprobe_multi;
