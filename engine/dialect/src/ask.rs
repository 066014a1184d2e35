//! What one request is to say, before any endpoint's dialect: the common ground of dataset formats
//! and endpoint kinds. A format fills it, an endpoint writes a body from it.

use serde_json::{Map, Value};

/// One request to be, before the run's options are applied.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// The session's system message, first in every request of it.
    pub system: Option<&'a str>,
    /// The session's user-context message, a user message behind the system message.
    pub user_context: Option<&'a str>,
    /// What the turn itself says.
    pub content: Content,
    /// The output limit in tokens.
    pub max_tokens: Option<u32>,
    /// The turn's own fields, merged over everything else.
    pub extra: Option<&'a Map<String, Value>>,
}

impl<'a> Ask<'a> {
    /// A request of this content and nothing else.
    pub const fn of(content: Content) -> Self {
        Self {
            system: None,
            user_context: None,
            content,
            max_tokens: None,
            extra: None,
        }
    }
}

/// What a turn says.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// Texts and media, which the endpoint puts into its own form.
    TurnContent(TurnContent),
    /// Ready messages in the endpoint's own form, with the tools that came beside them.
    Messages {
        /// The messages.
        messages: Vec<Value>,
        /// The tools.
        tools: Option<Vec<Value>>,
    },
}

/// Texts and media of one turn, in the order in which a body takes them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TurnContent {
    /// `None` is `user`.
    pub role: Option<String>,
    /// Texts.
    pub texts: Vec<Media>,
    /// Images, as URLs or data URLs.
    pub images: Vec<Media>,
    /// Audio clips.
    pub audios: Vec<Media>,
    /// Videos.
    pub videos: Vec<Media>,
    /// Cache ids of the images, one for each.
    pub image_uuids: Vec<String>,
}

/// Strings of one kind under one name: `query` and `passages` for rankings, mostly empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Media {
    /// The name; empty for the usual kind.
    pub name: String,
    /// The strings, in order.
    pub contents: Vec<String>,
}

impl Content {
    /// One text of the user.
    pub fn text(text: String) -> Self {
        Self::TurnContent(TurnContent::text(text))
    }
}

impl TurnContent {
    /// One text of the user.
    pub fn text(text: String) -> Self {
        Self {
            texts: vec![Media {
                name: String::new(),
                contents: vec![text],
            }],
            ..Self::default()
        }
    }

    /// All texts in order, whatever their names, the empty ones left out.
    pub fn all_texts(&self) -> impl Iterator<Item = &str> {
        let contents = self.texts.iter().flat_map(|media| &media.contents);
        contents.map(String::as_str).filter(|text| !text.is_empty())
    }

    /// The one string that a body may carry bare: there is one text, no other kind, and nothing to
    /// tell it apart by.
    pub fn only_text(&self) -> Option<&str> {
        let bare = [&self.images, &self.audios, &self.videos]
            .iter()
            .all(|kind| kind.is_empty());
        match &self.texts[..] {
            [media] if bare && media.contents.len() == 1 => Some(&media.contents[0]),
            _ => None,
        }
    }
}
