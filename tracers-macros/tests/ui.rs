//! What a tracer's structs may not be, and what the compiler then says.

#[test]
fn each_mistake_in_a_schema_is_refused_with_its_remedy() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/*.rs");
}
