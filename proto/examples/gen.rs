//! Writes `src/gen` from `proto`, without protoc: `cargo run -p proto --example gen`.

use std::{error::Error, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = protox::compile(["pprof.proto"], [root.join("proto")])?;
    let folder = root.join("src/gen");
    fs::create_dir_all(&folder)?;
    prost_build::Config::new()
        .out_dir(&folder)
        .compile_fds(files)?;
    let path = folder.join("pprof.rs");
    let code = fs::read_to_string(&path)?;
    let rest = code.split_once('\n').map_or("", |(_, rest)| rest);
    fs::write(
        &path,
        format!(
            "// Generated from proto/pprof.proto by `cargo run -p proto --example gen`. Do not edit.\n{rest}"
        ),
    )?;
    Ok(())
}
