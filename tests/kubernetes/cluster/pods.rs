//! Pods of a cluster, with the cgroups that a kubelet and a container runtime would make.

use super::Cluster;
use serde_json::json;
use std::sync::atomic::{AtomicU32, Ordering};
use tests::{Cgroup, Workload};

/// A pod that is bound to a node, and what is in it.
pub(crate) struct Pod {
    pub(crate) name: String,
    uid: String,
    // Goes first: it lies in the other.
    container: Option<Cgroup>,
    cgroup: Option<Cgroup>,
}

impl Cluster {
    /// Creates a pod that is bound to a node, as the scheduler leaves it: the kubelet has created nothing for it yet.
    pub(crate) fn bind(&self, namespace: &str, name: &str, node: usize, app: &str) -> Pod {
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "labels": {"app": app}},
            "spec": {"nodeName": format!("node-{node}"), "containers": [{"name": "main", "image": "none"}]},
        });
        self.plane.apply(&[pod]).unwrap();
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let uid = self.plane.get(&path).unwrap()["metadata"]["uid"]
            .as_str()
            .unwrap()
            .to_owned();
        Pod {
            name: name.to_owned(),
            uid,
            cgroup: None,
            container: None,
        }
    }

    /// Creates a static pod, which a kubelet runs from its own file and mirrors to the API server.
    pub(crate) fn static_pod(&self, namespace: &str, name: &str, node: usize) -> Pod {
        let node = format!("node-{node}");
        let owner = self.plane.get(&format!("/api/v1/nodes/{node}")).unwrap();
        let hash = &container_id()[32..];
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": name, "namespace": namespace,
                "annotations": {"kubernetes.io/config.hash": hash, "kubernetes.io/config.mirror": hash, "kubernetes.io/config.source": "file"},
                "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": node, "uid": owner["metadata"]["uid"], "controller": true}],
            },
            "spec": {"nodeName": node, "containers": [{"name": "main", "image": "none"}]},
        });
        self.plane.apply(&[pod]).unwrap();
        let mut pod = Pod {
            name: name.to_owned(),
            uid: hash.to_owned(),
            cgroup: None,
            container: None,
        };
        self.run(namespace, &mut pod);
        pod
    }

    /// Creates a pod that runs.
    pub(crate) fn pod(&self, namespace: &str, name: &str, node: usize, app: &str) -> Pod {
        let mut pod = self.bind(namespace, name, node, app);
        self.run(namespace, &mut pod);
        pod
    }

    /// Starts a bound pod, as a kubelet does.
    pub(crate) fn run(&self, namespace: &str, pod: &mut Pod) {
        let id = container_id();
        self.start_container(pod, &id);
        self.report(namespace, pod, &id);
    }

    /// Creates the cgroup of a container instead of the previous one, as a runtime does.
    pub(crate) fn start_container(&self, pod: &mut Pod, id: &str) {
        pod.container = None;
        let name = format!("pod{}", pod.uid);
        let cgroup = pod.cgroup.get_or_insert_with(|| self.kubelet.below(&name));
        pod.container = Some(cgroup.below(&format!("cri-containerd-{id}.scope")));
    }

    /// Reports to the API server, as a kubelet, that this container of a pod runs.
    pub(crate) fn report(&self, namespace: &str, pod: &Pod, id: &str) {
        let status = json!({"status": {"phase": "Running", "containerStatuses": [{
            "name": "main", "image": "none", "imageID": "none", "ready": true, "restartCount": 0,
            "containerID": format!("containerd://{id}"), "state": {"running": {"startedAt": "2026-01-01T00:00:00Z"}},
        }]}});
        let out = self.plane.kubectl(&[
            "patch",
            "pod",
            &pod.name,
            "-n",
            namespace,
            "--subresource=status",
            "--type=strategic",
            "-p",
            &status.to_string(),
        ]);
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
}

/// The id of a further container.
pub(crate) fn container_id() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{:032x}{number:032x}", std::process::id())
}

impl Pod {
    /// Puts a workload into its container.
    pub(crate) fn add(&self, workload: &Workload) {
        self.add_process(workload.pid());
    }

    /// The same with a process.
    pub(crate) fn add_process(&self, pid: u32) {
        self.container.as_ref().unwrap().add(pid);
    }
}
