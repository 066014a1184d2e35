//! Names that mark their value as a credential.

/// Parts of a name that do so wherever they stand in it.
const PARTS: [&str; 12] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "credential",
    "cookie",
    "apikey",
    "signature",
    "bearer",
    "oauth",
    "jwt",
];

/// Words that do so as a part of a name of several.
const WORDS: [&str; 14] = [
    "sig",
    "creds",
    "cred",
    "pwd",
    "hmac",
    "csrf",
    "xsrf",
    "otp",
    "sas",
    "saml",
    "session",
    "sid",
    "assertion",
    "totp",
];

/// Words with such a beginning that mean something else.
const INNOCENT: [&str; 36] = [
    "author",
    "authors",
    "authored",
    "authority",
    "secretary",
    "passage",
    "passages",
    "passed",
    "passenger",
    "passengers",
    "passes",
    "passing",
    "passive",
    "passthrough",
    "keyboard",
    "keyboards",
    "keyframe",
    "keyframes",
    "keyhole",
    "keynote",
    "keypad",
    "keystone",
    "keystroke",
    "keystrokes",
    "keyword",
    "keywords",
    "donkey",
    "hockey",
    "jockey",
    "lackey",
    "mickey",
    "monkey",
    "rickey",
    "turkey",
    "whiskey",
    "cookiecutter",
];

/// What a `token` is of where it is a piece of text.
const OF_TEXT: [&str; 44] = [
    "max",
    "min",
    "num",
    "first",
    "last",
    "next",
    "prev",
    "per",
    "total",
    "eos",
    "bos",
    "pad",
    "unk",
    "sep",
    "mask",
    "cls",
    "stop",
    "start",
    "end",
    "special",
    "input",
    "output",
    "prompt",
    "completion",
    "reasoning",
    "cached",
    "image",
    "audio",
    "video",
    "text",
    "draft",
    "accepted",
    "generated",
    "generation",
    "prefill",
    "decode",
    "new",
    "think",
    "thinking",
    "logprob",
    "logprobs",
    "server",
    "inter",
    "added",
];

/// What follows on `token` where it is a credential all the same.
const OF_ACCESS: [&str; 5] = ["auth", "key", "secret", "value", "hash"];

/// What stands before `code` where it is a credential.
const CODES: [&str; 11] = [
    "auth",
    "authorization",
    "access",
    "security",
    "verification",
    "function",
    "functions",
    "device",
    "invite",
    "x",
    "login",
];

/// Whether a header or a parameter of a URL with this name holds a credential: in any letter case,
/// percent-coded, with its words apart or glued.
pub fn is_sensitive(name: &str) -> bool {
    let name = super::coded::percent_decoded(name.trim());
    let words = words(&name);
    let lower: Vec<&str> = words.iter().map(String::as_str).collect();
    lower == ["code"] || lower == ["pass"] || any_word(&lower)
}

/// Whether a field of a request's body with this name does: bodies have keys, codes and sessions
/// that open nothing.
pub fn is_sensitive_field(name: &str) -> bool {
    let words = words(name);
    let lower: Vec<&str> = words.iter().map(String::as_str).collect();
    let harmless =
        |word: &&str| -> bool { ["session", "cache", "routing", "code", "sid"].contains(word) };
    !lower.iter().any(harmless) && any_word(&lower)
}

/// Whether this can be nothing but the name of a credential, wherever in a text it stands.
pub fn is_certain(name: &str) -> bool {
    const CERTAIN: [&str; 18] = [
        "authorization",
        "proxyauthorization",
        "apikey",
        "xapikey",
        "cookie",
        "setcookie",
        "password",
        "passwd",
        "secret",
        "clientsecret",
        "accesstoken",
        "refreshtoken",
        "idtoken",
        "authtoken",
        "xauthtoken",
        "bearertoken",
        "privatekey",
        "secretkey",
    ];
    let bare: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    CERTAIN.contains(&bare.as_str())
}

