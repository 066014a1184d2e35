//! What synthetic prompts are like: the settings of lengths, batches, shared content and rankings,
//! decided; and the system prompt, which datasets from files take too.

use anyhow::{Context, Result, ensure};
use pinfire_config::{Blame, Get, Given, Refusal, RunConfig, demand, refuse, words::RangeStyle};
use pinfire_dialect::EndpointKind;
use pinfire_workload::dataset::{
    lengths::{Lengths, Window},
    rankings::RankingsSpec,
    synthetic::PrefixSpec,
};
use serde::Deserialize;

use crate::seq_dist;

/// The part of a synthetic dataset that its prompts are made by.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    pub lengths: Lengths,
    pub texts: usize,
    pub prefixes: Option<PrefixSpec>,
    pub user_context_length: Option<u32>,
    pub rankings: Option<RankingsSpec>,
}

/// Reads the settings.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(config: &RunConfig, kind: EndpointKind) -> Result<Prompts> {
    let (input, conversations) = (&config.input, &config.conversations);
    let rankings = rankings(config, kind)?;
    let texts = input.prompt_batch_size.get().unwrap_or(1);
    demand!(
        texts > 0,
        [input.prompt_batch_size],
        "--prompt-batch-size 0 leaves nothing to send; it must be at least 1"
    );
    let context = &conversations.user_context_prompt_length;
    demand!(
        takes_system_message(kind) || context.is_none(),
        [context],
        "--user-context-prompt-length: {} has no messages beside the prompt; use --endpoint-type chat",
        kind.name()
    );
    Ok(Prompts {
        lengths: lengths(config)?,
        texts: usize::try_from(texts).unwrap_or(usize::MAX),
        prefixes: prefixes(config)?,
        user_context_length: context
            .get()
            .map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
        rankings,
    })
}

/// Whether bodies of this kind have a place for a system message.
fn takes_system_message(kind: EndpointKind) -> bool {
    kind.row().takes_system_message
}

/// Flags, each with its setting.
type Flags<'a> = Vec<(&'static str, &'a dyn Given)>;

/// The first of them that was given.
fn first_given<'a>(flags: &Flags<'a>) -> Option<(&'static str, &'a dyn Given)> {
    flags
        .iter()
        .copied()
        .find(|(_, setting)| setting.is_given())
}

/// The settings that only shape synthetic prompts.
pub fn shaping(config: &RunConfig) -> Flags<'_> {
    let (input, conversations) = (&config.input, &config.conversations);
    let mut all: Flags<'_> = vec![
        ("--seq-dist", &input.seq_dist),
        ("--random-range-ratio", &input.random_range_ratio),
        ("--random-corpus-style", &input.random_corpus_style),
        ("--prompt-batch-size", &input.prompt_batch_size),
        ("--num-prefix-prompts", &input.num_prefix_prompts),
        ("--prefix-prompt-length", &input.prefix_prompt_length),
        (
            "--user-context-prompt-length",
            &conversations.user_context_prompt_length,
        ),
    ];
    all.extend(ranking_flags(config));
    all
}

/// The verbatim system message of every conversation.
///
/// # Errors
/// It does not go with the other settings or the endpoint, or its file cannot be read.
pub fn system_prompt(config: &RunConfig, kind: EndpointKind) -> Result<Option<String>> {
    let conversations = &config.conversations;
    let (text, file) = (
        &conversations.system_prompt,
        &conversations.system_prompt_file,
    );
    let (flag, asked): (&str, &dyn Given) = match (text, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => refuse!(
            [text, file],
            "--system-prompt and --system-prompt-file exclude each other: each is the whole system \
             message"
        ),
        (Some(_), None) => ("--system-prompt", text),
        (None, Some(_)) => ("--system-prompt-file", file),
    };
    let refused = |others: &[&dyn Given], message: String| {
        let about: Vec<&dyn Given> = [asked].into_iter().chain(others.iter().copied()).collect();
        Err(Refusal::about(&about, message).into())
    };
    let shared = &conversations.shared_system_prompt_length;
    if shared.is_some() {
        let message = format!(
            "{flag} and --shared-system-prompt-length exclude each other: each is the whole system \
             message"
        );
        return refused(&[shared], message);
    }
    if let Some((prefix, setting)) = prefix_flags(config).first() {
        let message = format!("{flag} and {prefix} exclude each other: both go before the prompts");
        return refused(&[*setting], message);
    }
    if !takes_system_message(kind) {
        let message = format!(
            "{flag}: {} has no system messages; use --endpoint-type chat",
            kind.name()
        );
        return refused(&[&config.endpoint.endpoint_type], message);
    }
    let text = match (text.get(), file.get()) {
        (Some(text), _) => text,
        (None, Some(path)) => std::fs::read_to_string(&path)
            .with_context(|| format!("{flag} {} cannot be read as text", path.display()))
            .about(&[asked])?,
        (None, None) => return Ok(None),
    };
    if text.is_empty() {
        return refused(&[], format!("{flag} is empty; leave it out"));
    }
    Ok(Some(text))
}

