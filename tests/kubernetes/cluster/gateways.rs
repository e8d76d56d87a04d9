//! Gateways of a cluster, behind its API server.

use super::{Cluster, end, ours};
use crate::chart::rendered;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use std::{fs, process::Stdio};
use tests::{SYSTEM, until};

impl Cluster {
    /// Gateways behind the API server, with the rights that the chart gives them.
    pub(crate) fn start_gateways(&mut self, replicas: usize) {
        self.start_gateways_with(replicas, &[]);
    }

    pub(crate) fn start_gateways_with(&mut self, replicas: usize, more: &[&str]) {
        let objects = rendered(&[]);
        let kinds = [
            "ClusterRole",
            "ClusterRoleBinding",
            "Role",
            "RoleBinding",
            "Service",
            "APIService",
        ];
        let mut ours: Vec<Value> = objects
            .into_iter()
            .filter(|object| {
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                let is_ours = name.contains("gateway")
                    || name.contains("subresources")
                    || name == "tracejob-reader";
                is_ours && kinds.iter().any(|kind| object["kind"] == *kind)
            })
            .collect();
        let ca = fs::read(self.plane.pki().file("ca.crt")).unwrap();
        for object in &mut ours {
            if object["kind"] == "APIService" {
                object["spec"]["caBundle"] = STANDARD.encode(&ca).into();
            }
        }
        ours.push(json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
            "metadata": {"name": "gateways", "namespace": SYSTEM, "labels": {"kubernetes.io/service-name": "tracejob-gateway"}},
            "ports": [{"name": "https", "port": 8443}],
            "endpoints": (0..replicas).map(|replica| json!({"addresses": [gateway_address(replica)], "conditions": {"ready": true}})).collect::<Vec<_>>(),
        }));
        self.plane.apply(&ours).unwrap();
        for replica in 0..replicas {
            let address = format!("{}/32", gateway_address(replica));
            self.plane.net().address(&address);
            self.gateways.push(None);
            self.start_gateway(replica, more);
        }
        let api = "/apis/subresources.tracejob.dev/v1alpha1";
        until("the API server to reach the gateway", || {
            self.plane.get(api)
        });
    }

    fn start_gateway(&mut self, replica: usize, more: &[&str]) {
        let folder = self.plane.folder().join("gateway-tls");
        fs::create_dir_all(&folder).unwrap();
        for (from, to) in [
            ("ca.crt", "ca.crt"),
            ("gateway.crt", "tls.crt"),
            ("gateway.key", "tls.key"),
        ] {
            fs::copy(self.plane.pki().file(from), folder.join(to)).unwrap();
        }
        let account = "system:serviceaccount:tracejob-system:tracejob-gateway";
        let mut command = self.plane.net().command(ours("tracejob-gateway"));
        command
            .args(["--namespace", SYSTEM, "--tls"])
            .arg(folder)
            .args(["--listen", &format!("{}:8443", gateway_address(replica))])
            .args(["--metrics", &format!("{}:9464", gateway_address(replica))])
            .args(more)
            .env(
                "KUBECONFIG",
                self.plane.kubeconfig(account, &["system:serviceaccounts"]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(self.log(&format!("gateway-{replica}")));
        self.gateways[replica] = Some(command.spawn().unwrap());
    }

    /// By SIGKILL.
    pub(crate) fn kill_gateway(&mut self, replica: usize) {
        end(&mut self.gateways[replica]);
    }

    /// Its process.
    pub(crate) fn gateway_pid(&self, replica: usize) -> u32 {
        self.gateways[replica].as_ref().unwrap().id()
    }
}

/// Where a gateway serves.
pub(crate) fn gateway_address(replica: usize) -> String {
    format!("10.77.2.{}", replica + 1)
}
