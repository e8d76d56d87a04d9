//! Columns from the schema of a message. Columns of the catalogue are used as they are in the catalogue; others are shown as the schema
//! describes them.

use crate::shown;
use proto::v1;
use tracers::{Basic, Column, Dataset, Erased, Form, Kind, Role, Store, Unit};

/// Maximum number of columns, which no tracer with labels reaches.
const COLUMNS: usize = 256;
/// Maximum bytes of a column's name.
const NAME: usize = 128;
/// Maximum number of further datasets, which no tracer reaches.
const FURTHER: usize = 16;

/// The schema of a dataset.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Name of the dataset; for the first dataset, the name of the tracer.
    pub name: String,
    /// Columns of the rows.
    pub columns: Vec<Column>,
    /// Storage of each column's values.
    pub(crate) sorts: Vec<Sort>,
    /// Whether a batch is the whole table, in one or more parts.
    pub table: bool,
    /// Further datasets of the tracer, by their numbers on the wire; only in the first dataset.
    pub further: Vec<Self>,
}

/// Storage of a column's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sort {
    Unsigned,
    Signed,
    Bytes,
    Lists,
    /// Frames, or addresses that are not symbolized.
    Stacks,
    /// A kind of newer agents, which is shown in its received form.
    Any,
}

impl Schema {
    /// Reads the schema of a tracer from the message of an agent.
    ///
    /// # Errors
    /// If the schema is that of another tracer, or is invalid.
    pub fn read(message: v1::Schema, tracer: &str) -> Result<Self, String> {
        read(message, tracer)
    }

    /// Returns the schemas of all datasets by number, starting with this one.
    pub fn datasets(&self) -> impl Iterator<Item = &Self> {
        std::iter::once(self).chain(&self.further)
    }
}

/// Returns the message with the schema of a tracer's first dataset.
pub fn schema(tracer: &dyn Erased, columns: &[Column]) -> v1::Schema {
    v1::Schema {
        tracer: tracer.name().to_owned(),
        table: tracer.source().form() == Form::Table,
        columns: columns.iter().map(to_message).collect(),
        instance: 0,
        further: Vec::new(),
        filter: String::new(),
    }
}

/// Returns the message with the schemas of all datasets of a tracer.
pub fn schemas(tracer: &dyn Erased, datasets: &[Dataset]) -> v1::Schema {
    let (first, further) = match datasets.split_first() {
        Some((first, further)) => (first.columns.as_slice(), further),
        None => (&[][..], &[][..]),
    };
    let further = further.iter().map(|one| {
        let table = one.source.form() == Form::Table;
        self::further(one.name, one.about, table, &one.columns)
    });
    v1::Schema {
        further: further.collect(),
        ..schema(tracer, first)
    }
}

/// Returns the message with the schema of a further dataset.
pub fn further(name: &str, about: &str, table: bool, columns: &[Column]) -> v1::Dataset {
    v1::Dataset {
        name: name.to_owned(),
        about: about.to_owned(),
        table,
        columns: columns.iter().map(to_message).collect(),
    }
}

fn to_message(column: &Column) -> v1::Column {
    let role = match column.role {
        Role::None => v1::Role::Unspecified,
        Role::Key => v1::Role::Key,
        Role::Count => v1::Role::Count,
        Role::Sum => v1::Role::Sum,
        Role::Max => v1::Role::Max,
        Role::Min => v1::Role::Min,
        Role::Last => v1::Role::Last,
        Role::Gauge => v1::Role::Gauge,
        Role::Histogram => v1::Role::Histogram,
    };
    v1::Column {
        name: column.name.to_string(),
        about: column.about.to_string(),
        kind: wire(column.kind.basic()).into(),
        role: role.into(),
        unit: column.unit().word().to_owned(),
        r#type: column.kind.name().to_owned(),
    }
}

