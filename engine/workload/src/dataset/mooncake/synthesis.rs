//! Traces stretched and squeezed: prefixes, prompts and outputs longer or shorter, more prefix
//! trees. Lines in, lines out; nothing is read, made or sent here.
//!
//! An id that occurs twice in the trace is shared. The leading shared blocks of a line are its
//! prefix, the rest of it is its own. A partial last block belongs to the rest: what a server
//! caches are full blocks.

use std::collections::HashMap;

use pinfire_base::{limits::PROMPT_TOKENS, random::Purpose};

use super::line::{Ask, Fault, Line};

/// The longest prompt that may come out, in tokens.
const LONGEST: f64 = PROMPT_TOKENS as f64;

/// How lines are changed; the default changes nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Synthesis {
    /// Factor of the shared prefix, in blocks; above 0.
    pub prefix_len: f64,
    /// Number of separate id spaces over which the lines are spread; at least 1.
    pub prefix_root: u64,
    /// Factor of what is not shared of a prompt, in tokens; above 0.
    pub prompt_len: f64,
    /// Factor of output lengths.
    pub output_len: f64,
    /// Lines whose recorded input is longer are left out; what comes out is cut to it.
    pub max_isl: Option<u32>,
    /// The highest output limit.
    pub max_osl: Option<u32>,
}

impl Default for Synthesis {
    fn default() -> Self {
        Self {
            prefix_len: 1.0,
            prefix_root: 1,
            prompt_len: 1.0,
            output_len: 1.0,
            max_isl: None,
            max_osl: None,
        }
    }
}

impl Synthesis {
    /// Whether prompts change, and with them the ids.
    fn shapes_prompts(&self) -> bool {
        self.prefix_len != 1.0 || self.prefix_root > 1 || self.prompt_len != 1.0
    }

    /// Whether this line is short enough to be sent at all.
    pub(super) fn keeps(&self, line: &Line) -> bool {
        match (&line.ask, self.max_isl) {
            (Ask::Length { tokens, .. }, Some(max)) => *tokens <= max as usize,
            _ => true,
        }
    }

