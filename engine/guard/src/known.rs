//! The credentials of this process by their values, in every form in which they may come back.

use std::{
    borrow::Cow,
    ops::Range,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aho_corasick::{AhoCorasick, Input, MatchKind};

use crate::{HIDDEN, LEAST, coded};

/// How a credential begins that is sent after the name of its scheme.
const SCHEMES: [&str; 7] = [
    "bearer", "basic", "token", "apikey", "api-key", "key", "digest",
];

/// Whether there are any: without, hiding costs nothing.
static ANY: AtomicBool = AtomicBool::new(false);

static KNOWN: RwLock<Known> = RwLock::new(Known {
    patterns: Vec::new(),
    finder: None,
});

struct Known {
    patterns: Vec<Pattern>,
    /// Over all patterns; made when it is needed first.
    finder: Option<Arc<Finder>>,
}

/// A text that is looked for.
#[derive(Clone, PartialEq, Eq)]
struct Pattern {
    text: String,
    /// What of it is hidden; the rest is the name that says what it is.
    secret: Range<usize>,
}

impl Pattern {
    fn whole(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            secret: 0..text.len(),
        }
    }

    /// Only what is long enough is known by its beginning.
    fn is_known_by_itself(&self) -> bool {
        self.secret.start == 0 && self.text.chars().count() >= LEAST && !self.text.contains(' ')
    }

    /// Whether what was found is the credential and not a part of something else.
    fn fits(&self, text: &str, found: Range<usize>, is_key: bool) -> bool {
        let secret = self.text.get(self.secret.clone()).unwrap_or_default();
        let before = text.get(..found.start).and_then(|t| t.chars().next_back());
        let after = text.get(found.end..).and_then(|t| t.chars().next());
        if secret.bytes().all(|byte| byte.is_ascii_digit()) {
            // Of a figure it is a part by chance.
            let of_number = |c: char| c.is_ascii_digit() || c == '.';
            return !before.is_some_and(of_number) && !after.is_some_and(of_number);
        }
        if !self.is_known_by_itself() && after.is_some_and(char::is_alphanumeric) {
            return false;
        }
        // The keys of a document are its form, and a credential may be a word.
        !(is_key && secret.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
    }
}

/// Finds all patterns in one pass.
struct Finder {
    patterns: Vec<Pattern>,
    all: AhoCorasick,
    /// How they begin: what has none of these has no part of a credential either.
    leads: AhoCorasick,
}

impl Finder {
    #[expect(
        clippy::expect_used,
        reason = "a few short patterns are far below the limits of the library"
    )]
    fn new(patterns: Vec<Pattern>) -> Self {
        let texts = || patterns.iter().map(|pattern| pattern.text.as_str());
        let lead = |text| {
            let end = str::char_indices(text).nth(LEAST).map(|(at, _)| at);
            text.get(..end.unwrap_or(text.len())).unwrap_or_default()
        };
        const SMALL: &str = "a few short patterns";
        Self {
            all: AhoCorasick::builder()
                .match_kind(MatchKind::LeftmostLongest)
                .build(texts())
                .expect(SMALL),
            leads: AhoCorasick::new(texts().map(lead)).expect(SMALL),
            patterns,
        }
    }

    fn hide<'t>(&self, text: &'t str, is_cut: bool, is_key: bool) -> Cow<'t, str> {
        if !self.leads.is_match(text) {
            return Cow::Borrowed(text);
        }
        let mut out = String::new();
        let (mut from, mut at) = (0, 0);
        while let Some(found) = self.all.find(Input::new(text).span(at..text.len())) {
            let Some(pattern) = self.patterns.get(found.pattern().as_usize()) else {
                break;
            };
            if !pattern.fits(text, found.range(), is_key) {
                at = found.start() + 1;
                continue;
            }
            let start = found.start() + pattern.secret.start;
            out.push_str(text.get(from..start).unwrap_or_default());
            out.push_str(HIDDEN);
            from = found.start() + pattern.secret.end;
            at = found.end();
        }
        let rest = text.get(from..).unwrap_or_default();
        match self.cut(rest, is_cut).filter(|_| !is_key) {
            Some(kept) => {
                out.push_str(kept);
                out.push_str(HIDDEN);
            }
            None if from == 0 => return Cow::Borrowed(text),
            None => out.push_str(rest),
        }
        Cow::Owned(out)
    }

    /// The text without the beginning of a credential at its end, if there is one. A word or a
    /// number counts only where it is known that something was cut.
    fn cut<'t>(&self, text: &'t str, is_cut: bool) -> Option<&'t str> {
        let plain = |lead: &str| {
            let all = |of: fn(&u8) -> bool| lead.as_bytes().iter().all(of);
            all(u8::is_ascii_lowercase) || all(u8::is_ascii_digit)
        };
        let all = self.patterns.iter();
        let all = all.filter(|pattern| pattern.is_known_by_itself());
        let found = all.filter_map(|pattern| {
            let lengths = (LEAST..pattern.text.len()).rev();
            let mut leads = lengths.filter_map(|length| pattern.text.get(..length));
            leads.find(|lead| text.ends_with(lead) && (is_cut || !plain(lead)))
        });
        let longest = found.max_by_key(|lead| lead.len())?;
        text.strip_suffix(longest)
    }
}

