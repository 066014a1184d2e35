//! From the tree of a config file to settings. Nothing is decided here that settings decide: each key
//! becomes an entry of a setting's name and its text.

use std::collections::HashMap;

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::Arg;
use serde_json::{Map, Value as Json, json};

use super::{
    Entry,
    expand::Expander,
    layout::{self, To},
    node::{Node, Value},
};
use crate::{
    RunConfig,
    command::{is_many, opposite_of},
    config::settings,
    unsupported,
};

/// As clap's own "did you mean" of flags.
const SIMILAR: f64 = 0.7;

/// A file on its way to settings.
#[derive(Default)]
pub struct Translation {
    entries: Vec<Entry>,
    /// What was taken for what was not given, by the version that wrote the file.
    defaults: Vec<Entry>,
    /// Where each setting was given that takes one value.
    given: HashMap<String, (usize, String)>,
    /// Of the phase that is being read.
    phase_type: Option<String>,
    level: Level,
}

/// `artifacts.records` and `artifacts.raw` are one setting.
#[derive(Default)]
struct Level {
    line: usize,
    records: Option<bool>,
    raw: Option<bool>,
}

/// The entries of a file: what it gives, and what it says the defaults were.
pub struct Entries {
    pub given: Vec<Entry>,
    pub defaults: Vec<Entry>,
}

/// The settings that a file stands for, with the lines they come from.
///
/// # Errors
/// What is wrong with the file; the text begins with the line.
pub fn entries(text: &str, environment: &dyn Fn(&str) -> Option<String>) -> Result<Entries> {
    let mut root = Node::read(text)?;
    let variables = take(&mut root, "variables");
    let plain = Expander::new(None, environment);
    let variables = variables
        .map(|mut variables| expand(&mut variables, &plain, "").map(|()| variables.json()))
        .transpose()?;
    expand(&mut root, &Expander::new(variables, environment), "")?;
    let defaults = take(&mut root, "defaults");
    let mut translation = Translation::default();
    translation.top(&root)?;
    translation.level()?;
    if let Some(node) = defaults {
        translation.defaults(&node)?;
    }
    Ok(Entries {
        given: translation.entries,
        defaults: translation.defaults,
    })
}

/// Takes a key of the top out of the tree.
fn take(root: &mut Node, name: &str) -> Option<Node> {
    let Value::Map(entries) = &mut root.value else {
        return None;
    };
    let at = entries.iter().position(|(key, _)| key.name == name)?;
    Some(entries.remove(at).1)
}

/// Puts the values of variables in place.
fn expand(node: &mut Node, expander: &Expander<'_>, key: &str) -> Result<()> {
    match &mut node.value {
        Value::Scalar(scalar) if scalar.text.contains("${") || scalar.text.contains("{{") => {
            // The user's own template of bodies is Jinja too.
            let own = matches!(key, "payload_template" | "body" | "extra_inputs");
            let expanded = if own {
                expander.variables(&scalar.text)
            } else {
                expander.expand(&scalar.text)
            };
            scalar.text = expanded.map_err(|error| anyhow!("{}: {error}", node.line))?;
            Ok(())
        }
        Value::Scalar(_) => Ok(()),
        Value::List(items) => items
            .iter_mut()
            .try_for_each(|item| expand(item, expander, key)),
        Value::Map(entries) => entries
            .iter_mut()
            .try_for_each(|(key, node)| expand(node, expander, &snake(&key.name))),
    }
}

/// `camelCase` and `kebab-case` to `snake_case`.
pub fn snake(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        match c {
            '-' => out.push('_'),
            c if c.is_ascii_uppercase() => {
                if !out.is_empty() && !out.ends_with('_') {
                    out.push('_');
                }
                out.push(c.to_ascii_lowercase());
            }
            c => out.push(c),
        }
    }
    out
}

