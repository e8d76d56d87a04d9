//! Code that has no file, and the maps of those who made it.

use super::{symbolizer, target::Directory, user};
use memmap2::MmapMut;
use std::{fs, path::PathBuf};

/// The map of this process. Tests share the process, so that there is one test with it.
struct OurMap(PathBuf);

impl OurMap {
    fn write(text: &str) -> Self {
        let path = PathBuf::from(format!("/tmp/perf-{}.map", std::process::id()));
        fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for OurMap {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn compiled_code_has_the_names_of_its_perf_map_and_only_of_its_own_users() {
    let code = MmapMut::map_anon(4096).unwrap().make_exec().unwrap();
    let start = code.as_ptr() as u64;
    let pid = std::process::id();

    let frame = user(&mut symbolizer(), pid, start + 0x14);
    assert_eq!((&*frame.name, &*frame.module), ("[unknown]", "[anonymous]"));

    let map = OurMap::write(&format!(
        "{:x} 10 LazyCompile:~add sum.js:3\n",
        start + 0x10
    ));
    let mut symbolizer_with_map = symbolizer();
    let frame = user(&mut symbolizer_with_map, pid, start + 0x14);
    assert_eq!(
        (&*frame.name, &*frame.module, frame.offset),
        ("LazyCompile:~add sum.js:3", "[jit]", 4)
    );
    let frame = user(&mut symbolizer_with_map, pid, start + 0x20);
    assert_eq!(&*frame.name, "[unknown]");

    // A map that somebody else put there, and a link to a file elsewhere that is somebody else's.
    if rustix::process::getuid().is_root() {
        rustix::fs::chown(&map.0, Some(rustix::fs::Uid::from_raw(12345)), None).unwrap();
        assert_eq!(
            &*user(&mut symbolizer(), pid, start + 0x14).name,
            "[unknown]"
        );
    }
    drop(map);
    let directory = Directory::new("jit");
    let pipe = directory.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    let link = OurMap(format!("/tmp/perf-{pid}.map").into());
    rustix::fs::symlink(&pipe, &link.0).unwrap();
    assert_eq!(
        &*user(&mut symbolizer(), pid, start + 0x14).name,
        "[unknown]"
    );
}
