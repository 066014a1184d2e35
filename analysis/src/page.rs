//! Pages of one file: a shell with its style, its data and its script put in.

use serde_json::Value;

/// The page. The shell has the places `/*STYLE*/`, `/*DATA*/` and `/*SCRIPT*/`, in this order.
pub fn page(shell: &str, style: &str, data: &Value, script: &str) -> String {
    // `<` could end the script or open a comment.
    let data = data.to_string().replace('<', "\\u003c");
    // Each part once, so that nothing in the data is taken for a place.
    let mut html = String::with_capacity(shell.len() + style.len() + data.len() + script.len());
    let mut rest = shell;
    for (place, text) in [
        ("/*STYLE*/", style),
        ("/*DATA*/", data.as_str()),
        ("/*SCRIPT*/", script),
    ] {
        let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
        html.push_str(before);
        html.push_str(text);
        rest = after;
    }
    html.push_str(rest);
    html
}
