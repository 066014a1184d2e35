//! Pages: a shell with its style, its data and its script put in, whole or as links.

use base64::{Engine, prelude::BASE64_STANDARD};
use pinfire_guard::is_hostile;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The parts of a page. The shell has the places `<!--POLICY-->`, `<!--STYLE-->`, `/*DATA*/` and
/// `<!--SCRIPT-->`, in this order.
pub struct Parts {
    /// The page itself.
    pub shell: &'static str,
    /// Its style sheet.
    pub style: &'static str,
    /// Its script.
    pub script: &'static str,
}

impl Parts {
    /// A page of one file. Its content security policy names this style and this script by their
    /// hashes, and lets nothing else in.
    pub fn whole(&self, data: &Value) -> String {
        let hash = |text: &str| BASE64_STANDARD.encode(Sha256::digest(text));
        let policy = format!(
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
             style-src 'sha256-{}'; script-src 'sha256-{}'; img-src data: blob:; \
             base-uri 'none'; form-action 'none'\">",
            hash(self.style),
            hash(self.script),
        );
        let style = format!("<style>{}</style>", self.style);
        let script = format!("<script>{}</script>", self.script);
        self.filled([&policy, &style, &data.to_string(), &script])
    }

    /// A page whose server has style and script under these paths, and says the policy.
    pub fn linked(&self, data: &Value, style: &str, script: &str) -> String {
        let style = format!("<link rel=\"stylesheet\" href=\"{style}\">");
        let script = format!("<script src=\"{script}\"></script>");
        self.filled(["", &style, &data.to_string(), &script])
    }

    fn filled(&self, [policy, style, data, script]: [&str; 4]) -> String {
        // `<` could end the script or open a comment. What would turn or hide the text around it is
        // shown as its code: these characters are nowhere in JSON but in texts.
        let data = data.replace('<', "\\u003c");
        let empty = String::with_capacity(data.len());
        let data = data.chars().fold(empty, |mut shown, c| {
            match is_hostile(c) {
                true => shown.push_str(&format!("\\\\u{{{:x}}}", u32::from(c))),
                false => shown.push(c),
            }
            shown
        });
        // Each part once, so that nothing in the data is taken for a place.
        let mut html =
            String::with_capacity(self.shell.len() + style.len() + data.len() + script.len());
        let mut rest = self.shell;
        for (place, text) in [
            ("<!--POLICY-->", policy),
            ("<!--STYLE-->", style),
            ("/*DATA*/", data.as_str()),
            ("<!--SCRIPT-->", script),
        ] {
            let (before, after) = rest.split_once(place).unwrap_or((rest, ""));
            html.push_str(before);
            html.push_str(text);
            rest = after;
        }
        html.push_str(rest);
        html
    }
}