impl Translation {
    /// The keys at the top, and those under `benchmark`, which mean the same.
    fn top(&mut self, root: &Node) -> Result<()> {
        let Value::Map(entries) = &root.value else {
            bail!(
                "{}: a config file is a map of keys, and this is {}",
                root.line,
                root.kind()
            );
        };
        for (key, node) in entries.iter().filter(|(_, node)| !node.is_null()) {
            let path = snake(&key.name);
            if path == "benchmark" {
                self.top(node)?;
                continue;
            }
            let (_, section) = layout::at(&path);
            let in_layout = match layout::at(&path).0 {
                Some(_) => true,
                // `endpoint: /v1/x` and `tokenizer: builtin` are flags, as maps they are sections.
                None => section && matches!(node.value, Value::Map(_)),
            };
            if in_layout {
                self.key(&path, &key.name, key.line, node)?;
            } else if let Some(to) = switch_of(&path).filter(|_| section && is_switch(node)) {
                self.convert(to, &key.name, node)?;
            } else if setting(&path).is_some() || refused(&path).is_some() {
                self.flag(&path, &key.name, node)?;
            } else if section {
                bail!(
                    "{}: {}: it takes a map of keys, and this is {}",
                    node.line,
                    key.name,
                    node.kind()
                );
            } else {
                let flags = settings().all();
                let flags = flags
                    .flat_map(|flag| flag.get_long_and_visible_aliases().unwrap_or_default())
                    .map(str::to_owned);
                let known = layout::keys("").map(str::to_owned).chain(flags);
                let envelope = ["benchmark", "variables", "random_seed"].map(str::to_owned);
                return Err(unknown(
                    &key.name,
                    &key.name,
                    key.line,
                    known.chain(envelope),
                ));
            }
        }
        Ok(())
    }

    /// A key of the layout.
    fn key(&mut self, path: &str, shown: &str, line: usize, node: &Node) -> Result<()> {
        if node.is_null() {
            return Ok(());
        }
        match layout::at(path) {
            (Some(to), _) => self.convert(to, shown, node),
            (None, true) => self.section(path, shown, node),
            (None, false) => {
                let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
                let typed = shown.rsplit('.').next().unwrap_or(name);
                let known = layout::keys(section).map(str::to_owned);
                Err(unknown(shown, typed, line, known))
            }
        }
    }

    fn section(&mut self, path: &str, shown: &str, node: &Node) -> Result<()> {
        let Value::Map(entries) = &node.value else {
            bail!(
                "{}: {shown}: it takes a map of keys, and this is {}",
                node.line,
                node.kind()
            );
        };
        // What a rate means is up to the phase's type.
        let is_type = |name: &str| snake(name) == "type";
        let types = entries.iter().filter(|(key, _)| is_type(&key.name));
        let others = entries.iter().filter(|(key, _)| !is_type(&key.name));
        self.phase_type = None;
        for (key, node) in types.chain(others) {
            let inner = format!("{path}.{}", snake(&key.name));
            let shown = format!("{shown}.{}", key.name);
            self.key(&inner, &shown, key.line, node)?;
        }
        Ok(())
    }

    fn convert(&mut self, to: To, shown: &str, node: &Node) -> Result<()> {
        match to {
            To::Flag(flag) => self.flag(flag, shown, node),
            To::Spread(mean, deviation) => self.spread(mean, deviation, shown, node),
            To::Not(flag) => {
                if !yes(node, shown)? {
                    self.give(flag, "true".to_owned(), shown, node.line)?;
                }
                Ok(())
            }
            To::Ramp(flag) if matches!(node.value, Value::Map(_)) => {
                let mut duration = None;
                for field in fields(node, shown, &["duration", "strategy"])? {
                    match field.name.as_str() {
                        "duration" => duration = Some(field.node),
                        _ => ensure!(
                            text(field.node, shown)? == "linear",
                            "{}: {}: ramps are linear",
                            field.node.line,
                            field.shown
                        ),
                    }
                }
                let duration = duration
                    .with_context(|| format!("{}: {shown}: it needs a duration", node.line))?;
                self.flag(flag, shown, duration)
            }
            To::Ramp(flag) => self.flag(flag, shown, node),
            To::Nothing => Ok(()),
            To::No(why) => bail!("{}: {shown}: {why}", node.line),
            To::Own(read) => read(self, shown, node),
        }
    }

    /// Gives a setting what the node says.
    fn flag(&mut self, name: &str, shown: &str, node: &Node) -> Result<()> {
        if node.is_null() {
            return Ok(());
        }
        let items = match &node.value {
            Value::Scalar(scalar) => {
                return self.give(name, scalar.text.clone(), shown, node.line);
            }
            Value::Map(_) => return self.give(name, node.json().to_string(), shown, node.line),
            Value::List(items) => items,
        };
        let mut values = Vec::with_capacity(items.len());
        for item in items {
            values.push(match &item.value {
                Value::Scalar(scalar) => scalar.text.clone(),
                Value::Map(_) => item.json().to_string(),
                Value::List(_) => bail!("{}: {shown}: a list within a list", item.line),
            });
        }
        if setting(name).is_some_and(is_many) {
            for (value, item) in values.into_iter().zip(items) {
                self.give(name, value, shown, item.line)?;
            }
            Ok(())
        } else {
            self.give(name, values.join(","), shown, node.line)
        }
    }

