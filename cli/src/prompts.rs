//! What synthetic prompts are like: the flags of lengths, batches, shared content and rankings,
//! decided; and the system prompt, which datasets from files take too.

use anyhow::{Context, Result, bail, ensure};
use pinfire_dialect::EndpointKind;
use pinfire_workload::dataset::{
    lengths::{Lengths, Window},
    rankings::RankingsSpec,
    synthetic::PrefixSpec,
};
use serde::Deserialize;

use crate::{args::Profile, seq_dist, values::word};

/// The part of a synthetic dataset that its prompts are made by.
#[derive(Clone, Debug, PartialEq)]
pub struct Prompts {
    pub lengths: Lengths,
    pub texts: usize,
    pub prefixes: Option<PrefixSpec>,
    pub user_context_length: Option<u32>,
    pub rankings: Option<RankingsSpec>,
}

/// Reads the flags.
///
/// # Errors
/// The first combination that makes no sense, with the way out.
pub fn decide(flags: &Profile, kind: EndpointKind) -> Result<Prompts> {
    let (input, conversations) = (&flags.input, &flags.conversations);
    let rankings = rankings(flags, kind)?;
    let texts = input.prompt_batch_size.unwrap_or(1);
    ensure!(
        texts > 0,
        "--prompt-batch-size 0 leaves nothing to send; it must be at least 1"
    );
    ensure!(
        takes_system_message(kind) || conversations.user_context_prompt_length.is_none(),
        "--user-context-prompt-length: {} has no messages beside the prompt; use --endpoint-type chat",
        kind.name()
    );
    Ok(Prompts {
        lengths: lengths(flags)?,
        texts: usize::try_from(texts).unwrap_or(usize::MAX),
        prefixes: prefixes(flags)?,
        user_context_length: conversations
            .user_context_prompt_length
            .map(|tokens| u32::try_from(tokens).unwrap_or(u32::MAX)),
        rankings,
    })
}

/// Whether bodies of this kind have a place for a system message.
fn takes_system_message(kind: EndpointKind) -> bool {
    kind.row().takes_system_message
}

/// The given flags that only shape synthetic prompts.
pub fn given(flags: &Profile) -> Vec<&'static str> {
    let (input, conversations) = (&flags.input, &flags.conversations);
    let all = [
        ("--seq-dist", input.seq_dist.is_some()),
        ("--random-range-ratio", input.random_range_ratio.is_some()),
        ("--random-corpus-style", input.random_corpus_style.is_some()),
        ("--prompt-batch-size", input.prompt_batch_size.is_some()),
        ("--num-prefix-prompts", input.num_prefix_prompts.is_some()),
        (
            "--prefix-prompt-length",
            input.prefix_prompt_length.is_some(),
        ),
        (
            "--user-context-prompt-length",
            conversations.user_context_prompt_length.is_some(),
        ),
    ];
    let given = all.into_iter().filter(|(_, given)| *given);
    let rankings = ranking_flags(flags).into_iter().filter(|(_, given)| *given);
    given.chain(rankings).map(|(name, _)| name).collect()
}

/// The verbatim system message of every conversation.
///
/// # Errors
/// It does not go with the other flags or the endpoint, or its file cannot be read.
pub fn system_prompt(flags: &Profile, kind: EndpointKind) -> Result<Option<String>> {
    let conversations = &flags.conversations;
    let (text, file) = (
        &conversations.system_prompt,
        &conversations.system_prompt_file,
    );
    let flag = match (text, file) {
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => bail!(
            "--system-prompt and --system-prompt-file exclude each other: each is the whole system \
             message"
        ),
        (Some(_), None) => "--system-prompt",
        (None, Some(_)) => "--system-prompt-file",
    };
    ensure!(
        conversations.shared_system_prompt_length.is_none(),
        "{flag} and --shared-system-prompt-length exclude each other: each is the whole system message"
    );
    if let Some(prefix) = prefix_flags(flags).first() {
        bail!("{flag} and {prefix} exclude each other: both go before the prompts");
    }
    ensure!(
        takes_system_message(kind),
        "{flag}: {} has no system messages; use --endpoint-type chat",
        kind.name()
    );
    let text = match (text, file) {
        (Some(text), _) => text.clone(),
        (None, Some(path)) => std::fs::read_to_string(path)
            .with_context(|| format!("{flag} {} cannot be read as text", path.display()))?,
        (None, None) => return Ok(None),
    };
    ensure!(!text.is_empty(), "{flag} is empty; leave it out");
    Ok(Some(text))
}

