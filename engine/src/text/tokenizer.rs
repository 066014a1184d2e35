//! Text to token ids and back, with one conduct for every source of vocabulary.
//!
//! Not for finding a tokenizer (`resolve`), nor for chat templates. Encoding never adds special
//! tokens, but parses the strings of special tokens that stand in the text; decoding keeps them.

use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::resolve::TokenizerError;

/// The embedded encodings, by the names that `--tokenizer` takes besides `builtin`.
pub(super) const EMBEDDED: [&str; 6] = [
    "o200k_base",
    "o200k_harmony",
    "cl100k_base",
    "p50k_base",
    "p50k_edit",
    "r50k_base",
];

/// A tokenizer; cloning shares the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    model: Model,
    name: Arc<str>,
    separator: Option<u32>,
    special_per_sequence: usize,
}

#[derive(Clone)]
enum Model {
    Embedded(&'static tiktoken::CoreBpe),
    Local(Arc<tokenizers::Tokenizer>),
}

impl Tokenizer {
    /// The default tokenizer, o200k_base; about 100 ms on first use, nothing after.
    ///
    /// # Errors
    /// Only when the build left its vocabulary out.
    pub fn builtin() -> Result<Self, TokenizerError> {
        Self::embedded("o200k_base", "builtin")
    }

    pub(super) fn embedded(encoding: &str, name: &str) -> Result<Self, TokenizerError> {
        let bpe = tiktoken::get_encoding(encoding).ok_or_else(|| TokenizerError::NotInBuild {
            name: encoding.to_owned(),
        })?;
        let mut tokenizer = Self {
            model: Model::Embedded(bpe),
            name: name.into(),
            separator: None,
            special_per_sequence: 0,
        };
        tokenizer.separator = tokenizer.single_id("<|endoftext|>");
        Ok(tokenizer)
    }

    /// The tokenizer of a folder with a `tokenizer.json`, or of such a file itself.
    ///
    /// BOS and EOS come from the `tokenizer_config.json` beside it; without that file there are
    /// none.
    ///
    /// # Errors
    /// When the file is missing, unreadable, or no tokenizer.
    pub fn from_path(path: &Path, name: &str) -> Result<Self, TokenizerError> {
        let file = if path.is_dir() {
            path.join("tokenizer.json")
        } else {
            path.to_path_buf()
        };
        if !file.is_file() {
            return Err(TokenizerError::NoFile { path: file });
        }
        let bytes = std::fs::read(&file).map_err(|source| TokenizerError::Read {
            path: file.clone(),
            source,
        })?;
        let format = |reason: String| TokenizerError::Format {
            path: file.clone(),
            reason,
        };
        let mut model =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|cause| format(cause.to_string()))?;
        // A file may carry the truncation and padding of its training; a count must see all text.
        model
            .with_truncation(None)
            .map_err(|cause| format(cause.to_string()))?;
        model.with_padding(None);
        // A vocabulary without an unknown token fails on some texts; find out now, not in a run.
        model
            .encode_fast("A b, 1 (x) – é 字", false)
            .map_err(|cause| format(format!("cannot encode ordinary text: {cause}")))?;
        let special_per_sequence = model.get_post_processor().map_or(0, |post| {
            tokenizers::PostProcessor::added_tokens(post, false)
        });
        let mut tokenizer = Self {
            model: Model::Local(Arc::new(model)),
            name: name.into(),
            separator: None,
            special_per_sequence,
        };
        tokenizer.separator = configured_specials(&file.with_file_name("tokenizer_config.json"))?
            .into_iter()
            .find_map(|token| tokenizer.single_id(&token));
        Ok(tokenizer)
    }