    fn give(&mut self, name: &str, value: String, shown: &str, line: usize) -> Result<()> {
        let Some(known) = setting(name) else {
            let name = name.replace('_', "-");
            let why = unsupported::why(&name)
                .unwrap_or_else(|| format!("--{name} is not built yet; nothing was sent"));
            bail!("{line}: {shown}: {why}");
        };
        let many = is_many(known);
        let mut id = known.get_id().to_string();
        let mut value = value;
        if let Some(of) = opposite_of(&id) {
            of.clone_into(&mut id);
            value = match value.as_str() {
                "true" => "false".to_owned(),
                "false" => "true".to_owned(),
                other => bail!("{line}: {shown}: `{other}` is neither true nor false"),
            };
        }
        if let Some((before, key)) = self.given.get(&id)
            && (!many || key != shown)
        {
            let flag = crate::command::flag(&id);
            bail!("{line}: {shown}: {flag} is given by `{key}` in line {before} already");
        }
        // A template and further inputs are both extra inputs.
        if !many || id != "extra_inputs" {
            self.given.insert(id.clone(), (line, shown.to_owned()));
        }
        let values = match known.get_value_delimiter() {
            Some(delimiter) => value.split(delimiter).map(str::to_owned).collect(),
            None => vec![value],
        };
        for value in values {
            self.entries.push(Entry {
                line,
                key: shown.to_owned(),
                name: id.clone(),
                value,
            });
        }
        Ok(())
    }

    /// `defaults`: settings by their own names.
    fn defaults(&mut self, node: &Node) -> Result<()> {
        let Value::Map(entries) = &node.value else {
            bail!("{}: defaults: it takes a map of keys", node.line);
        };
        let given = std::mem::take(&mut self.entries);
        self.given.clear();
        for (key, node) in entries {
            let shown = format!("defaults.{}", key.name);
            let name = snake(&key.name);
            if setting(&name).is_none() {
                return Err(unknown(&shown, &key.name, key.line, Vec::new()));
            }
            self.flag(&name, &shown, node)?;
        }
        self.defaults = std::mem::replace(&mut self.entries, given);
        Ok(())
    }

    fn spread(&mut self, mean: &str, deviation: &str, shown: &str, node: &Node) -> Result<()> {
        if !matches!(node.value, Value::Map(_)) {
            return self.flag(mean, shown, node);
        }
        for Field { name, shown, node } in
            fields(node, shown, &["mean", "stddev", "type", "value"])?
        {
            match name.as_str() {
                "mean" | "value" => self.flag(mean, &shown, node)?,
                "stddev" => self.flag(deviation, &shown, node)?,
                _ => ensure!(
                    matches!(text(node, &shown)?, "normal" | "fixed"),
                    "{}: {shown}: lengths are drawn by mean and stddev, or with random-range-ratio",
                    node.line
                ),
            }
        }
        Ok(())
    }

    fn level(&mut self) -> Result<()> {
        let level = std::mem::take(&mut self.level);
        let word = match (level.raw, level.records) {
            (Some(true), _) => "raw",
            (_, Some(false)) => "summary",
            (_, Some(true)) => "records",
            _ => return Ok(()),
        };
        self.give("export_level", word.to_owned(), "artifacts", level.line)
    }
}

/// `serverMetrics: false` and the like.
fn switch_of(path: &str) -> Option<To> {
    let to = layout::at(&format!("{path}.enabled")).0?;
    matches!(to, To::Not(_)).then_some(to)
}

/// The setting of this name, in snake_case.
fn setting(name: &str) -> Option<&'static Arg> {
    settings().named(name)
}

/// A key of a map with its value.
struct Field<'n> {
    /// In snake_case.
    name: String,
    shown: String,
    node: &'n Node,
}

/// The keys of a map that has no others than these.
fn fields<'n>(node: &'n Node, shown: &str, known: &[&str]) -> Result<Vec<Field<'n>>> {
    let Value::Map(entries) = &node.value else {
        bail!("{}: {shown}: it takes {}", node.line, known.join(", "));
    };
    let mut fields = Vec::with_capacity(entries.len());
    for (key, node) in entries {
        let (name, shown) = (snake(&key.name), format!("{shown}.{}", key.name));
        if !known.contains(&name.as_str()) {
            let known = known.iter().map(|name| (*name).to_owned());
            return Err(unknown(&shown, &key.name, key.line, known));
        }
        fields.push(Field { name, shown, node });
    }
    Ok(fields)
}

