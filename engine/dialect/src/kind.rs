//! What each kind of endpoint is: one table. How its bodies and answers look is in the files of
//! the dialects.

use pinfire_proto::Scan;

/// The kinds of endpoint, in the order of [`ENDPOINTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum EndpointKind {
    /// OpenAI chat completions.
    #[default]
    Chat,
    /// OpenAI text completions.
    Completions,
    /// OpenAI responses.
    Responses,
    /// Anthropic messages.
    Messages,
    /// OpenAI embeddings.
    Embeddings,
    /// Embeddings of chat messages, as vLLM has them.
    ChatEmbeddings,
    /// Rankings of NVIDIA NIM.
    NimRankings,
    /// Rankings of Cohere.
    CohereRankings,
    /// Rankings of Hugging Face's Text Embeddings Inference.
    HfTeiRankings,
    /// Hugging Face's Text Generation Inference.
    HuggingfaceGenerate,
    /// Bodies from a user's own template.
    Template,
    /// Bodies that the dataset has whole.
    Raw,
}

/// What a kind of endpoint is: one row of the table.
pub struct Endpoint {
    /// Its kind.
    pub kind: EndpointKind,
    /// The name on the command line and in reports.
    pub name: &'static str,
    /// The path joined to a base URL when `--endpoint` gives none; empty for none.
    pub path: &'static str,
    /// The path of a streaming run.
    pub streaming_path: &'static str,
    /// Its answers can be streams.
    pub streams: bool,
    /// Its answers have output tokens.
    pub output_tokens: bool,
    /// The tokens of its requests are counted.
    pub counts_input: bool,
    /// Its bodies have a place for a system message.
    pub takes_system_message: bool,
    /// The key of the body's list of messages, for those that have one.
    pub messages_key: Option<&'static str>,
    /// Conversations of several turns can be composed: each request takes the history of the turns
    /// before it.
    pub several_turns: bool,
    /// The title of its metric tables.
    pub title: &'static str,
    /// The kind of service in the name of the artifact folder (AIPerf 0.13 has this one for all).
    pub service: &'static str,
    /// Which of its events the cores read themselves.
    pub scan: Scan,
}

/// What most rows have.
const LLM: Endpoint = Endpoint {
    kind: EndpointKind::Raw,
    name: "raw",
    path: "",
    streaming_path: "",
    streams: true,
    output_tokens: true,
    counts_input: true,
    takes_system_message: false,
    messages_key: None,
    several_turns: false,
    title: "LLM Metrics",
    service: "openai",
    scan: Scan::Keep,
};

/// A kind whose answers are numbers.
const NUMBERS: Endpoint = Endpoint {
    streams: false,
    output_tokens: false,
    ..LLM
};

/// Every kind, once.
pub static ENDPOINTS: [Endpoint; 12] = [
    Endpoint {
        kind: EndpointKind::Chat,
        name: "chat",
        path: "/v1/chat/completions",
        streaming_path: "/v1/chat/completions",
        takes_system_message: true,
        messages_key: Some("messages"),
        several_turns: true,
        scan: Scan::Chat,
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Completions,
        name: "completions",
        path: "/v1/completions",
        streaming_path: "/v1/completions",
        scan: Scan::Completions,
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Responses,
        name: "responses",
        path: "/v1/responses",
        streaming_path: "/v1/responses",
        takes_system_message: true,
        messages_key: Some("input"),
        several_turns: true,
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Messages,
        name: "messages",
        path: "/v1/messages",
        streaming_path: "/v1/messages",
        takes_system_message: true,
        messages_key: Some("messages"),
        several_turns: true,
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Embeddings,
        name: "embeddings",
        path: "/v1/embeddings",
        streaming_path: "/v1/embeddings",
        title: "Embeddings Metrics",
        ..NUMBERS
    },
    Endpoint {
        kind: EndpointKind::ChatEmbeddings,
        name: "chat_embeddings",
        path: "/v1/embeddings",
        streaming_path: "/v1/embeddings",
        takes_system_message: true,
        messages_key: Some("messages"),
        title: "Embeddings Metrics",
        ..NUMBERS
    },
    Endpoint {
        kind: EndpointKind::NimRankings,
        name: "nim_rankings",
        path: "/v1/ranking",
        streaming_path: "/v1/ranking",
        title: "Rankings Metrics",
        ..NUMBERS
    },
    Endpoint {
        kind: EndpointKind::CohereRankings,
        name: "cohere_rankings",
        path: "/v2/rerank",
        streaming_path: "/v2/rerank",
        title: "Ranking Metrics",
        ..NUMBERS
    },
    Endpoint {
        kind: EndpointKind::HfTeiRankings,
        name: "hf_tei_rankings",
        path: "/rerank",
        streaming_path: "/rerank",
        title: "Ranking Metrics",
        ..NUMBERS
    },
    Endpoint {
        kind: EndpointKind::HuggingfaceGenerate,
        name: "huggingface_generate",
        path: "/generate",
        streaming_path: "/generate_stream",
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Template,
        name: "template",
        ..LLM
    },
    Endpoint {
        kind: EndpointKind::Raw,
        name: "raw",
        ..LLM
    },
];

