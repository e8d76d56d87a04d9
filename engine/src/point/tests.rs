//! Tests of points on this machine's kernel.

use super::*;
use tracers::{fentry, iter, raw_tp, tp_btf, uprobe};

fn kernel() -> Kernel {
    Kernel::read().unwrap()
}

#[test]
fn a_target_that_is_not_there_is_refused_by_its_name() {
    let kernel = kernel();
    for (point, reason) in [
        (raw_tp("no_such"), "this kernel has no tracepoint no_such"),
        (
            tp_btf("no_such"),
            "this kernel has no tracepoint no_such of its own",
        ),
        (
            fentry("no_such"),
            "this kernel has no function no_such to hook",
        ),
        (iter("no_such"), "this kernel has no iterator no_such"),
    ] {
        if kernel.refusal().is_some() {
            println!("SKIPPED: this needs CAP_BPF and CAP_PERFMON");
            return;
        }
        assert_eq!(refuses(&point, &kernel).unwrap(), reason);
    }
}

#[test]
fn a_tracepoint_whose_arguments_have_other_types_is_refused_though_there_are_as_many() {
    let kernel = kernel();
    let state = raw_tp("inet_sock_set_state");
    // Three arguments, as it has; one is of another type.
    let same = state
        .clone()
        .with(&[(0, "const struct sock *"), (1, "int"), (2, "int")]);
    assert_eq!(refuses(&same, &kernel), None);
    let other = state.clone().with(&[(1, "struct sk_buff *")]);
    assert_eq!(
        refuses(&other, &kernel).unwrap(),
        "raw_tp inet_sock_set_state differs in this kernel: argument 2 is int, and struct sk_buff * is needed"
    );
    let more = state.with(&[(3, "int")]);
    assert!(
        refuses(&more, &kernel)
            .unwrap()
            .contains("argument 4 is missing")
    );
}

#[test]
fn types_that_nothing_tells_are_refused_where_some_are_needed() {
    let kernel = kernel();
    let point = uprobe("libc", "getpid").with(&[(0, "size_t")]);
    let reason = refuses(&point, &kernel).unwrap();
    assert!(
        reason.contains("uprobe") || reason.contains("user space"),
        "{reason}"
    );
}