/// The given settings of the prefix pool; 0 is as if not given.
fn prefix_flags(config: &RunConfig) -> Flags<'_> {
    let (count, length) = (
        &config.input.num_prefix_prompts,
        &config.input.prefix_prompt_length,
    );
    let mut given: Flags<'_> = Vec::new();
    if count.get().unwrap_or(0) > 0 {
        given.push(("--num-prefix-prompts", count));
    }
    if length.get().unwrap_or(0) > 0 {
        given.push(("--prefix-prompt-length", length));
    }
    given
}

fn prefixes(config: &RunConfig) -> Result<Option<PrefixSpec>> {
    let given = prefix_flags(config);
    let conversations = &config.conversations;
    let others: Flags<'_> = vec![
        (
            "--shared-system-prompt-length",
            &conversations.shared_system_prompt_length,
        ),
        (
            "--user-context-prompt-length",
            &conversations.user_context_prompt_length,
        ),
    ];
    if let (Some((prefix, setting)), Some((other, with))) = (given.first(), first_given(&others)) {
        let message =
            format!("{prefix} and {other} exclude each other: each says what conversations share");
        return Err(Refusal::about(&[*setting, with], message).into());
    }
    let (asked, long) = (
        &config.input.num_prefix_prompts,
        &config.input.prefix_prompt_length,
    );
    match (asked.get().unwrap_or(0), long.get().unwrap_or(0)) {
        (0, 0) => Ok(None),
        (count, 0) => refuse!(
            [asked, long],
            "--num-prefix-prompts {count} needs --prefix-prompt-length: how many tokens a prefix has"
        ),
        (0, length) => refuse!(
            [asked, long],
            "--prefix-prompt-length {length} needs --num-prefix-prompts: how many prefixes there are"
        ),
        (count, length) => Ok(Some(PrefixSpec {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        })),
    }
}

fn lengths(config: &RunConfig) -> Result<Lengths> {
    let input = &config.input;
    let Some(text) = input.seq_dist.get() else {
        return windows(config);
    };
    demand!(
        input.random_range_ratio.is_none(),
        [input.seq_dist, input.random_range_ratio],
        "--seq-dist and --random-range-ratio exclude each other: each says how lengths are drawn"
    );
    demand!(
        input.random_corpus_style.is_none(),
        [input.random_corpus_style, input.seq_dist],
        "--random-corpus-style belongs to --random-range-ratio, which does not go with --seq-dist"
    );
    let others: Flags<'_> = vec![
        ("--isl", &input.isl),
        ("--isl-stddev", &input.isl_stddev),
        ("--osl", &input.osl),
        ("--osl-stddev", &input.osl_stddev),
    ];
    if let Some((other, setting)) = first_given(&others) {
        let message = format!(
            "--seq-dist gives input and output lengths itself: {other} would do nothing; leave it out"
        );
        return Err(Refusal::about(&[&input.seq_dist, setting], message).into());
    }
    let pairs = seq_dist::parse(&text).blame(&[&input.seq_dist], "--seq-dist")?;
    Ok(Lengths::Pairs(pairs))
}

fn windows(config: &RunConfig) -> Result<Lengths> {
    let input = &config.input;
    let style = input.random_corpus_style.get().unwrap_or(RangeStyle::Vllm);
    let ratio = &input.random_range_ratio;
    let Some(text) = ratio.get() else {
        demand!(
            input.random_corpus_style.is_none(),
            [input.random_corpus_style],
            "--random-corpus-style needs --random-range-ratio: it says how the range lies"
        );
        return Ok(Lengths::Normal);
    };
    let (Some(isl), Some(osl)) = (input.isl.get(), input.osl.get().filter(|&osl| osl > 0)) else {
        let missing = if input.isl.is_none() {
            "--isl"
        } else {
            "--osl"
        };
        refuse!(
            [ratio],
            "--random-range-ratio needs --isl and --osl, around which it lies: {missing} is missing"
        );
    };
    demand!(
        input.isl_stddev.is_none() && input.osl_stddev.is_none(),
        [ratio, input.isl_stddev, input.osl_stddev],
        "--random-range-ratio draws evenly from a range: leave out --isl-stddev and --osl-stddev"
    );
    let (inputs, outputs) = ratios(&text, style).about(&[ratio])?;
    Ok(Lengths::Uniform {
        isl: window(isl, inputs, style),
        osl: window(osl, outputs, style),
    })
}

