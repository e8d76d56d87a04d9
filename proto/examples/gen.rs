//! Writes Rust from `proto/`, without protoc: `cargo run -p proto --example gen [FOLDER]`, by default into `src/gen`.

use prost::Message;
use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const AGENT: &str = "tracejob/v1/agent.proto";
const JOBS: &str = "tracejob/v1/jobs.proto";
const PPROF: &str = "pprof.proto";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| root.join("src/gen"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    let compile = |file| protox::compile([file], [root.join("proto")]);
    prost_build::Config::new()
        .out_dir(&folder)
        .compile_fds(compile(PPROF)?)?;
    // For reflection: with it a client needs no .proto file.
    fs::write(folder.join("agent.binpb"), compile(AGENT)?.encode_to_vec())?;
    let jobs = compile(JOBS)?;
    fs::write(folder.join("jobs.binpb"), jobs.encode_to_vec())?;
    tonic_prost_build::configure()
        // An event's bytes are copied once, out of the batch.
        .bytes(".tracejob.v1.Bytes.data")
        .out_dir(&folder)
        .compile_fds(jobs)?;
    for (file, source) in [("pprof.rs", PPROF), ("tracejob.v1.rs", JOBS)] {
        let path = folder.join(file);
        let code = fs::read_to_string(&path)?;
        // The generator's own line 1 says less.
        let rest = code.split_once('\n').map_or("", |(_, rest)| rest);
        let first =
            format!("// Generated from proto/{source} by `cargo xtask codegen`. Do not edit.");
        fs::write(&path, format!("{first}\n{rest}"))?;
    }
    Ok(())
}
