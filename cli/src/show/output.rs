//! Output formats of `-o`.

use crate::{
    show::{
        render::{
            Csv, Flamegraph, Folded, Json, Output, Palette, Pprof, StatusLine, Table, Viewed,
            has_stacks,
        },
        shape::Shape,
        sink::Sink,
        view::{RowView, ViewArgs},
    },
    usage::Usage,
};
use anyhow::Result;
use std::{
    env,
    io::{self, IsTerminal},
    path::PathBuf,
};
use tracers::{Batch, Form, nearest};

/// An output format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Table of the default columns.
    Table,
    /// Table of all columns.
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

    /// Returns whether the format supports only one dataset.
    fn is_of_one_dataset(self) -> bool {
        match self {
            Self::Csv | Self::Folded | Self::Flamegraph | Self::Pprof => true,
            Self::Table | Self::Wide | Self::Json => false,
        }
    }

    fn needs_file(self) -> bool {
        matches!(self, Self::Flamegraph | Self::Pprof)
    }
}

/// A value of `-o`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OutputArg {
    /// Output format.
    pub(crate) format: Format,
    /// File; `None` for standard output.
    pub(crate) file: Option<PathBuf>,
}

impl OutputArg {
    /// Parses `FORMAT` or `FORMAT=FILE`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        Self::parse_of(&Format::ALL.map(|(_, format)| format), text)
    }

    /// Parses `FORMAT` or `FORMAT=FILE` of some formats.
    pub(crate) fn parse_of(formats: &[Format], text: &str) -> Result<Self, String> {
        let (word, file) = match text.split_once('=') {
            Some((word, file)) => (word, Some(file)),
            None => (text, None),
        };
        let words = || formats.iter().map(|format| format.word());
        let Some(format) = formats.iter().find(|format| format.word() == word) else {
            let all: Vec<&str> = words().collect();
            return Err(match nearest(word, words()) {
                Some(near) => format!("did you mean {near}? Formats: {}", all.join(", ")),
                None => format!("unknown format; formats: {}", all.join(", ")),
            });
        };
        match file {
            Some("") => Err(format!("a file is required: {word}=FILE")),
            None if format.needs_file() => Err(format!(
                "a file is required: {word}=FILE, or {word}=- for standard output"
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

/// Properties of a trace that its outputs depend on.
#[derive(Debug)]
pub(crate) struct Scene<'a> {
    /// Name of the tracer.
    pub(crate) tracer: &'static str,
    /// Datasets by number.
    pub(crate) datasets: Vec<Shape<'a>>,
    /// Requested dataset; `None` for all that the output supports.
    pub(crate) dataset: Option<&'a str>,
    /// Requested view.
    pub(crate) view: ViewArgs,
    /// Default view: `spec.output` of a job.
    pub(crate) usual_view: ViewArgs,
    /// Whether the trace starts a command, which may write to the terminal.
    pub(crate) command: bool,
    /// Whether `--interval` was given.
    pub(crate) intervals: bool,
    /// Title of pictures.
    pub(crate) title: String,
}

impl Scene<'_> {
    /// Returns the number of the requested dataset, or of the first.
    fn chosen(&self) -> Result<usize, Usage> {
        let Some(name) = self.dataset else {
            return Ok(0);
        };
        let names: Vec<&str> = self.datasets.iter().map(|one| one.name).collect();
        dataset_number(self.tracer, &names, name)
    }

    /// Returns the view of each dataset, and a note for the user.
    fn views(&self, chosen: usize) -> Result<(Vec<RowView>, Option<String>), Usage> {
        let only = self.dataset.map(|_| chosen);
        let all = self.view.clone().or(self.usual_view.clone());
        match all.of(&self.datasets, only) {
            Ok(views) => Ok((views, None)),
            Err(why) if self.usual_view.is_empty() => Err(Usage(why)),
            Err(why) => {
                let views = self.view.of(&self.datasets, only).map_err(Usage)?;
                let note = format!("ignoring spec.output of the job: {why}");
                Ok((views, Some(note)))
            }
        }
    }
}

/// Returns the number of a dataset.
///
/// # Errors
/// If the tracer has no such dataset.
pub(crate) fn dataset_number(tracer: &str, names: &[&str], name: &str) -> Result<usize, Usage> {
    let found = names.iter().position(|one| *one == name);
    found.ok_or_else(|| {
        let names = names.join(", ");
        Usage(format!(
            "{tracer} has no dataset {name:?}; datasets: {names}"
        ))
    })
}

/// The outputs of a trace.
pub(crate) struct Outputs {
    /// Each output, with its dataset if it shows only one.
    pub(crate) all: Vec<(Box<dyn Output>, Option<usize>)>,
    /// Dataset whose rows are counted.
    pub(crate) main: usize,
    /// Number of rows shown of a table; `None` for all.
    pub(crate) top: Option<usize>,
    /// Names of the datasets.
    pub(crate) datasets: Vec<String>,
    /// Note for the user.
    pub(crate) note: Option<String>,
}

/// Returns whether an output with this dataset shows a batch.
pub(crate) fn shows(only: Option<usize>, batch: &Batch) -> bool {
    only.is_none_or(|dataset| dataset == batch.dataset)
}

/// Opens all outputs, so that write errors are reported before the trace starts.
pub(crate) fn open(wanted: &[OutputArg], scene: &Scene<'_>) -> Result<Outputs> {
    let table = [OutputArg {
        format: Format::Table,
        file: None,
    }];
    let wanted = if wanted.is_empty() { &table } else { wanted };
    let chosen = scene.chosen()?;
    let main = scene.datasets[chosen];
    check(wanted, main)?;
    check_view(wanted, &scene.view)?;
    let root = scene.view.root_places(&main).map_err(Usage)?;
    let (views, sentence) = scene.views(chosen)?;
    let mut outputs = Vec::new();
    for arg in wanted {
        let shows_all = scene.dataset.is_none() && !arg.format.is_of_one_dataset();
        let only = (!shows_all).then_some(chosen);
        outputs.push((open_one(arg, scene, &views, &root, chosen, only)?, only));
    }
    let on_screen = wanted.iter().any(|arg| arg.file.is_none()) && io::stdout().is_terminal();
    if !on_screen && !scene.command && may_redraw(&io::stderr()) {
        let line: Box<dyn Output> = Box::new(StatusLine::new(palette(&io::stderr())));
        outputs.push((line, None));
    }
    Ok(Outputs {
        all: outputs,
        main: chosen,
        top: views[chosen].top,
        datasets: { scene.datasets.iter() }
            .map(|one| one.name.to_owned())
            .collect(),
        note: sentence.or_else(|| note(wanted, scene)),
    })
}

/// Returns a note about datasets that an output omits by default.
fn note(wanted: &[OutputArg], scene: &Scene<'_>) -> Option<String> {
    let (first, further) = scene.datasets.split_first()?;
    let arg = wanted.iter().find(|arg| arg.format.is_of_one_dataset());
    let arg = arg.filter(|_| scene.dataset.is_none() && !further.is_empty())?;
    let others: Vec<String> = { further.iter() }
        .map(|one| format!("--dataset {}", one.name))
        .collect();
    Some(format!(
        "-o {} shows only the dataset {}; {} selects another",
        arg.format.word(),
        first.name,
        others.join(" or ")
    ))
}

/// Returns whether rows go to a standard output that is not a terminal.
pub(crate) fn to_pipe(wanted: &[OutputArg]) -> bool {
    (wanted.is_empty() || wanted.iter().any(|arg| arg.file.is_none()))
        && !io::stdout().is_terminal()
}

/// Returns whether JSON goes to standard output.
pub(crate) fn is_json(wanted: &[OutputArg]) -> bool {
    wanted
        .iter()
        .any(|arg| arg.format == Format::Json && arg.file.is_none())
}

fn check(wanted: &[OutputArg], main: Shape<'_>) -> Result<()> {
    if let Some(arg) = wanted
        .iter()
        .find(|arg| arg.format.needs_stacks() && !has_stacks(main.columns))
    {
        let able: Vec<&str> = tracers::ALL
            .iter()
            .filter(|t| has_stacks(&t.columns()))
            .map(|t| t.name())
            .collect();
        let message = format!(
            "-o {} requires stacks, but rows of {} have none; tracers with stacks: {}",
            arg.format.word(),
            main.name,
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
                "two outputs cannot write to the same file, {}",
                file.display()
            ))
            .into());
        }
    }
    let binary = wanted
        .iter()
        .any(|arg| arg.format == Format::Pprof && arg.file.is_none());
    if binary && io::stdout().is_terminal() {
        return Err(Usage(
            "a profile is binary and cannot be written to a terminal: use -o pprof=FILE".to_owned(),
        )
        .into());
    }
    Ok(())
}