/// The ratios of input and output.
fn ratios(text: &str, style: RangeStyle) -> Result<(f64, f64)> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Both {
        input: f64,
        output: f64,
    }
    let both = match text.trim().parse() {
        Ok(ratio) => (ratio, ratio),
        Err(_) => serde_json::from_str(text)
            .map(|Both { input, output }| (input, output))
            .map_err(|_| {
                anyhow::anyhow!(
                    "--random-range-ratio {text}: it must be a number, or {{\"input\": 0.2, \
                     \"output\": 0.5}}"
                )
            })?,
    };
    let fits = |ratio: f64| match style {
        RangeStyle::Vllm => (0.0..1.0).contains(&ratio),
        RangeStyle::Sglang => (0.0..=1.0).contains(&ratio),
    };
    ensure!(
        fits(both.0) && fits(both.1),
        "--random-range-ratio {text}: it must be at least 0 and {} 1",
        match style {
            RangeStyle::Vllm => "below",
            RangeStyle::Sglang => "at most",
        }
    );
    Ok(both)
}

fn window(mean: u32, ratio: f64, style: RangeStyle) -> Window {
    let m = f64::from(mean);
    // Casts saturate.
    match style {
        RangeStyle::Vllm => Window {
            low: (m * (1.0 - ratio)).floor() as u32,
            high: (m * (1.0 + ratio)).ceil() as u32,
        },
        RangeStyle::Sglang => Window {
            low: ((m * ratio) as u32).max(1).min(mean),
            high: mean,
        },
    }
}

fn ranking_flags(config: &RunConfig) -> Flags<'_> {
    let asked = &config.rankings;
    vec![
        ("--rankings-passages-mean", &asked.rankings_passages_mean),
        (
            "--rankings-passages-stddev",
            &asked.rankings_passages_stddev,
        ),
        (
            "--rankings-passages-prompt-token-mean",
            &asked.rankings_passages_prompt_token_mean,
        ),
        (
            "--rankings-passages-prompt-token-stddev",
            &asked.rankings_passages_prompt_token_stddev,
        ),
        (
            "--rankings-query-prompt-token-mean",
            &asked.rankings_query_prompt_token_mean,
        ),
        (
            "--rankings-query-prompt-token-stddev",
            &asked.rankings_query_prompt_token_stddev,
        ),
    ]
}

