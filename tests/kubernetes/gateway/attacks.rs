//! Rights to read rows, and attacks of users without them.

use super::{
    events, opens,
    reader::{Reader, Tally, bind, connect, in_network, open, raw, stream_request, token},
    shared, until_end,
};
use crate::cluster::{Cluster, gateway_address, job};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use std::{
    fs,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};
use tonic::Code;
use tonic_types::StatusExt;

fn user(name: &str) -> Value {
    json!({"kind": "User", "name": name, "apiGroup": "rbac.authorization.k8s.io"})
}

fn account(namespace: &str, name: &str) -> Value {
    json!({"kind": "ServiceAccount", "name": name, "namespace": namespace})
}

fn suspended(cluster: &Cluster, namespace: &str) {
    let spec = json!({"tracer": {"open": {}}, "suspend": true});
    cluster.apply(&job(namespace, "opens", spec));
}

#[test]
fn a_user_without_a_right_in_a_namespace_reads_nothing_of_it() {
    const NS: &str = "rights";
    let (cluster, _pods) = shared(NS);
    suspended(&cluster, NS);
    suspended(&cluster, "bank");
    let everywhere = json!({
        "apiVersion": "tracejob.dev/v1alpha1", "kind": "ClusterTraceJob", "metadata": {"name": "all"},
        "spec": {"tracer": {"open": {}}, "suspend": true},
    });
    cluster.apply(&everywhere);
    bind(&cluster, NS, "tracejob-reader", user("ann"));
    let (unbound, ann) = (
        cluster.plane.kubeconfig("bob", &[]),
        cluster.plane.kubeconfig("ann", &[]),
    );
    let of_cluster = "/apis/subresources.tracejob.dev/v1alpha1/watch/clustertracejobs/all/events";
    for (case, kubeconfig, path) in [
        ("no right", &unbound, events(NS, "opens")),
        ("in another namespace only", &ann, events("bank", "opens")),
        (
            "of a namespace, of a ClusterTraceJob",
            &ann,
            of_cluster.to_owned(),
        ),
        // Nor whether there is one.
        ("of one that is not there", &ann, events("bank", "none")),
    ] {
        let message = raw(&cluster, kubeconfig, &path).unwrap_err();
        assert!(
            message.contains("(Forbidden)") && message.contains("events"),
            "{case}: {message}"
        );
    }
    // The same path without waiting is another right, which she has as well.
    let now = events(NS, "opens").replace("/watch/", "/") + "?follow=false";
    let message = raw(&cluster, &ann, &now).unwrap();
    assert!(message.contains("\"account\""), "{message}");
}

#[test]
fn an_impersonator_may_read_what_the_impersonated_user_may() {
    const NS: &str = "acting";
    let (cluster, _pods) = shared(NS);
    suspended(&cluster, NS);
    bind(&cluster, NS, "tracejob-reader", user("ann"));
    let path = events(NS, "opens").replace("/watch/", "/") + "?follow=false";
    let as_user = |name: &str| {
        let out = cluster
            .plane
            .kubectl(&["get", "--raw", &path, "--as", name]);
        (
            out.status.success(),
            String::from_utf8_lossy(&out.stderr).into_owned(),
        )
    };
    assert!(as_user("ann").0);
    let (may, message) = as_user("bob");
    assert!(
        !may && message.contains("User \"bob\" cannot get"),
        "{message}"
    );
    // A user without the right to impersonate cannot do it.
    let kubeconfig = cluster.plane.kubeconfig("bob", &[]);
    let mut kubectl = cluster.plane.beside(tests::cluster_program("kubectl"));
    let out = kubectl
        .args(["get", "--raw", &path, "--as", "ann"])
        .env("KUBECONFIG", kubeconfig)
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&out.stderr);
    assert!(
        !out.status.success() && message.contains("cannot impersonate"),
        "{message}"
    );
}

/// curl, past the API server, with what it takes for the gateway's authority.
fn curl(cluster: &Cluster, namespace: &str, arguments: &[&str]) -> (String, String) {
    let url = format!(
        "https://tracejob-gateway:8443{}",
        events(namespace, "opens").replace("/watch/", "/")
    );
    let mut curl: Command = cluster.plane.net().command("curl");
    let out = curl
        .args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
        .arg(cluster.plane.pki().file("ca.crt"))
        .args([
            "--resolve",
            &format!("tracejob-gateway:8443:{}", gateway_address(0)),
        ])
        .args(["--write-out", "\n%{http_code}"])
        .args(arguments)
        .arg(url + "?follow=false")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&out.stdout), text(&out.stderr))
}

#[test]
fn headers_alone_do_not_identify_the_api_server() {
    const NS: &str = "forged";
    let (cluster, _pods) = shared(NS);
    suspended(&cluster, NS);
    let forged = [
        "-H",
        "X-Remote-User: admin",
        "-H",
        "X-Remote-Group: system:masters",
    ];
    let (answer, _) = curl(&cluster, NS, &forged);
    assert!(
        answer.ends_with("\n401") && answer.contains("Unauthorized"),
        "{answer}"
    );
    // Nor by a certificate of the cluster's users, even if it has the API server's name.
    let pki = cluster.plane.pki();
    pki.sign(tests::Certificate {
        file: "forged",
        common_name: "front-proxy-client",
        organizations: &["system:masters"],
        names: &[],
    });
    let file = |name: &str| pki.file(name).display().to_string();
    let (certificate, key) = (file("forged.crt"), file("forged.key"));
    let (answer, _) = curl(
        &cluster,
        NS,
        &[&["--cert", &certificate, "--key", &key][..], &forged].concat(),
    );
    // The connection ends before there is an answer.
    assert!(answer.ends_with("\n000"), "{answer}");
    // The certificate of the API server would be trusted: the test distinguishes both.
    let (certificate, key) = (file("proxy.crt"), file("proxy.key"));
    let (answer, _) = curl(
        &cluster,
        NS,
        &[&["--cert", &certificate, "--key", &key][..], &forged].concat(),
    );
    assert!(answer.ends_with("\n200"), "{answer}");
    // And even it must name the user.
    let (answer, _) = curl(&cluster, NS, &["--cert", &certificate, "--key", &key]);
    assert!(answer.ends_with("\n401"), "{answer}");
}

