//! The report as a page of one file. Style and script are in `assets/`; the content security policy
//! lets nothing else in.

use serde_json::Value;

use crate::page::page;

const SHELL: &str = include_str!("../../assets/reclaim.html");
const STYLE: &str = include_str!("../../assets/reclaim.css");
const SCRIPT: &str = include_str!("../../assets/reclaim.js");

/// The page of a report as its JSON says it.
///
/// # Errors
/// The JSON is not one of a report with its samples, such as `cancel_test.json` or `release.json`.
pub fn html(report: &Value) -> Result<String, String> {
    for key in ["verdict", "summary", "waves", "timeline"] {
        if report[key].is_null() {
            return Err(format!(
                "there is no `{key}` in it: it is not what `pinfire cancel-test` or --verify-release of \
                 this version writes"
            ));
        }
    }
    Ok(page(SHELL, STYLE, report, SCRIPT))
}
