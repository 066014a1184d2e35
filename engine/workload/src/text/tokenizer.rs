//! Text to token ids and back, with one conduct for every source of vocabulary.
//!
//! Not for finding a tokenizer (`resolve`). Encoding never adds special tokens, but parses the
//! strings of special tokens that stand in the text; decoding keeps them.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde_json::Value;

use super::family::{self, Family};
use super::guard::{Bounds, FILE_BYTES, brief, caught, imposter, read, within};
use super::resolve::TokenizerError;
use super::template::{CONFIG, ChatTemplate, FILES, Unusable};

/// What loading a tokenizer may take; a file of 256 MiB takes a quarter of the time.
const LOADING: Bounds = Bounds {
    seconds: 120,
    mebibytes: 8_192,
};
/// What encoding a few hundred words may take.
const TRIAL: Bounds = Bounds {
    seconds: 20,
    mebibytes: 1_024,
};

/// A tokenizer; cloning shares the vocabulary.
#[derive(Clone)]
pub struct Tokenizer {
    model: Model,
    name: Arc<str>,
    separator: Option<u32>,
    special_per_sequence: usize,
    /// Where it was loaded from, for the chat template beside it.
    folder: Option<PathBuf>,
    template: Option<Arc<ChatTemplate>>,
}

#[derive(Clone)]
enum Model {
    Embedded(&'static tiktoken::CoreBpe, &'static Family),
    Local(Arc<Local>),
}

/// A tokenizer by its `tokenizer.json`.
struct Local {
    model: tokenizers::Tokenizer,
    path: PathBuf,
    /// Why it could not encode a text: the first time that this happened.
    failed: OnceLock<String>,
}

impl Local {
    /// What encoding gives, or nothing where it fails, which is kept.
    fn encoded<T>(&self, text: &str, of: impl Fn(&tokenizers::Encoding) -> T) -> Option<T> {
        // A pattern that backtracks too far makes its library panic.
        let encoded = caught(|| {
            self.model
                .encode_fast(text, false)
                .map_err(|e| e.to_string())
        });
        match encoded {
            Ok(Ok(encoding)) => Some(of(&encoding)),
            Ok(Err(cause)) | Err(cause) => {
                // Another thread may have failed before; either tells the cause.
                let _ = self.failed.set(brief(&cause));
                None
            }
        }
    }
}

impl Tokenizer {
    /// The default tokenizer, o200k_base; about 100 ms on first use, nothing after.
    ///
    /// # Errors
    /// Only when the build left its vocabulary out.
    ///
    /// ```
    /// use pinfire_workload::text::tokenizer::Tokenizer;
    ///
    /// let tokenizer = Tokenizer::builtin().unwrap();
    /// let ids = tokenizer.encode("Hello, world");
    /// assert_eq!(ids.len(), tokenizer.count("Hello, world"));
    /// assert_eq!(tokenizer.decode(&ids), "Hello, world");
    /// ```
    pub fn builtin() -> Result<Self, TokenizerError> {
        let missing = || TokenizerError::NotInBuild {
            name: "o200k_base".to_owned(),
        };
        Self::embedded(family::named("o200k_base").ok_or_else(missing)?, "builtin")
    }

