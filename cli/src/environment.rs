//! Tuning variables: `PINFIRE_…`, with AIPerf's name of the same meaning as a fallback.

use anyhow::{Context, Result};

/// The value of `PINFIRE_<name>`, else of `AIPERF_<name>`, parsed.
///
/// # Errors
/// If it is set to something that cannot be parsed; the text names the variable.
pub fn read<T: std::str::FromStr>(name: &str) -> Result<Option<T>> {
    for prefix in ["PINFIRE", "AIPERF"] {
        let variable = format!("{prefix}_{name}");
        if let Ok(value) = std::env::var(&variable) {
            let parsed = value
                .parse()
                .ok()
                .with_context(|| format!("{variable} is set to `{value}`, which cannot be read"))?;
            return Ok(Some(parsed));
        }
    }
    Ok(None)
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
