//! The stage that runs the commands of docs/install.md on the files of `dist`, with the tools that they use.

use anyhow::Result;

use crate::{cluster, dist, go, programs, setup, suite, test, workspace};

/// The test program.
const TEST: &str = "install";

const KREW: &str = "0.4.3";

/// The stage.
pub(crate) fn run() -> Result<String> {
    test::require_root()?;
    let skopeo = setup::skopeo()?;
    let mut environment = vec![
        ("TRACEJOB_DIST", dist::tested().into_os_string()),
        ("TRACEJOB_CLUSTER", cluster::control_plane()?.into()),
        ("TRACEJOB_NODES", cluster::node::ensure()?.into()),
        ("TRACEJOB_SKOPEO", skopeo.into()),
    ];
    environment.push(match krew()? {
        Ok(folder) => ("TRACEJOB_KREW", folder.join("krew").into()),
        Err(why) => ("TRACEJOB_NO_KREW", why.into()),
    });
    suite::run(
        "install",
        "the commands of docs/install.md",
        &[programs::built()?.test(TEST)?],
        |command| {
            suite::harness(command, 1);
            command
                .envs(environment.clone())
                .env_remove("TRACEJOB_TEST_CAPS");
        },
    )
}

/// Fetches and builds the tools that no other stage needs.
pub(crate) fn tools() -> Result<String> {
    setup::skopeo()?;
    Ok(krew()?.map_or_else(|why| why, |_| "ok".to_owned()))
}

/// Returns the folder of krew, or why there is none.
fn krew() -> Result<Result<std::path::PathBuf, String>> {
    let build = go::Build {
        name: format!("krew {KREW}"),
        folder: workspace::tools().join(format!("krew-{KREW}")),
        about: "building with Go: it installs kubectl's plugins; 1 min, once",
        from: workspace::root(),
        flags: &[],
        package: &format!("sigs.k8s.io/krew/cmd/krew@v{KREW}"),
    };
    build.ensure()
}
