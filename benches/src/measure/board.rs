//! The table: rows in order of their first figure, one column per driver and one for what is
//! beside.

use std::fmt::Write;

use crate::stats;

/// What a row's figures must keep to.
#[derive(Clone, Copy)]
pub enum Bar {
    /// Nothing was promised.
    None,
    /// So much at most.
    AtMost(f64),
    /// So much at least.
    AtLeast(f64),
}

/// Where a figure stands in its row.
#[derive(Clone, Copy)]
pub enum Column {
    /// Beside pinfire: another client, or what both share.
    Beside,
    /// The driver of this number.
    Driver(usize),
}

struct Row {
    section: &'static str,
    what: String,
    unit: &'static str,
    bar: Bar,
    beside: &'static str,
    /// The first is what is beside, the others the drivers.
    figures: Vec<Vec<f64>>,
}

/// All figures so far.
pub struct Board {
    drivers: Vec<String>,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// A place for figures.
pub struct Slot<'a> {
    row: &'a mut Row,
}

impl Board {
    /// An empty table with a column for each driver.
    pub fn new(drivers: Vec<String>) -> Self {
        Self {
            drivers,
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The row of this name, made at its first mention.
    pub fn row(&mut self, section: &'static str, what: &str, unit: &'static str) -> Slot<'_> {
        let same = |row: &Row| row.section == section && row.what == what;
        let index = self.rows.iter().position(same).unwrap_or_else(|| {
            self.rows.push(Row {
                section,
                what: what.to_owned(),
                unit,
                bar: Bar::None,
                beside: "",
                figures: vec![Vec::new(); self.drivers.len() + 1],
            });
            self.rows.len() - 1
        });
        Slot {
            row: &mut self.rows[index],
        }
    }

    /// Says something under the table, once.
    pub fn note(&mut self, text: String) {
        if !self.notes.contains(&text) {
            self.notes.push(text);
        }
    }

    /// The whole table as Markdown.
    pub fn markdown(&self) -> String {
        let mut cells = vec![self.header()];
        cells.push(cells[0].iter().map(|_| "---".to_owned()).collect());
        let mut section = "";
        for row in &self.rows {
            if row.section != section {
                section = row.section;
                let mut line = vec![format!("**{section}**")];
                line.resize(cells[0].len(), String::new());
                cells.push(line);
            }
            cells.push(row.cells());
        }
        let mut widths = vec![0; cells[0].len()];
        for line in &cells {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = cell.chars().count().max(*width);
            }
        }
        let mut text = String::new();
        for line in &cells {
            text.push('|');
            for (cell, width) in line.iter().zip(&widths) {
                // Writing to a string cannot fail.
                let _ = write!(text, " {cell:width$} |");
            }
            text.push('\n');
        }
        if !self.notes.is_empty() {
            text.push('\n');
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        text
    }

    fn header(&self) -> Vec<String> {
        let fixed = ["what", "beside it"].map(str::to_owned);
        let bar = "bar".to_owned();
        let drivers = self.drivers.iter().cloned();
        fixed.into_iter().chain(drivers).chain([bar]).collect()
    }
}

impl Slot<'_> {
    /// Sets what the row's figures must keep to.
    pub fn bar(self, bar: Bar) -> Self {
        self.row.bar = bar;
        self
    }

    /// Names what is beside.
    pub fn beside(self, name: &'static str) -> Self {
        self.row.beside = name;
        self
    }

    /// Adds the figure of a round.
    pub fn put(self, column: Column, figure: f64) -> Self {
        let index = match column {
            Column::Beside => 0,
            Column::Driver(driver) => driver + 1,
        };
        self.row.figures[index].push(figure);
        self
    }
}

impl Row {
    fn cells(&self) -> Vec<String> {
        let mut cells = vec![self.what.clone()];
        if !self.unit.is_empty() {
            let _ = write!(cells[0], ", {}", self.unit);
        }
        for (index, figures) in self.figures.iter().enumerate() {
            let Some((median, least, most)) = stats::middle(figures) else {
                cells.push(if index > 0 { "–" } else { "" }.to_owned());
                continue;
            };
            let mut cell = if index == 0 && !self.beside.is_empty() {
                format!("{} ", self.beside)
            } else {
                String::new()
            };
            cell.push_str(&number(median));
            if number(least) != number(most) {
                let _ = write!(cell, " ({} to {})", number(least), number(most));
            }
            if index > 0 && self.bar.is_missed(median) {
                cell.push_str(" **missed**");
            }
            cells.push(cell);
        }
        cells.push(match self.bar {
            Bar::None => String::new(),
            Bar::AtMost(limit) => format!("≤ {}", number(limit)),
            Bar::AtLeast(limit) => format!("≥ {}", number(limit)),
        });
        cells
    }
}

impl Bar {
    fn is_missed(self, figure: f64) -> bool {
        match self {
            Self::None => false,
            Self::AtMost(limit) => figure > limit,
            Self::AtLeast(limit) => figure < limit,
        }
    }
}

/// Three digits at least; thousands apart.
fn number(value: f64) -> String {
    let size = value.abs();
    let decimals = match size {
        _ if size == 0.0 || size >= 100.0 => 0,
        _ if size >= 10.0 => 1,
        _ if size >= 0.1 => 2,
        _ => 3,
    };
    let text = format!("{size:.decimals$}");
    let whole = text.find('.').unwrap_or(text.len());
    let mut out = String::new();
    // A figure that rounds to nothing has no sign.
    if value < 0.0 && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit)) {
        out.push('-');
    }
    for (index, digit) in text.chars().enumerate() {
        if index > 0 && index < whole && (whole - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts = [1_234_567.8, 123.4, 12.34, 1.234, 0.0123, -4.5, 0.0, -0.0001];
        assert_eq!(
            texts.map(number),
            [
                "1,234,568",
                "123",
                "12.3",
                "1.23",
                "0.012",
                "-4.50",
                "0",
                "0.000"
            ]
        );
    }

    #[test]
    fn rows_come_in_order_with_medians_and_bars() {
        let mut board = Board::new(vec!["uring".into(), "epoll".into()]);
        for figure in [1.5, 1.0, 1.2] {
            board
                .row("cpu", "ratio", "")
                .bar(Bar::AtMost(1.1))
                .put(Column::Driver(0), figure);
            board
                .row("cpu", "per event", "µs")
                .beside("floor")
                .put(Column::Beside, 6.0);
        }
        board.note("said once".into());
        board.note("said once".into());
        let text = board.markdown();
        let lines: Vec<_> = text.lines().map(|l| l.replace("  ", "")).collect();
        assert!(
            lines[3].contains("1.20 (1.00 to 1.50) **missed**"),
            "{text}"
        );
        assert!(lines[3].contains("≤ 1.10"), "{text}");
        assert!(lines[4].contains("floor 6.00"), "{text}");
        assert_eq!(text.matches("said once").count(), 1);
    }
}