/// Rejects options that an output of stacks does not have, and those that only such an output has.
pub(crate) fn check_view(wanted: &[OutputArg], view: &ViewArgs) -> Result<(), Usage> {
    let picture = wanted.iter().find(|arg| arg.format.needs_stacks());
    match picture {
        None if !view.root.is_empty() => Err(Usage(
            "--root is an option of -o folded, flamegraph=FILE and pprof=FILE".to_owned(),
        )),
        None => Ok(()),
        Some(_) if !view.selects_rows() => Ok(()),
        Some(arg) => Err(Usage(format!(
            "-o {} aggregates all rows by stack: remove --columns, --sort and --top; --where selects rows",
            arg.format.word()
        ))),
    }
}

/// Opens an output. `chosen` is the number of its first dataset; `only` is set if it shows no other.
fn open_one(
    arg: &OutputArg,
    scene: &Scene<'_>,
    views: &[RowView],
    root: &[usize],
    chosen: usize,
    only: Option<usize>,
) -> Result<Box<dyn Output>> {
    let Scene {
        tracer,
        datasets,
        dataset: _,
        view: _,
        usual_view: _,
        command,
        intervals,
        title,
    } = scene;
    let (main, view) = (datasets[chosen], &views[chosen]);
    let columns = main.columns;
    let viewed = |to: Box<dyn Output>| -> Box<dyn Output> {
        let all = datasets.iter().zip(views);
        Box::new(Viewed::new(all.map(|(one, view)| (one.columns, view)), to))
    };
    let has_table = |one: &Shape<'_>| one.form == Form::Table;
    let intervals = *intervals
        && match only {
            Some(_) => has_table(&main),
            None => datasets.iter().any(has_table),
        };
    let further = || datasets.iter().enumerate().skip(1);
    let terminal = arg.file.is_none() && io::stdout().is_terminal();
    let to = match &arg.file {
        Some(path) => Sink::create(path)?,
        None => Sink::stdout()?,
    };
    Ok(match arg.format {
        Format::Table | Format::Wide => {
            let wide = arg.format == Format::Wide;
            let table = match terminal {
                true => {
                    let live = !command && may_redraw(&io::stdout());
                    Table::terminal(columns, view, wide, palette(&io::stdout()), to, live)
                }
                false => Table::plain(columns, view, wide, to),
            };
            let further = further().filter(|(_, one)| only.is_none() && has_table(one));
            Box::new(further.fold(table, |table, (at, one)| {
                table.also(at, one.name, one.columns, &views[at])
            }))
        }
        // All datasets, also if only one is shown: rows look the same in both cases.
        Format::Json => {
            let first = datasets.first().map_or(&[][..], |first| first.columns);
            let json = Json::new(&views[0].columns(first), intervals, to);
            let add = |json: Json, (at, one): (usize, &Shape<'_>)| {
                json.also(one.name, &views[at].columns(one.columns))
            };
            viewed(Box::new(further().fold(json, add)))
        }
        Format::Csv => {
            let columns = view.columns(columns);
            viewed(Box::new(Csv::new(&columns, intervals, to)))
        }
        Format::Folded => Box::new(Folded::new(columns, to).with_root(root)),
        Format::Flamegraph => {
            let title = format!("{tracer}: {title}");
            Box::new(Flamegraph::new(columns, title, to).with_root(root))
        }
        Format::Pprof => Box::new(Pprof::new(columns, to).with_root(root)),
    })
}

