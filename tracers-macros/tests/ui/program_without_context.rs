use tracers_macros::program;

#[program(raw_tp = "sys_enter")]
fn sys_enter(_number: u64) {}

fn main() {}
