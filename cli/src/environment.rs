//! Tuning variables: `PINFIRE_…`, with AIPerf's name of the same meaning as a fallback.

use anyhow::{Context, Result};
use pinfire_guard::{keep, keep_url};

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

/// Makes the credentials known that other programs' variables hold: the hub's token, and what
/// stands in the addresses of the hub and of proxies.
pub fn keep_credentials() {
    const ADDRESSES: [&str; 4] = ["HF_ENDPOINT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"];
    for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
        if let Ok(token) = std::env::var(name) {
            keep(&token);
        }
    }
    for name in ADDRESSES {
        for name in [name, &name.to_lowercase()] {
            if let Ok(url) = std::env::var(name) {
                keep_url(&url);
            }
        }
    }
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
