//! What a row amounts to for one request.

/// The value of a row for one request, in its internal unit.
#[derive(Clone, PartialEq, Debug)]
pub enum RowValue {
    /// A whole number.
    Whole(u64),
    /// A fraction.
    Fraction(f64),
    /// A list.
    List(Vec<u64>),
}