    /// What the user called it: `builtin`, an encoding's name, a path or a hub id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The token ids of `text`, none added. Text that the vocabulary cannot express at all (no
    /// byte fallback and no unknown token) gives none.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match &self.model {
            Model::Embedded(bpe) => bpe.encode_with_special_tokens(text),
            Model::Local(model) => model
                .encode_fast(text, false)
                .map(|encoding| encoding.get_ids().to_vec())
                .unwrap_or_default(),
        }
    }

    /// How many ids [`encode`](Self::encode) would give, without keeping them.
    pub fn count(&self, text: &str) -> usize {
        match &self.model {
            Model::Embedded(bpe) => bpe.count_with_special_tokens(text),
            Model::Local(model) => model
                .encode_fast(text, false)
                .map_or(0, |encoding| encoding.len()),
        }
    }

    /// The text of `ids`, special tokens kept, bytes that are no UTF-8 replaced.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.model {
            Model::Embedded(bpe) => String::from_utf8(bpe.decode(ids))
                .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()),
            Model::Local(model) => model.decode(ids, false).unwrap_or_default(),
        }
    }

    /// The token that no merge crosses: BOS, else EOS, else none.
    pub fn separator(&self) -> Option<u32> {
        self.separator
    }

    /// Whether text after a special token encodes as it would alone, so that counts of the pieces
    /// between special tokens may be added up. Certain for the embedded encodings; a local one may
    /// normalise or prefix its text.
    pub fn adds_up_at_specials(&self) -> bool {
        matches!(self.model, Model::Embedded(_))
    }

    /// How many tokens a server adds to a single sequence, 1 for models with a BOS.
    pub fn special_per_sequence(&self) -> usize {
        self.special_per_sequence
    }

    /// The id of a string that is parsed as one token wherever it stands.
    fn single_id(&self, token: &str) -> Option<u32> {
        match self.encode(token)[..] {
            [id] => Some(id),
            _ => None,
        }
    }
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("name", &self.name)
            .field("separator", &self.separator)
            .finish_non_exhaustive()
    }
}

/// BOS then EOS as the configuration names them: a string, or an object with `content`.
fn configured_specials(config: &Path) -> Result<Vec<String>, TokenizerError> {
    let Ok(bytes) = std::fs::read(config) else {
        return Ok(Vec::new());
    };
    let config: Value = serde_json::from_slice(&bytes).map_err(|cause| TokenizerError::Format {
        path: config.to_path_buf(),
        reason: cause.to_string(),
    })?;
    let named = |key: &str| {
        let token = &config[key];
        token.as_str().or(token["content"].as_str())
    };
    Ok(["bos_token", "eos_token"]
        .into_iter()
        .filter_map(named)
        .map(str::to_owned)
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builtin_counts_decodes_and_parses_specials() {
        let tokenizer = Tokenizer::builtin().unwrap();
        assert_eq!(tokenizer.separator(), Some(199_999));
        assert_eq!(tokenizer.special_per_sequence(), 0);
        let ids = tokenizer.encode("hello world<|endoftext|>hello");
        assert_eq!(ids, [24912, 2375, 199_999, 24912]);
        assert_eq!(tokenizer.decode(&ids), "hello world<|endoftext|>hello");
        assert_eq!(tokenizer.count("hello world<|endoftext|>hello"), 4);
        assert_eq!(tokenizer.count(""), 0);
    }

    #[test]
    fn half_a_character_decodes_to_a_replacement() {
        let tokenizer = Tokenizer::builtin().unwrap();
        let ids = tokenizer.encode("𓀀");
        assert!(ids.len() > 1);
        assert!(tokenizer.decode(&ids[..1]).contains('\u{fffd}'));
    }

    #[test]
    fn local_folder_with_bos() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("assets/test/wordlevel");
        let tokenizer = Tokenizer::from_path(&folder, "tiny").unwrap();
        assert_eq!(tokenizer.name(), "tiny");
        assert_eq!(tokenizer.special_per_sequence(), 1);
        let ids = tokenizer.encode("the king and the unheard");
        assert_eq!(ids.len(), 5, "no BOS is added: {ids:?}");
        let bos = tokenizer.separator().unwrap();
        assert_eq!(tokenizer.encode("<s> king"), [bos, ids[1]]);
        assert!(tokenizer.decode(&[bos, ids[1]]).starts_with("<s>"));
        assert_eq!(tokenizer.count("the king"), 2);
    }

    #[test]
    fn a_folder_without_tokenizer_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Tokenizer::from_path(folder.path(), "x").unwrap_err();
        assert!(error.to_string().contains("tokenizer.json"), "{error}");
        std::fs::write(folder.path().join("tokenizer.json"), "{}").unwrap();
        let error = Tokenizer::from_path(folder.path(), "x").unwrap_err();
        assert!(matches!(error, TokenizerError::Format { .. }), "{error}");
    }
}
