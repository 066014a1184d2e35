//! The embedded vocabularies by the names that people use: an encoding's own, or a model's.

/// What an embedded encoding needs besides its vocabulary to encode as the models do.
#[derive(Debug)]
pub(super) struct Family {
    /// The name that `--tokenizer` takes.
    pub(super) name: &'static str,
    /// The vocabulary.
    pub(super) encoding: &'static str,
    /// Text is brought into Unicode's composed form (NFC) first.
    pub(super) nfc: bool,
    /// Single tokens that the vocabulary does not know of, none the beginning of another.
    pub(super) added: &'static [(&'static str, u32)],
}

/// A vocabulary as it is.
const fn plain(name: &'static str) -> Family {
    Family {
        name,
        encoding: name,
        nfc: false,
        added: &[],
    }
}

/// Every name besides `builtin`.
pub(super) static FAMILIES: [Family; 8] = [
    plain("o200k_base"),
    plain("o200k_harmony"),
    plain("cl100k_base"),
    plain("p50k_base"),
    plain("p50k_edit"),
    plain("r50k_base"),
    // Qwen 1.5, 2 and 2.5 have one vocabulary; its tokenizer.json composes text first.
    Family {
        name: "qwen2",
        encoding: "qwen2",
        nfc: true,
        added: &[],
    },
    // The same with the marks of thinking and of what a tool said.
    Family {
        name: "qwen3",
        encoding: "qwen2",
        nfc: true,
        added: &[
            ("<tool_response>", 151_665),
            ("</tool_response>", 151_666),
            ("<think>", 151_667),
            ("</think>", 151_668),
        ],
    },
];

/// The encoding of this name.
pub(super) fn named(name: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.name == name)
}

/// The encoding that the models of this name are known to have, by the last part of the name.
///
/// Later generations (Qwen3.5 and on) have another vocabulary and are not taken for these.
pub(super) fn of_model(model: &str) -> Option<&'static Family> {
    const STEMS: [(&str, &str); 5] = [
        ("qwen1.5-", "qwen2"),
        ("qwen2-", "qwen2"),
        ("qwen2.5-", "qwen2"),
        ("qwq-", "qwen3"),
        ("qwen3-", "qwen3"),
    ];
    let last = model.rsplit('/').next().unwrap_or(model).to_lowercase();
    let stem = STEMS.iter().find(|(stem, _)| last.starts_with(stem));
    stem.and_then(|(_, name)| named(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_by_their_family() {
        let name = |model| of_model(model).map(|family| family.name);
        assert_eq!(name("Qwen/Qwen3-0.6B"), Some("qwen3"));
        assert_eq!(name("qwen2.5-coder-7b-instruct"), Some("qwen2"));
        assert_eq!(name("other/Qwen2-7B"), Some("qwen2"));
        assert_eq!(name("Qwen/Qwen3.5-9B"), None);
        assert_eq!(name("Qwen/Qwen-7B"), None);
        assert_eq!(name("qwen3-x/other"), None);
    }

    #[test]
    fn no_added_token_begins_another() {
        for family in &FAMILIES {
            for (token, _) in family.added {
                let longer = family
                    .added
                    .iter()
                    .filter(|(one, _)| one.starts_with(token));
                assert_eq!(longer.count(), 1, "{token}");
            }
        }
    }
}