    /// What of the flags changes nothing, since no line of the trace has ids.
    pub(super) fn idle<'a>(&self, lines: impl IntoIterator<Item = &'a Line>) -> bool {
        let has_ids = |line: &Line| matches!(&line.ask, Ask::Length { ids, .. } if !ids.is_empty());
        self.shapes_prompts() && !lines.into_iter().any(has_ids)
    }

    /// An output limit held to the highest.
    pub(super) fn capped(&self, limit: Option<u32>) -> Option<u32> {
        limit.map(|limit| limit.min(self.max_osl.unwrap_or(u32::MAX)))
    }

    /// Changes the lines at `order`, the places of those that are sent, session by session. `roots`
    /// draws the tree of each line, by its place.
    ///
    /// # Errors
    /// A prompt would become too long: the line's number in the file and the fault.
    pub(super) fn apply(
        &self,
        lines: &mut [Line],
        order: &[usize],
        block: usize,
        roots: Purpose,
    ) -> Result<(), (usize, Fault)> {
        for &at in order {
            let line = &mut lines[at];
            let scaled = line.output_length.map(|length| self.output(length));
            line.output_length = self.capped(scaled);
        }
        if self.shapes_prompts() {
            self.stretch(lines, order, block, roots)?;
        }
        Ok(())
    }

    fn output(&self, length: u32) -> u32 {
        let scaled = (f64::from(length) * self.output_len).round_ties_even();
        // Saturates at u32::MAX.
        (scaled as u32).max(1)
    }

    fn stretch(
        &self,
        lines: &mut [Line],
        order: &[usize],
        block: usize,
        roots: Purpose,
    ) -> Result<(), (usize, Fault)> {
        let mut counts: HashMap<i128, u32> = HashMap::new();
        for &at in order {
            if let Ask::Length { ids, .. } = &lines[at].ask {
                for &id in ids {
                    *counts.entry(id).or_default() += 1;
                }
            }
        }
        counts.retain(|_, count| *count > 1);
        let whole = self.prefix_len.max(1.0) as u32;
        let highest = counts.keys().max().copied().unwrap_or(0);
        let mut fresh = Fresh((highest + 1) * i128::from(whole));
        for &at in order {
            let line = &mut lines[at];
            let Ask::Length { tokens, ids } = &mut line.ask else {
                continue;
            };
            if ids.is_empty() {
                continue;
            }
            let fault = |tokens: f64| {
                let reason = format!(
                    "the --synthesis multipliers make {tokens:.0} tokens of it, more than \
                     {LONGEST:.0}; take smaller ones, or add --synthesis-max-isl"
                );
                (line.number, ("input_length", reason))
            };
            *tokens = self
                .line(*tokens, ids, block, &counts, &mut fresh)
                .map_err(fault)?;
        }
        if self.prefix_root > 1 {
            let space = fresh.0 + 1;
            for &at in order {
                if let Ask::Length { ids, .. } = &mut lines[at].ask {
                    let tree = i128::from(roots.at(at as u64).below(self.prefix_root));
                    // Wraps after more ids than any trace has.
                    let shift = tree.wrapping_mul(space);
                    ids.iter_mut().for_each(|id| *id = id.wrapping_add(shift));
                }
            }
        }
        Ok(())
    }

    /// Changes the ids of a line and returns its new length, or what it would be if that is too
    /// much.
    fn line(
        &self,
        tokens: usize,
        ids: &mut Vec<i128>,
        block: usize,
        shared: &HashMap<i128, u32>,
        fresh: &mut Fresh,
    ) -> Result<usize, f64> {
        let full = ids.len().min(tokens / block);
        let shares = |id: &&i128| shared.contains_key(*id);
        let prefix = ids[..full].iter().take_while(shares).count();
        let rest = tokens - prefix * block;
        let factor = self.prefix_len;
        let blocks = match prefix {
            0 => 0.0,
            _ if factor > 1.0 => (prefix as f64 * factor).ceil(),
            _ if factor < 1.0 => (prefix as f64 * factor).floor().max(1.0),
            _ => prefix as f64,
        };
        let own = (rest as f64 * self.prompt_len).floor();
        // A prompt of nothing cannot be sent.
        let wanted = (blocks * block as f64 + own).max(1.0);
        let limit = self.max_isl.map_or(f64::INFINITY, f64::from);
        let length = wanted.min(limit);
        if length > LONGEST {
            return Err(wanted);
        }
        let length = length as usize;
        let own = wanted - blocks * block as f64;
        let whole = factor.max(1.0) as u32;
        let kept = length.div_ceil(block);
        let copies = |id: i128| (0..i128::from(whole)).map(move |n| id * i128::from(whole) + n);
        let mut changed: Vec<i128> = ids[..prefix]
            .iter()
            .flat_map(|&id| copies(id))
            .take((blocks as usize).min(kept))
            .collect();
        // Numbers are used up as if nothing were cut, so that max_isl changes no other line.
        let fraction = (blocks - (prefix as f64 * f64::from(whole)).min(blocks)) as u64;
        let added = fraction.saturating_add((own / block as f64).ceil() as u64);
        let room = kept - changed.len();
        changed.extend(fresh.take(added).take(room));
        *ids = changed;
        Ok(length)
    }
}

/// The latest id that was given away.
struct Fresh(i128);

