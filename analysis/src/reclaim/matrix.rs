//! Verdicts on every way to leave every endpoint of a server, as one table. Each cell is judged as
//! a test of its own; here they are only laid out.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Finding, ReclaimReport, Verdict};
use crate::page::Parts;

const PAGE: Parts = Parts {
    shell: include_str!("../../assets/matrix.html"),
    style: include_str!("../../assets/reclaim.css"),
    script: concat!(
        include_str!("../../assets/common.js"),
        include_str!("../../assets/matrix.js")
    ),
};

/// The table is no wider.
const WIDTH: usize = 100;

/// What a cell is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Place {
    /// The kind of endpoint.
    pub endpoint: String,
    /// Its answers are streams.
    pub streaming: bool,
    /// When requests are left.
    pub trigger: String,
    /// How.
    pub mode: String,
}

impl Place {
    /// `stream` or `whole`.
    const fn answers(&self) -> &'static str {
        match self.streaming {
            true => "stream",
            false => "whole",
        }
    }

    /// The flags of `pinfire cancel-test` that look at this cell alone.
    fn flags(&self) -> String {
        format!(
            "--endpoint-type {} --streaming {} --request-cancellation-trigger {} \
             --request-cancellation-mode {}",
            self.endpoint,
            if self.streaming { "on" } else { "off" },
            self.trigger,
            self.mode
        )
    }
}

/// What was found in a cell.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// Everything was let go at once.
    Released,
    /// Everything was let go, later than at once.
    ReleasedLate,
    /// Something ran to its end as if nobody had left.
    RanOn,
    /// Something never came back.
    Leaked,
    /// The server answers none any more.
    Wedged,
    /// It is gone.
    Died,
    /// Every request was answered before it could be cancelled.
    TooLate,
    /// What would tell is missing.
    CannotTell,
}

impl Found {
    fn of(report: &ReclaimReport) -> Self {
        match report.verdict {
            Verdict::Released if report.worst() == Finding::Late => Self::ReleasedLate,
            Verdict::Released => Self::Released,
            Verdict::RanOn => Self::RanOn,
            Verdict::Leaked => Self::Leaked,
            Verdict::Wedged => Self::Wedged,
            Verdict::Died => Self::Died,
            Verdict::CannotTell if report.first_canary.answered && report.cancels == 0 => {
                Self::TooLate
            }
            Verdict::CannotTell => Self::CannotTell,
        }
    }

    /// The server is at fault.
    pub const fn is_bad(self) -> bool {
        matches!(self, Self::RanOn | Self::Leaked | Self::Wedged | Self::Died)
    }

    /// It says nothing of the server, good or bad.
    pub const fn is_untold(self) -> bool {
        matches!(self, Self::TooLate | Self::CannotTell)
    }

    /// The server does not answer any more.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Wedged | Self::Died)
    }
}

/// One cell.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Cell {
    /// What it is about.
    #[serde(flatten)]
    pub place: Place,
    /// What was found.
    pub found: Found,
    /// In one sentence.
    pub summary: String,
    /// Requests that were left.
    pub cancels: u64,
    /// Requests that were left before, in a first try that could tell nothing; their records are
    /// kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels_before: Option<u64>,
    /// Those that never came back.
    pub leaked: f64,
    /// The longest time until all was let go, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub released_after_s: Option<f64>,
    /// How to look at it alone.
    pub alone: String,
    /// The report of the test, without what was seen sample by sample.
    pub report: Value,
}

impl Cell {
    /// What a test of this place has found.
    pub fn of(place: Place, report: &ReclaimReport) -> Self {
        Self {
            found: Found::of(report),
            summary: report.summary.clone(),
            cancels: report.cancels,
            cancels_before: None,
            leaked: report.leak.leaked,
            released_after_s: report.released_after_s.map(|[_, longest]| longest),
            alone: format!("pinfire cancel-test {}", place.flags()),
            report: pinfire_artifacts::json_value(&report.brief()),
            place,
        }
    }

    /// In a word or two.
    pub fn word(&self) -> String {
        match self.found {
            Found::Released => "ok".to_owned(),
            Found::ReleasedLate => match self.released_after_s {
                Some(longest) => format!("late {longest:.1} s"),
                None => "late".to_owned(),
            },
            Found::RanOn => "RAN ON".to_owned(),
            Found::Leaked if self.leaked < 0.5 => "LEAKS CACHE".to_owned(),
            Found::Leaked => format!("LEAKS {:.0}/{}", self.leaked, self.cancels),
            Found::Wedged => "WEDGED".to_owned(),
            Found::Died => "DIED".to_owned(),
            Found::TooLate => "too late".to_owned(),
            Found::CannotTell => "?".to_owned(),
        }
    }
}

