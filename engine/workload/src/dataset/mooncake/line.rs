//! One line of a Mooncake trace, checked: what it asks to send, not yet made.

use pinfire_base::limits::PROMPT_TOKENS;
use serde_json::{Map, Value};

/// What the request of a line holds; exactly one of the four modes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ask {
    /// A made-up prompt of `tokens` tokens, of the blocks `ids` where there are any.
    Length { tokens: usize, ids: Vec<i128> },
    /// A literal prompt.
    Text(String),
    /// Ready chat messages.
    Messages {
        messages: Vec<Value>,
        tools: Option<Vec<Value>>,
    },
    /// A whole body, sent as it is.
    Payload(Map<String, Value>),
}

/// A line that passed all checks which need no other line.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Line {
    /// Counted from 1 in the file.
    pub(super) number: usize,
    pub(super) ask: Ask,
    pub(super) output_length: Option<u32>,
    pub(super) timestamp_ms: Option<f64>,
    pub(super) delay_ms: Option<f64>,
    pub(super) session_id: Option<String>,
    pub(super) extra: Option<Map<String, Value>>,
}

/// A field at fault and the reason.
pub(super) type Fault = (&'static str, String);

/// The fields of the format; others are ignored, with a warning by the caller.
pub(super) const FIELDS: [&str; 12] = [
    "input_length",
    "text_input",
    "messages",
    "payload",
    "hash_ids",
    "tools",
    "output_length",
    "timestamp",
    "delay",
    "session_id",
    "extra",
    "type",
];

impl Line {
    /// Reads the object of line `number`.
    pub(super) fn from_object(number: usize, object: Map<String, Value>) -> Result<Self, Fault> {
        let mut fields = Fields(object);
        fields.0.retain(|_, value| !value.is_null());
        let ask = fields.ask()?;
        let output_length = fields.length("output_length")?;
        let timestamp_ms = fields.millis("timestamp")?;
        let delay_ms = fields.millis("delay")?;
        let session_id = match fields.0.remove("session_id") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(other) => return Err(("session_id", format!("must be text, not {other}"))),
        };
        let extra = match fields.0.remove("extra") {
            None => None,
            Some(Value::Object(extra)) => Some(extra),
            Some(_) => return Err(("extra", "must be an object".to_owned())),
        };
        Ok(Self {
            number,
            ask,
            // An upper bound of nothing would be refused by servers.
            output_length: output_length.map(|length| length.max(1)),
            timestamp_ms,
            delay_ms,
            session_id,
            extra,
        })
    }
}

impl Ask {
    /// What the turns of one session must have in common: made and literal prompts take the
    /// history, messages and payloads are complete by themselves.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::Text(_) => "prompts",
            Self::Messages { .. } => "messages",
            Self::Payload(_) => "payloads",
        }
    }
}

/// The fields of which a line has exactly one.
const MODES: [&str; 4] = ["input_length", "text_input", "messages", "payload"];

/// The field in which a line would say what it asks, if that is `null`: it has nothing to send.
pub(super) fn null_content(line: &Map<String, Value>) -> Option<&'static str> {
    let mut given = MODES.into_iter().filter(|mode| line.contains_key(*mode));
    let first = given.clone().next()?;
    given.all(|mode| line[mode].is_null()).then_some(first)
}

struct Fields(Map<String, Value>);

impl Fields {
    fn ask(&mut self) -> Result<Ask, Fault> {
        let given: Vec<&str> = MODES
            .into_iter()
            .filter(|mode| self.0.contains_key(*mode))
            .collect();
        let [mode] = given[..] else {
            let found = match given.len() {
                0 => "none".to_owned(),
                _ => given.join(" and "),
            };
            let reason = format!("needs exactly one of {}, found {found}", MODES.join(", "));
            return Err(("line", reason));
        };
        if mode != "input_length" && self.0.contains_key("hash_ids") {
            return Err(("hash_ids", "goes with input_length only".to_owned()));
        }
        if mode != "messages" && self.0.contains_key("tools") {
            return Err(("tools", "goes with messages only".to_owned()));
        }
        match mode {
            "input_length" => self.lengths(),
            "text_input" => match self.0.remove("text_input") {
                Some(Value::String(text)) => Ok(Ask::Text(text)),
                _ => Err(("text_input", "must be text".to_owned())),
            },
            "messages" => self.messages(),
            _ => match self.0.remove("payload") {
                Some(Value::Object(body)) if !body.is_empty() => Ok(Ask::Payload(body)),
                _ => Err(("payload", "must be an object that is not empty".to_owned())),
            },
        }
    }

