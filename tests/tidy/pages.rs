//! Links of the pages: what they lead to is there, and the book has every page.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The pages for readers, by their place under the root.
fn pages() -> Vec<String> {
    let mut pages = Vec::new();
    for folder in ["", "docs/"] {
        for entry in fs::read_dir(root().join(folder)).expect("a folder of pages") {
            let name = entry.expect("an entry").file_name();
            let name = name.to_string_lossy();
            if name.ends_with(".md") {
                pages.push(format!("{folder}{name}"));
            }
        }
    }
    pages.sort();
    pages
}

/// The lines of a page outside of blocks of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    text.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        inside ^= fence;
        !inside && !fence
    })
}

/// Where the links of a page lead.
fn links(text: &str) -> Vec<String> {
    let text: String = prose(text).flat_map(|line| [line, "\n"]).collect();
    // What stands in backquotes is no link.
    let text: String = text.split('`').step_by(2).collect();
    let parts = text.split("](").skip(1);
    parts
        .filter_map(|part| Some(part.split_once(')')?.0.to_owned()))
        .collect()
}

/// The anchors of a page's headings, as forges and mdBook make them.
fn anchors(text: &str) -> BTreeSet<String> {
    prose(text)
        .filter_map(|line| Some(line.strip_prefix('#')?.trim_start_matches('#').trim()))
        .map(|heading| {
            let kept = |c: &char| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_');
            let kept: String = heading.to_lowercase().chars().filter(kept).collect();
            kept.replace(' ', "-")
        })
        .collect()
}

/// What is wrong with a link of a page.
fn broken(page: &str, link: &str) -> Option<String> {
    if link.contains("://") || link.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
    let path = match file {
        "" => root().join(page),
        file => root().join(page).parent()?.join(file),
    };
    if !path.exists() {
        return Some(format!("{page}: {link}: there is no such file"));
    }
    if anchor.is_empty() || path.extension().is_none_or(|kind| kind != "md") {
        return None;
    }
    let text = fs::read_to_string(&path).expect("a page");
    let missing = !anchors(&text).contains(anchor);
    missing.then(|| format!("{page}: {link}: there is no such heading"))
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        for link in links(&text) {
            count += 1;
            wrong.extend(broken(&page, &link));
        }
    }
    assert!(count > 50, "{count} links");
    super::nothing(
        &wrong,
        "links of the pages lead to files and headings that are there",
    );
}

#[test]
fn the_book_has_every_page() {
    let text = fs::read_to_string(root().join("docs/book/SUMMARY.md")).expect("the summary");
    let named: BTreeSet<String> = links(&text).into_iter().collect();
    let there: BTreeSet<String> = pages().into_iter().collect();
    let wrong: Vec<String> = named.symmetric_difference(&there).cloned().collect();
    super::nothing(
        &wrong,
        "docs/book/SUMMARY.md names every page, and no other",
    );
}

#[test]
fn links_and_anchors_are_found() {
    let page = "# One, two `x`\n[a](B.md#c) `[no](D.md)`\n```text\n[no](E.md)\n# no\n```\n";
    assert_eq!(links(page), ["B.md#c"]);
    assert!(anchors(page).contains("one-two-x"));
    assert!(broken("README.md", "NOWHERE.md").is_some());
    assert!(broken("README.md", "#nowhere").is_some());
    assert!(broken("README.md", "docs/TESTING.md").is_none());
}