/// An endpoint that was asked whether it is there.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probed {
    /// Its kind.
    pub endpoint: String,
    /// Whether it answered.
    pub served: bool,
    /// What it said instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// Everything that was found so far.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Matrix {
    /// The server.
    pub url: String,
    /// The command; a matrix is resumed with the same only.
    pub asked: String,
    /// The endpoints that were asked.
    pub endpoints: Vec<Probed>,
    /// What was found, in the order of the table.
    pub cells: Vec<Cell>,
    /// What was not run.
    pub left: Vec<Place>,
    /// In one sentence.
    #[serde(default)]
    pub summary: String,
    /// The exit code of the process.
    #[serde(default)]
    pub exit_code: u8,
}

impl Matrix {
    /// Sums up: 4 if a cell is bad; else 5 if one cannot be told, or was not run.
    pub fn sum_up(&mut self) {
        let count = |wanted: fn(&Cell) -> bool| self.cells.iter().filter(|c| wanted(c)).count();
        let bad = count(|cell| cell.found.is_bad());
        let unknown = count(|cell| cell.found == Found::CannotTell);
        let late = count(|cell| cell.found == Found::ReleasedLate);
        let judged = count(|cell| !cell.found.is_untold());
        let cells = self.cells.len();
        let left = self.left.len();
        let mut summary = match bad {
            _ if cells == 0 => "cannot tell: no endpoint could be tested".to_owned(),
            0 if judged == 0 => format!("cannot tell: none of {cells} cells can be judged"),
            0 => format!("released: in {judged} of {cells} cells everything was let go"),
            _ => format!("not released: {bad} of {cells} cells are bad"),
        };
        // Writing to a text cannot fail.
        for (number, what) in [
            (late, "late"),
            (unknown, "cannot be told"),
            (left, "not run"),
        ] {
            if number > 0 {
                let _ = write!(summary, "; {number} {what}");
            }
        }
        self.summary = summary;
        self.exit_code = match bad {
            0 if judged == 0 || unknown + left > 0 => 5,
            0 => 0,
            _ => 4,
        };
    }

    /// The cell of a place, if it was run.
    pub fn cell(&self, place: &Place) -> Option<&Cell> {
        self.cells.iter().find(|cell| cell.place == *place)
    }

    /// The table for the console, no wider than 100 columns.
    pub fn page(&self) -> String {
        let mut page = String::new();
        wrap(&mut page, "", &self.summary);
        page.push('\n');
        let modes = ["fin", "rst", "half-close", "stall"];
        let mut row = |cells: [&str; 3], words: [String; 4]| {
            let [endpoint, answers, trigger] = cells;
            let [fin, rst, half, stall] = words;
            let line = format!(
                "{endpoint:<21} {answers:<7} {trigger:<14} {fin:<12} {rst:<12} {half:<12} {stall}"
            );
            let _ = writeln!(page, "{}", line.trim_end());
        };
        row(["endpoint", "answers", "left at"], modes.map(str::to_owned));
        let mut done: Vec<[&str; 3]> = Vec::new();
        let places = self.cells.iter().map(|cell| &cell.place).chain(&self.left);
        for place in places {
            let key = [&place.endpoint, place.answers(), &place.trigger];
            if done.contains(&key) {
                continue;
            }
            done.push(key);
            let words = modes.map(|mode| {
                let place = Place {
                    mode: mode.to_owned(),
                    ..place.clone()
                };
                match self.cell(&place) {
                    Some(cell) => cell.word(),
                    None if self.left.contains(&place) => "not run".to_owned(),
                    None => "-".to_owned(),
                }
            });
            row(key, words);
        }
        page.push('\n');
        wrap(
            &mut page,
            "  ",
            "ok: all was let go within half a second; late: later; too late: answered before it could be \
             left; ?: cannot be told; -: makes no sense there",
        );
        for cell in &self.cells {
            if cell.found.is_bad() || cell.found == Found::CannotTell {
                let Place {
                    endpoint,
                    trigger,
                    mode,
                    ..
                } = &cell.place;
                let answers = cell.place.answers();
                let text = format!("{endpoint}, {answers}, {trigger}, {mode}: {}", cell.summary);
                wrap(&mut page, "  ", &text);
            }
        }
        let missing = self.endpoints.iter().filter(|probed| !probed.served);
        let missing: Vec<String> = missing
            .map(|probed| {
                let said = probed.said.as_deref().unwrap_or("no answer");
                format!("{} ({said})", probed.endpoint)
            })
            .collect();
        if !missing.is_empty() {
            wrap(
                &mut page,
                "",
                &format!("not served: {}", missing.join(", ")),
            );
        }
        page
    }
}

