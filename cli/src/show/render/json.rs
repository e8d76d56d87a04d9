//! JSON lines: the forms are those of the crate `rows`.

use super::{Output, Wall};
use crate::show::sink::Sink;
use engine::Account;
use std::{io, time::Duration};
use tracers::{Batch, Column};

/// JSON lines.
#[derive(Debug)]
pub(crate) struct Json {
    rows: rows::Json<Sink>,
    /// Whether the state of a map is written at each interval, with its time, and not only at the end.
    intervals: bool,
}

impl Json {
    /// Creates an output of rows with these columns.
    pub(crate) fn new(columns: &[Column], intervals: bool, to: Sink) -> Self {
        Self {
            rows: rows::Json::new(columns, to),
            intervals,
        }
    }

    /// Adds the next dataset by number. The rows of several datasets have the field `dataset`.
    pub(crate) fn also(mut self, dataset: &str, columns: &[Column]) -> Self {
        self.rows.also(dataset, columns);
        self
    }
}

impl Output for Json {
    fn rows(&mut self, batch: &Batch, wall: Wall) -> io::Result<()> {
        self.rows.write(batch, wall, None)
    }

    fn table(&mut self, batch: &Batch, wall: Wall, elapsed: Duration) -> io::Result<()> {
        match self.intervals {
            true => self.rows.write(batch, wall, Some(elapsed)),
            false => Ok(()),
        }
    }

    fn end(&mut self, tables: &[&Batch], wall: Wall, _: &Account) -> io::Result<Option<String>> {
        if !self.intervals {
            for table in tables {
                self.rows.write(table, wall, None)?;
            }
        }
        let to = self.rows.to();
        let written = to.path().map(|path| format!("{} written", path.display()));
        to.finish()?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests {
    use super::{super::fixture::*, *};
    use base64::{Engine as _, prelude::BASE64_STANDARD};
    use rows::escape::is_printable;
    use serde_json::Value as Tree;

    fn lines(columns: &[Column], write: impl FnOnce(&mut Json)) -> String {
        let bytes = written(|sink| {
            let mut json = Json::new(columns, false, sink);
            write(&mut json);
        });
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn every_kind_has_its_form_and_nothing_is_lost() {
        let text = lines(&event_columns(), |json| {
            json.rows(&events(), WALL).unwrap();
            json.end(&[], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!(text);
        assert!(
            text.chars().all(|c| c == '\n' || is_printable(c)),
            "a terminal shows it as it is"
        );
        let rows: Vec<Tree> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(rows[1]["comm"], "evil\u{1b}[31m\n");
        assert_eq!(rows[1]["path"], "/home/\u{202e}user/\u{200b}日本語");
        let bad = rows[2]["comm"]["base64"].as_str().unwrap();
        assert_eq!(BASE64_STANDARD.decode(bad).unwrap(), b"ba\xffd");
    }

    #[test]
    fn a_map_gives_its_last_state_with_stacks_and_histograms() {
        let text = lines(&count_columns(), |json| {
            json.table(&counts(false, 1), WALL, Duration::from_secs(1))
                .unwrap();
            json.end(&[&counts(false, 2)], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!("counts", text);
        let text = lines(&stack_columns(), |json| {
            json.end(&[&stacks()], WALL, &account()).unwrap();
        });
        insta::assert_snapshot!("stacks", text);
    }

    #[test]
    fn rows_of_a_further_dataset_have_its_name() {
        let bytes = written(|sink| {
            let mut json =
                Json::new(&event_columns(), false, sink).also("counts", &count_columns());
            json.rows(&events(), WALL).unwrap();
            let mut table = counts(false, 1);
            table.dataset = 1;
            json.end(&[&table], WALL, &account()).unwrap();
        });
        let text = String::from_utf8(bytes).unwrap();
        let rows = text.lines().map(|line| serde_json::from_str(line).unwrap());
        let (of_events, of_counts): (Vec<Tree>, Vec<Tree>) =
            rows.partition(|row: &Tree| row["dataset"].is_null());
        assert_eq!(of_events.len(), events().rows());
        assert_eq!(of_counts.len(), counts(false, 1).rows());
        assert!(of_counts.iter().all(|row| row["dataset"] == "counts"));
        let plain = lines(&count_columns(), |json| {
            json.end(&[&counts(false, 1)], WALL, &account()).unwrap();
        });
        let without = text.replace("\"dataset\":\"counts\",", "");
        assert!(without.ends_with(&plain), "{text}");
    }

    #[test]
    fn requested_intervals_are_marked_by_their_time() {
        let bytes = written(|sink| {
            let mut json = Json::new(&count_columns(), true, sink);
            json.table(&counts(false, 1), WALL, Duration::from_secs(1))
                .unwrap();
            json.table(&counts(false, 2), WALL, Duration::from_secs(2))
                .unwrap();
            json.end(&[&counts(false, 2)], WALL, &account()).unwrap();
        });
        let text = String::from_utf8(bytes).unwrap();
        let times: Vec<Tree> = text
            .lines()
            .map(|line| serde_json::from_str::<Tree>(line).unwrap()["elapsed_ns"].clone())
            .collect();
        assert_eq!(
            times,
            [
                1_000_000_000u64,
                1_000_000_000,
                1_000_000_000,
                2_000_000_000,
                2_000_000_000,
                2_000_000_000
            ]
        );
    }
}
