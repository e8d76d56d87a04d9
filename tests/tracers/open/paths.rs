//! Paths as the kernel resolved them: names, links, mounts, roots, and those too long to be whole.

use super::{Folder, one_failure, os, traced, traced_after};
use crate::steps;
use serde_json::{Value, json};
use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt, fs::symlink},
};
use tests::{bytes, needs};

#[test]
fn names_that_are_not_utf8_are_kept_to_the_byte() {
    needs!("open");
    let folder = Folder::new();
    let name = OsStr::from_bytes(b"\xff\xfe caf\xe9 \x01");
    let path = folder.file(name);
    let (outcome, _, _) = traced(&steps(&[&"open", &"openat", &path, &"0", &"0"]));
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
    assert!(outcome.row()["path"]["base64"].is_string());
    one_failure(
        "openat",
        b"/\xff\xfe/not/there",
        0,
        "O_RDONLY",
        libc::ENOENT,
        "ENOENT",
    );
}

#[test]
fn a_relative_path_is_shown_as_the_kernel_resolved_it() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("here");
    fs::create_dir(folder.path("sub")).unwrap();
    let sub = folder.path("sub");
    let sub = sub.display();
    let (outcome, _, _) = traced(&format!("chdir {sub} , open openat ../sub/.././here 0 0"));
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
    assert_eq!(outcome.row()["resolved"], json!(true));
}

#[test]
fn a_symbolic_link_is_shown_as_what_it_leads_to() {
    needs!("open");
    let folder = Folder::new();
    let path = folder.file("target");
    symlink("target", folder.path("one")).unwrap();
    symlink(folder.path("one"), folder.path("two")).unwrap();
    let (outcome, _, _) = traced(&format!("open openat {} 0 0", folder.path("two").display()));
    assert_eq!(outcome.row()["path"], bytes(os(&path)));
}

#[test]
fn the_root_and_a_files_own_mount_are_shown_as_they_are() {
    needs!("open");
    let (outcome, _, _) = traced("open openat / 0 0 , open openat /proc 0 0");
    let paths: Vec<&Value> = outcome.rows.iter().map(|row| &row["path"]).collect();
    assert_eq!(paths, [&json!("/"), &json!("/proc")]);
}

#[test]
fn a_path_in_a_mounted_filesystem_is_followed_through_its_mount() {
    needs!("open");
    let (outcome, _, _) = traced("open openat /proc/version 0 0");
    assert_eq!(outcome.row()["path"], json!("/proc/version"));
}

#[test]
fn a_process_in_another_root_shows_paths_as_it_sees_them() {
    needs!("open");
    let folder = Folder::new();
    let below = folder.path("below");
    fs::create_dir(&below).unwrap();
    fs::write(below.join("file"), "text").unwrap();
    let before = ["chroot", folder.0.to_str().unwrap()];
    let (outcome, _, _) = traced_after(&before, "open openat /below/file 0 0");
    assert_eq!(outcome.row()["path"], json!("/below/file"));
}

#[test]
fn a_file_below_a_bind_mount_is_shown_at_the_place_where_it_was_opened() {
    needs!("open");
    let folder = Folder::new();
    let (real, shown) = (folder.path("real"), folder.path("shown"));
    for path in [&real, &shown] {
        fs::create_dir(path).unwrap();
    }
    fs::create_dir(real.join("deep")).unwrap();
    fs::write(real.join("deep/file"), "text").unwrap();
    let before = ["bind", real.to_str().unwrap(), shown.to_str().unwrap()];
    let file = shown.join("deep/file");
    let (outcome, _, _) = traced_after(&before, &format!("open openat {} 0 0", file.display()));
    assert_eq!(outcome.row()["path"], bytes(os(&file)));
}

/// Returns the path of a file at this depth as the row has it, and whether it was cut.
fn deep(levels: usize, name_bytes: usize) -> (String, bool, String) {
    let folder = Folder::new();
    let (outcome, _, _) = traced(&format!(
        "chdir {} , open-deep {} {}",
        folder.0.display(),
        levels,
        name_bytes
    ));
    let row = outcome.row();
    let whole = format!(
        "{}{}/leaf",
        folder.0.display(),
        format!("/{}", "d".repeat(name_bytes)).repeat(levels)
    );
    (
        row["path"].as_str().unwrap().to_owned(),
        row["path_cut"] == true,
        whole,
    )
}

#[test]
fn a_path_longer_than_path_max_is_whole() {
    needs!("open");
    let (path, cut, whole) = deep(24, 200);
    assert!(whole.len() > 4096);
    assert!(!cut);
    assert_eq!(path, whole);
}

mod here {
    use super::*;

    #[test]
    fn a_path_with_more_components_than_are_followed_is_cut_at_the_root_and_marked() {
        needs!("open");
        let (path, cut, whole) = deep(60, 3);
        assert!(cut, "{path}");
        let end = path
            .strip_prefix("...")
            .expect("it is marked where it is cut");
        assert!(whole.ends_with(end), "{path}");
        assert!(end.matches('/').count() >= 30, "{path}");
    }

    #[test]
    fn a_path_with_more_bytes_than_fit_is_cut_at_the_root_and_marked() {
        needs!("open");
        let (path, cut, whole) = deep(36, 250);
        assert!(cut, "{} bytes without a mark", path.len());
        let end = path
            .strip_prefix("...")
            .expect("it is marked where it is cut");
        assert!(whole.ends_with(end), "{path}");
    }
}