    fn lengths(&mut self) -> Result<Ask, Fault> {
        let tokens = match self.length("input_length")? {
            Some(0) | None => return Err(("input_length", "must be at least 1".to_owned())),
            Some(tokens) if tokens > PROMPT_TOKENS => {
                return Err(("input_length", format!("must be at most {PROMPT_TOKENS}")));
            }
            Some(tokens) => tokens as usize,
        };
        let ids = match self.0.remove("hash_ids") {
            None => Vec::new(),
            Some(Value::Array(ids)) => ids.iter().map(id).collect::<Result<_, _>>()?,
            Some(_) => return Err(("hash_ids", "must be a list of integers".to_owned())),
        };
        Ok(Ask::Length { tokens, ids })
    }

    fn messages(&mut self) -> Result<Ask, Fault> {
        let messages = match self.0.remove("messages") {
            Some(Value::Array(messages)) if !messages.is_empty() => messages,
            _ => return Err(("messages", "must be a list that is not empty".to_owned())),
        };
        if let Some(bare) = messages
            .iter()
            .position(|message| message.get("role").is_none())
        {
            let reason = format!("message {} has no role", bare + 1);
            return Err(("messages", reason));
        }
        let tools = match self.0.remove("tools") {
            None => None,
            Some(Value::Array(tools)) if !tools.is_empty() => Some(tools),
            Some(_) => return Err(("tools", "must be a list that is not empty".to_owned())),
        };
        Ok(Ask::Messages { messages, tools })
    }

    fn millis(&self, field: &'static str) -> Result<Option<f64>, Fault> {
        let Some(value) = self.0.get(field) else {
            return Ok(None);
        };
        let reason = || {
            (
                field,
                format!("must be milliseconds, 0 or more, not {value}"),
            )
        };
        let valid = value.as_f64().filter(|ms| *ms >= 0.0);
        valid.map(Some).ok_or_else(reason)
    }

    /// A whole number that may be a length; the reference lets 5.0 pass too.
    fn length(&self, field: &'static str) -> Result<Option<u32>, Fault> {
        let Some(value) = self.0.get(field) else {
            return Ok(None);
        };
        let whole = value
            .as_f64()
            .filter(|number| number.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(number));
        match whole {
            Some(number) => Ok(Some(number as u32)),
            None => Err((
                field,
                format!("must be a whole number of tokens, 0 or more, not {value}"),
            )),
        }
    }
}

fn id(value: &Value) -> Result<i128, Fault> {
    let signed = value.as_i64().map(i128::from);
    let wide = signed.or_else(|| value.as_u64().map(i128::from));
    wide.ok_or_else(|| ("hash_ids", format!("holds {value}, which is no integer")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(line: Value) -> Result<Line, Fault> {
        Line::from_object(1, line.as_object().unwrap().clone())
    }

    #[test]
    fn the_published_shape_and_the_other_modes() {
        let line = read(
            json!({"timestamp": 0, "input_length": 20, "output_length": 0, "hash_ids": [0, 7]}),
        );
        let line = line.unwrap();
        let ids = vec![0, 7];
        assert_eq!(line.ask, Ask::Length { tokens: 20, ids });
        assert_eq!(
            (line.timestamp_ms, line.output_length),
            (Some(0.0), Some(1))
        );
        let text = read(json!({"text_input": "", "timestamp": 1.5, "delay": null})).unwrap();
        assert_eq!(text.ask, Ask::Text(String::new()));
        assert!(read(json!({"messages": [{"role": "user"}], "tools": [{}]})).is_ok());
        assert!(read(json!({"payload": {"a": 1}, "type": "mooncake_trace"})).is_ok());
    }

    #[test]
    fn faults_name_the_field() {
        for (line, field) in [
            (json!({}), "line"),
            (json!({"input_length": 1, "text_input": "a"}), "line"),
            (json!({"input_length": 0}), "input_length"),
            (json!({"input_length": -3}), "input_length"),
            (json!({"input_length": 1.5}), "input_length"),
            (json!({"input_length": true}), "input_length"),
            (
                json!({"input_length": 1, "output_length": -1}),
                "output_length",
            ),
            (json!({"text_input": "a", "hash_ids": [1]}), "hash_ids"),
            (json!({"input_length": 1, "hash_ids": [1.5]}), "hash_ids"),
            (json!({"input_length": 1, "tools": [{}]}), "tools"),
            (
                json!({"messages": [{"role": "user"}], "tools": []}),
                "tools",
            ),
            (json!({"messages": []}), "messages"),
            (json!({"messages": [{"content": "x"}]}), "messages"),
            (json!({"payload": {}}), "payload"),
            (json!({"text_input": 5}), "text_input"),
            (json!({"text_input": "a", "timestamp": "now"}), "timestamp"),
            (json!({"text_input": "a", "delay": -1}), "delay"),
            (json!({"text_input": "a", "session_id": 4}), "session_id"),
            (json!({"text_input": "a", "extra": []}), "extra"),
        ] {
            let shown = line.to_string();
            assert_eq!(read(line).unwrap_err().0, field, "{shown}");
        }
    }
}
