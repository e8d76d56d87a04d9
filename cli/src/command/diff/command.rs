//! The definition of the command line of `diff`.

use super::FORMATS;
use crate::{command::args::examples, show::output::OutputArg};
use clap::{Arg, Command, ValueHint, builder::ValueParser, value_parser};
use std::path::PathBuf;

/// Returns the command `diff`, which the plugin of kubectl has too.
pub(crate) fn command(examples_of: &'static [(&'static str, &'static str)]) -> Command {
    let file = |id: &'static str, name: &'static str, help: &'static str| {
        Arg::new(id)
            .value_name(name)
            .required(true)
            .value_parser(value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help(help)
    };
    let output = |text: &str| OutputArg::parse_of(&FORMATS, text);
    Command::new("diff")
        .about("Compare two pprof profiles by the shares of their functions")
        .arg(file(
            "before",
            "BEFORE",
            "Profile to compare with: a file of -o pprof=FILE",
        ))
        .arg(file("after", "AFTER", "Profile to explain"))
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FORMAT[=FILE]")
                .value_parser(ValueParser::from(output))
                .help("Output format: table, folded, flamegraph=FILE [default: table]"),
        )
        .arg(
            Arg::new("top")
                .long("top")
                .value_name("N")
                .value_parser(value_parser!(u32).range(1..))
                .help("Show only the N functions with the largest changes [default: 20]"),
        )
        .arg(
            Arg::new("sample")
                .long("sample")
                .value_name("NAME")
                .help("Sample type to compare [default: that of the profiles]"),
        )
        .after_help(examples(examples_of))
}
