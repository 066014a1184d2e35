//! The command line as the exports show it: text quoted, credentials hidden.

use pinfire_analysis::redact::{self, HIDDEN};

/// One line: `pinfire profile --model 'm' --concurrency 100 …`.
pub fn shown(arguments: &[String]) -> String {
    let mut line = "pinfire".to_owned();
    let mut after = None;
    for argument in arguments.iter().skip(1) {
        line.push(' ');
        if let Some(value) = argument
            .strip_prefix("-H")
            .filter(|value| !value.is_empty())
        {
            line.push_str("-H ");
            line.push_str(&quoted(&safe("-H", value)));
            after = None;
        } else if let Some((flag, value)) = argument
            .strip_prefix('-')
            .and_then(|_| argument.split_once('='))
        {
            line.push_str(flag);
            line.push('=');
            line.push_str(&quoted(&safe(flag, value)));
            after = None;
        } else if argument.starts_with('-') && argument.parse::<f64>().is_err() {
            line.push_str(argument);
            after = Some(argument.as_str());
        } else if after.is_none() && argument.chars().all(|c| c.is_ascii_alphanumeric()) {
            line.push_str(argument);
        } else {
            line.push_str(&quoted(&safe(after.unwrap_or_default(), argument)));
        }
    }
    line
}

/// Whether the value of the flag (its long name) holds a credential.
pub fn secret(flag: &str, value: &str) -> bool {
    safe(&format!("--{flag}"), value) != value
}

fn safe(flag: &str, value: &str) -> String {
    match flag {
        "--api-key" => HIDDEN.to_owned(),
        "--header" | "-H" => {
            let name = value.split(':').next().unwrap_or(value);
            // A JSON object or a list may hold several headers: any sensitive word hides it whole.
            let several = value.starts_with('{') || value.contains(',');
            if several && redact::mentions(value) {
                HIDDEN.to_owned()
            } else if !several && redact::is_sensitive(name) {
                format!("{name}:{HIDDEN}")
            } else {
                value.to_owned()
            }
        }
        "--url" | "-u" => {
            let urls: Vec<String> = value.split(',').map(redact::url).collect();
            urls.join(",")
        }
        _ => value.to_owned(),
    }
}

/// Numbers and switches stand as they are, text stands in single quotes.
fn quoted(value: &str) -> String {
    if value.parse::<f64>().is_ok() || matches!(value, "true" | "false") {
        value.to_owned()
    } else {
        format!("'{}'", value.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(typed: &[&str], expected: &str) {
        let arguments: Vec<String> = ["/x/pinfire"]
            .iter()
            .chain(typed)
            .map(|&a| a.to_owned())
            .collect();
        assert_eq!(shown(&arguments), expected);
    }

    #[test]
    fn text_is_quoted_and_secrets_are_hidden() {
        check(
            &[
                "profile",
                "--model",
                "m",
                "--concurrency",
                "4",
                "--streaming",
            ],
            "pinfire profile --model 'm' --concurrency 4 --streaming",
        );
        check(
            &["profile", "--api-key", "sk-1"],
            "pinfire profile --api-key '<redacted>'",
        );
        check(
            &["profile", "--api-key=sk-1"],
            "pinfire profile --api-key='<redacted>'",
        );
        check(
            &["profile", "-H", "X-Api-Key:abc", "-H", "X-A:1"],
            "pinfire profile -H 'X-Api-Key:<redacted>' -H 'X-A:1'",
        );
        check(
            &["profile", "-HAuthorization:Bearer a=b"],
            "pinfire profile -H 'Authorization:<redacted>'",
        );
        check(
            &[
                "profile",
                "--header",
                "{\"a\":\"b\",\"Authorization\":\"c\"}",
            ],
            "pinfire profile --header '<redacted>'",
        );
        check(
            &["profile", "--url", "http://h/?token=s,http://g"],
            "pinfire profile --url 'http://h/?token=<redacted>,http://g'",
        );
    }
}
