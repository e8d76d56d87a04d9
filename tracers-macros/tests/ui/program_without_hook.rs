use tracers_macros::program;

struct Context;

#[program]
fn sys_enter(_ctx: &Context) {}

fn main() {}
