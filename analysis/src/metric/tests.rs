//! The table of metrics: every row is complete, and no two contradict each other.

use std::collections::{BTreeMap, HashSet};

use super::*;

#[test]
fn tags_are_unique_and_every_row_says_what_it_is() {
    let mut tags = HashSet::new();
    for metric in METRICS {
        assert!(tags.insert(metric.tag), "{} stands twice", metric.tag);
        assert!(
            metric.doc.ends_with('.') && metric.doc.len() > 10,
            "{}",
            metric.tag
        );
        assert!(!metric.name.is_empty());
        assert!(
            !metric.formula.is_empty() && !metric.example.is_empty(),
            "{}",
            metric.tag
        );
        let snake = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(metric.tag.chars().all(snake), "{}", metric.tag);
    }
}

#[test]
fn no_two_rows_share_a_place_in_a_table() {
    let mut places: BTreeMap<String, Vec<u16>> = BTreeMap::new();
    for metric in METRICS {
        match metric.place {
            Place::Table(group, Some(order)) => {
                places.entry(format!("{group:?}")).or_default().push(order);
            }
            Place::Trace(order) => places.entry("trace".into()).or_default().push(order),
            Place::Table(_, None) | Place::Files => {}
        }
    }
    for (table, orders) in places {
        let unique: HashSet<_> = orders.iter().collect();
        assert_eq!(unique.len(), orders.len(), "{table}");
    }
}

#[test]
fn errors_only_and_internal_rows_are_never_on_the_console() {
    for metric in METRICS {
        if let Of::Adjusted(parent) = metric.of {
            let parent = &METRICS[row(parent).unwrap()];
            assert_eq!(metric.tag, format!("adj_{}", parent.tag));
            assert_eq!(
                (metric.shown, metric.needs),
                (parent.shown, parent.needs),
                "{}",
                metric.tag
            );
        }
        if metric.over == Over::Errors || !metric.is_shown() {
            assert_eq!(metric.place, Place::Files, "{}", metric.tag);
        }
    }
}

/// The parents of derived rows, by their source: one that comes later would silently be absent.
#[test]
fn derived_rows_read_rows_that_exist_and_come_before() {
    let source = include_str!("table.rs");
    let mut current = 0;
    let mut checked = 0;
    for line in source.lines() {
        if let Some(rest) = line.trim_start().strip_prefix("metric(") {
            current = row(&rest.split(',').next().unwrap().to_lowercase()).unwrap();
        }
        for call in ["run.sum(", "run.value(", "run.whole("] {
            for part in line.split(call).skip(1) {
                // The names of tags in code are the tags in capitals.
                let tag = part.split(')').next().unwrap().to_lowercase();
                let parent = row(&tag).unwrap_or_else(|| panic!("{tag} is no row"));
                assert!(parent < current, "{tag} comes after a row that reads it");
                checked += 1;
            }
        }
    }
    assert!(checked > 15);
}

#[test]
fn units_convert_as_the_exports_say() {
    assert_eq!(Unit::Nanoseconds.divisor(Unit::Milliseconds), 1e6);
    assert_eq!(Unit::Nanoseconds.divisor(Unit::Seconds), 1e9);
    assert_eq!(Unit::Bytes.divisor(Unit::Kilobytes), 1024.0);
    for metric in METRICS {
        let same = metric.unit == metric.shown;
        assert_eq!(same, metric.divisor() == 1.0, "{}", metric.tag);
    }
}

#[test]
fn names_hide_what_goes_without_saying() {
    let name = |tag| METRICS[row(tag).unwrap()].name_with_unit();
    assert_eq!(name("request_count"), "Request Count");
    assert_eq!(name("http_req_chunks_sent"), "HTTP Chunks Sent");
    assert_eq!(
        name("usage_prompt_tokens_diff_pct"),
        "Usage Prompt Diff % (%)"
    );
}

#[test]
fn every_row_has_its_name_in_code_and_no_name_is_without_a_row() {
    let tags: Vec<&str> = METRICS.iter().map(|metric| metric.tag).collect();
    assert_eq!(tags, pinfire_artifacts::tag::ALL);
}
