//! Tries the symbolizer by hand, and is its worker: `symbolize PID ADDRESS…`, `symbolize kernel ADDRESS…`.

use std::{env, process::exit};
use symbols::{FrameId, Symbolizer, UserAddr, worker_if_asked};

fn main() {
    worker_if_asked();
    let mut arguments = env::args().skip(1);
    let target = arguments.next().unwrap_or_default();
    let addresses: Option<Vec<u64>> = arguments
        .map(|address| u64::from_str_radix(address.trim_start_matches("0x"), 16).ok())
        .collect();
    let mut symbolizer = Symbolizer::new();
    let frames: Vec<FrameId> = match (target.parse(), addresses) {
        (Ok(pid), Some(addresses)) => {
            let stack: Vec<UserAddr> = addresses.into_iter().map(UserAddr::Ip).collect();
            symbolizer.user(pid, &stack)
        }
        (Err(_), Some(addresses)) if target == "kernel" => symbolizer.kernel(&addresses),
        _ => {
            eprintln!("usage: symbolize PID|kernel ADDRESS…");
            exit(2);
        }
    };
    for frame in frames {
        println!("{:?}", symbolizer.frames().get(frame));
    }
    if let Some(reason) = symbolizer.kernel_unnamed() {
        eprintln!("{reason}");
    }
}
