//! Boxed tables with a heavy head and a light body, laid out as AIPerf's console shows them.
//!
//! Width is counted in characters; one column may give way and wrap, all others stay whole. What a
//! cell gets is made fit to be shown before it is measured and wrapped.

use pinfire_guard::shown;

/// How a column's cells are set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Align {
    Left,
    Right,
}

/// A table being put together.
pub(crate) struct Table {
    title: String,
    head: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    /// The columns that wrap where the table is too wide, the first one first.
    flexible: Vec<usize>,
    /// The columns that a table which is still too wide can do without, the first one first.
    spare: Vec<usize>,
    /// Another one, for a table that is too wide without those and with names broken anywhere.
    last: Option<usize>,
}

/// A flexible column is not made narrower than this while something else can be done.
const FLEXIBLE_MIN: usize = 20;
/// Nor ever narrower than this; the table is then wider than asked.
const FLEXIBLE_LEAST: usize = 10;

impl Table {
    pub(crate) fn new(title: String, head: &[(&str, Align)], flexible: usize) -> Self {
        Self {
            title: shown(&title).into_owned(),
            head: head
                .iter()
                .map(|(name, align)| ((*name).to_owned(), *align))
                .collect(),
            rows: Vec::new(),
            flexible: vec![flexible],
            spare: Vec::new(),
            last: None,
        }
    }

    /// A second column that wraps, when the first one has given what it can.
    pub(crate) fn then_flexible(mut self, column: usize) -> Self {
        self.flexible.push(column);
        self
    }

    /// Columns that are left out where the table is too wide otherwise, as few as possible.
    pub(crate) fn without_if_narrow(mut self, columns: &[usize]) -> Self {
        self.spare = columns.to_vec();
        self
    }

    /// A column more, for terminals in which nothing else helps.
    pub(crate) fn at_last_without(mut self, column: usize) -> Self {
        self.last = Some(column);
        self
    }

    /// Adds a row; line breaks in a cell make it taller.
    pub(crate) fn row(&mut self, cells: Vec<String>) {
        let cells = cells.iter().map(|cell| shown(cell).into_owned());
        self.rows.push(cells.collect());
    }

    /// The lines of the table, at most `width` wide if its columns allow it. Numbers stay whole.
    pub(crate) fn render(&self, width: usize, colour: bool) -> String {
        let (table, left_out) = self.fitting(width);
        let mut text = table.drawn(width, colour);
        if !left_out.is_empty() {
            text += &format!("(too narrow for {}: see the files)\n", left_out.join(", "));
        }
        text
    }

    /// This table without the columns that it must do without, and their names.
    fn fitting(&self, width: usize) -> (Self, Vec<String>) {
        let mut out: Vec<usize> = Vec::new();
        let mut table = self.without(&out);
        for &column in &self.spare {
            if total(&table.widths(width, FLEXIBLE_MIN)) <= width {
                break;
            }
            out.push(column);
            table = self.without(&out);
        }
        if let Some(last) = self.last
            && total(&table.widths(width, FLEXIBLE_LEAST)) > width
        {
            out.push(last);
            table = self.without(&out);
        }
        out.sort_unstable();
        let names = out.iter().filter_map(|&column| self.head.get(column));
        (table, names.map(|(name, _)| name.clone()).collect())
    }

    /// A copy without these columns, none of which is flexible.
    fn without(&self, out: &[usize]) -> Self {
        let kept = |column: &usize| !out.contains(column);
        let place = |column: usize| (0..column).filter(kept).count();
        Self {
            title: self.title.clone(),
            head: (0..self.head.len())
                .filter(kept)
                .filter_map(|column| self.head.get(column).cloned())
                .collect(),
            rows: self
                .rows
                .iter()
                .map(|row| {
                    let cells = (0..row.len()).filter(kept);
                    cells
                        .filter_map(|column| row.get(column).cloned())
                        .collect()
                })
                .collect(),
            flexible: self.flexible.iter().map(|&column| place(column)).collect(),
            spare: Vec::new(),
            last: None,
        }
    }

    fn drawn(&self, width: usize, colour: bool) -> String {
        let mut widths = self.widths(width, FLEXIBLE_MIN);
        if total(&widths) > width {
            widths = self.widths(width, FLEXIBLE_LEAST);
        }
        let line = |ends: [&str; 3], bar: &str| {
            let bars: Vec<String> = widths.iter().map(|w| bar.repeat(w + 2)).collect();
            format!("{}{}{}\n", ends[0], bars.join(ends[1]), ends[2])
        };
        let mut text = style(&centred(&self.title, total(&widths)), "1", colour) + "\n";
        text += &line(["┏", "┳", "┓"], "━");
        let head: Vec<String> = self.head.iter().map(|(name, _)| name.clone()).collect();
        text += &self.cells(&head, &widths, "┃");
        text += &line(["┡", "╇", "┩"], "━");
        for row in &self.rows {
            text += &self.cells(row, &widths, "│");
        }
        text + &line(["└", "┴", "┘"], "─")
    }