/// Why a flag of this name, in snake_case, is not to be had, if AIPerf knows it.
fn refused(name: &str) -> Option<String> {
    unsupported::why(&name.replace('_', "-"))
}

fn unknown(
    shown: &str,
    typed: &str,
    line: usize,
    known: impl IntoIterator<Item = String>,
) -> anyhow::Error {
    let wanted = snake(typed);
    let mut best: Option<(f64, String)> = None;
    for name in known {
        let likeness = strsim::jaro_winkler(&wanted, &snake(&name));
        if likeness > SIMILAR && best.as_ref().is_none_or(|(before, _)| likeness > *before) {
            best = Some((likeness, name));
        }
    }
    match best {
        Some((_, name)) => {
            anyhow!(
                "{line}: {shown}: there is no such key; did you mean `{}`?",
                as_typed(typed, &name)
            )
        }
        None => anyhow!("{line}: {shown}: there is no such key"),
    }
}

/// A name in the spelling of the one that was typed.
fn as_typed(typed: &str, name: &str) -> String {
    let name = snake(name);
    if typed.contains('-') {
        return name.replace('_', "-");
    }
    if !typed.contains(|c: char| c.is_ascii_uppercase()) {
        return name;
    }
    let mut words = name.split('_');
    let mut out = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(word.len().min(1));
        out.push_str(&first.to_uppercase());
        out.push_str(rest);
    }
    out
}

fn text<'n>(node: &'n Node, shown: &str) -> Result<&'n str> {
    match &node.value {
        Value::Scalar(scalar) => Ok(&scalar.text),
        _ => bail!(
            "{}: {shown}: it takes one value, and this is {}",
            node.line,
            node.kind()
        ),
    }
}

/// `server_metrics: false` switches off; a list is the values of the flag of that name.
const fn is_switch(node: &Node) -> bool {
    matches!(node.value, Value::Scalar(_))
}

fn yes(node: &Node, shown: &str) -> Result<bool> {
    match text(node, shown)?.to_ascii_lowercase().as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        other => bail!(
            "{}: {shown}: `{other}` is neither true nor false",
            node.line
        ),
    }
}

/// Of a file that a run has left.
pub(super) fn version(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let version = text(node, shown)?;
    ensure!(
        version == RunConfig::VERSION.to_string(),
        "{}: {shown}: `{version}`; this pinfire reads {}",
        node.line,
        RunConfig::VERSION
    );
    Ok(())
}

pub(super) fn schema_version(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let version = text(node, shown)?;
    ensure!(
        matches!(version, "2" | "2.0"),
        "{}: {shown}: `{version}`; pinfire reads 2.0",
        node.line
    );
    Ok(())
}

/// A name, a list of names or of maps with `name`, or a map of `items` and `strategy`.
pub(super) fn models(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    match &node.value {
        Value::Scalar(_) => to.flag("model", shown, node),
        Value::List(items) => items.iter().try_for_each(|item| model(to, shown, item)),
        Value::Map(_) => {
            for Field { name, shown, node } in fields(node, shown, &["items", "strategy"])? {
                match name.as_str() {
                    "items" => models(to, &shown, node)?,
                    _ => to.flag("model_selection_strategy", &shown, node)?,
                }
            }
            Ok(())
        }
    }
}

fn model(to: &mut Translation, shown: &str, item: &Node) -> Result<()> {
    if !matches!(item.value, Value::Map(_)) {
        return to.give("model", text(item, shown)?.to_owned(), shown, item.line);
    }
    for field in fields(item, shown, &["name", "weight"])? {
        ensure!(
            field.name == "name",
            "{}: {}: name a model several times to have it more often",
            field.node.line,
            field.shown
        );
        let name = text(field.node, shown)?.to_owned();
        to.give("model", name, shown, field.node.line)?;
    }
    Ok(())
}

/// `endpoint.template`: the body and where the answer is, which are extra inputs as flags.
pub(super) fn template(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let mut extra = Map::new();
    for field in fields(node, shown, &["body", "response_field"])? {
        let name = match field.name.as_str() {
            "body" => "payload_template",
            other => other,
        };
        let value = text(field.node, &field.shown)?;
        extra.insert(name.to_owned(), Json::String(value.to_owned()));
    }
    let extra = Json::Object(extra).to_string();
    to.give("extra_inputs", extra, shown, node.line)
}

