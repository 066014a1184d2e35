//! Circles of files that import each other, outside of unit tests.

use std::collections::{BTreeMap, BTreeSet};

use crate::{nothing, source::Source, source::sources};

/// The largest circle that is allowed.
const SMALL: usize = 3;

/// The files of one crate by their modules, and who imports whom.
#[derive(Default)]
struct Crate {
    /// Path of the module, such as `core::send`, to its file.
    modules: BTreeMap<String, String>,
    imports: BTreeMap<String, BTreeSet<String>>,
    /// What a module's imports call something, and the path that they have for it.
    names: BTreeMap<(String, String), Vec<String>>,
}

/// A path in a file.
struct Found<'a> {
    path: Vec<&'a str>,
    /// It stands in a `use`, so that its last part is a name in this module.
    named: bool,
    /// That `use` is public: the module passes something on and does not need it itself.
    passed_on: bool,
}

/// The crate's root folder and the module of a file, such as `engine/src/core/mod.rs`.
fn module(path: &str) -> Option<(String, String)> {
    let (root, inside) = if let Some(at) = path.find("/src/bin/") {
        let inside = &path[at + "/src/bin/".len()..];
        let (name, inside) = inside.split_once('/')?;
        (format!("{}/src/bin/{name}", &path[..at]), inside)
    } else {
        let at = path.find("/src/")?;
        (path[..at + 4].to_owned(), &path[at + 5..])
    };
    let inside = inside.strip_suffix(".rs")?;
    let parts: Vec<&str> = inside.split('/').collect();
    let parts = match parts.as_slice() {
        ["lib" | "main"] => &[],
        [folder @ .., "mod"] => folder,
        all => all,
    };
    Some((root, parts.join("::")))
}

/// The code outside of unit tests as words and marks.
fn tokens(source: &Source) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    for (_, line) in source.shipped() {
        let mut word = String::new();
        for c in line.code.chars().chain([' ']) {
            if c.is_alphanumeric() || c == '_' {
                word.push(c);
                continue;
            }
            if !word.is_empty() {
                tokens.push(std::mem::take(&mut word));
            }
            match (c, tokens.last_mut()) {
                (':', Some(last)) if last == ":" => last.push(':'),
                (' ', _) => {}
                _ => tokens.push(c.to_string()),
            }
        }
    }
    tokens
}

/// All paths in `tokens`: those of `use` with their braces spread out, and those in expressions.
fn paths(tokens: &[String]) -> Vec<Found<'_>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let starts = is_word(&tokens[at])
            && tokens.get(at + 1).is_some_and(|next| next == "::")
            && (at == 0 || tokens[at - 1] != "::");
        if !starts {
            at += 1;
            continue;
        }
        let named = at > 0 && tokens[at - 1] == "use";
        let passed_on = named && at > 1 && matches!(tokens[at - 2].as_str(), "pub" | ")");
        let mut paths = Vec::new();
        at = tree(tokens, at, &[], &mut paths);
        found.extend(paths.into_iter().map(|path| Found {
            path,
            named,
            passed_on,
        }));
    }
    found
}

fn is_word(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// Reads a path with what stands in its braces, and gives where it ends.
fn tree<'a>(
    tokens: &'a [String],
    mut at: usize,
    before: &[&'a str],
    paths: &mut Vec<Vec<&'a str>>,
) -> usize {
    let mut path = before.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" if tokens[at - 1] == "::" => {
                at += 1;
                while let Some(token) = tokens.get(at) {
                    match token.as_str() {
                        "}" => return at + 1,
                        "," => at += 1,
                        word if is_word(word) => at = tree(tokens, at, &path, paths),
                        // `*`, or what is no tree of imports after all.
                        _ => at += 1,
                    }
                }
                return at;
            }
            word if is_word(word) && (path.len() == before.len() || tokens[at - 1] == "::") => {
                path.push(word);
                at += 1;
            }
            "as" => at += 2,
            _ => break,
        }
    }
    paths.push(path);
    at
}