impl Fresh {
    fn take(&mut self, count: u64) -> impl Iterator<Item = i128> + use<> {
        let from = self.0 + 1;
        self.0 += i128::from(count);
        from..=self.0
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn line(input: usize, output: u32, ids: &[i128]) -> Line {
        let object = json!({"input_length": input, "output_length": output});
        let mut line = Line::from_object(1, object.as_object().unwrap().clone()).unwrap();
        line.ask = Ask::Length {
            tokens: input,
            ids: ids.to_vec(),
        };
        line
    }

    fn three() -> Vec<Line> {
        vec![
            line(20, 5, &[1, 2, 3]),
            line(20, 6, &[1, 2, 4]),
            line(12, 7, &[9, 8]),
        ]
    }

    type Shape = Vec<(usize, Vec<i128>)>;

    fn shape(lines: &[Line]) -> Shape {
        let lengths = lines.iter().filter_map(|line| match &line.ask {
            Ask::Length { tokens, ids } => Some((*tokens, ids.clone())),
            _ => None,
        });
        lengths.collect()
    }

    fn applied(synthesis: Synthesis, lines: &[Line], block: usize) -> Result<Vec<Line>, String> {
        let mut lines = lines.to_vec();
        let order: Vec<usize> = (0..lines.len()).collect();
        synthesis
            .apply(&mut lines, &order, block, Purpose::new(1, "roots"))
            .map_err(|(_, (_, reason))| reason)?;
        Ok(lines)
    }

    fn stretched(synthesis: Synthesis) -> Shape {
        let mut lines = three();
        synthesis
            .stretch(&mut lines, &[0, 1, 2], 8, Purpose::new(1, "roots"))
            .unwrap();
        shape(&lines)
    }

    const SAME: Synthesis = Synthesis {
        prefix_len: 1.0,
        prefix_root: 1,
        prompt_len: 1.0,
        output_len: 1.0,
        max_isl: None,
        max_osl: None,
    };

    fn prefix(prefix_len: f64) -> Synthesis {
        Synthesis { prefix_len, ..SAME }
    }

    fn expect(found: Shape, lengths: [usize; 3], ids: [&[i128]; 3]) {
        let expected: Shape = lengths.into_iter().zip(ids.map(<[i128]>::to_vec)).collect();
        assert_eq!(found, expected);
    }

    /// Lengths and blocks worked out by hand from what each multiplier promises.
    #[test]
    fn golden_vectors() {
        expect(
            stretched(SAME),
            [20, 20, 12],
            [&[1, 2, 4], &[1, 2, 5], &[6, 7]],
        );
        expect(
            stretched(prefix(2.0)),
            [36, 36, 12],
            [&[2, 3, 4, 5, 7], &[2, 3, 4, 5, 8], &[9, 10]],
        );
        expect(
            stretched(prefix(1.5)),
            [28, 28, 12],
            [&[1, 2, 4, 5], &[1, 2, 6, 7], &[8, 9]],
        );
        expect(
            stretched(prefix(0.5)),
            [12, 12, 12],
            [&[1, 4], &[1, 5], &[6, 7]],
        );
        let longer = Synthesis {
            prompt_len: 3.0,
            ..SAME
        };
        expect(
            stretched(longer),
            [28, 28, 36],
            [&[1, 2, 4, 5], &[1, 2, 6, 7], &[8, 9, 10, 11, 12]],
        );
        let held = Synthesis {
            prompt_len: 2.0,
            max_isl: Some(15),
            ..SAME
        };
        expect(stretched(held), [15, 15, 15], [&[1, 2], &[1, 2], &[6, 7]]);
        let halved = Synthesis {
            output_len: 0.5,
            ..SAME
        };
        let outputs = applied(halved, &three(), 8).unwrap();
        let outputs: Vec<_> = outputs.iter().map(|line| line.output_length).collect();
        assert_eq!(outputs, [2, 3, 4].map(Some));
    }

    #[test]
    fn ids_stay_unless_prompts_change() {
        let only = Synthesis {
            output_len: 2.0,
            max_isl: Some(100),
            max_osl: Some(11),
            ..SAME
        };
        let lines = applied(only, &three(), 8).unwrap();
        assert_eq!(shape(&lines), shape(&three()));
        let outputs: Vec<_> = lines.iter().map(|line| line.output_length).collect();
        assert_eq!(outputs, [10, 11, 11].map(Some));
        let nothing = Synthesis {
            output_len: 0.0,
            ..SAME
        };
        let lines = applied(nothing, &three(), 8).unwrap();
        assert!(lines.iter().all(|line| line.output_length == Some(1)));
    }

    #[test]
    fn a_shared_partial_block_belongs_to_the_rest_and_the_tail_too() {
        let twice = [line(12, 1, &[1, 2]), line(12, 1, &[1, 2])];
        let lines = applied(prefix(2.0), &twice, 8).unwrap();
        assert_eq!(shape(&lines), [(20, vec![2, 3, 7]), (20, vec![2, 3, 8])]);
        let tailed = [line(29, 1, &[1, 2]), line(29, 1, &[1, 2])];
        let longer = Synthesis {
            prompt_len: 2.0,
            ..SAME
        };
        let lines = applied(longer, &tailed, 8).unwrap();
        assert_eq!(shape(&lines)[0], (42, vec![1, 2, 4, 5, 6, 7]));
    }

    #[test]
    fn a_prompt_is_never_empty_nor_endless() {
        let squeezed = Synthesis {
            prompt_len: 0.01,
            ..SAME
        };
        let lines = applied(squeezed, &three(), 8).unwrap();
        assert_eq!(shape(&lines)[2], (1, vec![4]));
        let endless = Synthesis {
            prompt_len: 1e300,
            ..SAME
        };
        let error = applied(endless, &three(), 8).unwrap_err();
        assert!(error.contains("--synthesis-max-isl"), "{error}");
        let held = Synthesis {
            max_isl: Some(30),
            prompt_len: 1e6,
            ..SAME
        };
        assert!(applied(held, &three(), 8).is_ok());
        assert!(applied(prefix(1e18), &three(), 8).is_err());
        // More numbers than can be counted, of which the limit leaves a few.
        let vast = Synthesis {
            prefix_len: 1e300,
            prompt_len: 1e30,
            ..held
        };
        let fraction = Synthesis {
            prefix_len: 1.5,
            prompt_len: 1e30,
            ..held
        };
        for synthesis in [vast, fraction] {
            let lines = shape(&applied(synthesis, &three(), 8).unwrap());
            assert!(
                lines
                    .iter()
                    .all(|(tokens, ids)| *tokens == 30 && ids.len() == 4)
            );
        }
    }

    #[test]
    fn roots_move_whole_lines_into_separate_trees() {
        let lines: Vec<Line> = (0..400).map(|n| line(20, 1, &[1, 2, 100 + n])).collect();
        let split = Synthesis {
            prefix_root: 4,
            ..SAME
        };
        let lines = shape(&applied(split, &lines, 8).unwrap());
        let space = 403 + 1;
        let mut hits = [0; 4];
        for (tokens, ids) in lines {
            let tree = ids[0] / space;
            assert_eq!((tokens, ids[0] % space, ids[1] % space), (20, 1, 2));
            assert!(ids.iter().all(|id| id / space == tree));
            hits[tree as usize] += 1;
        }
        assert!(hits.iter().all(|&n| n > 60), "{hits:?}");
    }

    fn lines(block: usize) -> impl Strategy<Value = Vec<Line>> {
        let one = (
            proptest::collection::vec(0_i128..12, 0..6),
            0..block,
            any::<bool>(),
        );
        proptest::collection::vec(one, 0..12).prop_map(move |lines| {
            let made = lines.into_iter().map(|(ids, more, partial)| {
                let full = ids.len() * block;
                let tokens = if partial && !ids.is_empty() {
                    full - more
                } else {
                    full + more
                };
                line(tokens.max(1), 1, &ids)
            });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn identity_keeps_lengths_and_every_result_can_be_laid_out(
            lines in lines(8),
            prefix_len in prop_oneof![Just(1.0), 0.01_f64..4.0],
            prompt_len in prop_oneof![Just(1.0), 0.01_f64..4.0],
            prefix_root in 1_u64..4,
            max_isl in proptest::option::of(1_u32..60),
        ) {
            let order: Vec<usize> = (0..lines.len()).collect();
            let mut same = lines.clone();
            SAME.stretch(&mut same, &order, 8, Purpose::new(1, "roots")).unwrap();
            for ((before, ids), (after, _)) in shape(&lines).iter().zip(shape(&same)) {
                // One with partial blocks only at its end keeps its length.
                prop_assert_eq!(*before, after, "{:?}", ids);
            }
            let synthesis = Synthesis { prefix_len, prefix_root, prompt_len, max_isl, ..SAME };
            let changed = applied(synthesis, &lines, 8).unwrap();
            for ((_, before), (tokens, ids)) in shape(&lines).iter().zip(shape(&changed)) {
                prop_assert!(tokens >= 1);
                if !before.is_empty() && synthesis.shapes_prompts() {
                    prop_assert_eq!(ids.len(), tokens.div_ceil(8));
                    prop_assert!(max_isl.is_none_or(|max| tokens <= max as usize));
                    prop_assert!(layout(tokens, ids.len(), 8).is_ok());
                }
            }
        }
    }
}
