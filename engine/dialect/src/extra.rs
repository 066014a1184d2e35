//! The values of `--extra-inputs` and `--header`: text from the command line to keys and values.

use serde_json::{Map, Value};

/// Why an argument of `--extra-inputs` or `--header` cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum ExtraError {
    /// It begins with `{` but is not a JSON object.
    #[error("`{argument}` begins with {{ but is not a JSON object: {reason}")]
    Json {
        /// The argument as given.
        argument: String,
        /// What the parser said.
        reason: String,
    },
    /// An item without a colon, or without anything before it.
    #[error(
        "`{item}` is not key:value; items are cut at commas and blanks, so a value that holds one \
         needs the JSON form, for example '{{\"key\": \"a, b\"}}'"
    )]
    Item {
        /// The item.
        item: String,
    },
    /// A header without a colon, or without a name before it.
    #[error(
        "`{item}` is not Name:value; quote a header whose value has blanks, as in \
         'Authorization: Bearer KEY', and give one whose value has commas in the JSON form, for \
         example '{{\"Accept\": \"a, b\"}}'"
    )]
    Header {
        /// The item.
        item: String,
    },
    /// A header whose JSON value is no text.
    #[error("the header `{name}` has a value that is neither text, number nor true/false")]
    HeaderValue {
        /// The header.
        name: String,
    },
}

/// The extras of all occurrences, typed; the later of two equal keys wins.
///
/// # Errors
/// When an argument is neither a JSON object nor a list of key:value.
pub fn parse_extra_inputs<S: AsRef<str>>(
    arguments: &[S],
) -> Result<Map<String, Value>, ExtraError> {
    let mut extra = Map::new();
    for argument in arguments {
        match json_object(argument.as_ref())? {
            Some(object) => extra.extend(object),
            None => {
                for (key, value) in items(argument.as_ref())? {
                    extra.insert(key.to_owned(), typed(value));
                }
            }
        }
    }
    Ok(extra)
}

/// The headers of all occurrences, values as text; the later of two equal names wins, whatever
/// their letter case.
///
/// # Errors
/// As [`parse_extra_inputs`], and when a JSON value is null, a list or an object.
pub fn parse_headers<S: AsRef<str>>(arguments: &[S]) -> Result<Vec<(String, String)>, ExtraError> {
    let mut headers: Vec<(String, String)> = Vec::new();
    let mut put = |name: &str, value: String| {
        headers.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
        headers.push((name.to_owned(), value));
    };
    for argument in arguments {
        match json_object(argument.as_ref())? {
            Some(object) => {
                for (name, value) in object {
                    match value {
                        Value::String(text) => put(&name, text),
                        Value::Number(_) | Value::Bool(_) => put(&name, value.to_string()),
                        _ => return Err(ExtraError::HeaderValue { name }),
                    }
                }
            }
            None => {
                for (name, value) in header_items(argument.as_ref())? {
                    put(name, value.to_owned());
                }
            }
        }
    }
    Ok(headers)
}

/// The headers of an argument that is not JSON, each with its value as it stands there. Items are
/// cut at commas, and at blanks where each word is a header by itself: otherwise the blanks belong
/// to a value, as in `Authorization: Bearer KEY`.
///
/// # Errors
/// When an item is no `Name:value`.
pub fn header_items(argument: &str) -> Result<Vec<(&str, &str)>, ExtraError> {
    let mut headers = Vec::new();
    for item in argument.split(',').map(str::trim) {
        let whole = |word: &&str| {
            word.split_once(':')
                .is_some_and(|(a, b)| !a.is_empty() && !b.is_empty())
        };
        if item.split_whitespace().all(|word| whole(&word)) {
            headers.extend(items(item)?);
            continue;
        }
        match item.split_once(':') {
            Some((name, value)) if !name.is_empty() && !name.contains(char::is_whitespace) => {
                headers.push((name, value.trim()));
            }
            _ => {
                return Err(ExtraError::Header {
                    item: item.to_owned(),
                });
            }
        }
    }
    Ok(headers)
}

fn json_object(argument: &str) -> Result<Option<Map<String, Value>>, ExtraError> {
    if !argument.trim_start().starts_with('{') {
        return Ok(None);
    }
    serde_json::from_str(argument)
        .map(Some)
        .map_err(|cause| ExtraError::Json {
            argument: argument.to_owned(),
            reason: cause.to_string(),
        })
}

fn items(argument: &str) -> Result<Vec<(&str, &str)>, ExtraError> {
    argument
        .split(|c: char| c == ',' || c.is_whitespace())
        .filter(|item| !item.is_empty())
        .map(|item| match item.split_once(':') {
            Some((key, value)) if !key.is_empty() => Ok((key, value)),
            _ => Err(ExtraError::Item {
                item: item.to_owned(),
            }),
        })
        .collect()
}