/// Returns the colours for a stream: none without a terminal, or with `NO_COLOR` (no-color.org).
pub(crate) fn palette(stream: &impl IsTerminal) -> Palette {
    let objection = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    Palette {
        on: !objection && may_redraw(stream),
    }
}

/// Returns whether `stream` is a terminal that can redraw lines.
fn may_redraw(stream: &impl IsTerminal) -> bool {
    stream.is_terminal()
        && env::var_os("TERM").is_none_or(|term| term != "dumb" && !term.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::{Column, Kind, Role};

    /// Returns the contents of outputs of a tracer with events and a table.
    fn opened(formats: &[&str], dataset: Option<&str>) -> Result<Outputs> {
        let columns = [Column::of("n", "", Role::None, false).kind(Kind::Unsigned)];
        let shape = |name, form| Shape {
            name,
            columns: &columns,
            form,
        };
        let scene = Scene {
            tracer: "first",
            datasets: vec![shape("first", Form::Events), shape("more", Form::Table)],
            dataset,
            view: ViewArgs::default(),
            usual_view: ViewArgs::default(),
            command: true,
            intervals: false,
            title: String::new(),
        };
        let args = formats.iter().map(|form| OutputArg {
            file: Some("/dev/null".into()),
            ..OutputArg::parse(form).unwrap()
        });
        // A device may be named twice.
        let args: Vec<_> = args.collect();
        open(&args, &scene)
    }

    #[test]
    fn an_output_shows_as_many_datasets_as_it_can_and_names_the_others() {
        let only = |formats: &[&str], dataset| {
            let outputs = opened(formats, dataset).unwrap();
            let only: Vec<_> = outputs.all.iter().map(|(_, only)| *only).collect();
            (only, outputs.main, outputs.note)
        };
        assert_eq!(only(&["json"], None), (vec![None], 0, None));
        assert_eq!(only(&["table"], None), (vec![None], 0, None));
        let (shown, main, note) = only(&["csv"], None);
        assert_eq!((shown, main), (vec![Some(0)], 0));
        let sentence = "-o csv shows only the dataset first; --dataset more selects another";
        assert_eq!(note.as_deref(), Some(sentence));
        for form in ["json", "csv", "wide"] {
            assert_eq!(only(&[form], Some("more")), (vec![Some(1)], 1, None));
        }
        let refused = opened(&["json"], Some("mor")).err().unwrap().to_string();
        assert_eq!(
            refused,
            "first has no dataset \"mor\"; datasets: first, more"
        );
    }

    #[test]
    fn pictures_of_stacks_refuse_a_view_and_name_where() {
        let view = ViewArgs {
            top: Some(3),
            ..ViewArgs::default()
        };
        let refused = |format: &str| {
            let wanted = [OutputArg::parse(format).unwrap()];
            check_view(&wanted, &view)
                .err()
                .map(|Usage(sentence)| sentence)
        };
        for format in ["folded", "flamegraph=-", "pprof=-"] {
            let sentence = refused(format).unwrap();
            assert!(
                sentence.contains("--columns, --sort and --top"),
                "{sentence}"
            );
            assert!(sentence.contains("--where"), "{sentence}");
        }
        for format in ["table", "wide", "json", "csv"] {
            assert_eq!(refused(format), None);
        }
    }

    #[test]
    fn a_jobs_view_that_does_not_fit_is_left_out_with_a_note_and_a_flags_is_an_error() {
        let columns = [Column::of("n", "", Role::None, false)];
        let datasets = vec![Shape {
            name: "first",
            columns: &columns,
            form: Form::Events,
        }];
        let top = ViewArgs {
            top: Some(3),
            ..ViewArgs::default()
        };
        let scene = |view: &ViewArgs, usual_view: &ViewArgs| Scene {
            tracer: "first",
            datasets: datasets.clone(),
            dataset: None,
            view: view.clone(),
            usual_view: usual_view.clone(),
            command: false,
            intervals: false,
            title: String::new(),
        };
        let none = ViewArgs::default();
        let (views, note) = scene(&none, &top).views(0).unwrap();
        assert_eq!(views, [RowView::default()]);
        assert!(
            note.unwrap()
                .starts_with("ignoring spec.output of the job: --top")
        );
        assert!(scene(&top, &none).views(0).is_err());
    }

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
            "a file is required: flamegraph=FILE, or flamegraph=- for standard output"
        );
        assert_eq!(error("json="), "a file is required: json=FILE");
        assert!(error("jsn").starts_with("did you mean json? Formats: table, wide, json"));
        assert!(error("xml and such").starts_with("unknown format; formats: table"));
    }
}
