//! Which crate may reach which: what the manifests say, followed to the end.

use std::collections::{BTreeMap, BTreeSet};

use toml_edit::{DocumentMut, Item, Table};

use crate::{
    nothing,
    source::{files, root},
};

/// Crates of the workspace and what they depend on, tests left out.
struct Crates(BTreeMap<String, BTreeSet<String>>);

fn parse(path: &str, text: &str) -> DocumentMut {
    text.parse()
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn dependencies(manifest: &Table) -> BTreeSet<String> {
    let table = |item: &Item| {
        let table = item.as_table().expect("a table of dependencies");
        table
            .iter()
            .map(|(name, _)| name.to_owned())
            .collect::<Vec<_>>()
    };
    let tables = ["dependencies", "build-dependencies"];
    let found = tables.iter().filter_map(|name| manifest.get(name));
    found.flat_map(table).collect()
}

impl Crates {
    fn read() -> Self {
        let mut crates = BTreeMap::new();
        for (path, text) in files("Cargo.toml") {
            let manifest = parse(&path, &text);
            if let Some(package) = manifest.get("package") {
                let name = package["name"].as_str().expect("a name").to_owned();
                crates.insert(name, dependencies(manifest.as_table()));
            }
        }
        Self(crates)
    }

    /// Everything that is compiled for `name` by way of the workspace's own crates.
    fn reached(&self, name: &str) -> BTreeSet<&str> {
        assert!(self.0.contains_key(name), "there is no crate {name}");
        let mut reached = BTreeSet::new();
        let mut open = vec![name];
        while let Some(next) = open.pop() {
            for name in self.0.get(next).into_iter().flatten() {
                if reached.insert(name.as_str()) {
                    open.push(name);
                }
            }
        }
        reached
    }
}

const RUNTIME: &[&str] = &["monoio", "io-uring"];
const PROMPTS: &[&str] = &["tokenizers", "tiktoken", "minijinja", "ureq"];
const SOCKETS: &[&str] = &["rustls", "socket2", "libc"];

#[test]
fn crates_do_not_reach_what_they_must_not_know() {
    let crates = Crates::read();
    let walls: &[(&str, &[&[&str]])] = &[
        (
            "pinfire-guard",
            &[RUNTIME, PROMPTS, SOCKETS, &["serde_json", "pinfire-base"]],
        ),
        (
            "pinfire-base",
            &[RUNTIME, PROMPTS, SOCKETS, &["serde_json"]],
        ),
        ("pinfire-proto", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-dialect", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-workload", &[RUNTIME, SOCKETS, &["pinfire-engine"]]),
        ("pinfire-engine", &[PROMPTS, &["pinfire-workload"]]),
        ("pinfire-artifacts", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-scrape", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-analysis", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-plot", &[RUNTIME, PROMPTS, SOCKETS]),
        ("pinfire-tools", &[RUNTIME, PROMPTS, &["pinfire-engine"]]),
        (
            "pinfire-cluster",
            &[RUNTIME, PROMPTS, SOCKETS, &["pinfire-engine", "serde_json"]],
        ),
    ];
    let mut wrong = Vec::new();
    for (name, forbidden) in walls {
        let reached = crates.reached(name);
        for forbidden in forbidden.iter().copied().flatten() {
            if reached.contains(forbidden) {
                wrong.push(format!("{name} reaches {forbidden}"));
            }
        }
    }
    nothing(&wrong, "Walls between the crates.");
}

#[test]
fn nothing_that_ships_depends_on_its_tests() {
    let crates = Crates::read();
    for name in [
        "pinfire",
        "pinfire-engine",
        "pinfire-analysis",
        "pinfire-tools",
    ] {
        let reached = crates.reached(name);
        for tests in [
            "pinfire-tests",
            "pinfire-tidy",
            "pinfire-benches",
            "proptest",
            "tempfile",
        ] {
            assert!(!reached.contains(tests), "{name} reaches {tests}");
        }
    }
}

#[test]
fn every_dependency_has_its_reason_beside_it() {
    let text = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let manifest = parse("Cargo.toml", &text);
    let all = manifest["workspace"]["dependencies"].as_table().unwrap();
    let mut wrong = Vec::new();
    for (name, item) in all.iter() {
        let ours = item
            .as_inline_table()
            .is_some_and(|table| table.contains_key("path"));
        let decor = all.key(name).unwrap().leaf_decor();
        let before = decor
            .prefix()
            .and_then(|raw| raw.as_str())
            .unwrap_or_default();
        if !ours && !before.contains('#') {
            wrong.push(name.to_owned());
        }
    }
    nothing(
        &wrong,
        "A dependency of the workspace has its reason in a comment above it.",
    );
}