fn read(schema: v1::Schema, tracer: &str) -> Result<Schema, String> {
    if schema.tracer != tracer {
        return Err(format!(
            "the agent sends rows of \"{}\" instead of {tracer}",
            shown(&schema.tracer)
        ));
    }
    if schema.further.len() > FURTHER {
        let many = schema.further.len();
        return Err(format!(
            "{many} further datasets; there are {FURTHER} at most"
        ));
    }
    let known = tracers::find(tracer).map_or_else(Vec::new, |tracer| tracer.datasets());
    let mut first = dataset(tracer.to_owned(), schema.table, schema.columns, &known)?;
    for message in schema.further {
        let name = name("dataset", &message.name)?;
        if name == first.name || first.further.iter().any(|one| one.name == name) {
            return Err(format!("two datasets are called \"{name}\""));
        }
        let further = dataset(name, message.table, message.columns, &known)?;
        first.further.push(further);
    }
    Ok(first)
}

/// Returns a dataset with these columns. Columns of the catalogue's dataset with this name are used as they are in the catalogue.
fn dataset(
    dataset: String,
    table: bool,
    messages: Vec<v1::Column>,
    catalogue: &[Dataset],
) -> Result<Schema, String> {
    if messages.is_empty() || messages.len() > COLUMNS {
        let many = messages.len();
        return Err(format!("a schema of {many} columns; it has 1 to {COLUMNS}"));
    }
    let mut known = tracers::LABELS.to_vec();
    let own = catalogue.iter().find(|own| own.name == dataset);
    known.extend(own.into_iter().flat_map(|own| own.columns.clone()));
    let mut columns: Vec<Column> = Vec::new();
    let mut sorts = Vec::new();
    for message in messages {
        if columns.iter().any(|column| column.name == message.name) {
            let name = shown(&message.name);
            return Err(format!("two columns are called \"{name}\""));
        }
        let found = known.iter().find(|column| column.name == message.name);
        columns.push(column(&message, found)?);
        sorts.push(sort(message.kind()));
    }
    Ok(Schema {
        name: dataset,
        columns,
        sorts,
        table,
        further: Vec::new(),
    })
}

fn column(message: &v1::Column, known: Option<&Column>) -> Result<Column, String> {
    let kind = kind(message, known.map(|column| column.kind));
    // A column of the catalogue keeps what no message has.
    let base = match known {
        Some(column) => column.clone(),
        None => Column {
            name: name("column", &message.name)?.into(),
            ..Column::of("", "", Role::None, false)
        },
    };
    Ok(Column {
        kind,
        role: role(message.role()),
        // Received rows are decoded.
        place: None,
        ..base
    })
}

/// Returns a name that is not in the catalogue, if it is valid in headings and keys.
fn name(of: &str, name: &str) -> Result<String, String> {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "_-./:".contains(c);
    match (1..=NAME).contains(&name.len()) && name.chars().all(harmless) {
        true => Ok(name.to_owned()),
        false => Err(format!(
            "\"{}\" is no name of a {of}: it has 1 to {NAME} letters, digits, '_', '-', '.', '/' and ':'",
            shown(name)
        )),
    }
}

fn sort(kind: v1::Kind) -> Sort {
    match basic(kind).map(Basic::store) {
        Some(Store::Unsigned) => Sort::Unsigned,
        Some(Store::Signed) => Sort::Signed,
        Some(Store::Bytes) => Sort::Bytes,
        Some(Store::Buckets | Store::Pairs) => Sort::Lists,
        Some(Store::Stack) => Sort::Stacks,
        None => Sort::Any,
    }
}