/// Writes a text in lines that are not too wide.
fn wrap(page: &mut String, indent: &str, text: &str) {
    let mut line = String::new();
    let mut lines = 0;
    for word in text.split_whitespace() {
        if !line.is_empty() && line.len() + 1 + word.len() > WIDTH {
            let _ = writeln!(page, "{line}");
            line.clear();
            lines += 1;
        }
        if line.is_empty() {
            line.push_str(indent);
            line.push_str(if lines > 0 { "    " } else { "" });
        } else {
            line.push(' ');
        }
        line.push_str(word);
    }
    let _ = writeln!(page, "{line}");
}

/// The page of a matrix as its JSON says it.
///
/// # Errors
/// The JSON is not one of a matrix.
pub fn html(matrix: &Value) -> Result<String, String> {
    match Matrix::deserialize(matrix) {
        Ok(_) => Ok(PAGE.whole(matrix)),
        Err(error) => Err(format!(
            "{error}: it is not what `pinfire cancel-test --matrix` of this version writes"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(endpoint: &str, trigger: &str, mode: &str) -> Place {
        Place {
            endpoint: endpoint.to_owned(),
            streaming: false,
            trigger: trigger.to_owned(),
            mode: mode.to_owned(),
        }
    }

    fn cell(trigger: &str, mode: &str, found: Found) -> Cell {
        Cell {
            place: place("huggingface_generate", trigger, mode),
            found,
            summary: "leaks: 4 of 4 cancelled requests (100.0 %) are still held 3 s after the load"
                .to_owned(),
            cancels: 4,
            cancels_before: None,
            leaked: 4.0,
            released_after_s: Some(1.25),
            alone: String::new(),
            report: Value::Null,
        }
    }

    fn matrix(cells: Vec<Cell>, left: Vec<Place>) -> Matrix {
        let mut matrix = Matrix {
            url: "http://h".to_owned(),
            asked: String::new(),
            endpoints: vec![Probed {
                endpoint: "chat".to_owned(),
                served: false,
                said: Some("404".to_owned()),
            }],
            cells,
            left,
            summary: String::new(),
            exit_code: 0,
        };
        matrix.sum_up();
        matrix
    }

    #[test]
    fn the_worst_cell_is_the_verdict_and_what_is_not_known_is_no_good_one() {
        let found = |found: &[Found], left: usize| {
            let cells = found.iter().map(|&found| cell("sent", "fin", found));
            let left = vec![place("chat", "sent", "fin"); left];
            matrix(cells.collect(), left).exit_code
        };
        assert_eq!(found(&[Found::Released, Found::ReleasedLate], 0), 0);
        assert_eq!(found(&[Found::Released, Found::TooLate], 0), 0);
        assert_eq!(found(&[Found::Released], 1), 5);
        assert_eq!(found(&[Found::Released, Found::CannotTell], 0), 5);
        assert_eq!(found(&[Found::TooLate], 0), 5);
        assert_eq!(found(&[], 0), 5);
        for bad in [Found::RanOn, Found::Leaked, Found::Wedged, Found::Died] {
            assert_eq!(found(&[Found::CannotTell, bad], 3), 4);
        }
    }

    #[test]
    fn the_table_has_each_cell_in_its_place_and_fits() {
        let cells = vec![
            cell("headers", "fin", Found::Released),
            cell("headers", "rst", Found::Leaked),
            cell("headers", "stall", Found::ReleasedLate),
            cell("fraction:0.5", "fin", Found::TooLate),
        ];
        let left = vec![place("huggingface_generate", "fraction:0.5", "rst")];
        let page = matrix(cells, left).page();
        let row = |trigger: &str| {
            let line = page.lines().find(|line| line.contains(trigger)).unwrap();
            line.split("  ")
                .map(str::trim)
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(row("headers")[3..], ["ok", "LEAKS 4/4", "-", "late 1.2 s"]);
        assert_eq!(row("fraction")[3..], ["too late", "not run", "-", "-"]);
        assert!(page.contains("not served: chat (404)"), "{page}");
        assert!(
            page.lines().all(|line| line.chars().count() <= WIDTH),
            "{page}"
        );
    }
}
