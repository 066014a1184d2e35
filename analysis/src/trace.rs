//! What a Mooncake trace asks of a server: lengths, shared prefixes, and the cache hits that an
//! endless cache would have. Before any run: no tokenizer, no prompts.
//!
//! Lines come one after the other, from whoever reads the file. Prefixes are interned as (parent,
//! id), so that memory is a few bytes per id of the file, however long its sequences are.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use crate::stats::{Figures, Sample};

/// The figures of a trace, in the order of the report.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TraceFigures {
    /// Lines.
    pub total_requests: u64,
    /// Different sequences of ids that lines begin with, of any length.
    pub unique_prefixes: u64,
    /// Different first ids with which at least two lines begin.
    pub num_prefix_groups: u64,
    /// Mean hit rate of the lines that have ids.
    pub cache_hit_rate: f64,
    /// Shortest input in tokens.
    pub min_isl: u64,
    /// Longest input.
    pub max_isl: u64,
    /// Mean input.
    pub avg_isl: f64,
    /// Shortest output.
    pub min_osl: u64,
    /// Longest output.
    pub max_osl: u64,
    /// Mean output.
    pub avg_osl: f64,
    /// Prefixes that occur more than once, by occurrence.
    pub prefix_reuse_ratio: f64,
    /// Inputs in tokens.
    pub isl_stats: Option<TraceStats>,
    /// Outputs in tokens.
    pub osl_stats: Option<TraceStats>,
    /// Tokens of the blocks that another line has at the same position.
    pub context_length_stats: Option<TraceStats>,
    /// The rest of the inputs.
    pub unique_prompt_length_stats: Option<TraceStats>,
    /// Share of a line's blocks before the first one that no earlier line had.
    pub hit_rate_stats: Option<TraceStats>,
}

/// The figures of one sample.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub struct TraceStats {
    /// Arithmetic mean.
    pub mean: f64,
    /// Population standard deviation.
    pub std_dev: f64,
    /// Smallest value.
    pub min: f64,
    /// First quartile, by linear interpolation like the others.
    pub p25: f64,
    /// Median.
    pub median: f64,
    /// Third quartile.
    pub p75: f64,
    /// Largest value.
    pub max: f64,
}

impl TraceStats {
    fn of(figures: &Figures) -> Option<Self> {
        Some(Self {
            mean: figures.avg?,
            std_dev: figures.std?,
            min: figures.min?,
            p25: figures.percentile(25)?,
            median: figures.percentile(50)?,
            p75: figures.percentile(75)?,
            max: figures.max?,
        })
    }
}

/// What is read of a line; the rest of it is left alone.
#[derive(Deserialize, Default)]
#[serde(default)]
struct TraceLine {
    input_length: Option<f64>,
    output_length: Option<f64>,
    hash_ids: Option<Vec<i128>>,
}

/// A missing length counts 0.
fn length(given: Option<f64>) -> Option<u64> {
    let length = given.unwrap_or(0.0);
    let whole = length.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&length);
    whole.then_some(length as u64)
}

/// What is wrong with a line: one of its fields, or `line` for the whole of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineFault {
    /// The field.
    pub field: &'static str,
    /// What is wrong with it, and what would be right.
    pub reason: String,
}

/// The lines of a trace that have been read.
#[derive(Default)]
pub struct Trace {
    inputs: Vec<u64>,
    outputs: Sample,
    hits: Sample,
    /// The numbers of all ids.
    ids: HashMap<i128, u32>,
    /// Prefixes by the prefix before their last id (0: none) and that id's number; counted.
    prefixes: HashMap<(u32, u32), u32>,
    counts: Vec<u32>,
    /// Places of ids, and in how many lines.
    pairs: HashMap<(u32, u32), u32>,
    occurrences: Vec<u32>,
    /// The pairs of all lines, and where each line's end.
    used: Vec<u32>,
    ends: Vec<usize>,
}

impl Trace {
    /// Reads the next line, which is not blank.
    ///
    /// # Errors
    /// The line is no object, or holds something else than lengths and ids.
    pub fn read(&mut self, text: &[u8]) -> Result<(), LineFault> {
        let line: Result<TraceLine, _> = serde_json::from_slice(text);
        let fault = |field, reason| Err(LineFault { field, reason });
        // A list would be read as the fields in their order.
        let object = text.trim_ascii_start().starts_with(b"{");
        let line = match line {
            Ok(line) if object => line,
            Ok(_) => return fault("line", "is no JSON object".to_owned()),
            Err(cause) => {
                return fault("line", format!("is no line of a Mooncake trace: {cause}"));
            }
        };
        let (input, output) = (length(line.input_length), length(line.output_length));
        let (Some(input), Some(output)) = (input, output) else {
            let field = if input.is_none() {
                "input_length"
            } else {
                "output_length"
            };
            return fault(
                field,
                "must be a whole number of tokens, 0 or more".to_owned(),
            );
        };
        self.add(input, output, &line.hash_ids.unwrap_or_default());
        Ok(())
    }

