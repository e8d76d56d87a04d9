//! The tracers of each node, with the reasons for missing ones. The responses of all agents are cached.

use crate::pool::Pool;
use fleet::Agents;
use futures::{StreamExt, stream};
use proto::v1;
use serde_json::{Value, json};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::sync::Mutex;

/// Maximum number of concurrent requests to agents, which test their hooks.
const AT_ONCE: usize = 64;
/// Timeout of a request.
const CALL: Duration = Duration::from_secs(30);
/// Time for which a response is cached: the kernel of an agent changes only with its node.
const KEPT: Duration = Duration::from_secs(60);

/// The cached response, with its time.
#[derive(Default)]
pub(crate) struct Survey(Mutex<Option<(Instant, Arc<Value>)>>);

impl Survey {
    /// Returns the tracers of all nodes, at most a minute old.
    pub(crate) async fn get(&self, pool: &Pool, agents: &Agents) -> Arc<Value> {
        // Concurrent callers wait, and get the same response.
        let mut kept = self.0.lock().await;
        if let Some((at, known)) = &*kept
            && at.elapsed() < KEPT
        {
            return Arc::clone(known);
        }
        let nodes: Vec<_> = agents
            .iter()
            .map(|(node, address)| (Arc::clone(node), Arc::clone(address)))
            .collect();
        let answers = stream::iter(nodes).map(|(node, address)| async move {
            match capabilities(pool, &address).await {
                Ok(capabilities) => of_node(&node, &capabilities),
                Err(why) => json!({"node": &*node, "error": why}),
            }
        });
        let mut items: Vec<Value> = answers.buffer_unordered(AT_ONCE).collect().await;
        items.sort_by_cached_key(|item| item["node"].as_str().map(str::to_owned));
        let all = Arc::new(json!({
            "kind": "TracerList", "apiVersion": "subresources.tracejob.dev/v1alpha1", "metadata": {}, "items": items,
        }));
        *kept = Some((Instant::now(), Arc::clone(&all)));
        all
    }
}

async fn capabilities(
    pool: &Pool,
    address: &fleet::Addresses,
) -> Result<v1::GetCapabilitiesResponse, String> {
    let response = async {
        let connection = pool.get(address).await?;
        let mut client = connection.client.clone();
        let answer = client.get_capabilities(v1::GetCapabilitiesRequest {}).await;
        match answer {
            Ok(answer) => Ok(answer.into_inner()),
            Err(status) => {
                pool.forget(address, &connection);
                Err(shown(status.message()))
            }
        }
    };
    let response = tokio::time::timeout(CALL, response).await;
    response.unwrap_or_else(|_| Err("the agent does not respond".to_owned()))
}

fn of_node(node: &str, capabilities: &v1::GetCapabilitiesResponse) -> Value {
    let tracer = |tracer: &v1::Tracer| {
        let mut of = json!({"name": shown(&tracer.name), "class": shown(&tracer.class), "supported": tracer.unsupported.is_empty()});
        if !tracer.unsupported.is_empty() {
            of["reason"] = shown(&tracer.unsupported).into();
            of["remedy"] = shown(&tracer.remedy).into();
        }
        of
    };
    json!({
        "node": node, "kernel": shown(&capabilities.kernel_release), "agentVersion": shown(&capabilities.agent_version),
        "tracers": capabilities.tracers.iter().map(tracer).collect::<Value>(),
    })
}

/// Returns the beginning of an agent's text, as it may be printed.
fn shown(text: &str) -> String {
    rows::text::excerpt(text, 512)
}