    pub(super) fn embedded(family: &'static Family, name: &str) -> Result<Self, TokenizerError> {
        let encoding = family.encoding;
        let bpe = tiktoken::get_encoding(encoding).ok_or_else(|| TokenizerError::NotInBuild {
            name: encoding.to_owned(),
        })?;
        let mut tokenizer = Self {
            model: Model::Embedded(bpe, family),
            name: name.into(),
            separator: None,
            special_per_sequence: 0,
            folder: None,
            template: None,
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
        let bytes = read(&file, FILE_BYTES).map_err(|cause| TokenizerError::Read {
            path: file.clone(),
            cause,
        })?;
        let model = checked(bytes).map_err(|reason| TokenizerError::Format {
            path: file.clone(),
            reason,
        })?;
        let special_per_sequence = model.get_post_processor().map_or(0, |post| {
            tokenizers::PostProcessor::added_tokens(post, false)
        });
        let mut tokenizer = Self {
            model: Model::Local(Arc::new(Local {
                model,
                path: file.clone(),
                failed: OnceLock::new(),
            })),
            name: name.into(),
            separator: None,
            special_per_sequence,
            folder: file.parent().map(Path::to_path_buf),
            template: None,
        };
        tokenizer.separator = configured_specials(&file.with_file_name(CONFIG))?
            .into_iter()
            .find_map(|token| tokenizer.single_id(&token));
        Ok(tokenizer)
    }

    /// What the user called it: `builtin`, an encoding's name, a path or a hub id.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it was read from; nothing where it is part of this build.
    pub fn files(&self) -> Vec<PathBuf> {
        let Model::Local(local) = &self.model else {
            return Vec::new();
        };
        let templates = FILES.iter().filter(|_| self.template.is_some());
        let beside = [CONFIG].iter().chain(templates);
        let beside = beside.map(|name| local.path.with_file_name(name));
        [local.path.clone()]
            .into_iter()
            .chain(beside.filter(|path| path.is_file()))
            .collect()
    }

    /// The token ids of `text`, none added. Text that the vocabulary cannot express at all (no
    /// byte fallback and no unknown token), or that its patterns fail on, gives none, which
    /// [`fault`](Self::fault) tells.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        match &self.model {
            Model::Embedded(bpe, family) => {
                let mut ids = Vec::new();
                pieces(family, &composed(family, text), |piece| match piece {
                    // The usual case: one piece, whose ids need no copy.
                    Piece::Text(text) if ids.is_empty() => {
                        ids = bpe.encode_with_special_tokens(text);
                    }
                    Piece::Text(text) => ids.extend(bpe.encode_with_special_tokens(text)),
                    Piece::Added(id) => ids.push(id),
                });
                ids
            }
            Model::Local(local) => {
                let ids = local.encoded(text, |encoding| encoding.get_ids().to_vec());
                ids.unwrap_or_default()
            }
        }
    }

    /// How many ids [`encode`](Self::encode) would give, without keeping them.
    pub fn count(&self, text: &str) -> usize {
        match &self.model {
            Model::Embedded(bpe, family) => {
                let mut count = 0;
                pieces(family, &composed(family, text), |piece| {
                    count += match piece {
                        Piece::Text(text) => bpe.count_with_special_tokens(text),
                        Piece::Added(_) => 1,
                    };
                });
                count
            }
            Model::Local(local) => local.encoded(text, tokenizers::Encoding::len).unwrap_or(0),
        }
    }

    /// The text of `ids`, special tokens kept, bytes that are no UTF-8 replaced.
    pub fn decode(&self, ids: &[u32]) -> String {
        match &self.model {
            Model::Embedded(bpe, family) => {
                let added = |id: &u32| family.added.iter().find(|(_, added)| added == id);
                let mut bytes = Vec::new();
                for run in ids.chunk_by(|a, b| added(a).is_none() && added(b).is_none()) {
                    match run.first().and_then(added) {
                        Some((token, _)) => bytes.extend_from_slice(token.as_bytes()),
                        None => bytes.extend(bpe.decode(run)),
                    }
                }
                String::from_utf8(bytes)
                    .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
            }
            Model::Local(local) => local.model.decode(ids, false).unwrap_or_default(),
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
        matches!(self.model, Model::Embedded(..))
    }

    /// How many tokens a server adds to a single sequence, 1 for models with a BOS.
    pub fn special_per_sequence(&self) -> usize {
        self.special_per_sequence
    }

    /// The same tokenizer with the chat template that came with it, by which messages are counted
    /// from now on.
    ///
    /// # Errors
    /// There is none, or it cannot be used: why, in a few words.
    pub(super) fn with_chat_template(mut self) -> Result<Self, Unusable> {
        let folder = self.folder.as_deref().ok_or_else(|| {
            Unusable::Without("an embedded tokenizer has no chat template".to_owned())
        })?;
        self.template = Some(Arc::new(ChatTemplate::load(folder)?));
        Ok(self)
    }

    /// What went wrong with the model's own files on the texts so far, with the way on: counts
    /// cannot be trusted after it.
    pub fn fault(&self) -> Option<String> {
        if let Model::Local(local) = &self.model
            && let Some(reason) = local.failed.get()
        {
            return Some(format!(
                "{} cannot encode a text of this run: {reason}; use another tokenizer, `--tokenizer \
                 builtin`, or `--use-server-token-count`",
                local.path.display()
            ));
        }
        let (path, bound) = self.chat_template()?.exceeded()?;
        Some(exceeded(path, bound))
    }

    /// The template that messages are counted by (`--apply-chat-template`).
    pub fn chat_template(&self) -> Option<&ChatTemplate> {
        self.template.as_deref()
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

/// The sentence about a chat template that exceeds its bounds.
pub(super) fn exceeded(path: &Path, bound: &str) -> String {
    format!(
        "{}: the chat template {bound}; leave out --apply-chat-template to count without it",
        path.display()
    )
}

/// The tokenizer that is the content of a `tokenizer.json`, tried on a few texts.
///
/// # Errors
/// It is none, or one that takes more than it may: why, as the rest of a sentence.
pub(super) fn checked(bytes: Vec<u8>) -> Result<tokenizers::Tokenizer, String> {
    if let Some(what) = imposter(&bytes) {
        return Err(format!("it is {what}"));
    }
    let load = move || tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| brief(&e.to_string()));
    let mut model = within(LOADING, load).map_err(|bound| format!("loading it {bound}"))??;
    // A file may carry the truncation and padding of its training; a count must see all text.
    model
        .with_truncation(None)
        .map_err(|cause| brief(&cause.to_string()))?;
    model.with_padding(None);
    // A vocabulary without an unknown token fails on some texts, and a pattern or a normalizer may
    // take for ever on others; find out now, not in a run.
    let trial = move || {
        for text in trials() {
            model
                .encode_fast(text, false)
                .map_err(|cause| brief(&cause.to_string()))?;
        }
        Ok::<_, String>(model)
    };
    match within(TRIAL, trial) {
        Ok(tried) => tried.map_err(|cause| format!("cannot encode ordinary text: {cause}")),
        Err(bound) => Err(format!("encoding ordinary text {bound}")),
    }
}

/// Ordinary text, and what patterns with nested repetitions take longest for.
fn trials() -> impl Iterator<Item = String> {
    let ordinary = "A b, 1 (x) – é 字".to_owned();
    let prose = "It is a truth universally acknowledged, that a single man. ".repeat(8);
    let runs = ["a", "A", " ", "1", "\n", "=", "-", "ab ", "é", "字"];
    let runs = runs.into_iter().map(|one| one.repeat(64) + "!");
    [ordinary, prose].into_iter().chain(runs)
}

/// What a text is made of.
enum Piece<'a> {
    Text(&'a str),
    Added(u32),
}

/// The text as the family's models see it.
fn composed<'a>(family: &Family, text: &'a str) -> Cow<'a, str> {
    if !family.nfc || text.is_ascii() {
        return Cow::Borrowed(text);
    }
    let mut normalized = tokenizers::NormalizedString::from(text);
    normalized.nfc();
    Cow::Owned(normalized.get().to_owned())
}

