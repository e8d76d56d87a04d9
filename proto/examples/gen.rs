//! Writes Rust from `proto/*.proto`, without protoc: `cargo run -p proto --example gen [FOLDER]`, by default into `src/gen`.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

const GENERATED: &str =
    "// Generated from proto/pprof.proto by `cargo xtask codegen`. Do not edit.\n";

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = env::args_os()
        .nth(1)
        .map_or_else(|| root.join("src/gen"), PathBuf::from);
    fs::create_dir_all(&folder)?;
    let files = protox::compile(["pprof.proto"], [root.join("proto")])?;
    prost_build::Config::new()
        .out_dir(&folder)
        .compile_fds(files)?;
    let path = folder.join("pprof.rs");
    let code = fs::read_to_string(&path)?;
    // prost's own line 1 says less.
    let rest = code.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(&path, format!("{GENERATED}{rest}"))?;
    Ok(())
}
