//! Tokenizer and dataset of a run, loaded side by side, with a bar when it takes long.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use pinfire_workload::{
    dataset::{Build, Dataset, file, mooncake, synthetic},
    text::{Wanted, corpus::CorpusText, resolve, tokenizer::Tokenizer},
};

use crate::{input::Input, load::Mode, settings::Settings, terminal::say};

/// What a run sends and counts with.
pub struct Prepared {
    pub dataset: Dataset,
    /// Counts the answers' tokens; absent with server counts.
    pub tokenizer: Option<Tokenizer>,
    pub tokenizer_name: Option<String>,
    pub warnings: Vec<String>,
}

/// Loads the tokenizer and builds the dataset.
///
/// # Errors
/// Neither can be had; the text names the cause and the way out.
pub fn prepare(settings: &Settings) -> Result<Prepared> {
    let model = settings.bodies.models.first().map_or("", String::as_str);
    let synthetic = matches!(settings.input, Input::Synthetic(_));
    let mut warnings = Vec::new();
    if settings.trust_remote_code {
        warnings.push(
            "--tokenizer-trust-remote-code changes nothing: pinfire runs no code of a model; a \
             tokenizer is what its tokenizer.json says"
                .to_owned(),
        );
    }
    // A trace may need prompts too; whether it does is only known once it is read.
    let may_do_without = settings.server_counts && !synthetic;
    let makes_prompts = !matches!(settings.input, Input::File(_));
    let (tokenizer, corpus) = std::thread::scope(|scope| {
        let corpus = scope.spawn(move || makes_prompts.then(CorpusText::inflate).transpose());
        let wanted = Wanted {
            requested: settings.tokenizer.as_deref(),
            model,
            revision: &settings.tokenizer_revision,
            chat_template: settings.chat_template,
        };
        let tokenizer = resolve(&wanted, &|notice| say::line(notice));
        (tokenizer, corpus.join())
    });
    let tokenizer = match tokenizer {
        Ok(resolved) => {
            warnings.extend(resolved.warnings.into_iter().map(|warning| warning.0));
            Some(resolved.tokenizer)
        }
        Err(_) if may_do_without => None,
        Err(error) if settings.server_counts => {
            return Err(error).context(
                "synthetic prompts are made with a tokenizer, also with --use-server-token-count; \
                 `--tokenizer builtin` will do",
            );
        }
        Err(error) => return Err(error.into()),
    };
    let corpus = corpus
        .ok()
        .context("the thread that reads the embedded corpus has ended")??
        .map(Arc::new);
    let build = Build {
        tokenizer: tokenizer.as_ref(),
        corpus,
        bodies: &settings.bodies,
        model_choice: settings.model_choice,
        system_prompt: settings.system_prompt.as_deref(),
        seed: settings.seed.value,
        fixed_seed: settings.seed.fixed,
        threads: settings.places.engine.len() + settings.places.rest.len(),
    };
    // A file is read by its size, prompts are made one by one.
    let name = if makes_prompts {
        "Prompts"
    } else {
        "Dataset (KiB)"
    };
    let bar = settings.ui.bar(name, 0);
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
    };
    let dataset = match &settings.input {
        Input::Synthetic(spec) => synthetic::build(spec, &build, &progress)?,
        Input::Mooncake(spec) => mooncake::build(spec, &build, &progress)?,
        Input::File(spec) => file::build(spec, &build, &progress)?,
    };
    let turns = dataset.turns().count() as f64 / dataset.conversations.len() as f64;
    ensure!(
        synthetic || turns >= 2.0 || !matches!(settings.load.profiling.mode, Mode::Users { .. }),
        "--user-centric-rate needs conversations: the dataset has {turns:.2} turns each, it should be \
         at least 2; for single turns take --request-rate"
    );
    bar.finish_and_clear();
    warnings.extend(dataset.warnings.iter().map(|warning| warning.0.clone()));
    warnings.extend(settings.bodies.notes.take());
    let template = tokenizer.as_ref().and_then(Tokenizer::chat_template);
    if let Some(refused) = template
        .map(|one| one.refusals())
        .filter(|&count| count > 0)
    {
        warnings.push(format!(
            "the model's chat template refused messages {refused} times: these inputs are counted \
             without it"
        ));
    }
    Ok(Prepared {
        dataset,
        tokenizer_name: tokenizer
            .as_ref()
            .map(|tokenizer| tokenizer.name().to_owned()),
        tokenizer: tokenizer.filter(|_| !settings.server_counts),
        warnings,
    })
}