/// `datasets`: one, as `dataset`.
pub(super) fn datasets(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    match &node.value {
        Value::List(items) => match items.as_slice() {
            [one] => to.section("dataset", shown, one),
            _ => bail!(
                "{}: {shown}: a run has one dataset, and these are {}",
                node.line,
                items.len()
            ),
        },
        _ => to.section("dataset", shown, node),
    }
}

pub(super) fn dataset_type(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    match snake(text(node, shown)?).as_str() {
        // `path` says the rest.
        "synthetic" | "file" | "trace" => Ok(()),
        "public" => {
            let why = refused("public_dataset").unwrap_or_default();
            bail!("{}: {shown}: {why}", node.line)
        }
        other => bail!(
            "{}: {shown}: `{other}`; there are synthetic and file",
            node.line
        ),
    }
}

/// A list of `isl`, `osl` and `probability`.
pub(super) fn sequence_distribution(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let Value::List(items) = &node.value else {
        return to.flag("seq_dist", shown, node);
    };
    let mut pairs = Vec::new();
    for item in items {
        let mut pair = Map::new();
        for Field { name, node, .. } in fields(item, shown, &["isl", "osl", "probability"])? {
            if name == "probability" {
                pair.insert("prob".to_owned(), node.json());
            } else if matches!(node.value, Value::Map(_)) {
                let both = node.json();
                for (from, into) in [("mean", ""), ("stddev", "_stddev")] {
                    if let Some(value) = both.get(from) {
                        pair.insert(format!("{name}{into}"), value.clone());
                    }
                }
            } else {
                pair.insert(name, node.json());
            }
        }
        pairs.push(Json::Object(pair));
    }
    let text = json!({ "pairs": pairs }).to_string();
    to.give("seq_dist", text, shown, node.line)
}

/// `{tag: threshold}` to the text of `--goodput`.
pub(super) fn slos(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let Value::Map(entries) = &node.value else {
        bail!(
            "{}: {shown}: it takes a map of metric: threshold",
            node.line
        );
    };
    let mut pairs = Vec::new();
    for (key, node) in entries {
        pairs.push(format!("{}:{}", key.name, text(node, shown)?));
    }
    to.give("goodput", pairs.join(" "), shown, node.line)
}

pub(super) fn summary(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let wanted = match &node.value {
        Value::List(_) => true,
        _ => yes(node, shown)?,
    };
    ensure!(
        wanted,
        "{}: {shown}: the summary (JSON and CSV) is always written; leave it out",
        node.line
    );
    Ok(())
}

pub(super) fn records(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    to.level.line = node.line;
    to.level.records = Some(match &node.value {
        Value::List(_) => true,
        _ => yes(node, shown)?,
    });
    Ok(())
}

pub(super) fn raw(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    to.level.line = node.line;
    to.level.raw = Some(yes(node, shown)?);
    Ok(())
}

pub(super) fn no_plot(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    ensure!(
        !yes(node, shown)?,
        "{}: {shown}: pinfire draws after the run: pinfire plot",
        node.line
    );
    Ok(())
}

pub(super) fn sweep_type(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    match text(node, shown)?.to_ascii_lowercase().as_str() {
        "grid" | "zip" => to.flag("sweep_type", shown, node),
        other => bail!(
            "{}: {shown}: `{other}`; there are grid and zip (a search is the key `search`)",
            node.line
        ),
    }
}

/// `{key: [values]}`, the keys as elsewhere in the file.
pub(super) fn parameters(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
    let Value::Map(entries) = &node.value else {
        bail!("{}: {shown}: it takes a map of key: [values]", node.line);
    };
    for (key, node) in entries {
        let inner = format!("{shown}.{}", key.name);
        let path = snake(&key.name);
        let path = ["benchmark.", "phases.", "datasets."]
            .iter()
            .fold(path.as_str(), |path, prefix| {
                path.strip_prefix(prefix).unwrap_or(path)
            });
        let path = match path.strip_prefix("main.") {
            Some(rest) => format!("dataset.{rest}"),
            None => path.to_owned(),
        };
        // `….isl.mean` is `….isl`.
        let path = path.strip_suffix(".mean").unwrap_or(&path);
        if layout::at(path).0.is_some() {
            to.key(path, &inner, key.line, node)?;
        } else if setting(path).is_some() {
            to.flag(path, &inner, node)?;
        } else {
            let known = layout::LAYOUT.iter().map(|(key, _)| (*key).to_owned());
            return Err(unknown(&inner, &key.name, key.line, known));
        }
    }
    Ok(())
}

