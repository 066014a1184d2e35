//! `profile_export_aiperf.csv`: distributions, an empty line, scalars; each sorted by tag.

use ::csv::{Terminator, WriterBuilder};
use pinfire_artifacts::csv_bytes;

use crate::report::{Block, Report};
use crate::stats::{Figures, Percentiles};
use pinfire_scrape::gpu::{EnergyMetric, digits};

/// The columns, with the run's own percentiles between `sum` and `std`.
fn header(percentiles: &Percentiles) -> Vec<String> {
    let before = ["Metric", "avg", "min", "max", "sum"].map(str::to_owned);
    let percentiles = percentiles.list().iter();
    let percentiles = percentiles.map(|q| format!("p{q}"));
    let columns = before.into_iter().chain(percentiles);
    columns.chain(["std".to_owned()]).collect()
}

/// The file's bytes.
pub(super) fn of(report: &Report) -> Vec<u8> {
    let energy = &report.external.energy;
    let mut bytes = of_blocks(&report.blocks, energy, &report.facts.percentiles);
    if let Some(gpu) = &report.external.gpu {
        bytes.extend_from_slice(b"\r\n\r\n");
        bytes.extend_from_slice(&written(gpu.table()));
    }
    bytes
}

/// The sections of any metrics.
pub(super) fn of_blocks(
    blocks: &[Block],
    energy: &[EnergyMetric],
    percentiles: &Percentiles,
) -> Vec<u8> {
    let mut blocks: Vec<&Block> = blocks.iter().collect();
    blocks.sort_by_key(|block| block.metric.tag);
    let (distributions, scalars): (Vec<&Block>, Vec<&Block>) = blocks
        .into_iter()
        .partition(|block| block.figures.is_distribution());

    let wanted = percentiles.list();
    let mut bytes = section(&distributions, &header(percentiles), |figures| {
        let mut cells = vec![figures.avg, figures.min, figures.max, figures.sum];
        cells.extend(wanted.iter().map(|&q| figures.percentile(q)));
        cells.push(figures.std);
        cells
    });
    let more = !scalars.is_empty() || !energy.is_empty();
    if !bytes.is_empty() && more {
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(&values(&scalars, energy));
    bytes
}

/// The scalars and what energy the work took, sorted by tag.
fn values(scalars: &[&Block], energy: &[EnergyMetric]) -> Vec<u8> {
    let scalars = scalars.iter().map(|block| {
        let value = two_decimals(block.figures.avg);
        (block.metric.tag, block.metric.name_with_unit(), value)
    });
    let energy = energy.iter().map(|metric| {
        let name = format!("{} ({})", metric.name, metric.unit);
        (metric.tag.as_str(), name, digits(metric.value))
    });
    let mut rows: Vec<(&str, String, String)> = scalars.chain(energy).collect();
    if rows.is_empty() {
        return Vec::new();
    }
    rows.sort_by_key(|(tag, ..)| *tag);
    let rows = rows.into_iter().map(|(_, name, value)| vec![name, value]);
    let header = vec!["Metric".to_owned(), "Value".to_owned()];
    written(std::iter::once(header).chain(rows))
}

fn section(
    blocks: &[&Block],
    header: &[String],
    cells: impl Fn(&Figures) -> Vec<Option<f64>>,
) -> Vec<u8> {
    if blocks.is_empty() {
        return Vec::new();
    }
    let mut rows = vec![header.to_vec()];
    rows.extend(blocks.iter().map(|block| {
        let values = cells(&block.figures).into_iter().map(two_decimals);
        std::iter::once(block.metric.name_with_unit())
            .chain(values)
            .collect()
    }));
    written(rows)
}

/// Rows of one length as CSV.
pub(super) fn written(rows: impl IntoIterator<Item = Vec<String>>) -> Vec<u8> {
    csv_bytes(WriterBuilder::new().terminator(Terminator::CRLF), rows)
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
