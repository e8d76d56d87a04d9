use tracers_macros::program;

struct Context;
struct Verdict;

#[program(raw_tp = "sys_enter")]
fn sys_enter(_ctx: &Context) -> Verdict {
    Verdict
}

fn main() {}
