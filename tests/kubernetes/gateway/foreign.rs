//! Clients that are not ours: grpcurl, and Python's grpcio by code generated from our .proto files.

use super::{
    opens,
    reader::{bind, token},
    shared, until_end,
};
use crate::cluster::{gateway_address, job};
use serde_json::{Value, json};
use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// Returns the client that a variable names; without it prints that the test is skipped.
fn client(name: &str, test: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(format!("TRACEJOB_{name}")) {
        return Some(path.into());
    }
    let why = std::env::var(format!("TRACEJOB_NO_{name}"));
    println!(
        "SKIPPED {test}: {}",
        why.unwrap_or_else(|_| "`cargo xtask` has not set it up".to_owned())
    );
    None
}

fn stdout(out: &Output) -> String {
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    String::from_utf8(out.stdout.clone()).unwrap()
}

#[test]
fn grpcurl_and_python_read_a_job() {
    const NS: &str = "foreign";
    let test = "gateway::foreign::grpcurl_and_python_read_a_job";
    let (Some(grpcurl), Some(python)) = (client("GRPCURL", test), client("PYTHON", test)) else {
        return;
    };
    let (cluster, pods) = shared(NS);
    let token = token(&cluster, NS, "reader", "tracejob.dev");
    bind(
        &cluster,
        NS,
        "tracejob-reader",
        json!({"kind": "ServiceAccount", "name": "reader", "namespace": NS}),
    );
    cluster.apply(&job(NS, "opens", until_end(30)));
    cluster.until_runs(NS, "opens", 2);
    pods.iter().for_each(|pod| opens(pod, "30"));
    let ca = cluster.plane.pki().file("ca.crt");
    let address = format!("{}:8443", gateway_address(0));
    let grpcurl = |more: &[&str]| {
        let mut command: Command = cluster.plane.net().command(&grpcurl);
        command
            .arg("-cacert")
            .arg(&ca)
            .args(["-authority", "tracejob-gateway"]);
        command
            .args(["-H", &format!("authorization: Bearer {token}")])
            .args(more);
        stdout(&command.output().unwrap())
    };
    let services = grpcurl(&[&address, "list"]);
    assert!(
        services.contains("tracejob.v1.Jobs") && !services.contains("tracejob.v1.Agent"),
        "{services}"
    );
    let health = grpcurl(&[&address, "grpc.health.v1.Health/Check"]);
    assert!(health.contains("SERVING"), "{health}");
    let rows = grpcurl(&[
        "-d",
        &json!({"namespace": NS, "name": "opens"}).to_string(),
        &address,
        "tracejob.v1.Jobs/StreamEvents",
    ]);
    let messages = serde_json::Deserializer::from_str(&rows).into_iter::<Value>();
    let messages: Vec<Value> = messages.map(Result::unwrap).collect();
    let counted: u64 = messages
        .iter()
        .filter_map(|message| message["batch"]["rows"].as_u64())
        .sum();
    assert_eq!(counted, 60);
    assert_eq!(messages.last().unwrap()["account"]["complete"], true);
    // In Python, by code from our files.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = cluster.plane.folder();
    let mut protoc = Command::new(&python);
    protoc
        .args(["-m", "grpc_tools.protoc", "-I"])
        .arg(root.join("proto/proto"));
    protoc.args([
        "--python_out=.",
        "--grpc_python_out=.",
        "tracejob/v1/agent.proto",
        "tracejob/v1/jobs.proto",
    ]);
    stdout(&protoc.current_dir(folder).output().unwrap());
    let mut program: Command = cluster.plane.net().command(&python);
    program
        .arg(root.join("examples/grpc/jobs.py"))
        .arg(&address)
        .arg(&ca);
    let out = program
        .args([&token, NS, "opens"])
        .env("PYTHONPATH", folder)
        .output()
        .unwrap();
    let lines: Vec<Value> = stdout(&out)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 61);
    assert_eq!(
        (&lines[0]["namespace"], &lines[0]["path"]),
        (&json!(NS), &json!("/dev/null"))
    );
    assert_eq!(lines[60]["account"]["nodes"].as_array().unwrap().len(), 2);
}
