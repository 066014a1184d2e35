//! `profile_export_aiperf.csv`: distributions, an empty line, scalars; each sorted by tag.

use ::csv::{Terminator, Writer, WriterBuilder};

use crate::report::{Block, Report};
use crate::stats::Figures;

/// The columns, with the run's own percentiles between `sum` and `std`.
fn header(report: &Report) -> Vec<String> {
    let before = ["Metric", "avg", "min", "max", "sum"].map(str::to_owned);
    let percentiles = report.facts.percentiles.list().iter();
    let percentiles = percentiles.map(|q| format!("p{q}"));
    let columns = before.into_iter().chain(percentiles);
    columns.chain(["std".to_owned()]).collect()
}

/// The file's bytes.
pub(super) fn of(report: &Report) -> Vec<u8> {
    let mut blocks: Vec<&Block> = report.blocks.iter().collect();
    blocks.sort_by_key(|block| block.metric.tag);
    let (distributions, scalars): (Vec<&Block>, Vec<&Block>) = blocks
        .into_iter()
        .partition(|block| block.figures.is_distribution());

    let wanted = report.facts.percentiles.list();
    let mut bytes = section(&distributions, &header(report), |figures| {
        let mut cells = vec![figures.avg, figures.min, figures.max, figures.sum];
        cells.extend(wanted.iter().map(|&q| figures.percentile(q)));
        cells.push(figures.std);
        cells
    });
    if !bytes.is_empty() && !scalars.is_empty() {
        bytes.extend_from_slice(b"\r\n");
    }
    let values = section(&scalars, &["Metric".into(), "Value".into()], |figures| {
        vec![figures.avg]
    });
    bytes.extend_from_slice(&values);
    bytes
}

fn section(
    blocks: &[&Block],
    header: &[String],
    cells: impl Fn(&Figures) -> Vec<Option<f64>>,
) -> Vec<u8> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut writer: Writer<Vec<u8>> = WriterBuilder::new()
        .terminator(Terminator::CRLF)
        .from_writer(Vec::new());
    let mut rows = vec![header.to_vec()];
    rows.extend(blocks.iter().map(|block| {
        let values = cells(&block.figures).into_iter().map(two_decimals);
        std::iter::once(block.metric.name_with_unit())
            .chain(values)
            .collect()
    }));
    for row in rows {
        // Into memory, with rows of one length: the two ways to fail do not exist.
        let _ = writer.write_record(row);
    }
    writer.into_inner().unwrap_or_default()
}

/// Two decimals of the exact binary value, ties to even; nothing where there is no value.
pub(super) fn two_decimals(value: Option<f64>) -> String {
    value
        .filter(|v| v.is_finite())
        .map_or_else(String::new, |v| format!("{v:.2}"))
}

#[cfg(test)]
mod tests {
    use super::two_decimals;

    #[test]
    fn rounding_is_of_the_exact_value_with_ties_to_even() {
        let cases = [
            (7.625, "7.62"),
            (9.375, "9.38"),
            (7.525, "7.53"),
            (9.975, "9.97"),
            (8.125, "8.12"),
            (1052.66, "1052.66"),
            (0.0, "0.00"),
        ];
        for (value, text) in cases {
            assert_eq!(two_decimals(Some(value)), text);
        }
        assert_eq!(two_decimals(None), "");
        assert_eq!(two_decimals(Some(f64::INFINITY)), "");
    }
}