/// AIPerf's types that are no part of this version.
const NOT_PART: [&str; 7] = [
    "solido_rag",
    "nim_embeddings",
    "image_generation",
    "image_edit",
    "video_generation",
    "audio_transcription",
    "image_retrieval",
];

/// The name is none of a kind that there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownEndpoint {
    /// A type of AIPerf's.
    #[error("{0}: this endpoint type is not part of this version; there are: {list}", list = names())]
    NotPart(&'static str),
    /// No type at all.
    #[error("{0}: there is no such endpoint type; there are: {list}", list = names())]
    Unknown(String),
}

fn names() -> String {
    let names: Vec<&str> = ENDPOINTS.iter().map(|row| row.name).collect();
    names.join(", ")
}

impl EndpointKind {
    /// By its name on the command line: any letter case, `-` and `_` alike.
    ///
    /// # Errors
    /// No kind has this name.
    pub fn from_name(name: &str) -> Result<Self, UnknownEndpoint> {
        let plain = name.trim().to_lowercase().replace('-', "_");
        if let Some(row) = ENDPOINTS.iter().find(|row| row.name == plain) {
            return Ok(row.kind);
        }
        let known = NOT_PART.iter().find(|known| **known == plain);
        Err(known.map_or_else(
            || UnknownEndpoint::Unknown(name.to_owned()),
            |known| UnknownEndpoint::NotPart(known),
        ))
    }

    /// Its row of the table.
    pub fn row(self) -> &'static Endpoint {
        &ENDPOINTS[self as usize]
    }

    /// The name on the command line and in reports.
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

impl Endpoint {
    /// The path joined to a base URL when `--endpoint` gives none; empty for none.
    pub const fn default_path(&self, streaming: bool) -> &'static str {
        if streaming {
            self.streaming_path
        } else {
            self.path
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_the_order_of_the_kinds() {
        for (at, row) in ENDPOINTS.iter().enumerate() {
            assert_eq!(row.kind as usize, at, "{}", row.name);
            assert_eq!(EndpointKind::from_name(row.name), Ok(row.kind));
            assert!(!row.several_turns || row.messages_key.is_some());
            assert!(row.streams || row.path == row.streaming_path);
            assert!(row.path.is_empty() || row.path.starts_with('/'));
        }
    }

    #[test]
    fn names_in_any_writing() {
        for name in ["hf_tei_rankings", "HF-TEI-Rankings", "Hf_Tei-RANKINGS"] {
            assert_eq!(
                EndpointKind::from_name(name),
                Ok(EndpointKind::HfTeiRankings)
            );
        }
        let refused = |name| EndpointKind::from_name(name).unwrap_err().to_string();
        let unknown = refused("chatt");
        assert!(unknown.starts_with("chatt: there is no"), "{unknown}");
        assert!(unknown.ends_with("template, raw"), "{unknown}");
        let later = refused("Image-Edit");
        assert!(later.contains("image_edit: this endpoint type is not part"));
    }

    #[test]
    fn the_path_follows_the_streaming() {
        let row = EndpointKind::HuggingfaceGenerate.row();
        assert_eq!(row.default_path(true), "/generate_stream");
        assert_eq!(row.default_path(false), "/generate");
        assert_eq!(EndpointKind::Raw.row().default_path(true), "");
    }
}
