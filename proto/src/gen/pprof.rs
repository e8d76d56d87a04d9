// Generated from proto/pprof.proto by `cargo xtask codegen`. Do not edit.
/// A profile: samples, and what they refer to by id.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Profile {
    /// What each sample's values are, in their order.
    #[prost(message, repeated, tag = "1")]
    pub sample_type: ::prost::alloc::vec::Vec<ValueType>,
    /// The samples.
    #[prost(message, repeated, tag = "2")]
    pub sample: ::prost::alloc::vec::Vec<Sample>,
    /// Files that were mapped; the first is the main program.
    #[prost(message, repeated, tag = "3")]
    pub mapping: ::prost::alloc::vec::Vec<Mapping>,
    /// Places in the code.
    #[prost(message, repeated, tag = "4")]
    pub location: ::prost::alloc::vec::Vec<Location>,
    /// Functions.
    #[prost(message, repeated, tag = "5")]
    pub function: ::prost::alloc::vec::Vec<Function>,
    /// All strings; the first is empty. Others refer to them by index.
    #[prost(string, repeated, tag = "6")]
    pub string_table: ::prost::alloc::vec::Vec<::prost::alloc::string::String>,
    /// Frames to leave out: a regular expression.
    #[prost(int64, tag = "7")]
    pub drop_frames: i64,
    /// Frames to keep although `drop_frames` matches: a regular expression.
    #[prost(int64, tag = "8")]
    pub keep_frames: i64,
    /// When it began: Unix time, ns.
    #[prost(int64, tag = "9")]
    pub time_nanos: i64,
    /// How long it took, ns.
    #[prost(int64, tag = "10")]
    pub duration_nanos: i64,
    /// What is between two samples.
    #[prost(message, optional, tag = "11")]
    pub period_type: ::core::option::Option<ValueType>,
    /// How much of `period_type` is between two samples.
    #[prost(int64, tag = "12")]
    pub period: i64,
    /// Remarks.
    #[prost(int64, repeated, tag = "13")]
    pub comment: ::prost::alloc::vec::Vec<i64>,
    /// The sample type to show first.
    #[prost(int64, tag = "14")]
    pub default_sample_type: i64,
    /// Where it is documented: a URL.
    #[prost(int64, tag = "15")]
    pub doc_url: i64,
}
/// What a number is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct ValueType {
    /// What is counted.
    #[prost(int64, tag = "1")]
    pub r#type: i64,
    /// In which unit.
    #[prost(int64, tag = "2")]
    pub unit: i64,
}
/// One stack and its values.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Sample {
    /// The stack, innermost first.
    #[prost(uint64, repeated, tag = "1")]
    pub location_id: ::prost::alloc::vec::Vec<u64>,
    /// One per sample type.
    #[prost(int64, repeated, tag = "2")]
    pub value: ::prost::alloc::vec::Vec<i64>,
    /// What else tells it apart.
    #[prost(message, repeated, tag = "3")]
    pub label: ::prost::alloc::vec::Vec<Label>,
}
/// A name with a text or a number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Label {
    /// The name.
    #[prost(int64, tag = "1")]
    pub key: i64,
    /// The text.
    #[prost(int64, tag = "2")]
    pub str: i64,
    /// The number.
    #[prost(int64, tag = "3")]
    pub num: i64,
    /// The number's unit.
    #[prost(int64, tag = "4")]
    pub num_unit: i64,
}
/// A file that was mapped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Mapping {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Where the mapping begins.
    #[prost(uint64, tag = "2")]
    pub memory_start: u64,
    /// Where it ends.
    #[prost(uint64, tag = "3")]
    pub memory_limit: u64,
    /// Where in the file it begins.
    #[prost(uint64, tag = "4")]
    pub file_offset: u64,
    /// The file.
    #[prost(int64, tag = "5")]
    pub filename: i64,
    /// What identifies its contents.
    #[prost(int64, tag = "6")]
    pub build_id: i64,
    /// Locations in it have their functions.
    #[prost(bool, tag = "7")]
    pub has_functions: bool,
    /// Locations in it have their files.
    #[prost(bool, tag = "8")]
    pub has_filenames: bool,
    /// Locations in it have their lines.
    #[prost(bool, tag = "9")]
    pub has_line_numbers: bool,
    /// Inlined functions are there as well.
    #[prost(bool, tag = "10")]
    pub has_inline_frames: bool,
}
/// A place in the code.
#[derive(Clone, PartialEq, ::prost::Message)]
pub struct Location {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// The mapping that it lies in; 0 is none.
    #[prost(uint64, tag = "2")]
    pub mapping_id: u64,
    /// Its address.
    #[prost(uint64, tag = "3")]
    pub address: u64,
    /// Its functions: more than one where some were inlined, the innermost first.
    #[prost(message, repeated, tag = "4")]
    pub line: ::prost::alloc::vec::Vec<Line>,
    /// The same code has several names, and this is one.
    #[prost(bool, tag = "5")]
    pub is_folded: bool,
}
/// A line of a function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Line {
    /// The function.
    #[prost(uint64, tag = "1")]
    pub function_id: u64,
    /// The line in its file; 0 is unknown.
    #[prost(int64, tag = "2")]
    pub line: i64,
    /// The column in that line; 0 is unknown.
    #[prost(int64, tag = "3")]
    pub column: i64,
}
/// A function.
#[derive(Clone, Copy, PartialEq, Eq, Hash, ::prost::Message)]
pub struct Function {
    /// From 1.
    #[prost(uint64, tag = "1")]
    pub id: u64,
    /// Its name for people.
    #[prost(int64, tag = "2")]
    pub name: i64,
    /// Its name for linkers.
    #[prost(int64, tag = "3")]
    pub system_name: i64,
    /// Its file.
    #[prost(int64, tag = "4")]
    pub filename: i64,
    /// The line where it begins; 0 is unknown.
    #[prost(int64, tag = "5")]
    pub start_line: i64,
}
