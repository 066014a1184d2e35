//! The report page.

use super::{Config, Loaded};

/// Stub.
///
/// # Errors
/// Always.
pub fn of_runs(_: &Loaded, _: &Config, _: &str) -> Result<String, String> {
    Err("soon".to_owned())
}