/// Makes a credential known: from now on it is hidden wherever it comes up, in all its forms.
pub fn keep(value: &str) {
    let value = value.trim();
    // `-H Authorization: Bearer KEY` without quotes: the scheme alone is none.
    if SCHEMES.contains(&value.to_ascii_lowercase().as_str()) {
        return;
    }
    if let Some((scheme, credential)) = value.split_once(' ')
        && SCHEMES.contains(&scheme.to_ascii_lowercase().as_str())
    {
        let credential = credential.trim();
        if scheme.eq_ignore_ascii_case("basic")
            && let Some(user) = coded::base64_decoded(credential)
        {
            keep_all(&user);
            if let Some((_, password)) = user.split_once(':') {
                keep_all(password);
            }
        }
        if credential.chars().count() < LEAST {
            return add([Pattern::whole(value)]);
        }
        return keep_all(credential);
    }
    keep_all(value);
}

fn keep_all(value: &str) {
    if value.chars().count() < LEAST {
        return;
    }
    let forms = coded::forms(value);
    let texts = std::iter::once(value).chain(forms.iter().map(String::as_str));
    add(texts.map(Pattern::whole));
}

/// Makes the credential of a name known, such as the value of a header. A short one is hidden
/// behind its name.
pub fn keep_named(name: &str, value: &str) {
    let value = value.trim();
    if name.to_ascii_lowercase().contains("cookie") {
        for pair in value.split(';') {
            keep(pair.split_once('=').map_or(pair, |(_, value)| value));
        }
    }
    if value.chars().count() >= LEAST {
        return keep(value);
    }
    if value.is_empty() {
        return;
    }
    let between = [
        ": ",
        ":",
        "=",
        "\":\"",
        "\": \"",
        "\\\":\\\"",
        "\\\": \\\"",
        "': '",
        "':'",
        "\":[\"",
    ];
    let lower = name.to_lowercase();
    let upper = name.to_uppercase();
    for name in [name, &lower, &upper, &coded::percent_decoded(name)] {
        add(between.map(|between| {
            let front = format!("{name}{between}");
            Pattern {
                secret: front.len()..front.len() + value.len(),
                text: front + value,
            }
        }));
    }
}

/// Makes user and password of a URL known.
pub(crate) fn keep_user(user: &str) {
    if user.chars().count() >= LEAST {
        return keep_all(user);
    }
    add([Pattern {
        secret: 0..user.len(),
        text: format!("{user}@"),
    }]);
}

fn add(patterns: impl IntoIterator<Item = Pattern>) {
    let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
    for pattern in patterns {
        if !pattern.text.is_empty() && !known.patterns.contains(&pattern) {
            known.patterns.push(pattern);
            known.finder = None;
        }
    }
    ANY.store(!known.patterns.is_empty(), Ordering::Release);
}

