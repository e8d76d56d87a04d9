//! Profiles that confine an agent in a container from the outside, before its first instruction.

use super::{calls, kept_for};
use anyhow::{Context, Result};
use std::{fs, path::Path};
use tracers::Class;

/// The file of the profile for seccomp, as the OCI runtime specification has it.
const SECCOMP: &str = "tracejob-agent.json";
/// The file of the profile for AppArmor, and its name.
const APPARMOR: &str = "tracejob-agent";

/// It reads whatever a target runs, to name functions; it writes nothing but its socket and its audit records.
const RULES: &str = "\
# AppArmor's profile of tracejob-agent, as `tracejob-agent write-profiles` writes it.
profile tracejob-agent flags=(attach_disconnected,mediate_deleted) {
CAPABILITIES  ptrace (read),

  # Files of programs lie wherever targets have them.
  /** r,
  # Itself, and as the worker that reads symbols.
  /{,usr/bin/,usr/local/bin/}tracejob-agent mrix,
  /memfd:* rw,
  /dev/null rw,
  /proc/[0-9]*/{,task/[0-9]*/}comm rw,
  # The socket, and audit records.
  /{,var/}run/tracejob/{,**} rwk,
  /var/log/tracejob/{,**} rwk,

  # Clients.
  network inet stream,
  network inet6 stream,
  network unix stream,
  network unix dgram,
  unix,

  # The runtime ends it; it ends its worker.
  signal (receive),
  signal (send) peer=tracejob-agent,
}
";

/// Returns the AppArmor profile of an agent that allows these classes.
fn rules(classes: &[Class]) -> String {
    let mut lines = format!(
        "  # Required by the classes of the policy: {}.\n",
        classes
            .iter()
            .map(|class| class.word())
            .collect::<Vec<_>>()
            .join(", ")
    );
    for (_, name) in kept_for(&Class::capabilities_of(classes)) {
        let word = name.trim_start_matches("CAP_").to_lowercase();
        lines += &format!("  capability {word},\n");
    }
    RULES.replacen("CAPABILITIES", &lines, 1)
}

/// Writes both profiles, for an agent that allows these classes.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn write(folder: &Path, classes: &[Class]) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
    let seccomp = format!("{:#}\n", calls::profile());
    for (name, text) in [(SECCOMP, seccomp.as_str()), (APPARMOR, &rules(classes))] {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_for_apparmor_declares_all_that_it_names() {
        // Variables and abstractions are files that a node may not have: the parser refuses a profile that has none of them.
        assert!(!RULES.contains("@{") && !RULES.contains("<abstractions/"));
    }

    #[test]
    fn the_profile_for_apparmor_has_the_capabilities_of_the_classes_and_no_others() {
        let of = |classes: &[Class]| {
            let rules = rules(classes);
            let lines = rules.lines().map(str::trim);
            let lines = lines.filter_map(|line| line.strip_prefix("capability "));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let names = [
            "bpf,",
            "perfmon,",
            "sys_ptrace,",
            "dac_read_search,",
            "syslog,",
        ];
        assert_eq!(of(&Class::DEFAULT), names);
        assert_eq!(of(&[Class::Act]), ["bpf,", "perfmon,", "net_admin,"]);
    }
}
