//! TraceJob on a real API server.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "tests fail by panics, and their names are their docs"
)]

mod chart;
mod cluster;
mod conditions;
mod controller;
mod definitions;
mod families;
mod gateway;
mod gone;
mod plugin;
mod rights;
mod scale;
mod simulated;
mod tenants;
mod versions;

use serde_json::{Value, json};
use std::sync::{Arc, Mutex, Weak};
use tests::ControlPlane;

/// One for all tests that run at the same time and leave nothing in it but objects of their own names.
fn shared() -> Arc<ControlPlane> {
    static SHARED: Mutex<Weak<ControlPlane>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|broken| broken.into_inner());
    if let Some(plane) = shared.upgrade() {
        return plane;
    }
    let plane = plane();
    let plane = Arc::new(plane);
    *shared = Arc::downgrade(&plane);
    plane
}

/// A control plane that has our definitions.
fn plane() -> ControlPlane {
    let plane = ControlPlane::start();
    plane.apply(&crd::definitions()).unwrap();
    for kind in ["tracejobs", "clustertracejobs"] {
        let path = format!("/apis/tracejob.dev/v1alpha1/{kind}");
        tests::until("the definitions to be served", || plane.get(&path));
    }
    plane
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    let metadata = match kind {
        "TraceJob" => json!({"name": name, "namespace": "default"}),
        _ => json!({"name": name}),
    };
    json!({"apiVersion": "tracejob.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec})
}
