//! A configuration comes back from every form that it is written in, and credentials are in none.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    file::FileConfig,
    source::{Place, Source},
};

fn typed(words: &[&str]) -> RunConfig {
    let mut command = crate::command::with_switches(<RunConfig as clap::Args>::augment_args(
        clap::Command::new("pinfire"),
    ));
    let words = std::iter::once("pinfire").chain(words.iter().copied());
    let matches = command.try_get_matches_from_mut(words).unwrap();
    RunConfig::typed(&matches).unwrap()
}

#[test]
fn credentials_are_not_written() {
    let config = typed(&[
        "--model=m",
        "--api-key=sk-1",
        "--header=X-Api-Key:abc",
        "--header=X-A:1",
        "--url=http://h?token=t0p",
    ]);
    let yaml = config.yaml();
    let wire = serde_json::to_string(&config).unwrap();
    let debug = format!("{config:?}");
    for text in [
        &yaml,
        &wire,
        &debug,
        &config.command_line(),
        &config.json().to_string(),
    ] {
        for secret in ["sk-1", "abc", "t0p"] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(
        yaml.contains("\"X-Api-Key:${PINFIRE_HEADER_X_API_KEY}\", \"X-A:1\""),
        "{yaml}"
    );
    assert!(
        yaml.contains("# not stored: set PINFIRE_API_KEY before\n"),
        "{yaml}"
    );
    assert_eq!(
        config.command_line(),
        "pinfire profile --model=m --url=\"http://h?token=${PINFIRE_URL_TOKEN}\" \
         --api-key=\"${PINFIRE_API_KEY}\" \
         --header=\"X-Api-Key:${PINFIRE_HEADER_X_API_KEY}\" --header=X-A:1"
    );
    assert_eq!(config.endpoint.header[0].get(), "X-Api-Key:abc");
}

/// Texts that some setting takes, and that YAML, the shell or the expansion of variables could take
/// for their own.
const TEXTS: &[&str] = &[
    "true",
    "false",
    "0",
    "1",
    "2",
    "7",
    "50",
    "0.5",
    "99.9",
    "1e-3",
    "inf",
    "1,2",
    "0,10",
    "3,",
    "0.25,4",
    "30s",
    "1500ms",
    "sonnet",
    "sent",
    "tokens:7",
    "fraction:0.5",
    "ttft:1",
    "ttft:lognormal:2,0.5",
    "uniform:0.1,2",
    "exponential:0.3",
    "null",
    "~",
    "yes",
    "",
    " a b ",
    "1.10",
    "0x1F",
    "- a",
    "a: b",
    "#c",
    "${b} {{ c }} #\"'\\",
    "$${x}",
    "X-A:1,X-Api-Key:s3",
    "{\"Authorization\": \"Bearer x\"}",
    "http://u:pw@h:1/v1?key=a&x=${y}",
    "zeile\nzwei\t\u{1F600}",
    "/tmp/a b",
    "1/4",
];

/// What each setting takes of these, and its words.
fn pool() -> &'static BTreeMap<String, Vec<Json>> {
    static POOL: std::sync::OnceLock<BTreeMap<String, Vec<Json>>> = std::sync::OnceLock::new();
    POOL.get_or_init(make_pool)
}

fn make_pool() -> BTreeMap<String, Vec<Json>> {
    let takes = |flag: &Arg, text: &str| {
        let name = flag.get_id().as_str();
        let mut wire = Wire::default();
        let value = wire::sourced(text, &Source::Flag);
        let value = if is_many(flag) {
            Json::Array(vec![value])
        } else {
            value
        };
        wire.set(name, value.clone());
        // A list setting is cut where it is read.
        let cut = flag
            .get_value_delimiter()
            .is_some_and(|at| text.contains(at));
        (!cut && RunConfig::of_wire(&wire).is_ok()).then_some(text.to_owned())
    };
    let all = settings()
        .all()
        .filter(|flag| crate::command::opposite_of(flag.get_id().as_str()).is_none());
    all.map(|flag| {
        let words = flag.get_possible_values();
        let words = words.iter().map(|word| word.get_name());
        let texts = TEXTS.iter().copied().chain(words);
        let taken: Vec<Json> = texts
            .filter_map(|text| takes(flag, text))
            .map(Json::from)
            .collect();
        assert!(!taken.is_empty(), "{} takes nothing", flag.get_id());
        (flag.get_id().to_string(), taken)
    })
    .collect()
}

/// A configuration over all settings: each is given or not, by any source, once or several times.
fn random(draws: &[(u16, u16, u8)], pool: &BTreeMap<String, Vec<Json>>) -> RunConfig {
    let mut wire = Wire::default();
    for ((name, texts), &(first, second, how)) in pool.iter().zip(draws) {
        if how % 3 == 0 {
            continue;
        }
        let source = match how % 5 {
            0 => Source::Flag,
            1 => Source::Derived,
            2 => Source::Environment("PINFIRE_X".to_owned()),
            _ => Source::File(Place {
                path: std::path::Path::new("a b.yaml").into(),
                line: usize::from(how),
            }),
        };
        let value = |draw: u16| {
            let text = text(&texts[usize::from(draw) % texts.len()]);
            wire::sourced(&text, &source)
        };
        let many = settings().get(name).is_some_and(is_many);
        wire.set(
            name,
            if many {
                Json::Array(vec![value(first), value(second)])
            } else {
                value(first)
            },
        );
    }
    let mut config = RunConfig::of_wire(&wire).unwrap();
    config.name_secrets();
    config
}

/// The credentials of a configuration, as the environment would have them.
fn credentials(config: &RunConfig) -> BTreeMap<String, String> {
    let mut config = config.clone();
    let all = config
        .guarded_mut()
        .flat_map(|(_, guarded)| guarded.secrets());
    all.map(|secret| {
        (
            secret.variable().to_owned(),
            secret.expose().unwrap().to_owned(),
        )
    })
    .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn any_configuration_comes_back(draws in proptest::collection::vec(any::<(u16, u16, u8)>(), 200)) {
        let pool = pool();
        prop_assert!(pool.len() > 130, "{}", pool.len());
        let config = random(&draws, pool);
        let credentials = credentials(&config);
        // Over the wire: values, sources, and credentials by reference.
        let wire = serde_json::to_string(&config).unwrap();
        let mut again: RunConfig = serde_json::from_str(&wire).unwrap();
        prop_assert!(again.asks_the_same(&config));
        prop_assert_eq!(again.wire(), config.wire());
        again.fill_secrets(&|name| credentials.get(name).cloned()).unwrap();
        prop_assert_eq!(&again, &config);
        // Through a file: values, and whether they were given.
        let yaml = config.yaml();
        let file = FileConfig::of_with("r.yaml".as_ref(), &yaml, &|name| credentials.get(name).cloned());
        let file = file.map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        let again = RunConfig::of_layers(None, Some(file), RunConfig::default()).unwrap();
        let given = |config: &RunConfig| config.wire().given().map(str::to_owned).collect::<Vec<_>>();
        prop_assert_eq!(given(&again), given(&config));
        prop_assert!(again.asks_the_same(&config), "{}", yaml);
        prop_assert_eq!(self::credentials(&again), credentials);
    }
}