impl Crate {
    /// The module that a path of `from` leads to, if it is one of this crate: where what it names
    /// is defined, as far as imports tell.
    fn target(&self, from: &str, path: &[&str], depth: usize) -> Option<String> {
        let mut here: Vec<&str> = from.split("::").filter(|part| !part.is_empty()).collect();
        let mut rest = path;
        match path.first()? {
            &"crate" => {
                here.clear();
                rest = &path[1..];
            }
            &"self" => rest = &path[1..],
            &"super" => {
                while let Some(("super", after)) = rest.split_first().map(|(a, b)| (*a, b)) {
                    here.pop();
                    rest = after;
                }
            }
            first => {
                // A child, by its name.
                here.push(first);
                rest = &path[1..];
                self.modules.get(&here.join("::"))?;
            }
        }
        for part in rest {
            let module = here.join("::");
            here.push(part);
            if self.modules.contains_key(&here.join("::")) {
                continue;
            }
            let imported = self.names.get(&(module.clone(), (*part).to_owned()));
            let further = imported
                .filter(|_| depth < 8 && module != from)
                .and_then(|path| {
                    let path: Vec<&str> = path.iter().map(String::as_str).collect();
                    self.target(&module, &path, depth + 1)
                });
            return Some(further.unwrap_or(module));
        }
        Some(here.join("::"))
    }

    /// Groups of modules each of which reaches all others of its group.
    fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reach = |from: &str| -> BTreeSet<&str> {
            let mut reached = BTreeSet::new();
            let mut open = vec![from.to_owned()];
            while let Some(next) = open.pop() {
                for to in self.imports.get(&next).into_iter().flatten() {
                    if reached.insert(to.as_str()) {
                        open.push(to.clone());
                    }
                }
            }
            reached
        };
        let reached: BTreeMap<&str, BTreeSet<&str>> = self
            .modules
            .keys()
            .map(|module| (module.as_str(), reach(module)))
            .collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (&module, reaches) in &reached {
            if circles.iter().any(|circle| circle.contains(module)) {
                continue;
            }
            let both = |other: &&str| reached.get(other).is_some_and(|back| back.contains(module));
            let circle: BTreeSet<&str> = reaches.iter().copied().filter(both).collect();
            if circle.len() > 1 {
                circles.push(circle);
            }
        }
        circles
    }
}

fn crates() -> BTreeMap<String, Crate> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    let sources = sources();
    for source in &sources {
        if let Some((root, module)) = module(&source.path) {
            let one = crates.entry(root).or_default();
            one.modules.insert(module, source.path.clone());
        }
    }
    let inside: Vec<(String, String, Vec<String>)> = sources
        .iter()
        .filter_map(|source| module(&source.path).map(|(root, from)| (root, from, tokens(source))))
        .collect();
    for (root, from, tokens) in &inside {
        let one = crates.get_mut(root).unwrap();
        for found in paths(tokens).into_iter().filter(|found| found.named) {
            let name = found.path.last().copied().unwrap_or_default().to_owned();
            let path = found.path.into_iter().map(str::to_owned).collect();
            one.names.insert((from.clone(), name), path);
        }
    }
    for (root, from, tokens) in &inside {
        let one = crates.get_mut(root).unwrap();
        let targets: BTreeSet<String> = paths(tokens)
            .iter()
            .filter(|found| !found.passed_on)
            .filter_map(|found| one.target(from, &found.path, 0))
            .filter(|target| target != from && one.modules.contains_key(target))
            .collect();
        one.imports.insert(from.clone(), targets);
    }
    crates
}

#[test]
fn no_circle_of_files_is_large() {
    let mut wrong = Vec::new();
    for one in crates().values() {
        for circle in one.circles() {
            if circle.len() <= SMALL {
                continue;
            }
            wrong.push(format!("{} files:", circle.len()));
            for module in &circle {
                let file = &one.modules[*module];
                let imports = one.imports[*module].iter().map(String::as_str);
                let inside: Vec<&str> = imports.filter(|to| circle.contains(to)).collect();
                wrong.push(format!("    {file} -> {}", inside.join(", ")));
            }
        }
    }
    nothing(
        &wrong,
        "Files that import each other in a circle are one file in pieces.",
    );
}

#[test]
fn paths_of_imports_are_found() {
    let text =
        "use crate::{a::{B, c::D}, e};\nuse super::f::*;\nfn g() { h::i(crate::j::K { l: 1 }); }\n";
    let source = Source::new("x/src/m/n.rs".to_owned(), text.to_owned());
    let tokens = tokens(&source);
    let found: Vec<String> = paths(&tokens)
        .iter()
        .map(|found| found.path.join("::"))
        .collect();
    let expected = [
        "crate::a::B",
        "crate::a::c::D",
        "crate::e",
        "super::f",
        "h::i",
        "crate::j::K",
    ];
    assert_eq!(found, expected);
}