/// A query and passages, for the endpoints that rank.
fn rankings(config: &RunConfig, kind: EndpointKind) -> Result<Option<RankingsSpec>> {
    if !kind.name().ends_with("_rankings") {
        if let Some((flag, setting)) = first_given(&ranking_flags(config)) {
            let message = format!(
                "{flag}: {} does not rank; use --endpoint-type nim_rankings, cohere_rankings or \
                 hf_tei_rankings",
                kind.name()
            );
            return Err(Refusal::about(&[setting], message).into());
        }
        return Ok(None);
    }
    let input = &config.input;
    let others: Flags<'_> = vec![
        ("--isl", &input.isl),
        ("--isl-stddev", &input.isl_stddev),
        ("--seq-dist", &input.seq_dist),
        ("--random-range-ratio", &input.random_range_ratio),
        ("--prompt-batch-size", &input.prompt_batch_size),
        ("--num-prefix-prompts", &input.num_prefix_prompts),
        ("--prefix-prompt-length", &input.prefix_prompt_length),
    ];
    if let Some((other, setting)) = first_given(&others) {
        let message = format!(
            "{other} does nothing for {}: its texts are a query and passages; see \
             --rankings-query-prompt-token-mean and --rankings-passages-mean",
            kind.name()
        );
        return Err(Refusal::about(&[setting], message).into());
    }
    let (asked, usual) = (&config.rankings, RankingsSpec::default());
    let tokens = |count: Option<u64>, usual: u32| {
        count.map_or(usual, |count| u32::try_from(count).unwrap_or(u32::MAX))
    };
    let passage = asked.rankings_passages_prompt_token_mean.get();
    let passage_stddev = asked.rankings_passages_prompt_token_stddev.get();
    let query = asked.rankings_query_prompt_token_mean.get();
    let query_stddev = asked.rankings_query_prompt_token_stddev.get();
    Ok(Some(RankingsSpec {
        passages_mean: tokens(asked.rankings_passages_mean.get(), usual.passages_mean),
        passages_stddev: asked.rankings_passages_stddev.get().unwrap_or(0.0),
        passage_tokens_mean: tokens(passage, usual.passage_tokens_mean),
        passage_tokens_stddev: passage_stddev.unwrap_or(0.0),
        query_tokens_mean: tokens(query, usual.query_tokens_mean),
        query_tokens_stddev: query_stddev.unwrap_or(0.0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn parsed(flags: &[&str]) -> RunConfig {
        typed(flags.iter().copied()).unwrap()
    }

    fn words(flags: &str) -> Vec<&str> {
        flags.split_whitespace().collect()
    }

    #[track_caller]
    fn made(flags: &str) -> Prompts {
        decide(&parsed(&words(flags)), EndpointKind::Chat).unwrap()
    }

    #[track_caller]
    fn refused(flags: &str, kind: EndpointKind, expected: &[&str]) {
        let flags_read = parsed(&words(flags));
        let error = decide(&flags_read, kind)
            .and_then(|_| system_prompt(&flags_read, kind))
            .unwrap_err();
        let error = format!("{error:#}");
        assert_eq!(error.lines().count(), 1, "{error}");
        for word in expected {
            assert!(error.contains(word), "`{error}` lacks `{word}` for {flags}");
        }
    }

    #[test]
    fn without_flags_prompts_are_plain() {
        let expected = Prompts {
            lengths: Lengths::Normal,
            texts: 1,
            prefixes: None,
            user_context_length: None,
            rankings: None,
        };
        assert_eq!(made(""), expected);
        assert_eq!(
            made("--num-prefix-prompts 0 --prefix-prompt-length 0"),
            expected
        );
    }

    #[test]
    fn batches_by_every_name() {
        for flag in [
            "-b",
            "--batch-size",
            "--prompt-batch-size",
            "--batch-size-text",
        ] {
            assert_eq!(made(&format!("{flag} 4")).texts, 4, "{flag}");
        }
        refused(
            "-b 0",
            EndpointKind::Chat,
            &["--prompt-batch-size 0", "at least 1"],
        );
    }

    #[test]
    fn mixtures_of_lengths() {
        for flag in ["--seq-dist", "--sequence-distribution"] {
            let Lengths::Pairs(pairs) = made(&format!("{flag} 256|10,128|5:40;512,256:60")).lengths
            else {
                panic!("pairs");
            };
            assert_eq!((pairs[0].isl, pairs[1].share), (256, 0.6));
        }
        let chat = EndpointKind::Chat;
        refused(
            "--seq-dist 1,1:60;2,2:30",
            chat,
            &["--seq-dist", "sum to 90", "1,1:60"],
        );
        refused(
            "--seq-dist 1,1:100 --random-range-ratio 0.5",
            chat,
            &["--seq-dist", "--random-range-ratio"],
        );
        for other in ["--isl 5", "--isl-stddev 5", "--osl 5"] {
            let flag = other.split(' ').next().unwrap();
            refused(
                &format!("--seq-dist 1,1:100 {other}"),
                chat,
                &["--seq-dist", flag],
            );
        }
    }

    #[test]
    fn windows_around_the_means() {
        let windows = |flags: &str| match made(flags).lengths {
            Lengths::Uniform { isl, osl } => [isl.low, isl.high, osl.low, osl.high],
            other => panic!("{other:?}"),
        };
        let means = "--isl 101 --osl 10 --random-range-ratio";
        assert_eq!(windows(&format!("{means} 0.5")), [50, 152, 5, 15]);
        assert_eq!(windows(&format!("{means} 0")), [101, 101, 10, 10]);
        assert_eq!(
            windows(&format!("{means} 0.25 --random-corpus-style SGLANG")),
            [25, 101, 2, 10]
        );
        assert_eq!(
            windows(&format!("{means} 0 --random-corpus-style sglang")),
            [1, 101, 1, 10]
        );
        assert_eq!(
            windows(&format!("{means} {{\"input\":0.5,\"output\":0}}")),
            [50, 152, 10, 10]
        );
        let chat = EndpointKind::Chat;
        for (flags, words) in [
            ("--random-range-ratio 0.5", &["--isl is missing"][..]),
            ("--random-range-ratio 0.5 --isl 5", &["--osl is missing"]),
            (
                "--random-range-ratio 0.5 --isl 5 --osl 0",
                &["--osl is missing"],
            ),
            ("--random-range-ratio 1 --isl 5 --osl 5", &["below 1"]),
            ("--random-range-ratio nan --isl 5 --osl 5", &["at least 0"]),
            (
                "--random-range-ratio 1.1 --isl 5 --osl 5 --random-corpus-style sglang",
                &["at most 1"],
            ),
            ("--random-range-ratio x --isl 5 --osl 5", &["a number"]),
            (
                "--random-range-ratio {\"input\":0.5} --isl 5 --osl 5",
                &["output"],
            ),
            (
                "--random-range-ratio 0.5 --isl 5 --osl 5 --isl-stddev 2",
                &["--isl-stddev"],
            ),
            ("--random-corpus-style vllm", &["--random-range-ratio"]),
        ] {
            refused(flags, chat, words);
        }
    }

    #[test]
    fn prefixes_need_number_and_length_and_stand_alone() {
        let expected = Some(PrefixSpec {
            count: 3,
            length: 20,
        });
        for flags in [
            "--num-prefix-prompts 3 --prefix-prompt-length 20",
            "--prefix-prompt-pool-size 3 --prompt-prefix-length 20",
            "--prompt-prefix-pool-size 3 --prefix-prompt-length 20",
        ] {
            assert_eq!(made(flags).prefixes, expected, "{flags}");
        }
        let chat = EndpointKind::Chat;
        refused("--num-prefix-prompts 3", chat, &["--prefix-prompt-length"]);
        refused("--prefix-prompt-length 3", chat, &["--num-prefix-prompts"]);
        refused(
            "--num-prefix-prompts 3 --prefix-prompt-length 0",
            chat,
            &["--prefix-prompt-length"],
        );
        for other in [
            "--shared-system-prompt-length",
            "--user-context-prompt-length",
        ] {
            for prefix in ["--num-prefix-prompts", "--prefix-prompt-length"] {
                refused(
                    &format!("{prefix} 3 {other} 5"),
                    chat,
                    &[prefix, other, "exclude"],
                );
            }
        }
    }

    #[test]
    fn contexts_need_messages() {
        assert_eq!(
            made("--user-context-prompt-length 9").user_context_length,
            Some(9)
        );
        refused(
            "--user-context-prompt-length 9",
            EndpointKind::Completions,
            &[
                "--user-context-prompt-length",
                "completions",
                "--endpoint-type chat",
            ],
        );
    }

    #[test]
    fn the_system_prompt_is_verbatim() {
        let read = |flags: &[&str]| system_prompt(&parsed(flags), EndpointKind::Chat);
        assert_eq!(read(&[]).unwrap(), None);
        let text = " Be brief. \n";
        assert_eq!(
            read(&["--system-prompt", text]).unwrap().as_deref(),
            Some(text)
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("system.txt");
        std::fs::write(&path, text).unwrap();
        let file = ["--system-prompt-file", path.to_str().unwrap()];
        assert_eq!(read(&file).unwrap().as_deref(), Some(text));
        std::fs::write(&path, b"\xff").unwrap();
        assert!(format!("{:#}", read(&file).unwrap_err()).contains("system.txt"));
        std::fs::write(&path, b"").unwrap();
        assert!(read(&file).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn the_system_prompt_stands_alone() {
        let chat = EndpointKind::Chat;
        for (flags, words) in [
            (
                "--system-prompt a --system-prompt-file b",
                &["--system-prompt-file", "exclude"][..],
            ),
            (
                "--system-prompt a --shared-system-prompt-length 5",
                &[
                    "--system-prompt",
                    "--shared-system-prompt-length",
                    "exclude",
                ],
            ),
            (
                "--system-prompt-file a --num-prefix-prompts 2 --prefix-prompt-length 5",
                &["--system-prompt-file", "--num-prefix-prompts", "exclude"],
            ),
            ("--system-prompt-file /no/such/file", &["/no/such/file"]),
        ] {
            refused(flags, chat, words);
        }
        for flags in ["--system-prompt a", "--system-prompt-file a"] {
            let flag = flags.split(' ').next().unwrap();
            refused(
                flags,
                EndpointKind::Completions,
                &[flag, "completions", "--endpoint-type chat"],
            );
        }
    }

    #[test]
    fn rankings_are_for_endpoints_that_rank() {
        for flag in [
            "--rankings-passages-mean",
            "--rankings-passages-stddev",
            "--rankings-passages-prompt-token-mean",
            "--rankings-passages-prompt-token-stddev",
            "--rankings-query-prompt-token-mean",
            "--rankings-query-prompt-token-stddev",
        ] {
            refused(
                &format!("{flag} 3"),
                EndpointKind::Chat,
                &[flag, "chat does not rank", "nim_rankings"],
            );
        }
    }
}