/// Tells `each` the pieces of `text` between and at the tokens that the vocabulary does not have.
fn pieces(family: &Family, text: &str, mut each: impl FnMut(Piece<'_>)) {
    let mut rest = text;
    while !family.added.is_empty() {
        let next = family.added.iter();
        let next = next.filter_map(|(token, id)| Some((rest.find(token)?, token.len(), *id)));
        let Some((at, length, id)) = next.min() else {
            break;
        };
        if at > 0 {
            each(Piece::Text(&rest[..at]));
        }
        each(Piece::Added(id));
        rest = &rest[at + length..];
    }
    if !rest.is_empty() {
        each(Piece::Text(rest));
    }
}

/// BOS then EOS as the configuration names them: a string, or an object with `content`.
fn configured_specials(config: &Path) -> Result<Vec<String>, TokenizerError> {
    if !config.is_file() {
        return Ok(Vec::new());
    }
    let bytes = read(config, FILE_BYTES).map_err(|cause| TokenizerError::Read {
        path: config.to_path_buf(),
        cause,
    })?;
    let config = checked_config(&bytes).map_err(|reason| TokenizerError::Format {
        path: config.to_path_buf(),
        reason,
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

/// The object that is the content of a JSON file beside a tokenizer.
///
/// # Errors
/// It is none: why, as the rest of a sentence.
pub(super) fn checked_config(bytes: &[u8]) -> Result<Value, String> {
    if let Some(what) = imposter(bytes) {
        return Err(format!("it is {what}"));
    }
    serde_json::from_slice(bytes).map_err(|cause| cause.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

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
    fn qwen_composes_text_and_knows_its_marks() {
        let named = |name| Tokenizer::embedded(family::named(name).unwrap(), name).unwrap();
        let (older, newer) = (named("qwen2"), named("qwen3"));
        let said = "<think>hello world</think>hello<|im_end|>";
        assert_eq!(
            newer.encode(said),
            [151_667, 14_990, 1_879, 151_668, 14_990, 151_645]
        );
        assert_eq!(newer.count(said), 6);
        assert_eq!(newer.decode(&newer.encode(said)), said);
        assert!(older.count(said) > 6, "older ones have no such marks");
        assert_eq!(older.decode(&older.encode(said)), said);
        // An e with an acute accent, in two code points and in one.
        assert_eq!(newer.encode("caf\u{65}\u{301}"), newer.encode("caf\u{e9}"));
        assert_eq!(newer.separator(), Some(151_643));
        // Digits stand alone.
        assert_eq!(newer.count("2024"), 4);
        assert_eq!(newer.count(""), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]
        /// The vocabulary's own way of cutting text into words against the expression that Qwen
        /// publishes for it, by another engine: each word alone gives the ids of the whole.
        #[test]
        fn qwen_cuts_text_where_its_expression_does(
            text in proptest::collection::vec(prop_oneof![
                "[a-zA-Z' ]{1,12}", "[0-9.,:]{1,6}", "[ \t\r\n]{1,5}", "[!-/:-@]{1,4}",
                // Ranges that were assigned long ago, on which two engines agree.
                "[à-ſ一-亀ぁ-ゖ]{1,4}", "[а-яא-ת٠-٩ऀ-९😀-😏\u{a0}\u{3000}e\u{301}]{1,5}",
            ], 0..12).prop_map(|parts| parts.concat()),
        ) {
            use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
            use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer};
            let family = family::named("qwen2").unwrap();
            let tokenizer = Tokenizer::embedded(family, "q").unwrap();
            let expression = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
            let cut = Split::new(
                SplitPattern::Regex(expression.to_owned()),
                tokenizers::SplitDelimiterBehavior::Isolated,
                false,
            )
            .unwrap();
            let mut words = PreTokenizedString::from(&*composed(family, &text));
            cut.pre_tokenize(&mut words).unwrap();
            let words = words.get_splits(OffsetReferential::Original, OffsetType::Byte);
            let apart = words.iter().flat_map(|(word, _, _)| tokenizer.encode(word));
            prop_assert_eq!(tokenizer.encode(&text), apart.collect::<Vec<_>>());
        }
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
