//! What `-o` asks for, and what it becomes.

use crate::{
    render::{
        Csv, Flamegraph, Folded, Json, Output, Palette, Pprof, StatusLine, Table, has_stacks,
    },
    sink::Sink,
    usage::Usage,
};
use anyhow::Result;
use std::{
    env,
    io::{self, IsTerminal},
    path::PathBuf,
};
use tracers::{Column, Form, nearest};

/// One form in which rows are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// A table of what matters most.
    Table,
    /// A table of everything.
    Wide,
    /// JSON lines.
    Json,
    /// Comma-separated values.
    Csv,
    /// Folded stacks.
    Folded,
    /// A flame graph.
    Flamegraph,
    /// A pprof profile.
    Pprof,
}

impl Format {
    const ALL: [(&'static str, Self); 7] = [
        ("table", Self::Table),
        ("wide", Self::Wide),
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("folded", Self::Folded),
        ("flamegraph", Self::Flamegraph),
        ("pprof", Self::Pprof),
    ];

    fn word(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, format)| *format == self)
            .map_or("", |(word, _)| word)
    }

    fn needs_stacks(self) -> bool {
        matches!(self, Self::Folded | Self::Flamegraph | Self::Pprof)
    }

    fn needs_file(self) -> bool {
        matches!(self, Self::Flamegraph | Self::Pprof)
    }
}

/// One `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputArg {
    /// The form.
    pub(crate) format: Format,
    /// The file; `None` is standard output.
    pub(crate) file: Option<PathBuf>,
}

impl OutputArg {
    /// Reads `FORMAT` or `FORMAT=FILE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (word, file) = match text.split_once('=') {
            Some((word, file)) => (word, Some(file)),
            None => (text, None),
        };
        let words = || Format::ALL.iter().map(|(word, _)| *word);
        let Some((_, format)) = Format::ALL.iter().find(|(known, _)| *known == word) else {
            let all: Vec<&str> = words().collect();
            return Err(match nearest(word, words()) {
                Some(near) => format!("did you mean {near}? There are {}", all.join(", ")),
                None => format!("there are {}", all.join(", ")),
            });
        };
        match file {
            Some("") => Err(format!("name the file: {word}=FILE")),
            None if format.needs_file() => Err(format!(
                "name the file: {word}=FILE, or {word}=- for standard output"
            )),
            None | Some("-") => Ok(Self {
                format: *format,
                file: None,
            }),
            Some(file) => Ok(Self {
                format: *format,
                file: Some(PathBuf::from(file)),
            }),
        }
    }
}

/// What the outputs of a trace are made for.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// The tracer's name.
    pub(crate) tracer: &'static str,
    /// Its columns.
    pub(crate) columns: &'a [Column],
    /// How its rows come.
    pub(crate) form: Form,
    /// Whether a command that we start writes to the terminal as well.
    pub(crate) command: bool,
    /// Whether each interval is asked for by name.
    pub(crate) intervals: bool,
    /// Whom the picture is of.
    pub(crate) title: String,
}

/// Everything that `-o` asks for. Files are opened, so that what cannot be written is known before anything is traced.
pub(crate) fn open(wanted: &[OutputArg], scene: &Scene<'_>) -> Result<Vec<Box<dyn Output>>> {
    let table = [OutputArg {
        format: Format::Table,
        file: None,
    }];
    let wanted = if wanted.is_empty() { &table } else { wanted };
    check(wanted, scene)?;
    let mut outputs: Vec<Box<dyn Output>> = Vec::new();
    for arg in wanted {
        outputs.push(open_one(arg, scene)?);
    }
    let on_screen = wanted.iter().any(|arg| arg.file.is_none()) && io::stdout().is_terminal();
    if !on_screen && !scene.command && may_redraw(&io::stderr()) {
        outputs.push(Box::new(StatusLine::new(palette(&io::stderr()))));
    }
    Ok(outputs)
}

/// Whether rows go to a standard output that programs read.
pub(crate) fn to_pipe(wanted: &[OutputArg]) -> bool {
    (wanted.is_empty() || wanted.iter().any(|arg| arg.file.is_none()))
        && !io::stdout().is_terminal()
}