/// Phases.
pub(super) mod phases {
    use super::{Node, Result, Translation, Value, bail, ensure, snake, text, yes};

    /// `phases`: at most one warmup and one measured phase, in this order.
    pub fn list(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Map(_) => std::slice::from_ref(node),
            Value::Scalar(_) => bail!("{}: {shown}: it takes a list of phases", node.line),
        };
        let mut seen: Option<&str> = None;
        for item in items {
            let Value::Map(entries) = &item.value else {
                bail!("{}: {shown}: a phase is a map of keys", item.line);
            };
            let said = |name: &str| {
                let mut entries = entries.iter();
                let found = entries.find(|(key, _)| snake(&key.name) == name)?;
                text(&found.1, shown).ok().map(str::to_ascii_lowercase)
            };
            let kind = match said("kind").or_else(|| said("name")).as_deref() {
                Some("warmup") => "warmup",
                Some("profiling") => "profiling",
                // Alone, it can only be what is measured.
                _ if items.len() == 1 => "profiling",
                _ => bail!(
                    "{}: {shown}: this phase needs `kind: warmup` or `kind: profiling`",
                    item.line
                ),
            };
            ensure!(
                seen != Some(kind) && seen != Some("profiling"),
                "{}: {shown}: pinfire runs one warmup and then one profiling phase; run others one \
                 by one",
                item.line
            );
            seen = Some(kind);
            to.section(kind, &format!("{shown}.{kind}"), item)?;
        }
        ensure!(
            seen == Some("profiling"),
            "{}: {shown}: there is no profiling phase",
            node.line
        );
        Ok(())
    }

    pub fn kind(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        let kind = text(node, shown)?.to_ascii_lowercase();
        ensure!(
            matches!(kind.as_str(), "warmup" | "profiling"),
            "{}: {shown}: `{kind}`; a phase is warmup or profiling",
            node.line
        );
        Ok(())
    }

    pub fn profiling_type(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        let name = snake(text(node, shown)?);
        match name.as_str() {
            "concurrency" => {}
            "poisson" | "gamma" | "constant" => to.flag("arrival_pattern", shown, node)?,
            "user_centric" => {}
            "fixed_schedule" => {
                to.give("fixed_schedule", "true".to_owned(), shown, node.line)?;
            }
            other => return Err(no_type(other, shown, node)),
        }
        to.phase_type = Some(name);
        Ok(())
    }

    pub fn warmup_type(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        match snake(text(node, shown)?).as_str() {
            "concurrency" | "poisson" | "gamma" | "constant" => {
                to.flag("warmup_arrival_pattern", shown, node)
            }
            "user_centric" | "fixed_schedule" => bail!(
                "{}: {shown}: a warmup is by concurrency, poisson, gamma or constant",
                node.line
            ),
            other => Err(no_type(other, shown, node)),
        }
    }

    fn no_type(name: &str, shown: &str, node: &Node) -> anyhow::Error {
        anyhow::anyhow!(
            "{}: {shown}: `{name}`; there are concurrency, poisson, gamma, constant, user_centric \
             and fixed_schedule",
            node.line
        )
    }

    pub fn profiling_rate(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        match to.phase_type.as_deref() {
            Some("user_centric") => to.flag("user_centric_rate", shown, node),
            Some("concurrency") => bail!(
                "{}: {shown}: a phase of type concurrency has no rate; take poisson, gamma or \
                 constant",
                node.line
            ),
            _ => to.flag("request_rate", shown, node),
        }
    }

    pub fn rate_series(to: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        match &node.value {
            Value::Scalar(_) => to.flag("request_rate_series", shown, node),
            _ => bail!(
                "{}: {shown}: give the path of a JSON file with the series",
                node.line
            ),
        }
    }

    pub fn included(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        ensure!(
            !yes(node, shown)?,
            "{}: {shown}: what is measured is in the results; make it `kind: warmup`",
            node.line
        );
        Ok(())
    }

    pub fn excluded(_: &mut Translation, shown: &str, node: &Node) -> Result<()> {
        ensure!(
            yes(node, shown)?,
            "{}: {shown}: a warmup is never in the results",
            node.line
        );
        Ok(())
    }
}
