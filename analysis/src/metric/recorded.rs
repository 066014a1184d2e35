//! What a file of a run says about one of its requests, where a report is made from files.

use super::RowValue;

/// What is taken from a line as it stands, because no record holds it.
#[derive(Clone, Copy, Debug)]
pub struct Recorded<'a> {
    /// The `metadata` object, as JSON: written out again byte for byte.
    pub metadata: &'a str,
    /// The `error` object of a request that failed or was cancelled, likewise.
    pub error: Option<&'a str>,
    /// The `trace_data` object, likewise.
    pub trace: Option<&'a str>,
    /// Values by row of the table, in internal units. They stand in for the formulas.
    pub values: &'a [(usize, RowValue)],
}

impl<'a> Recorded<'a> {
    /// The value of a row, if the file has it.
    pub fn value(&self, row: usize) -> Option<&'a RowValue> {
        let found = self.values.iter().find(|(recorded, _)| *recorded == row);
        found.map(|(_, value)| value)
    }
}