    /// The width of each column; flexible ones give way down to `least`.
    fn widths(&self, width: usize, least: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.head.iter().map(|(name, _)| count(name)).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                let lines = cell.lines().map(count).max().unwrap_or(0);
                *widest = (*widest).max(lines);
            }
        }
        for &column in &self.flexible {
            let too_wide = total(&widths).saturating_sub(width);
            if let Some(flexible) = widths.get_mut(column) {
                let least = least.min(*flexible);
                *flexible = flexible.saturating_sub(too_wide).max(least);
            }
        }
        widths
    }

    /// One row of cells, as many lines as its tallest cell needs.
    fn cells(&self, cells: &[String], widths: &[usize], bar: &str) -> String {
        let wrapped: Vec<Vec<String>> = cells
            .iter()
            .zip(widths)
            .map(|(cell, &width)| wrap(cell, width))
            .collect();
        let height = wrapped.iter().map(Vec::len).max().unwrap_or(0);
        let mut text = String::new();
        for at in 0..height {
            text += bar;
            for ((lines, &width), (_, align)) in wrapped.iter().zip(widths).zip(&self.head) {
                let cell = lines.get(at).map_or("", String::as_str);
                text += &match align {
                    Align::Left => format!(" {cell:<width$} {bar}"),
                    Align::Right => format!(" {cell:>width$} {bar}"),
                };
            }
            text.push('\n');
        }
        text
    }
}

/// `text` in a style, which whoever writes to the terminal puts in, or as it is.
pub(crate) fn style(text: &str, code: &str, colour: bool) -> String {
    if colour {
        pinfire_guard::style(text, code)
    } else {
        text.to_owned()
    }
}

/// Breaks at spaces, and inside words that are longer than a line.
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in shown(text).lines() {
        let mut line = String::new();
        for word in paragraph.split(' ') {
            let taken = count(&line) + usize::from(!line.is_empty());
            if !line.is_empty() && taken + count(word) > width {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
            while count(&line) > width && width > 0 {
                let rest = line.chars().skip(width).collect();
                let full = line.chars().take(width).collect();
                lines.push(full);
                line = rest;
            }
        }
        lines.push(line);
    }
    lines
}

/// Columns with their blanks and bars.
fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + 3 * widths.len() + 1
}

fn centred(text: &str, width: usize) -> String {
    let left = width.saturating_sub(count(text)) / 2;
    let right = width.saturating_sub(count(text) + left);
    format!("{}{text}{}", " ".repeat(left), " ".repeat(right))
}

fn count(text: &str) -> usize {
    text.chars().count()
}

/// The columns of a table of metrics.
pub(super) const METRIC_COLUMNS: [&str; 8] =
    ["Metric", "avg", "min", "max", "p99", "p90", "p50", "std"];

/// A table of metrics and their usual figures.
pub(super) fn metric_table(title: String) -> Table {
    let head = METRIC_COLUMNS.map(|name| (name, Align::Right));
    // What a narrow terminal can do without, the least wanted first.
    Table::new(title, &head, 0)
        .without_if_narrow(&[7, 2, 3, 5])
        .at_last_without(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_is_too_wide_wraps_its_flexible_column_only() {
        let head = [("Code", Align::Right), ("Message", Align::Left)];
        let mut table = Table::new("Errors".into(), &head, 1);
        table.row(vec![
            "503".into(),
            "the quick brown fox jumps over the lazy dog".into(),
        ]);
        let expected = "\
            \u{20}           Errors             \n\
            ┏━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━┓\n\
            ┃ Code ┃ Message              ┃\n\
            ┡━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━┩\n\
            │  503 │ the quick brown fox  │\n\
            │      │ jumps over the lazy  │\n\
            │      │ dog                  │\n\
            └──────┴──────────────────────┘\n";
        assert_eq!(table.render(31, false), expected);
        // Only where nothing else helps does it go below the least that reads well.
        let narrow = table.render(5, false);
        assert!(
            narrow
                .lines()
                .nth(1)
                .is_some_and(|line| line.chars().count() == 21),
            "{narrow}"
        );
    }

    #[test]
    fn columns_that_can_be_spared_are_left_out_and_named() {
        let head = ["Metric", "avg", "min", "std"].map(|name| (name, Align::Right));
        let mut table = Table::new("T".into(), &head, 0).without_if_narrow(&[3, 2]);
        let cells = ["Request Latency (ms)", "1,234.56", "1,000.00", "9.99"];
        table.row(cells.map(str::to_owned).to_vec());
        let wide = table.render(60, false);
        assert!(
            wide.contains("std") && !wide.contains("too narrow"),
            "{wide}"
        );
        let narrow = table.render(48, false);
        assert!(
            narrow.contains("1,000.00") && !narrow.contains("9.99"),
            "{narrow}"
        );
        assert!(
            narrow.ends_with("(too narrow for std: see the files)\n"),
            "{narrow}"
        );
        let narrower = table.render(36, false);
        assert!(narrower.contains("1,234.56"), "{narrower}");
        assert!(
            narrower.ends_with("(too narrow for min, std: see the files)\n"),
            "{narrower}"
        );
        assert!(
            narrower.lines().all(|line| line.chars().count() <= 40),
            "{narrower}"
        );
    }

    #[test]
    fn long_words_are_broken_and_line_breaks_kept() {
        assert_eq!(wrap("abcdefgh ij\nk", 3), ["abc", "def", "gh", "ij", "k"]);
    }
}
