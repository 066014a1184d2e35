//! The report as a page of one file. Style and script are in `assets/`; the content security policy
//! lets nothing else in.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::page::Parts;

const PAGE: Parts = Parts {
    shell: include_str!("../../assets/reclaim.html"),
    style: include_str!("../../assets/reclaim.css"),
    script: concat!(
        include_str!("../../assets/common.js"),
        include_str!("../../assets/reclaim.js")
    ),
};

/// What a report must have to be shown.
#[derive(Deserialize)]
#[expect(dead_code, reason = "that the fields are there is all that is asked")]
struct Shown {
    verdict: IgnoredAny,
    summary: IgnoredAny,
    waves: IgnoredAny,
    timeline: IgnoredAny,
}

/// The page of a report as its JSON says it.
///
/// # Errors
/// The JSON is not one of a report with its samples, such as `cancel_test.json` or `release.json`.
pub fn html(report: &Value) -> Result<String, String> {
    if let Err(error) = Shown::deserialize(report) {
        return Err(format!(
            "{error}: it is not what `pinfire cancel-test` or --verify-release of this version writes"
        ));
    }
    Ok(PAGE.whole(report))
}
