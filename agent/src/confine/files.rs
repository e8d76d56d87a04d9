//! Landlock for serving threads: they can only access the configured files.
//!
//! Loading threads have no Landlock: it would block access to processes outside its domain (`hook_ptrace_access_check`,
//! security/landlock/task.c), and loading threads inspect targets.

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, LandlockStatus, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope, path_beneath_rules,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// The files that serving threads may access. A folder includes everything below it.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    /// Files that are read again at run time: configuration, certificates.
    pub(crate) read: Vec<PathBuf>,
    /// Folders in which files and sockets are created, changed and removed.
    pub(crate) write: Vec<PathBuf>,
}

impl Paths {
    /// Adds a file that may be replaced: its folder, and the folders of its links.
    pub(crate) fn read_file(&mut self, file: &Path) {
        let real = fs::canonicalize(file).ok();
        let files = [Some(file.to_owned()), real];
        self.read
            .extend(files.iter().flatten().filter_map(|file| folder(file)));
    }

    /// A file that may be renamed away, and is made again then: its folder.
    pub(crate) fn write_file(&mut self, file: &Path) {
        self.write.extend(folder(file));
    }
}

/// Returns the folder of a file; the current folder for a bare name.
fn folder(file: &Path) -> Option<PathBuf> {
    let folder = file.parent()?;
    Some(match folder.as_os_str().is_empty() {
        true => PathBuf::from("."),
        false => folder.to_owned(),
    })
}

/// The newest version whose rights are all covered here; the kernel's may be older.
const VERSION: ABI = ABI::V6;

/// Denies everything else to this thread and its children. Returns the degree of enforcement.
pub(super) fn close_all_but(paths: &Paths) -> Result<String, RulesetError> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read
        | AccessFs::WriteFile
        | AccessFs::RemoveFile
        | AccessFs::MakeReg
        | AccessFs::MakeSock
        | AccessFs::Truncate;
    // The agent's own figures. A number's folder is not the same for long, so it is all of /proc; what others may not see there
    // is closed by the same Landlock.
    let own = [PathBuf::from("/proc")];
    let rules = |of: &[PathBuf], access: BitFlags<AccessFs>| {
        // A missing path is not accessible later either.
        path_beneath_rules(of.to_vec(), access).collect::<Vec<_>>()
    };
    let status = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(VERSION))?
        // No connections to any address.
        .handle_access(AccessNet::ConnectTcp)?
        .scope(Scope::from_all(VERSION))?
        .create()?
        .add_rules(rules(&own, read))?
        .add_rules(rules(&paths.read, read))?
        .add_rules(rules(&paths.write, write))?
        .restrict_self()?;
    Ok(match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, LandlockStatus::NotEnabled) => {
            "not switched on here".to_owned()
        }
        (RulesetStatus::NotEnforced, _) => "not in this kernel".to_owned(),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            format!("ABI {}", (effective_abi as i32).min(VERSION as i32))
        }
        (_, _) => "on".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        net::{TcpListener, TcpStream},
        os::unix::net::UnixListener,
        thread,
    };

    #[test]
    fn a_file_without_a_folder_is_in_the_one_that_is_here() {
        let mut paths = Paths::default();
        paths.write_file(Path::new("audit.log"));
        paths.write_file(Path::new("/var/log/audit.log"));
        assert_eq!(paths.write, [Path::new("."), Path::new("/var/log")]);
    }

    #[test]
    fn who_serves_reaches_what_is_configured_and_nothing_else() {
        let folder = std::env::temp_dir().join(format!("tracejob-files-{}", std::process::id()));
        let (read, write) = (folder.join("read"), folder.join("write"));
        for folder in [&read, &write] {
            fs::create_dir_all(folder).unwrap();
        }
        let (config, outside) = (read.join("agent.yaml"), folder.join("outside"));
        fs::write(&config, "text").unwrap();
        fs::write(&outside, "text").unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut paths = Paths::default();
        paths.read_file(&config);
        paths.write.push(write.clone());
        // Landlock is a thread's own.
        let inside = move || {
            let landlock = close_all_but(&paths).unwrap();
            let Some(version) = landlock.strip_prefix("ABI ") else {
                println!("left out: Landlock is {landlock}");
                return;
            };
            let version: u32 = version.parse().unwrap();
            assert_eq!(fs::read_to_string(&config).unwrap(), "text");
            fs::write(read.join("new"), "").unwrap_err();
            fs::read_to_string(&outside).unwrap_err();
            fs::read_to_string("/etc/passwd").unwrap_err();
            fs::read_to_string("/proc/self/stat").unwrap();
            fs::write("/proc/self/oom_score_adj", "0").unwrap_err();
            drop(UnixListener::bind(write.join("socket")).unwrap());
            fs::remove_file(write.join("socket")).unwrap();
            fs::write(write.join("audit"), "line").unwrap();
            fs::create_dir(write.join("folder")).unwrap_err();
            // Since Linux 6.7.
            assert_eq!(TcpStream::connect(address).is_err(), version >= 4);
        };
        thread::spawn(inside).join().unwrap();
        fs::remove_dir_all(&folder).unwrap();
    }
}