/// The value an unquoted word means: true, false, null, a plain integer or decimal, else text.
fn typed(word: &str) -> Value {
    match word.to_ascii_lowercase().as_str() {
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        "none" | "null" => return Value::Null,
        _ => {}
    }
    let digits = word.strip_prefix('-').unwrap_or(word);
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if all_digits(digits) && (digits == "0" || !digits.starts_with('0')) {
        let number = word.parse::<i64>().map(Value::from);
        let number = number.or_else(|_| word.parse::<u64>().map(Value::from));
        return number.unwrap_or_else(|_| Value::from(word));
    }
    let one_dot = digits.matches('.').count() == 1 && all_digits(&digits.replace('.', ""));
    match word.parse::<f64>() {
        Ok(decimal) if one_dot => Value::from(decimal),
        _ => Value::from(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(arguments: &[&str], expected: Value) {
        assert_eq!(
            Value::Object(parse_extra_inputs(arguments).unwrap()),
            expected
        );
    }

    #[test]
    fn every_kind_of_value() {
        check(&["a:true", "b:FALSE"], json!({"a": true, "b": false}));
        check(&["a:none", "b:Null"], json!({"a": null, "b": null}));
        check(&["a:5", "b:-12", "c:0"], json!({"a": 5, "b": -12, "c": 0}));
        check(
            &["a:0.7", "b:-0.5", "c:1."],
            json!({"a": 0.7, "b": -0.5, "c": 1.0}),
        );
        check(
            &["a:01", "b:1e5", "c:1.2.3"],
            json!({"a": "01", "b": "1e5", "c": "1.2.3"}),
        );
        check(
            &["a:word", "b:", "c:-", "d:."],
            json!({"a": "word", "b": "", "c": "-", "d": "."}),
        );
        check(&["url:http://h:1"], json!({"url": "http://h:1"}));
        check(&["n:18446744073709551615"], json!({"n": u64::MAX}));
        check(&["a:inf", "b:nan"], json!({"a": "inf", "b": "nan"}));
    }

    #[test]
    fn separators_json_and_the_later_key() {
        check(
            &["a:1,b:2 c:3,,d:4"],
            json!({"a": 1, "b": 2, "c": 3, "d": 4}),
        );
        check(
            &[r#"{"stop": ["a, b"], "n": {"x": 1}}"#, "n:2"],
            json!({"stop": ["a, b"], "n": 2}),
        );
        check(&["a:1", r#"{"a": "2"}"#], json!({"a": "2"}));
        check(&[], json!({}));
    }

    #[test]
    fn errors_name_the_item_and_the_json_form() {
        let error = parse_extra_inputs(&["a:1 rest"]).unwrap_err();
        assert_eq!(
            error,
            ExtraError::Item {
                item: "rest".into()
            }
        );
        assert!(error.to_string().contains("JSON form"), "{error}");
        assert!(parse_extra_inputs(&[":1"]).is_err());
        assert!(matches!(
            parse_extra_inputs(&["{a"]),
            Err(ExtraError::Json { .. })
        ));
    }

    #[test]
    fn header_values_stay_text() {
        let headers = parse_headers(&["X-A:1,X-B:true", r#"{"x-a": 2, "Cookie": "a=b, c"}"#]);
        let expected = [("X-B", "true"), ("x-a", "2"), ("Cookie", "a=b, c")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(headers.unwrap(), expected);
        let error = parse_headers(&[r#"{"X": null}"#]).unwrap_err();
        assert_eq!(error, ExtraError::HeaderValue { name: "X".into() });
    }

    #[test]
    fn blanks_belong_to_the_value_of_a_header() {
        for (argument, expected) in [
            (
                "Authorization: Bearer NOT USED",
                &[("Authorization", "Bearer NOT USED")][..],
            ),
            (
                "Accept: text/event-stream",
                &[("Accept", "text/event-stream")],
            ),
            ("Authorization:Bearer a", &[("Authorization", "Bearer a")]),
            ("X-Url: http://h:1/?a", &[("X-Url", "http://h:1/?a")]),
            (
                "X-A:1 X-B:2,X-C: 3 4",
                &[("X-A", "1"), ("X-B", "2"), ("X-C", "3 4")],
            ),
            ("X-A:", &[("X-A", "")]),
        ] {
            assert_eq!(header_items(argument).unwrap(), expected, "{argument}");
        }
        for (argument, wrong) in [
            ("Accept: a, b", "b"),
            ("Bearer", "Bearer"),
            ("a b: c", "a b: c"),
        ] {
            let error = header_items(argument).unwrap_err();
            assert_eq!(error, ExtraError::Header { item: wrong.into() });
        }
    }
}
