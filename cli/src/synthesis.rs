//! The flags that change a trace, as the engine takes them; no other dataset has them.

use anyhow::{Result, ensure};
use pinfire_workload::dataset::mooncake::Synthesis;

use crate::args::SynthesisFlags;

/// What becomes of a trace.
pub fn decide(flags: &SynthesisFlags) -> Synthesis {
    let same = Synthesis::default();
    let tokens = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    Synthesis {
        prefix_len: flags
            .synthesis_prefix_len_multiplier
            .unwrap_or(same.prefix_len),
        prefix_root: flags
            .synthesis_prefix_root_multiplier
            .unwrap_or(same.prefix_root),
        prompt_len: flags
            .synthesis_prompt_len_multiplier
            .unwrap_or(same.prompt_len),
        output_len: flags
            .synthesis_output_len_multiplier
            .unwrap_or(same.output_len),
        max_isl: flags.synthesis_max_isl.map(tokens),
        max_osl: flags.synthesis_max_osl.map(tokens),
    }
}

/// None of the flags may be given with `dataset`, which is no trace.
///
/// # Errors
/// One is.
pub fn refuse(flags: &SynthesisFlags, dataset: &str) -> Result<()> {
    let all = [
        (
            "--synthesis-prefix-len-multiplier",
            flags.synthesis_prefix_len_multiplier.is_some(),
        ),
        (
            "--synthesis-prefix-root-multiplier",
            flags.synthesis_prefix_root_multiplier.is_some(),
        ),
        (
            "--synthesis-prompt-len-multiplier",
            flags.synthesis_prompt_len_multiplier.is_some(),
        ),
        (
            "--synthesis-output-len-multiplier",
            flags.synthesis_output_len_multiplier.is_some(),
        ),
        ("--synthesis-max-isl", flags.synthesis_max_isl.is_some()),
        ("--synthesis-max-osl", flags.synthesis_max_osl.is_some()),
    ];
    let given = all.into_iter().filter(|(_, given)| *given);
    let given: Vec<&str> = given.map(|(name, _)| name).collect();
    ensure!(
        given.is_empty(),
        "{}: for traces only, not for {dataset}; give a trace with --input-file and \
         --custom-dataset-type mooncake_trace, or leave it out",
        given.join(", ")
    );
    Ok(())
}