fn finder() -> Option<Arc<Finder>> {
    if !ANY.load(Ordering::Acquire) {
        return None;
    }
    let made = |known: &Known| known.finder.clone();
    let known = made(&KNOWN.read().unwrap_or_else(PoisonError::into_inner));
    known.or_else(|| {
        let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
        let patterns = known.patterns.clone();
        let finder = known
            .finder
            .get_or_insert_with(|| Arc::new(Finder::new(patterns)));
        Some(Arc::clone(finder))
    })
}

/// The text without credentials that are known.
pub fn hidden(text: &str) -> Cow<'_, str> {
    finder().map_or(Cow::Borrowed(text), |finder| {
        finder.hide(text, false, false)
    })
}

/// The same of a text that was cut at its end, where the beginning of a credential may be left.
pub fn hidden_cut(text: &str) -> Cow<'_, str> {
    finder().map_or(Cow::Borrowed(text), |finder| finder.hide(text, true, false))
}

/// Hides in the strings of a document what `each` is given, one after the other: the text as it
/// stands there, and whether it is a key. `None` where there is nothing to hide.
pub(crate) fn in_strings(
    document: &[u8],
    each: impl FnOnce(&dyn for<'t> Fn(&'t str, bool) -> Cow<'t, str>) -> Vec<u8>,
) -> Option<Vec<u8>> {
    let finder = finder()?;
    let matches = finder.leads.is_match(document);
    matches.then(|| each(&|text, is_key| finder.hide(text, false, is_key)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A finder of its own: what a process knows is shared by all tests.
    fn finder(values: &[&str]) -> Finder {
        let mut patterns = Vec::new();
        for value in values {
            patterns.push(Pattern::whole(value));
            patterns.extend(coded::forms(value).iter().map(|form| Pattern::whole(form)));
        }
        Finder::new(patterns)
    }

    #[test]
    fn credentials_are_hidden_whole_coded_and_cut() {
        let finder = finder(&["sk-Abc/123 x", "12345678", "hush-hush"]);
        for (text, expected) in [
            ("nothing", "nothing"),
            ("a sk-Abc/123 x b", "a <redacted> b"),
            ("a sk-Abc%2F123%20x b", "a <redacted> b"),
            ("a sk-Abc%2f123+x b", "a sk-Abc%2f123+x b"),
            ("hush-hushhush-hush", "<redacted><redacted>"),
            (
                "key 12345678, 12345678.5 and 912345678",
                "key <redacted>, 12345678.5 and 912345678",
            ),
            ("it ends with hush-hu", "it ends with <redacted>"),
            ("it ends with hush-", "it ends with hush-"),
        ] {
            assert_eq!(finder.hide(text, false, false), expected);
        }
        assert_eq!(finder.hide("is 123456", false, false), "is 123456");
        assert_eq!(finder.hide("is 123456", true, false), "is <redacted>");
    }

    #[test]
    fn a_word_as_a_credential_leaves_keys_alone() {
        let finder = finder(&["content", "Xy-content"]);
        assert_eq!(finder.hide("content", false, true), "content");
        assert_eq!(finder.hide("content", false, false), "<redacted>");
        assert_eq!(finder.hide("Xy-content", false, true), "<redacted>");
    }

    #[test]
    fn what_is_kept_is_known_to_the_process() {
        keep("Bearer kept-in-this-test");
        keep("Basic a2VwdDp3aXRoLXRoYXQ=");
        keep_named("X-Pass", "kq");
        keep_named("Cookie", "a=kept-as-crumb; b=1");
        for (text, expected) in [
            ("Bearer kept-in-this-test", "Bearer <redacted>"),
            ("user kept:with-that", "user <redacted>"),
            ("with-that", "<redacted>"),
            ("kept-as-crumb", "<redacted>"),
            (
                "X-Pass: kq, x-pass:kq and {\"X-Pass\":\"kq\"}",
                "X-Pass: <redacted>, x-pass:<redacted> and {\"X-Pass\":\"<redacted>\"}",
            ),
            ("kq and X-Pass: kqr", "kq and X-Pass: kqr"),
        ] {
            assert_eq!(hidden(text), expected);
        }
    }
}
