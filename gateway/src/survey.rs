//! What each node can trace, and why not: every agent asked once, and the answers kept for a while.

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

/// Agents that are asked at the same time: each tries its hooks out.
const AT_ONCE: usize = 64;
/// How long one may take.
const CALL: Duration = Duration::from_secs(30);
/// How long an answer is good for: an agent's kernel changes with its node.
const KEPT: Duration = Duration::from_secs(60);

/// The newest answer.
#[derive(Default)]
pub(crate) struct Survey(Mutex<Option<(Instant, Arc<Value>)>>);

impl Survey {
    /// All nodes, as they were at most a minute ago.
    pub(crate) async fn get(&self, pool: &Pool, agents: &Agents) -> Arc<Value> {
        // Who asks meanwhile waits, and has the same.
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
        let told = stream::iter(nodes).map(|(node, address)| async move {
            match ask(pool, &address).await {
                Ok(told) => of_node(&node, &told),
                Err(why) => json!({"node": &*node, "error": why}),
            }
        });
        let mut items: Vec<Value> = told.buffer_unordered(AT_ONCE).collect().await;
        items.sort_by_cached_key(|item| item["node"].as_str().map(str::to_owned));
        let all = Arc::new(json!({
            "kind": "TracerList", "apiVersion": "subresources.tracejob.dev/v1alpha1", "metadata": {}, "items": items,
        }));
        *kept = Some((Instant::now(), Arc::clone(&all)));
        all
    }
}

async fn ask(
    pool: &Pool,
    address: &fleet::Addresses,
) -> Result<v1::GetCapabilitiesResponse, String> {
    let asked = async {
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
    let asked = tokio::time::timeout(CALL, asked).await;
    asked.unwrap_or_else(|_| Err("the agent does not respond".to_owned()))
}

fn of_node(node: &str, told: &v1::GetCapabilitiesResponse) -> Value {
    let tracer = |tracer: &v1::Tracer| {
        let mut of = json!({"name": shown(&tracer.name), "class": shown(&tracer.class), "supported": tracer.unsupported.is_empty()});
        if !tracer.unsupported.is_empty() {
            of["reason"] = shown(&tracer.unsupported).into();
            of["remedy"] = shown(&tracer.remedy).into();
        }
        of
    };
    json!({
        "node": node, "kernel": shown(&told.kernel_release), "agentVersion": shown(&told.agent_version),
        "tracers": told.tracers.iter().map(tracer).collect::<Value>(),
    })
}

/// Returns the beginning of an agent's text, as it may be printed.
fn shown(text: &str) -> String {
    rows::text::excerpt(text, 512)
}