    fn add(&mut self, input: u64, output: u64, ids: &[i128]) {
        self.inputs.push(input);
        self.outputs.push(output);
        if !ids.is_empty() {
            let seen = ids.iter().take_while(|id| self.ids.contains_key(id));
            self.hits.push_float(seen.count() as f64 / ids.len() as f64);
        }
        let mut parent = 0;
        for (position, id) in (0..).zip(ids) {
            let next = self.ids.len() as u32;
            let id = *self.ids.entry(*id).or_insert(next);
            let next = self.counts.len() as u32;
            let prefix = *self.prefixes.entry((parent, id)).or_insert(next);
            count(&mut self.counts, prefix);
            parent = prefix + 1;
            let next = self.occurrences.len() as u32;
            let pair = *self.pairs.entry((position, id)).or_insert(next);
            count(&mut self.occurrences, pair);
            self.used.push(pair);
        }
        self.ends.push(self.used.len());
    }

    /// The first line whose ids, of `block` tokens each and the last of any length, are more than
    /// its input: how many ids, and the input's tokens. The blocks cannot be of that size.
    pub fn too_long(&self, block: u32) -> Option<(u64, u64)> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        let ids = begins
            .zip(&self.ends)
            .map(|(begin, end)| (end - begin) as u64);
        let mut lines = ids.zip(self.inputs.iter().copied());
        lines.find(|&(ids, input)| {
            // A line without a length says nothing about blocks.
            input > 0 && ids.saturating_sub(1).saturating_mul(block.into()) >= input
        })
    }

    /// The figures of all lines, whose ids stand for `block` tokens each.
    pub fn figures(self, block: u32) -> TraceFigures {
        let repeated = |counts: &[u32], at: u32| counts.get(at as usize).is_some_and(|&n| n > 1);
        let (mut inputs, mut context, mut unique) = <(Sample, Sample, Sample)>::default();
        let mut begin = 0;
        for (&input, &end) in self.inputs.iter().zip(&self.ends) {
            let pairs = self.used.get(begin..end).unwrap_or_default();
            begin = end;
            let shared = pairs
                .iter()
                .filter(|&&pair| repeated(&self.occurrences, pair));
            let shared = shared.count();
            let tokens = match shared {
                0 => 0,
                all if all == pairs.len() => input,
                some => u64::from(block) * some as u64,
            };
            inputs.push(input);
            context.push(tokens);
            // Below zero where ids and length contradict each other.
            unique.push_float(input as f64 - tokens as f64);
        }
        let groups = self.prefixes.iter().filter(|((parent, _), _)| *parent == 0);
        let groups = groups.filter(|&(_, &prefix)| repeated(&self.counts, prefix));
        let groups = groups.count() as u64;
        let sum = |least: u32| -> u64 {
            let counts = self.counts.iter().filter(|&&count| count >= least);
            counts.map(|&count| u64::from(count)).sum()
        };
        let (all, reused) = (sum(1), sum(2));
        let stats = |sample: Sample| TraceStats::of(&sample.figures()?);
        let (isl, osl, hits) = (stats(inputs), stats(self.outputs), stats(self.hits));
        let whole = |value: Option<f64>| value.unwrap_or(0.0) as u64;
        TraceFigures {
            total_requests: self.inputs.len() as u64,
            unique_prefixes: self.counts.len() as u64,
            num_prefix_groups: groups,
            cache_hit_rate: hits.map_or(0.0, |hits| hits.mean),
            min_isl: whole(isl.map(|isl| isl.min)),
            max_isl: whole(isl.map(|isl| isl.max)),
            avg_isl: isl.map_or(0.0, |isl| isl.mean),
            min_osl: whole(osl.map(|osl| osl.min)),
            max_osl: whole(osl.map(|osl| osl.max)),
            avg_osl: osl.map_or(0.0, |osl| osl.mean),
            prefix_reuse_ratio: if all == 0 {
                0.0
            } else {
                reused as f64 / all as f64
            },
            isl_stats: isl,
            osl_stats: osl,
            context_length_stats: stats(context),
            unique_prompt_length_stats: stats(unique),
            hit_rate_stats: hits,
        }
    }
}

