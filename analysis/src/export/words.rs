//! Numbers and names as every table spells them.

use std::fmt;

/// Product text in titles.
pub(super) const PRODUCT: &str = "pinfire";

/// Unit of throughputs per GPU.
pub(super) const PER_GPU_UNIT: &str = "tokens/sec/gpu";

/// Two decimals with thousands separators; `N/A` where there is no value.
pub(crate) fn number(value: Option<f64>) -> String {
    value
        .filter(|v| v.is_finite())
        .map_or_else(|| "N/A".to_owned(), |v| thousands(&format!("{v:.2}")))
}

/// Commas between groups of three digits before the point.
pub(super) fn thousands(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let mut text = String::with_capacity(number.len() + 4);
    for (at, c) in number.chars().enumerate() {
        let after_digit = text.ends_with(|c: char| c.is_ascii_digit());
        if at < whole && after_digit && (whole - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(c);
    }
    text
}

/// `1 error`, `2 errors`.
pub(super) fn plural(count: u64, noun: &str) -> impl fmt::Display {
    let ending = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{ending}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_separated_before_the_point_only() {
        for (value, text) in [
            (0.0, "0.00"),
            (999.999, "1,000.00"),
            (1052.66, "1,052.66"),
            (1234567.1234, "1,234,567.12"),
            (-1234.5, "-1,234.50"),
            (-123.5, "-123.50"),
        ] {
            assert_eq!(number(Some(value)), text);
        }
        assert_eq!(number(None), "N/A");
    }
}