/// Returns the kind of a column. An unknown type, or a type with another basic form in this version, is shown in its basic form and is not
/// trusted.
fn kind(message: &v1::Column, known: Option<Kind>) -> Kind {
    let (basic, unit) = (basic(message.kind()), Unit::named(&message.unit));
    let unknown = Kind::Unknown { basic };
    // The kind of the catalogue has more details: the owner of a stack, the names of bits.
    if let Some(known) = known
        && known.basic() == basic
        && (message.r#type.is_empty() || message.r#type == known.name())
    {
        return known;
    }
    if message.r#type.is_empty() {
        return basic.map_or(unknown, |basic| basic.kind(unit));
    }
    let named = Kind::named(&message.r#type, unit);
    named
        .filter(|kind| kind.basic() == basic)
        .unwrap_or(unknown)
}

fn basic(kind: v1::Kind) -> Option<Basic> {
    Some(match kind {
        v1::Kind::Unspecified => return None,
        v1::Kind::Unsigned => Basic::Unsigned,
        v1::Kind::Signed => Basic::Signed,
        v1::Kind::Bool => Basic::Bool,
        v1::Kind::Time => Basic::Time,
        v1::Kind::Text => Basic::Text,
        v1::Kind::Path => Basic::Path,
        v1::Kind::Args => Basic::Args,
        v1::Kind::Ip => Basic::Ip,
        v1::Kind::Syscall => Basic::Syscall,
        v1::Kind::Outcome => Basic::Outcome,
        v1::Kind::Octal => Basic::Octal,
        v1::Kind::Flags => Basic::Flags,
        v1::Kind::Stack => Basic::Stack,
        v1::Kind::Log2 => Basic::Log2,
        v1::Kind::Errors => Basic::Errors,
    })
}

fn wire(basic: Option<Basic>) -> v1::Kind {
    match basic {
        None => v1::Kind::Unspecified,
        Some(Basic::Unsigned) => v1::Kind::Unsigned,
        Some(Basic::Signed) => v1::Kind::Signed,
        Some(Basic::Bool) => v1::Kind::Bool,
        Some(Basic::Time) => v1::Kind::Time,
        Some(Basic::Text) => v1::Kind::Text,
        Some(Basic::Path) => v1::Kind::Path,
        Some(Basic::Args) => v1::Kind::Args,
        Some(Basic::Ip) => v1::Kind::Ip,
        Some(Basic::Syscall) => v1::Kind::Syscall,
        Some(Basic::Outcome) => v1::Kind::Outcome,
        Some(Basic::Octal) => v1::Kind::Octal,
        Some(Basic::Flags) => v1::Kind::Flags,
        Some(Basic::Stack) => v1::Kind::Stack,
        Some(Basic::Log2) => v1::Kind::Log2,
        Some(Basic::Errors) => v1::Kind::Errors,
    }
}

fn role(role: v1::Role) -> Role {
    match role {
        v1::Role::Unspecified => Role::None,
        v1::Role::Key => Role::Key,
        v1::Role::Count => Role::Count,
        v1::Role::Sum => Role::Sum,
        v1::Role::Max => Role::Max,
        v1::Role::Min => Role::Min,
        v1::Role::Last => Role::Last,
        v1::Role::Gauge => Role::Gauge,
        v1::Role::Histogram => Role::Histogram,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracers::Trust;

    fn column(name: &str, kind: v1::Kind) -> v1::Column {
        v1::Column {
            name: name.to_owned(),
            kind: kind.into(),
            ..v1::Column::default()
        }
    }

    fn of(columns: Vec<v1::Column>) -> Result<Schema, String> {
        let tracer = tracers::ALL[0].name();
        let wire = v1::Schema {
            tracer: tracer.to_owned(),
            table: false,
            columns,
            instance: 0,
            further: vec![],
            filter: String::new(),
        };
        read(wire, tracer)
    }

    #[test]
    fn columns_of_the_catalogue_are_used_and_others_are_taken_from_the_schema() {
        for tracer in tracers::ALL {
            let own = tracer.columns();
            let mut all: Vec<v1::Column> = own.iter().map(super::to_message).collect();
            all.push(column("pod.name/x", v1::Kind::Text));
            all.push(v1::Column {
                kind: 99,
                ..column("newer", v1::Kind::Unspecified)
            });
            let read = read(
                v1::Schema {
                    tracer: tracer.name().to_owned(),
                    table: false,
                    columns: all,
                    instance: 0,
                    further: vec![],
                    filter: String::new(),
                },
                tracer.name(),
            )
            .unwrap();
            for (own, read) in own.iter().zip(&read.columns) {
                assert_eq!(format!("{:?}", decoded(own)), format!("{read:?}"));
            }
            let more = &read.columns[own.len()..];
            assert_eq!((&*more[0].name, &*more[1].name), ("pod.name/x", "newer"));
            assert!(!more[0].wide, "a label is shown");
            assert_eq!(read.sorts[own.len() + 1], Sort::Any);
        }
    }

    /// Returns a column of decoded rows, which has no place.
    fn decoded(column: &Column) -> Column {
        Column {
            place: None,
            ..column.clone()
        }
    }

    #[test]
    fn all_datasets_of_a_tracer_are_the_catalogues_again() {
        for tracer in tracers::ALL {
            let own = tracer.datasets();
            let first = read(schemas(*tracer, &own), tracer.name()).unwrap();
            let all: Vec<&Schema> = first.datasets().collect();
            assert_eq!(all.len(), own.len());
            for (own, read) in own.iter().zip(all) {
                assert_eq!(own.name, read.name);
                assert_eq!(own.source.form() == Form::Table, read.table);
                let own: Vec<Column> = own.columns.iter().map(decoded).collect();
                assert_eq!(format!("{own:?}"), format!("{:?}", read.columns));
            }
        }
    }

    #[test]
    fn invalid_further_datasets_are_refused() {
        let tracer = tracers::ALL[0].name();
        let refused = |names: &[&str]| {
            let further = names.iter().map(|name| v1::Dataset {
                name: (*name).to_owned(),
                columns: vec![column("a", v1::Kind::Text)],
                ..v1::Dataset::default()
            });
            let wire = v1::Schema {
                tracer: tracer.to_owned(),
                columns: vec![column("a", v1::Kind::Text)],
                further: further.collect(),
                ..v1::Schema::default()
            };
            read(wire, tracer).err().unwrap_or_default()
        };
        assert_eq!(refused(&["a", "b"]), "");
        assert!(refused(&["a", "a"]).contains("two datasets"));
        assert!(refused(&[tracer]).contains("two datasets"));
        assert!(refused(&["\x1b[2J"]).contains("no name of a dataset"));
        let names: Vec<String> = (0..17).map(|n| format!("d{n}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert!(refused(&names).contains("17 further datasets"));
        let empty = v1::Schema {
            tracer: tracer.to_owned(),
            columns: vec![column("a", v1::Kind::Text)],
            further: vec![v1::Dataset {
                name: "x".to_owned(),
                ..v1::Dataset::default()
            }],
            ..v1::Schema::default()
        };
        assert!(read(empty, tracer).unwrap_err().contains("0 columns"));
    }

    #[test]
    fn an_invalid_schema_is_refused() {
        let text = |name: &str| column(name, v1::Kind::Text);
        assert!(of(vec![]).unwrap_err().contains("0 columns"));
        let many = (0..300).map(|n| text(&format!("c{n}"))).collect();
        assert!(of(many).unwrap_err().contains("300 columns"));
        assert!(
            of(vec![text("a"), text("a")])
                .unwrap_err()
                .contains("two columns")
        );
        for name in ["", "a b", "a\"", "\x1b[2J", "é", &"a".repeat(129)] {
            let error = of(vec![text(name)]).unwrap_err();
            assert!(
                error.contains("no name of a column") && !error.contains('\x1b'),
                "{error}"
            );
        }
        let other = read(v1::Schema::default(), "open").unwrap_err();
        assert!(other.contains("instead of open"), "{other}");
    }

    fn typed(of: &str, kind: v1::Kind) -> Kind {
        let message = v1::Column {
            r#type: of.to_owned(),
            unit: "us".to_owned(),
            ..column("x", kind)
        };
        of_one(message)
    }

    fn of_one(message: v1::Column) -> Kind {
        of(vec![message]).unwrap().columns[0].kind
    }

    #[test]
    fn a_known_type_determines_the_kind_and_an_unknown_one_is_not_trusted() {
        assert!(matches!(
            typed("kernel_stack", v1::Kind::Stack),
            Kind::KernelStack
        ));
        assert!(matches!(
            typed("log2", v1::Kind::Log2),
            Kind::Log2 {
                unit: Unit::Microseconds
            }
        ));
        // A column of an agent that sends no types.
        assert!(matches!(typed("", v1::Kind::Outcome), Kind::Outcome));
        assert!(matches!(typed("", v1::Kind::Flags), Kind::Text));
        for (name, kind) in [
            ("newer", v1::Kind::Text),
            ("newer", v1::Kind::Unsigned),
            ("newer", v1::Kind::Unspecified),
            // A known name with values of another form.
            ("process", v1::Kind::Text),
        ] {
            let read = typed(name, kind);
            assert_eq!(read.trust(), Trust::Program, "{name} {kind:?}");
            assert_eq!(read.basic(), basic(kind));
        }
    }

    #[test]
    fn basic_forms_are_the_apis_kinds() {
        for number in 0.. {
            let Ok(kind) = v1::Kind::try_from(number) else {
                break;
            };
            assert_eq!(wire(basic(kind)), kind);
        }
    }
}
