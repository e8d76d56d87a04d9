use tracers_macros::program;

struct Context;

#[program(tracepoint = "sys_enter")]
fn sys_enter(_ctx: &Context) {}

fn main() {}
