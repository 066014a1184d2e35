//! Run files to begin with, for `pinfire config init`.

/// A file with places for the model and the server.
pub struct Template {
    pub name: &'static str,
    text: &'static str,
}

macro_rules! templates {
    ($($name:literal),*) => {
        &[$(Template {
            name: $name,
            text: include_str!(concat!("templates/", $name, ".yaml")),
        }),*]
    };
}

/// In the order in which they are shown.
pub const TEMPLATES: &[Template] = templates![
    "minimal",
    "mock",
    "latency",
    "rate",
    "cancellation",
    "conversations",
    "trace",
    "soak",
    "embeddings"
];

impl Template {
    /// What it is for: its first line.
    pub fn purpose(&self) -> &'static str {
        let line = self.text.lines().next().unwrap_or_default();
        line.trim_start_matches(['#', ' '])
    }

    /// The file.
    pub fn text(&self, model: &str, url: &str) -> String {
        self.text.replace("@MODEL@", model).replace("@URL@", url)
    }
}
