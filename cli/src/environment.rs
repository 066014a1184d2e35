//! Tuning variables: `PINFIRE_…`, with AIPerf's name of the same meaning as a fallback.

use anyhow::{Context, Result};

/// The variable that is set, `PINFIRE_<name>` or else `AIPERF_<name>`, and its text.
pub fn text(name: &str) -> Option<(String, String)> {
    let variables = ["PINFIRE", "AIPERF"].map(|prefix| format!("{prefix}_{name}"));
    variables.into_iter().find_map(|variable| {
        let value = std::env::var(&variable).ok()?;
        Some((variable, value))
    })
}

/// The value of `PINFIRE_<name>`, else of `AIPERF_<name>`, parsed.
///
/// # Errors
/// If it is set to something that cannot be parsed; the text names the variable.
pub fn read<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    let Some((variable, value)) = text(name) else {
        return Ok(None);
    };
    let parsed = value
        .parse()
        .ok()
        .with_context(|| format!("{variable} is set to `{value}`, which cannot be read"))?;
    Ok(Some(parsed))
}

/// A switch: `true`, `1`, `yes`, `on` and their opposites, in any letter case.
///
/// # Errors
/// If it is set to anything else.
pub fn switch(name: &str, default: bool) -> Result<bool> {
    let Some(value) = read::<String>(name)? else {
        return Ok(default);
    };
    match value.to_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => anyhow::bail!("PINFIRE_{name} is set to `{value}`; it takes true or false"),
    }
}