/// A token as the API server makes them, signed with its key.
fn forged_token(cluster: &Cluster, namespace: &str, good_for: i64) -> String {
    let account = cluster
        .plane
        .get(&format!(
            "/api/v1/namespaces/{namespace}/serviceaccounts/reader"
        ))
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let head = part(json!({"alg": "ES256"}));
    let body = part(json!({
        "iss": "https://kubernetes.default.svc", "aud": ["tracejob.dev"], "sub": format!("system:serviceaccount:{namespace}:reader"),
        "iat": now - 7200, "nbf": now - 7200, "exp": now + good_for,
        "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": "reader", "uid": account["metadata"]["uid"]}},
    }));
    let key = fs::read_to_string(cluster.plane.pki().file("accounts.key")).unwrap();
    let der = KeyPair::from_pem(&key)
        .unwrap()
        .sign(format!("{head}.{body}").as_bytes())
        .unwrap();
    // SEQUENCE of two INTEGERs, of which a JWT has the 32 bytes each.
    let mut raw = Vec::new();
    let mut rest = &der[2..];
    for _ in 0..2 {
        let length = usize::from(rest[1]);
        let number = &rest[2..2 + length];
        let number = &number[number.len().saturating_sub(32)..];
        raw.extend(std::iter::repeat_n(0, 32 - number.len()).chain(number.iter().copied()));
        rest = &rest[2 + length..];
    }
    format!("{head}.{body}.{}", BASE64_URL_SAFE_NO_PAD.encode(raw))
}

#[test]
fn a_token_is_good_for_its_audience_and_its_time_and_as_long_as_its_account_is_there() {
    const NS: &str = "tokens";
    let (cluster, pods) = shared(NS);
    let good = token(&cluster, NS, "reader", "tracejob.dev");
    let elsewhere = token(&cluster, NS, "reader", "https://kubernetes.default.svc");
    let stranger = token(&cluster, "bank", "stranger", "tracejob.dev");
    let gone = token(&cluster, NS, "gone", "tracejob.dev");
    bind(&cluster, NS, "tracejob-reader", account(NS, "reader"));
    bind(&cluster, NS, "tracejob-reader", account(NS, "gone"));
    cluster
        .plane
        .output_of(&["delete", "serviceaccount", "gone", "-n", NS]);
    cluster.apply(&job(NS, "opens", until_end(20)));
    cluster.until_runs(NS, "opens", 2);
    pods.iter().for_each(|pod| opens(pod, "20"));
    let expired = forged_token(&cluster, NS, -60);
    let read = |token: &str, name: &str| {
        let (token, stream_request) = (token.to_owned(), stream_request(NS, name));
        in_network(&cluster, async {
            let mut client = connect(&cluster, 0).await;
            let mut stream = open(&mut client, &token, stream_request).await?;
            Tally::all(&mut stream).await
        })
    };
    let tally = read(&good, "opens").unwrap();
    assert_eq!((tally.rows, tally.closed().complete), (40, true));
    // Ours are as good as the API server's own, so it is the time that is refused below.
    assert_eq!(
        read(&forged_token(&cluster, NS, 600), "opens")
            .unwrap()
            .rows,
        40
    );
    for (what, token, code, reason) in [
        (
            "for another audience",
            &elsewhere,
            Code::Unauthenticated,
            "Unauthenticated",
        ),
        (
            "expired",
            &expired,
            Code::Unauthenticated,
            "Unauthenticated",
        ),
        (
            "of an account that is gone",
            &gone,
            Code::Unauthenticated,
            "Unauthenticated",
        ),
        (
            "nonsense",
            &"nonsense".to_owned(),
            Code::Unauthenticated,
            "Unauthenticated",
        ),
        (
            "of a user without a right there",
            &stranger,
            Code::PermissionDenied,
            "NotAllowed",
        ),
    ] {
        let status = read(token, "opens").unwrap_err();
        assert_eq!(status.code(), code, "{what}: {status:?}");
        assert_eq!(
            status.get_details_error_info().unwrap().reason,
            reason,
            "{what}"
        );
    }
    let status = read(&good, "none").unwrap_err();
    assert_eq!(
        (
            status.code(),
            status.get_details_error_info().unwrap().reason.as_str()
        ),
        (Code::NotFound, "UnknownJob")
    );
}

#[test]
fn text_of_traced_programs_reaches_a_terminal_escaped_and_no_object() {
    const NS: &str = "text";
    let (cluster, pods) = shared(NS);
    cluster.apply(&job(NS, "opens", until_end(3)));
    let reader = Reader::start(&cluster, &cluster.plane.admin(), &events(NS, "opens"));
    cluster.until_runs(NS, "opens", 2);
    let evil = "/dev/\u{1b}[2Jnull\u{202e}";
    for pod in &pods {
        let mut workload =
            tests::Workload::behind_gate(&["open-times", "3", "openat", evil, "0", "0"]);
        pod.add(&workload);
        workload.finish();
    }
    let read = reader.finish();
    assert_eq!(read.rows[0]["path"], evil);
    let text = raw(&cluster, &cluster.plane.admin(), &events(NS, "opens")).unwrap();
    assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
    let over = cluster.until_over(NS, "opens");
    assert!(!over.to_string().contains("[2Jnull"), "{over}");
}