/// The given flags of the prefix pool; 0 is as if not given.
fn prefix_flags(flags: &Profile) -> Vec<&'static str> {
    let input = &flags.input;
    let all = [
        ("--num-prefix-prompts", input.num_prefix_prompts),
        ("--prefix-prompt-length", input.prefix_prompt_length),
    ];
    let given = all.into_iter().filter(|(_, value)| value.unwrap_or(0) > 0);
    given.map(|(name, _)| name).collect()
}

fn prefixes(flags: &Profile) -> Result<Option<PrefixSpec>> {
    let given = prefix_flags(flags);
    let conversations = &flags.conversations;
    let others = [
        (
            "--shared-system-prompt-length",
            conversations.shared_system_prompt_length.is_some(),
        ),
        (
            "--user-context-prompt-length",
            conversations.user_context_prompt_length.is_some(),
        ),
    ];
    if let (Some(prefix), Some((other, _))) =
        (given.first(), others.iter().find(|(_, given)| *given))
    {
        bail!("{prefix} and {other} exclude each other: each says what conversations share");
    }
    let (count, length) = (
        flags.input.num_prefix_prompts.unwrap_or(0),
        flags.input.prefix_prompt_length.unwrap_or(0),
    );
    match (count, length) {
        (0, 0) => Ok(None),
        (_, 0) => bail!(
            "--num-prefix-prompts {count} needs --prefix-prompt-length: how many tokens a prefix has"
        ),
        (0, _) => bail!(
            "--prefix-prompt-length {length} needs --num-prefix-prompts: how many prefixes there are"
        ),
        _ => Ok(Some(PrefixSpec {
            count: usize::try_from(count).unwrap_or(usize::MAX),
            length: u32::try_from(length).unwrap_or(u32::MAX),
        })),
    }
}

fn lengths(flags: &Profile) -> Result<Lengths> {
    let input = &flags.input;
    let Some(text) = &input.seq_dist else {
        return windows(flags);
    };
    ensure!(
        input.random_range_ratio.is_none(),
        "--seq-dist and --random-range-ratio exclude each other: each says how lengths are drawn"
    );
    ensure!(
        input.random_corpus_style.is_none(),
        "--random-corpus-style belongs to --random-range-ratio, which does not go with --seq-dist"
    );
    let others = [
        ("--isl", input.isl.is_some()),
        ("--isl-stddev", input.isl_stddev.is_some()),
        ("--osl", input.osl.is_some()),
        ("--osl-stddev", input.osl_stddev.is_some()),
    ];
    if let Some((other, _)) = others.iter().find(|(_, given)| *given) {
        bail!(
            "--seq-dist gives input and output lengths itself: {other} would do nothing; leave it out"
        );
    }
    let pairs = seq_dist::parse(text).map_err(|error| anyhow::anyhow!("--seq-dist: {error:#}"))?;
    Ok(Lengths::Pairs(pairs))
}

/// How a window lies around a mean.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    /// To both sides.
    Vllm,
    /// Up to the mean.
    Sglang,
}

fn windows(flags: &Profile) -> Result<Lengths> {
    let input = &flags.input;
    let style = match input.random_corpus_style.as_deref() {
        None => Style::Vllm,
        Some(text) => word(text, &[("vllm", Style::Vllm), ("sglang", Style::Sglang)])
            .map_err(|reason| anyhow::anyhow!("--random-corpus-style {text}: {reason}"))?,
    };
    let Some(text) = &input.random_range_ratio else {
        ensure!(
            input.random_corpus_style.is_none(),
            "--random-corpus-style needs --random-range-ratio: it says how the range lies"
        );
        return Ok(Lengths::Normal);
    };
    let (Some(isl), Some(osl)) = (input.isl, input.osl.filter(|&osl| osl > 0)) else {
        let missing = if input.isl.is_none() {
            "--isl"
        } else {
            "--osl"
        };
        bail!(
            "--random-range-ratio needs --isl and --osl, around which it lies: {missing} is missing"
        );
    };
    ensure!(
        input.isl_stddev.is_none() && input.osl_stddev.is_none(),
        "--random-range-ratio draws evenly from a range: leave out --isl-stddev and --osl-stddev"
    );
    let (inputs, outputs) = ratios(text, style)?;
    Ok(Lengths::Uniform {
        isl: window(isl, inputs, style),
        osl: window(osl, outputs, style),
    })
}