/// Counts number `at`, which is at most the next one.
fn count(counts: &mut Vec<u32>, at: u32) {
    match counts.get_mut(at as usize) {
        Some(count) => *count += 1,
        None => counts.push(1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::{Path, PathBuf};

    fn of(text: &[u8]) -> Result<TraceFigures, LineFault> {
        let mut trace = Trace::default();
        let lines = text.split(|byte| *byte == b'\n');
        for line in lines.filter(|line| !line.trim_ascii().is_empty()) {
            trace.read(line)?;
        }
        Ok(trace.figures(512))
    }

    #[track_caller]
    fn close(found: f64, expected: f64) {
        let off = (found - expected).abs();
        assert!(
            off <= 1e-12 * expected.abs().max(1.0),
            "{found} is not {expected}"
        );
    }

    /// mean, std_dev, min, p25, median, p75, max
    #[track_caller]
    fn stats(found: Option<TraceStats>, expected: [f64; 7]) {
        let found = found.unwrap();
        let found = [
            found.mean,
            found.std_dev,
            found.min,
            found.p25,
            found.median,
            found.p75,
            found.max,
        ];
        for (found, expected) in found.into_iter().zip(expected) {
            close(found, expected);
        }
    }

    const FIVE: &str = r#"{"input_length": 1500, "output_length": 10, "hash_ids": [1, 2, 3]}
{"input_length": 1400, "output_length": 20, "hash_ids": [1, 2, 4], "timestamp": 5}

{"input_length": 1024, "output_length": 30, "hash_ids": [1, 2], "other": {"a": []}}
{"input_length": 100}
{"input_length": 600, "output_length": 5, "hash_ids": [9, 8]}
"#;

    /// Five lines whose figures were worked out by hand.
    #[test]
    fn golden_vector() {
        let found = of(FIVE.as_bytes()).unwrap();
        let counts = (
            found.total_requests,
            found.unique_prefixes,
            found.num_prefix_groups,
        );
        assert_eq!(counts, (5, 6, 1));
        close(found.cache_hit_rate, 0.416_666_666_666_666_63);
        close(found.prefix_reuse_ratio, 0.6);
        assert_eq!((found.min_isl, found.max_isl), (100, 1500));
        assert_eq!((found.min_osl, found.max_osl), (0, 30));
        assert_eq!((found.avg_isl, found.avg_osl), (924.8, 13.0));
        stats(
            found.isl_stats,
            [
                924.8,
                520.057_842_936_725_7,
                100.0,
                600.0,
                1024.0,
                1400.0,
                1500.0,
            ],
        );
        stats(
            found.osl_stats,
            [13.0, 10.770_329_614_269_007, 0.0, 5.0, 10.0, 20.0, 30.0],
        );
        stats(
            found.context_length_stats,
            [
                614.4,
                501.655_499_321_994_9,
                0.0,
                0.0,
                1024.0,
                1024.0,
                1024.0,
            ],
        );
        stats(
            found.unique_prompt_length_stats,
            [
                310.4,
                226.367_488_831_766_65,
                0.0,
                100.0,
                376.0,
                476.0,
                600.0,
            ],
        );
        stats(
            found.hit_rate_stats,
            [
                0.416_666_666_666_666_63,
                0.433_012_701_892_219_3,
                0.0,
                0.0,
                0.333_333_333_333_333_3,
                0.75,
                1.0,
            ],
        );
    }

    #[test]
    fn an_empty_trace_has_no_figures_and_is_no_error() {
        let found = of(b"\n").unwrap();
        assert_eq!(
            (found.total_requests, found.max_isl, found.avg_osl),
            (0, 0, 0.0)
        );
        assert!(found.isl_stats.is_none() && found.hit_rate_stats.is_none());
        let without = of(b"{}\n{\"hash_ids\": null, \"input_length\": 5.0}").unwrap();
        assert_eq!((without.total_requests, without.max_isl), (2, 5));
        assert!(without.hit_rate_stats.is_none());
        // Id 0 is one; ids that contradict the length leave less than nothing.
        let odd = of(b"{\"hash_ids\": [0, 1]}\n{\"hash_ids\": [0, 2]}").unwrap();
        assert_eq!((odd.num_prefix_groups, odd.unique_prefixes), (1, 3));
        assert_eq!(odd.unique_prompt_length_stats.unwrap().min, -512.0);
        close(odd.cache_hit_rate, 0.25);
    }

    #[test]
    fn blocks_that_are_longer_than_an_input_are_found() {
        let mut trace = Trace::default();
        for line in [
            "{\"hash_ids\": [1, 2]}",
            "{\"input_length\": 513, \"hash_ids\": [1, 2]}",
            "{\"input_length\": 1100, \"hash_ids\": [1, 2, 3]}",
        ] {
            trace.read(line.as_bytes()).unwrap();
        }
        assert_eq!(trace.too_long(512), None);
        assert_eq!(trace.too_long(513), Some((2, 513)));
        assert_eq!(Trace::default().too_long(512), None);
    }

    #[test]
    fn a_hit_is_what_any_earlier_line_had_anywhere() {
        let found = of(b"{\"hash_ids\": [7, 8, 7]}\n{\"hash_ids\": [8, 9, 7]}").unwrap();
        close(found.cache_hit_rate, (0.0 + 1.0 / 3.0) / 2.0);
        assert_eq!(found.num_prefix_groups, 0);
    }

    #[test]
    fn faults_name_the_field() {
        for (text, expected) in [
            ("{}\n\nnonsense", "line"),
            ("[1, 2, [3]]", "line"),
            ("{\"input_length\": -1}", "input_length"),
            ("{}\n{\"output_length\": 1.5}", "output_length"),
            ("{\"hash_ids\": [1.5]}", "line"),
            ("{\"hash_ids\": 4}", "line"),
        ] {
            let fault = of(text.as_bytes()).unwrap_err();
            assert_eq!(fault.field, expected, "{fault:?} for {text}");
        }
    }

    /// A whole trace as kvcache-ai/Mooncake has published it.
    fn published(name: &str) -> PathBuf {
        let folder = std::env::var_os("PINFIRE_TRACES").expect("PINFIRE_TRACES names their folder");
        Path::new(&folder).join(name)
    }

    /// The figures that AIPerf has for the published traces.
    #[test]
    #[ignore = "needs the published traces in the folder that PINFIRE_TRACES names"]
    fn the_published_conversation_trace() {
        let found = of(&std::fs::read(published("conversation_trace.jsonl")).unwrap()).unwrap();
        assert_eq!(
            (
                found.total_requests,
                found.unique_prefixes,
                found.num_prefix_groups
            ),
            (12_031, 182_790, 1)
        );
        close(found.cache_hit_rate, 0.384_258_087_463_661_97);
        close(found.prefix_reuse_ratio, 0.519_424_610_051_993);
        stats(
            found.isl_stats,
            [
                12_035.061_341_534_369,
                15_800.344_851_301_792,
                891.0,
                2_306.5,
                6_909.0,
                15_367.0,
                126_195.0,
            ],
        );
        stats(
            found.osl_stats,
            [
                342.618_901_171_972_4,
                249.908_034_562_045_57,
                1.0,
                156.5,
                350.0,
                472.0,
                2_000.0,
            ],
        );
        stats(
            found.context_length_stats,
            [
                6_373.585_487_490_649,
                12_024.627_428_204_118,
                512.0,
                512.0,
                1_536.0,
                7_168.0,
                122_880.0,
            ],
        );
        stats(
            found.unique_prompt_length_stats,
            [
                5_661.475_854_043_721,
                12_353.496_775_322_432,
                0.0,
                350.0,
                594.0,
                6_071.5,
                125_683.0,
            ],
        );
        let hits = found.hit_rate_stats.unwrap();
        close(hits.std_dev, 0.336_512_446_048_757_85);
        close(hits.p25, 0.066_666_666_666_666_67);
        close(hits.median, 0.333_333_333_333_333_3);
        close(hits.p75, 0.666_666_666_666_666_6);
    }

    #[test]
    #[ignore = "needs the published traces in the folder that PINFIRE_TRACES names"]
    fn the_published_synthetic_trace() {
        let found = of(&std::fs::read(published("synthetic_trace.jsonl")).unwrap()).unwrap();
        assert_eq!(
            (
                found.total_requests,
                found.unique_prefixes,
                found.num_prefix_groups
            ),
            (3_993, 43_924, 408)
        );
        close(found.cache_hit_rate, 0.423_235_323_783_485_16);
        close(found.prefix_reuse_ratio, 0.789_353_200_357_737_7);
        stats(
            found.isl_stats,
            [
                15_325.476_584_022_039,
                18_380.153_822_273_725,
                13.0,
                277.0,
                11_587.0,
                23_175.0,
                191_378.0,
            ],
        );
        stats(
            found.osl_stats,
            [
                149.118_958_176_809_43,
                178.148_735_118_746_26,
                1.0,
                11.0,
                69.0,
                250.0,
                893.0,
            ],
        );
        stats(
            found.context_length_stats,
            [
                12_307.656_899_574_255,
                18_305.343_857_766_027,
                0.0,
                0.0,
                2_754.0,
                18_944.0,
                190_976.0,
            ],
        );
        stats(
            found.unique_prompt_length_stats,
            [
                3_017.819_684_447_783_4,
                8_050.661_695_076_262,
                0.0,
                43.0,
                296.0,
                730.0,
                134_773.0,
            ],
        );
        let hits = found.hit_rate_stats.unwrap();
        close(hits.std_dev, 0.474_064_773_797_682_86);
        close(hits.p25, 0.0);
        close(hits.median, 0.0);
        close(hits.p75, 0.966_666_666_666_666_7);
    }
}
