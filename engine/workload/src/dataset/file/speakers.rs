//! Who speaks in a recorded conversation, in the many writings of published files.

/// A side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaker {
    /// What is sent to the model: a person, or the result of a tool.
    Asks,
    /// What the model said, calls of tools included.
    Answers,
    /// Instructions beside the conversation.
    System,
}

/// The names of each side, in lower case and without `_`, `-` and blanks.
const NAMES: [(Speaker, &[&str]); 3] = [
    (
        Speaker::Asks,
        &[
            "human",
            "user",
            "person",
            "prompter",
            "instruction",
            "question",
            "customer",
            "student",
            "tool",
            "toolresponse",
            "toolresult",
            "observation",
            "function",
            "functionresponse",
            "ipython",
        ],
    ),
    (
        Speaker::Answers,
        &[
            "gpt",
            "assistant",
            "chatgpt",
            "bing",
            "bard",
            "claude",
            "gemini",
            "palm",
            "model",
            "ai",
            "bot",
            "chatbot",
            "llm",
            "agent",
            "answer",
            "response",
            "output",
            "functioncall",
            "toolcall",
            "toolcalls",
        ],
    ),
    (Speaker::System, &["system", "developer", "context"]),
];

impl Speaker {
    /// The side of this name; `None` for a name that is no side's.
    pub(super) fn named(name: &str) -> Option<Self> {
        let plain: String = name
            .chars()
            .filter(|c| !matches!(c, '_' | '-') && !c.is_whitespace())
            .flat_map(char::to_lowercase)
            .collect();
        let side = NAMES
            .iter()
            .find(|(_, names)| names.contains(&plain.as_str()));
        // Versions of a model: gpt-4, claude-3-opus.
        let of_model = || {
            let model = ["gpt", "chatgpt", "claude", "gemini"];
            model.iter().any(|stem| plain.starts_with(stem))
        };
        side.map(|(side, _)| *side)
            .or_else(|| of_model().then_some(Self::Answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_in_the_writings_of_published_files() {
        for (name, side) in [
            ("human", Some(Speaker::Asks)),
            ("user", Some(Speaker::Asks)),
            ("User", Some(Speaker::Asks)),
            ("tool_response", Some(Speaker::Asks)),
            ("observation", Some(Speaker::Asks)),
            ("gpt", Some(Speaker::Answers)),
            ("assistant", Some(Speaker::Answers)),
            (" ChatGPT ", Some(Speaker::Answers)),
            ("gpt-4-turbo", Some(Speaker::Answers)),
            ("Claude 3 Opus", Some(Speaker::Answers)),
            ("function_call", Some(Speaker::Answers)),
            ("function-call", Some(Speaker::Answers)),
            ("bing", Some(Speaker::Answers)),
            ("system", Some(Speaker::System)),
            ("narrator", None),
            ("", None),
        ] {
            assert_eq!(Speaker::named(name), side, "{name}");
        }
    }
}