fn any_word(words: &[&str]) -> bool {
    (0..words.len()).any(|at| word_is_sensitive(words, at))
}

fn word_is_sensitive(words: &[&str], at: usize) -> bool {
    let word = words.get(at).copied().unwrap_or_default();
    let before = at.checked_sub(1).and_then(|at| words.get(at)).copied();
    let after = words.get(at + 1).copied();
    if INNOCENT.contains(&word) {
        return false;
    }
    if PARTS.iter().any(|part| word.contains(part)) || WORDS.contains(&word) {
        return true;
    }
    if let Some(front) = word.strip_suffix("token") {
        let of = if front.is_empty() {
            before
        } else {
            Some(front)
        };
        let of_text = of.is_some_and(|of| OF_TEXT.contains(&of));
        return !of_text && after.is_none_or(|after| OF_ACCESS.contains(&after));
    }
    if word == "code" {
        return before.is_some_and(|before| CODES.contains(&before));
    }
    if word.starts_with("pass") {
        // pass_rate and pass_through are figures and switches.
        return word != "pass" || after.is_none();
    }
    word.starts_with("auth")
        || word.starts_with("key")
        || word.ends_with("key")
        || word.ends_with("keys")
}

/// The words of a name in lower case: cut at what is no letter or digit, and before the capitals
/// of `apiKey`.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut small = false;
    for c in name.chars() {
        if !c.is_alphanumeric() {
            words.push(String::new());
            small = false;
            continue;
        }
        if small && c.is_uppercase() {
            words.push(String::new());
        }
        small = c.is_lowercase() || c.is_ascii_digit();
        if let Some(word) = words.last_mut() {
            word.extend(c.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_known_by_their_names() {
        for name in [
            "Authorization",
            "Proxy-Authorization",
            "X-Api-Key",
            "x-api-key",
            "apikey",
            "API_KEY",
            "api%5Fkey",
            "api%5fkey",
            "apiKey",
            "key",
            "Set-Cookie",
            "Cookie",
            "X-Session-Affinity",
            "Ocp-Apim-Subscription-Key",
            "x-functions-key",
            "x-goog-signature",
            "sig",
            "signature",
            "code",
            "auth_code",
            "X-Litellm-Key",
            "X-JWT",
            "jwt",
            "X-Pass",
            "pass",
            "passwd",
            "password",
            "passphrase",
            "secret",
            "client_secret",
            "token",
            "access_token",
            "accessToken",
            "authtoken",
            "X-Amz-Security-Token",
            "HF_TOKEN",
            "credential",
            "X-Amz-Credential",
            "oauth2",
            "AWSAccessKeyId",
            "sas-key",
            "pwd",
            "token_value",
        ] {
            assert!(is_sensitive(name), "{name}");
        }
    }

    #[test]
    fn innocent_words_are_not_hidden() {
        for name in [
            "Content-Type",
            "X-Request-ID",
            "Accept",
            "X-Keyboard",
            "max_tokens",
            "token_count",
            "tokens",
            "generation_tokens",
            "x-ratelimit-remaining-tokens",
            "max_completion_tokens",
            "stop_token_ids",
            "eos_token",
            "skip_special_tokens",
            "tokenizer",
            "keyboard",
            "keyword",
            "monkey",
            "encode",
            "encoding",
            "status_code",
            "code_version",
            "decoder",
            "passage",
            "passages",
            "pass_rate",
            "bypass",
            "compass",
            "author",
            "authority",
            "design",
            "signal",
            "assign",
            "model",
            "n",
            "stream",
            "api-version",
            "X-Author",
        ] {
            assert!(!is_sensitive(name), "{name}");
        }
        for name in [
            "max_tokens",
            "session_id",
            "prompt_cache_key",
            "code",
            "token_count",
        ] {
            assert!(!is_sensitive_field(name), "{name}");
        }
        for name in ["api_key", "apiKey", "access_token", "password"] {
            assert!(is_sensitive_field(name), "{name}");
        }
    }
}