/// The ratios of input and output.
fn ratios(text: &str, style: Style) -> Result<(f64, f64)> {
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
        Style::Vllm => (0.0..1.0).contains(&ratio),
        Style::Sglang => (0.0..=1.0).contains(&ratio),
    };
    ensure!(
        fits(both.0) && fits(both.1),
        "--random-range-ratio {text}: it must be at least 0 and {} 1",
        match style {
            Style::Vllm => "below",
            Style::Sglang => "at most",
        }
    );
    Ok(both)
}

fn window(mean: u32, ratio: f64, style: Style) -> Window {
    let m = f64::from(mean);
    // Casts saturate.
    match style {
        Style::Vllm => Window {
            low: (m * (1.0 - ratio)).floor() as u32,
            high: (m * (1.0 + ratio)).ceil() as u32,
        },
        Style::Sglang => Window {
            low: ((m * ratio) as u32).max(1).min(mean),
            high: mean,
        },
    }
}

fn ranking_flags(flags: &Profile) -> [(&'static str, bool); 6] {
    let flags = &flags.rankings;
    [
        (
            "--rankings-passages-mean",
            flags.rankings_passages_mean.is_some(),
        ),
        (
            "--rankings-passages-stddev",
            flags.rankings_passages_stddev.is_some(),
        ),
        (
            "--rankings-passages-prompt-token-mean",
            flags.rankings_passages_prompt_token_mean.is_some(),
        ),
        (
            "--rankings-passages-prompt-token-stddev",
            flags.rankings_passages_prompt_token_stddev.is_some(),
        ),
        (
            "--rankings-query-prompt-token-mean",
            flags.rankings_query_prompt_token_mean.is_some(),
        ),
        (
            "--rankings-query-prompt-token-stddev",
            flags.rankings_query_prompt_token_stddev.is_some(),
        ),
    ]
}

/// A query and passages, for the endpoints that rank.
fn rankings(flags: &Profile, kind: EndpointKind) -> Result<Option<RankingsSpec>> {
    if !kind.name().ends_with("_rankings") {
        if let Some((flag, _)) = ranking_flags(flags).iter().find(|(_, given)| *given) {
            bail!(
                "{flag}: {} does not rank; use --endpoint-type nim_rankings, cohere_rankings or \
                 hf_tei_rankings",
                kind.name()
            );
        }
        return Ok(None);
    }
    let input = &flags.input;
    let others = [
        ("--isl", input.isl.is_some()),
        ("--isl-stddev", input.isl_stddev.is_some()),
        ("--seq-dist", input.seq_dist.is_some()),
        ("--random-range-ratio", input.random_range_ratio.is_some()),
        ("--prompt-batch-size", input.prompt_batch_size.is_some()),
        ("--num-prefix-prompts", input.num_prefix_prompts.is_some()),
        (
            "--prefix-prompt-length",
            input.prefix_prompt_length.is_some(),
        ),
    ];
    if let Some((other, _)) = others.iter().find(|(_, given)| *given) {
        bail!(
            "{other} does nothing for {}: its texts are a query and passages; see \
             --rankings-query-prompt-token-mean and --rankings-passages-mean",
            kind.name()
        );
    }
    let (flags, usual) = (&flags.rankings, RankingsSpec::default());
    let tokens = |count: Option<u64>, usual: u32| {
        count.map_or(usual, |count| u32::try_from(count).unwrap_or(u32::MAX))
    };
    Ok(Some(RankingsSpec {
        passages_mean: tokens(flags.rankings_passages_mean, usual.passages_mean),
        passages_stddev: flags.rankings_passages_stddev.unwrap_or(0.0),
        passage_tokens_mean: tokens(
            flags.rankings_passages_prompt_token_mean,
            usual.passage_tokens_mean,
        ),
        passage_tokens_stddev: flags.rankings_passages_prompt_token_stddev.unwrap_or(0.0),
        query_tokens_mean: tokens(
            flags.rankings_query_prompt_token_mean,
            usual.query_tokens_mean,
        ),
        query_tokens_stddev: flags.rankings_query_prompt_token_stddev.unwrap_or(0.0),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::typed;

    fn parsed(flags: &[&str]) -> Box<Profile> {
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
            ("--random-corpus-style x", &["vllm, sglang"]),
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
