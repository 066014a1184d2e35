//! The settings that change a trace, as the engine takes them; no other dataset has them.

use anyhow::Result;
use pinfire_config::{Get, command::flag, demand, sections};
use pinfire_workload::dataset::mooncake::Synthesis;

/// What becomes of a trace.
pub fn decide(asked: &sections::Synthesis) -> Synthesis {
    let same = Synthesis::default();
    let tokens = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let prefix_len = asked.synthesis_prefix_len_multiplier.get();
    let prefix_root = asked.synthesis_prefix_root_multiplier.get();
    let prompt_len = asked.synthesis_prompt_len_multiplier.get();
    let output_len = asked.synthesis_output_len_multiplier.get();
    Synthesis {
        prefix_len: prefix_len.unwrap_or(same.prefix_len),
        prefix_root: prefix_root.unwrap_or(same.prefix_root),
        prompt_len: prompt_len.unwrap_or(same.prompt_len),
        output_len: output_len.unwrap_or(same.output_len),
        max_isl: asked.synthesis_max_isl.get().map(tokens),
        max_osl: asked.synthesis_max_osl.get().map(tokens),
    }
}

/// None of the settings may be given with `dataset`, which is no trace.
///
/// # Errors
/// One is.
pub fn refuse(asked: &sections::Synthesis, dataset: &str) -> Result<()> {
    let given: Vec<String> = asked.given().into_iter().map(flag).collect();
    demand!(
        given.is_empty(),
        [asked],
        "{}: for traces only, not for {dataset}; give a trace with --input-file and \
         --custom-dataset-type mooncake_trace, or leave it out",
        given.join(", ")
    );
    Ok(())
}
