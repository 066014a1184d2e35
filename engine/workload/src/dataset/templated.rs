//! Input lengths by the model's chat template (`--apply-chat-template`).

use serde_json::{Map, Value, json};

use super::count::tool_texts;
use crate::text::tokenizer::Tokenizer;

/// The input tokens of a body of chat messages as the template writes them out, with the texts of
/// its tools; `None` without a template, without messages, or where the template refuses them.
pub(super) fn input_length(body: &Map<String, Value>, tokenizer: &Tokenizer) -> Option<u32> {
    let template = tokenizer.chat_template()?;
    let messages = body.get("messages")?.as_array()?;
    if !messages.iter().any(Value::is_object) {
        return None;
    }
    let prompt = match body.get("system") {
        // Anthropic's place for it; templates know it as the first message.
        Some(system) => {
            let first = json!({"role": "system", "content": system});
            let all: Vec<Value> = std::iter::once(first).chain(messages.clone()).collect();
            template.render(&all, true)
        }
        None => template.render(messages, true),
    };
    let Some(prompt) = prompt else {
        template.note_refusal();
        return None;
    };
    let tools = tool_texts(body);
    let tools = if tools.is_empty() {
        0
    } else {
        tokenizer.count(&tools.join(" "))
    };
    u32::try_from(tokenizer.count(&prompt) + tools).ok()
}

/// Tokens that a template adds to what is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// To a conversation of one message: what every prompt has, and one message's wrap.
    pub(super) first: u32,
    /// To a message of the user behind an answer.
    pub(super) later: u32,
}

/// What the tokenizer's template adds, measured on short messages; `None` without a template.
pub(super) fn cost(tokenizer: &Tokenizer) -> Option<Cost> {
    let template = tokenizer.chat_template()?;
    let text = "the king";
    let said = |role| json!({"role": role, "content": text});
    let own = tokenizer.count(text);
    let tokens = |messages: &[Value], generation| {
        Some(tokenizer.count(&template.render(messages, generation)?))
    };
    let (user, answer) = (said("user"), said("assistant"));
    let one = tokens(std::slice::from_ref(&user), true)?;
    let first = one.saturating_sub(own);
    // What the answer's wrap costs is not the user's.
    let later = || {
        let ended = tokens(std::slice::from_ref(&user), false)?;
        let answered = tokens(&[user.clone(), answer.clone()], false)?;
        let three = tokens(&[user.clone(), answer.clone(), user.clone()], false)?;
        let wrap = answered.checked_sub(ended + own)?;
        three.checked_sub(ended + wrap + 2 * own)
    };
    let later = later().unwrap_or(first);
    Some(Cost {
        first: u32::try_from(first).ok()?,
        later: u32::try_from(later).ok()?,
    })
}
