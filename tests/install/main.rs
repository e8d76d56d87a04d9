//! docs/install.md: its commands, run on the files that `cargo xtask dist` makes, here from the programs of the tests.
//!
//! `cargo xtask test` sets the paths of them and of the tools: TRACEJOB_DIST, TRACEJOB_CLUSTER, TRACEJOB_NODES (containerd),
//! TRACEJOB_SKOPEO, and TRACEJOB_KREW, or in TRACEJOB_NO_KREW the reason for its absence.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests fail by panics"
)]

mod machine;
mod page;

use machine::Machine;
use page::{Block, blocks};
use serde_json::Value;
use std::collections::BTreeSet;

const TEST: &str = "the_commands_of_the_page_install_and_uninstall_everything";

/// Returns why a block is not run: the reason on the page, or a machine without krew.
fn not_run(block: &Block) -> Option<String> {
    let krew = std::env::var("TRACEJOB_NO_KREW").ok();
    let krew = krew.filter(|_| block.text.contains("kubectl krew "));
    block.not_run().map(str::to_owned).or(krew)
}

/// The block for this machine: its architecture, a folder instead of the registry, and no binary of another one.
fn here(block: &Block, machine: &Machine) -> String {
    let registry = format!("oci:{}/registry/", machine.folder().display());
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "linux-arm64",
        _ => "linux-amd64",
    };
    block
        .text
        .replace("docker://registry.example.com/", &registry)
        .replace("linux-amd64", architecture)
}

#[test]
fn the_commands_of_the_page_install_and_uninstall_everything() {
    let mut machine = Machine::start();
    let (mut run, mut left_out) = (0, 0);
    for block in blocks() {
        if let Some(why) = not_run(&block) {
            println!("SKIPPED {TEST} ({}): {why}", block.heading);
            left_out += 1;
            // What these two do is systemd's.
            if block.text.contains("systemctl enable") {
                machine.start_unit("tracejob-agent");
            }
            if block.text.contains("systemctl disable") {
                machine.stop_unit();
            }
            continue;
        }
        let output = machine.run(&here(&block, &machine));
        check(&block, &output, &machine);
        run += 1;
    }
    let left = machine.run("find /usr /etc home/.krew/bin -name '*tracejob*'");
    assert_eq!(left, "", "files that the page leaves");
    println!("{run} blocks were run, {left_out} were not");
    assert!(run > left_out, "{run} of {}", run + left_out);
}

/// What a block has done, beyond its commands' statuses.
fn check(block: &Block, output: &str, machine: &Machine) {
    let text = &block.text;
    let ran = |word: &str| text.contains(word);
    if ran("images import") {
        // The names by which kubelets request the chart's images.
        let there = machine.run("ctr --namespace k8s.io images ls --quiet");
        let there: BTreeSet<String> = there.lines().map(str::to_owned).collect();
        assert_eq!(there, images(machine, ""), "{text}");
        // For the next section.
        let names: Vec<&str> = there.iter().map(String::as_str).collect();
        if block.heading == "k3s" {
            machine.run(&format!(
                "ctr --namespace k8s.io images rm {}",
                names.join(" ")
            ));
        }
    } else if ran("skopeo copy") {
        let names = images(machine, "--set image.registry=registry.example.com");
        for name in names {
            let name = name.strip_prefix("registry.example.com/").unwrap();
            let inspect = |from: &str| -> Value {
                let output = machine.run(&format!("skopeo inspect {from}"));
                serde_json::from_str(&output).unwrap()
            };
            let component = name.split(['/', ':']).nth(1).unwrap();
            let archive = inspect(&format!("oci-archive:dist/images/{component}.tar"));
            let copy = inspect(&format!("oci:registry/{name}"));
            assert_eq!(archive["Digest"], copy["Digest"], "{name}");
        }
    } else if ran("helm upgrade") {
        let daemonset = "kubectl get daemonset tracejob-agent --namespace tracejob-system \
                         --output jsonpath={.spec.template.spec.containers[0].image}";
        let registry = match ran("image.registry=") {
            true => "registry.example.com/",
            false => "",
        };
        assert_eq!(
            machine.run(daemonset),
            format!("{registry}tracejob/agent:0.1.0")
        );
        // A reader is slower than the API server.
        tests::until("the definitions to be served", || {
            machine.plane.get("/apis/tracejob.dev/v1alpha1/tracejobs")
        });
    } else if ran("tracejob version") {
        assert!(output.contains("kubectl-tracejob 0.1.0"), "{output}");
    } else if ran("tracejob run") {
        assert!(output.contains("true"), "{output}");
    } else if ran("--agent unix:") {
        assert!(output.contains("0.1.0"), "{output}");
    } else if ran("helm uninstall") {
        let left = machine.run(
            "kubectl get --all-namespaces --output name --selector app.kubernetes.io/part-of=tracejob \
             daemonsets,deployments,services,secrets,configmaps,clusterroles,clusterrolebindings,apiservices",
        );
        assert_eq!(left, "");
        let kinds = machine.run("kubectl api-resources --api-group tracejob.dev --output name");
        assert_eq!(kinds, "");
    } else if ran("images rm") {
        let there = machine.run("ctr --namespace k8s.io images ls --quiet");
        assert_eq!(there, "");
    }
}

/// The images of the chart as containerd names them.
fn images(machine: &Machine, values: &str) -> BTreeSet<String> {
    let rendered = machine.run(&format!(
        "helm template tracejob dist/tracejob-0.1.0.tgz {values}"
    ));
    let named = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix("image: "));
    let full = |name: &str| match name.split_once('/') {
        Some((registry, _)) if registry.contains('.') => name.to_owned(),
        _ => format!("docker.io/{name}"),
    };
    named.map(full).collect()
}