/// Whether rows, or the account, are to be read by a program.
pub(crate) fn is_json(wanted: &[OutputArg]) -> bool {
    wanted
        .iter()
        .any(|arg| arg.format == Format::Json && arg.file.is_none())
}

fn check(wanted: &[OutputArg], scene: &Scene<'_>) -> Result<()> {
    if let Some(arg) = wanted
        .iter()
        .find(|arg| arg.format.needs_stacks() && !has_stacks(scene.columns))
    {
        let able: Vec<&str> = tracers::ALL
            .iter()
            .filter(|t| has_stacks(&t.columns()))
            .map(|t| t.name())
            .collect();
        let message = format!(
            "-o {} needs stacks, and rows of {} have none; those of {} do",
            arg.format.word(),
            scene.tracer,
            able.join(", ")
        );
        return Err(Usage(message).into());
    }
    if wanted.iter().filter(|arg| arg.file.is_none()).count() > 1 {
        return Err(Usage(
            "only one -o can go to standard output; give the others a file: -o FORMAT=FILE"
                .to_owned(),
        )
        .into());
    }
    for (index, arg) in wanted.iter().enumerate() {
        if let Some(file) = &arg.file
            && wanted[..index]
                .iter()
                .any(|other| other.file.as_ref() == Some(file))
        {
            return Err(Usage(format!(
                "two outputs cannot go to one file, {}",
                file.display()
            ))
            .into());
        }
    }
    let binary = wanted
        .iter()
        .any(|arg| arg.format == Format::Pprof && arg.file.is_none());
    if binary && io::stdout().is_terminal() {
        return Err(Usage("a profile is no text: name a file, -o pprof=FILE".to_owned()).into());
    }
    Ok(())
}

fn open_one(arg: &OutputArg, scene: &Scene<'_>) -> Result<Box<dyn Output>> {
    let Scene {
        tracer,
        columns,
        form,
        command,
        intervals,
        title,
    } = scene;
    let intervals = *intervals && *form == Form::Table;
    let terminal = arg.file.is_none() && io::stdout().is_terminal();
    let to = match &arg.file {
        Some(path) => Sink::create(path)?,
        None => Sink::stdout()?,
    };
    Ok(match arg.format {
        Format::Table | Format::Wide => {
            let wide = arg.format == Format::Wide;
            match terminal {
                true => {
                    let live = !command && may_redraw(&io::stdout());
                    Box::new(Table::terminal(
                        columns,
                        wide,
                        palette(&io::stdout()),
                        to,
                        live,
                    ))
                }
                false => Box::new(Table::plain(columns, wide, to)),
            }
        }
        Format::Json => Box::new(Json::new(columns, intervals, to)),
        Format::Csv => Box::new(Csv::new(columns, intervals, to)),
        Format::Folded => Box::new(Folded::new(columns, to)),
        Format::Flamegraph => Box::new(Flamegraph::new(columns, format!("{tracer}: {title}"), to)),
        Format::Pprof => Box::new(Pprof::new(columns, to)),
    })
}

/// Colours, where `stream` is a terminal that has them and nobody objects (no-color.org).
pub(crate) fn palette(stream: &impl IsTerminal) -> Palette {
    let objection = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Palette {
        on: !objection && may_redraw(stream),
    }
}

/// Whether `stream` is a terminal on which lines can be drawn again.
fn may_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && env::var_os("TERM").is_none_or(|term| term != "dumb" && !term.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_may_have_a_file_and_pictures_need_one() {
        let parsed = |text| OutputArg::parse(text).unwrap();
        assert_eq!(
            parsed("json"),
            OutputArg {
                format: Format::Json,
                file: None
            }
        );
        assert_eq!(
            parsed("flamegraph=a=b.svg").file,
            Some(PathBuf::from("a=b.svg"))
        );
        assert_eq!(parsed("pprof=-").file, None);
        let error = |text| OutputArg::parse(text).unwrap_err();
        assert_eq!(
            error("flamegraph"),
            "name the file: flamegraph=FILE, or flamegraph=- for standard output"
        );
        assert_eq!(error("json="), "name the file: json=FILE");
        assert!(error("jsn").starts_with("did you mean json? There are table, wide, json"));
        assert!(error("xml and such").starts_with("there are table"));
    }
}
