//! Attacks of callers with a role: long names, many requests, large requests, and traces of other callers.
//!
//! Each attack is made at least once and continues until it is stopped, so that several can run at once.

use crate::{
    daemon::process,
    garbage::{PREFACE, frame},
    limits::call_head,
    reason, start,
};
use prost::{
    Message,
    bytes::{Buf, BufMut, Bytes},
};
use proto::v1::{self, agent_client::AgentClient, target::Target as TargetKind};
use std::{
    io::{Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use tokio::task::JoinSet;
use tonic::{
    Code, Request, Status,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    transport::Channel,
};
use tonic_types::StatusExt;

type Client = AgentClient<Channel>;

/// Flag that stops attacks.
#[derive(Clone, Default)]
pub(crate) struct Over(Arc<AtomicBool>);

impl Over {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Returns a flag that is set, for an attack that is made once.
    pub(crate) fn already() -> Self {
        let over = Self::default();
        over.set();
        over
    }

    pub(crate) fn is(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

pub(crate) fn target(kind: TargetKind) -> v1::Target {
    v1::Target {
        target: Some(kind),
        ..v1::Target::default()
    }
}

pub(crate) fn adds(targets: impl IntoIterator<Item = v1::Target>) -> Vec<v1::Change> {
    let add = |target| v1::Change {
        change: Some(v1::change::Change::Add(target)),
    };
    targets.into_iter().map(add).collect()
}

pub(crate) async fn update(
    client: &mut Client,
    uid: &str,
    version: u64,
    changes: Vec<v1::Change>,
) -> Result<(), Status> {
    let request = v1::UpdateTargetsRequest {
        uid: uid.to_owned(),
        generation: 1,
        update: Some(v1::Update { version, changes }),
    };
    let updated = client.update_targets(tokio_stream::once(request)).await;
    updated.map(|_| ())
}

pub(crate) async fn stop(
    client: &mut Client,
    uid: &str,
) -> Result<Option<v1::TraceStatus>, Status> {
    let uid = uid.to_owned();
    let stopped = client.stop_trace(v1::StopTraceRequest { uid }).await?;
    Ok(stopped.into_inner().status)
}

/// Adds targets that are not there, with names as long as they may be and of bytes that grow where they are escaped.
pub(crate) async fn failing_updates(mut client: Client, uid: String, over: Over) -> u64 {
    let label = "a".repeat(253);
    let labels = v1::Labels {
        node: label.clone(),
        namespace: label.clone(),
        pod: label.clone(),
        container: label,
    };
    let mut version = 0;
    while !over.is() {
        version += 1;
        let path = format!("{version:020}{}", "\x01".repeat(4076));
        let missing = v1::Target {
            labels: Some(labels.clone()),
            ..target(TargetKind::Cgroup(path))
        };
        update(&mut client, &uid, version, adds([missing]))
            .await
            .unwrap();
    }
    version
}

/// Requests the capabilities, many times at once.
pub(crate) async fn capabilities(client: Client, at_once: usize, over: Over) {
    loop {
        ask_for_capabilities(&client, at_once).await;
        if over.is() {
            return;
        }
    }
}

async fn ask_for_capabilities(client: &Client, at_once: usize) {
    let mut calls = JoinSet::new();
    for _ in 0..at_once {
        let mut client = client.clone();
        calls.spawn(async move {
            let call = client.get_capabilities(v1::GetCapabilitiesRequest {});
            call.await.map(|_| ())
        });
    }
    while let Some(call) = calls.join_next().await {
        call.unwrap().unwrap();
    }
}

/// Messages that are bytes already: what takes long to encode is encoded once.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}

/// Sends concurrent starts with many empty targets, all of which must be refused.
pub(crate) async fn empty_targets(channel: Channel, targets: usize, at_once: usize, over: Over) {
    let spec = v1::TraceSpec {
        tracer: "open".to_owned(),
        targets: vec![v1::Target::default(); targets],
        ..v1::TraceSpec::default()
    };
    let message = Bytes::from(start("empty", 1, spec).encode_to_vec());
    loop {
        let mut calls = JoinSet::new();
        for _ in 0..at_once {
            let (mut grpc, message) = (Grpc::new(channel.clone()), message.clone());
            calls.spawn(async move {
                grpc.ready().await.unwrap();
                let path = PathAndQuery::from_static("/tracejob.v1.Agent/StartTrace");
                grpc.unary(Request::new(message), path, Raw).await
            });
        }
        while let Some(call) = calls.join_next().await {
            let refused = call.unwrap().unwrap_err();
            let known = ["InvalidRequest", "ResourceExhausted"];
            assert!(known.contains(&&*reason(&refused)), "{refused}");
        }
        if over.is() {
            return;
        }
    }
}

/// Tries to take another's traces: to stop, empty, replace and lock them. All of it is refused.
pub(crate) async fn steal(mut client: Client, uids: Vec<String>, over: Over) {
    let everything = spec_of(std::process::id());
    loop {
        for uid in &uids {
            steal_once(&mut client, uid, &everything).await;
        }
        if over.is() {
            return;
        }
    }
}

async fn steal_once(client: &mut Client, uid: &str, spec: &v1::TraceSpec) {
    let only = v1::Change {
        change: Some(v1::change::Change::Only(v1::Targets::default())),
    };
    let mut refused = vec![
        stop(client, uid).await.map(|_| ()).unwrap_err(),
        update(client, uid, u64::MAX, vec![only]).await.unwrap_err(),
    ];
    // No caller can start a trace with the uid of a call.
    if !uid.starts_with("call:") {
        for generation in [1, 2, u64::MAX] {
            let replaced = client.start_trace(start(uid, generation, spec.clone()));
            refused.push(replaced.await.unwrap_err());
        }
    }
    for refused in refused {
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(
            (&*info.reason, &*info.metadata["trace"]),
            ("NotAllowed", uid)
        );
    }
}

pub(crate) fn spec_of(pid: u32) -> v1::TraceSpec {
    v1::TraceSpec {
        tracer: "open".to_owned(),
        targets: vec![process(pid)],
        ..v1::TraceSpec::default()
    }
}

/// Begins requests over a connection, which waits for nothing for long, and never ends them: each a megabyte but for its last byte. It
/// gives how many bytes were taken.
pub(crate) fn endless_requests(
    mut stream: impl Read + Write,
    streams: u32,
    is_over: impl Fn() -> bool,
) -> u64 {
    const BYTES: u32 = 1 << 20;
    const FRAME: usize = 16_384;
    let window = [0, 4].into_iter().chain((1_u32 << 20).to_be_bytes());
    let settings: Vec<u8> = window.collect();
    let mut begin = [PREFACE, &frame(4, 0, 0, 6, &settings)].concat();
    let head = call_head("StartTrace");
    let mut message = vec![0];
    message.extend(BYTES.to_be_bytes());
    message.resize(BYTES as usize + 4, 0x1a);
    // What may be sent, of the connection and of each stream: RFC 9113, 6.9.
    let (mut room, mut rooms) = (65_535_i64, vec![65_535_i64; streams as usize]);
    let mut sent = vec![0; streams as usize];
    for at in 0..streams {
        begin.extend(frame(1, 4, 2 * at + 1, head.len() as u32, &head));
    }
    if stream.write_all(&begin).is_err() {
        return 0;
    }
    let mut taken = 0;
    while !is_over() {
        let mut moved = false;
        for at in 0..streams as usize {
            let left = message.len() - sent[at];
            let next = left.min(FRAME);
            if next == 0 || (next as i64) > room.min(rooms[at]) {
                continue;
            }
            let data = &message[sent[at]..sent[at] + next];
            let data = frame(0, 0, 2 * at as u32 + 1, next as u32, data);
            if stream.write_all(&data).is_err() {
                return taken;
            }
            sent[at] += next;
            room -= next as i64;
            rooms[at] -= next as i64;
            taken += next as u64;
            moved = true;
        }
        if moved {
            continue;
        }
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            // The permitted number of requests is held until the attack is stopped.
            continue;
        }
        let [a, b, c, kind, _, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        let _ = stream.read_exact(&mut payload);
        let of = u32::from_be_bytes([s0, s1, s2, s3]);
        let at = (of.saturating_sub(1) / 2) as usize;
        match kind {
            8 => {
                let more = i64::from(u32::from_be_bytes(payload.try_into().unwrap()));
                match of {
                    0 => room += more,
                    _ => rooms[at] += more,
                }
            }
            // Refused or reset: no more of it.
            1 | 3 if of > 0 => sent[at] = message.len(),
            4 => {
                for setting in payload.as_chunks::<6>().0 {
                    if setting[..2] == [0, 4] {
                        let [_, _, value @ ..] = *setting;
                        let more = i64::from(u32::from_be_bytes(value)) - 65_535;
                        rooms.iter_mut().for_each(|room| *room += more);
                    }
                }
            }
            7 => return taken,
            _ => {}
        }
    }
    taken
}
