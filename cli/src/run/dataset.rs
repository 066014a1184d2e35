//! Tokenizer and dataset of a run, loaded side by side, with a bar when it takes long.

use std::{cell::Cell, sync::Arc};

use anyhow::{Context, Result, ensure};
use pinfire_analysis::facts::EntryFacts;
use pinfire_base::{
    clock::{Span, Stamp},
    ready::Ready,
    threads,
};
use pinfire_engine::schedule::{CancelPlan, Sampling};
use pinfire_workload::{
    dataset::{Build, Dataset, file, mooncake, synthetic},
    text::{Wanted, corpus::CorpusText, resolve, runaway, tokenizer::Tokenizer},
};

use crate::{
    cancellation,
    cmd::profile::behind_warmup,
    input::Input,
    inputs::TokenizerFiles,
    load::{Mode, PhaseLoad},
    settings::Settings,
    shards::{self, Sessions},
    terminal::{progress::Ui, say},
};

/// What a run sends and counts with, whole.
pub struct Prepared {
    pub dataset: Dataset,
    /// Counts the answers' tokens; absent with server counts.
    pub tokenizer: Option<Tokenizer>,
    pub tokenizer_files: Option<TokenizerFiles>,
    pub warnings: Vec<String>,
}

/// The same, parted: what is sent is for the cores, the rest for the analysis.
pub struct Workload {
    /// What is sent, turn by turn.
    pub bodies: Arc<Ready>,
    /// What the analysis knows of each turn. A record's entry is the place of its turn among all
    /// turns.
    pub entries: Arc<[EntryFacts]>,
    /// Which requests are cancelled, and when.
    pub cancel: Option<CancelPlan>,
    pub tokenizer: Option<Tokenizer>,
    pub tokenizer_files: Option<TokenizerFiles>,
}

impl Prepared {
    /// Parts it between those who send and those who count.
    ///
    /// # Errors
    /// A plan of cancellations that does not suit the dataset.
    pub fn split(self, settings: &Settings) -> Result<Workload> {
        let asked = settings.cancellation.as_ref();
        let cancel = asked
            .map(|planned| cancellation::plan(planned, settings.seed.value, &self.dataset))
            .transpose()?;
        let mut entries = Vec::with_capacity(self.dataset.turns().count());
        for conversation in &self.dataset.conversations {
            for (place, turn) in (0..).zip(&conversation.turns) {
                entries.push(EntryFacts {
                    session_id: conversation.session_id.clone(),
                    turn: place,
                    isl: turn.isl,
                    requested_osl: turn.osl,
                });
            }
        }
        Ok(Workload {
            bodies: Arc::new(pinfire_workload::dataset::ready(
                self.dataset.conversations,
                self.dataset.source,
            )),
            entries: entries.into(),
            cancel,
            tokenizer: self.tokenizer,
            tokenizer_files: self.tokenizer_files,
        })
    }
}

/// Loads the tokenizer and builds the dataset.
///
/// # Errors
/// Neither can be had; the text names the cause and the way out.
pub fn prepare(settings: &Settings) -> Result<Prepared> {
    let mut warnings = Vec::new();
    if settings.trust_remote_code {
        warnings.push(
            "--tokenizer-trust-remote-code changes nothing: pinfire runs no code of a model; a \
             tokenizer is what its tokenizer.json says"
                .to_owned(),
        );
    }
    let texts = load_texts(settings)?;
    warnings.extend(texts.warnings);
    let dataset = build(settings, texts.tokenizer.as_ref(), texts.corpus)?;
    warnings.extend(dataset.warnings.iter().map(|warning| warning.0.clone()));
    warnings.extend(settings.bodies.notes.take());
    let template = texts.tokenizer.as_ref().and_then(Tokenizer::chat_template);
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
        tokenizer_files: texts.tokenizer.as_ref().map(|tokenizer| TokenizerFiles {
            name: tokenizer.name().to_owned(),
            files: tokenizer.files(),
        }),
        tokenizer: texts.tokenizer.filter(|_| !settings.server_counts),
        warnings,
    })
}

/// What prompts are made of and counted with.
struct Texts {
    tokenizer: Option<Tokenizer>,
    corpus: Option<Arc<CorpusText>>,
    warnings: Vec<String>,
}

/// A dataset that is made of prompts of pinfire's own needs the embedded corpus.
const fn makes_prompts(settings: &Settings) -> bool {
    !matches!(settings.input, Input::File(_))
}

/// Loads tokenizer and corpus side by side.
fn load_texts(settings: &Settings) -> Result<Texts> {
    let model = settings.bodies.models.first().map_or("", String::as_str);
    let wanted = Wanted {
        requested: settings.tokenizer.as_deref(),
        model,
        revision: &settings.tokenizer_revision,
        chat_template: settings.chat_template,
    };
    let makes_prompts = makes_prompts(settings);
    let (resolved, corpus) = std::thread::scope(|scope| {
        let inflate = move || makes_prompts.then(CorpusText::inflate).transpose();
        let corpus = threads::start_in(scope, "pinfire-corpus", inflate);
        let resolved = resolve(&wanted, &|notice| say::line(notice));
        // Where there is no thread for it, one after the other will do.
        let corpus = corpus.map_or_else(|_| Ok(inflate()), |thread| thread.join());
        (resolved, corpus)
    });
    // A trace may need prompts too; whether it does is only known once it is read.
    let may_do_without = settings.server_counts && !matches!(settings.input, Input::Synthetic(_));
    let (tokenizer, warnings) = match resolved {
        Ok(resolved) => {
            let warnings = resolved.warnings.into_iter().map(|warning| warning.0);
            (Some(resolved.tokenizer), warnings.collect())
        }
        Err(_) if may_do_without && !runaway() => (None, Vec::new()),
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
        .context(
            "the reader of the embedded corpus crashed: this is a bug in pinfire, please report it",
        )??
        .map(Arc::new);
    Ok(Texts {
        tokenizer,
        corpus,
        warnings,
    })
}

/// The sessions of each phase, as far as they are known before the dataset is.
fn sessions(settings: &Settings) -> Vec<Sessions> {
    let load = &settings.load;
    let most = |load: &PhaseLoad| {
        let counted = [load.requests, load.sessions].into_iter().flatten().min();
        counted.unwrap_or(u64::MAX)
    };
    let once = matches!(load.profiling.mode, Mode::FixedSchedule);
    let measured = most(&load.profiling);
    let measured_behind = |first| Sessions {
        first,
        most: measured,
        once,
    };
    let Some(warmup) = load.warmup.as_ref().map(most) else {
        return vec![measured_behind(0)];
    };
    let from_start = |most| Sessions {
        first: 0,
        most,
        once: false,
    };
    let mut all = vec![from_start(warmup)];
    if once {
        all.push(measured_behind(0));
        return all;
    }
    let behind = behind_warmup(settings);
    all.extend(behind.map(measured_behind));
    let single = match &settings.input {
        Input::Synthetic(spec) => spec.turns.mean == 1 && spec.turns.stddev < 1.0,
        Input::Mooncake(_) | Input::File(_) => false,
    };
    if !single || behind.is_none() {
        // Behind whole rounds of the numbers.
        let round = settings.shard().round();
        all.push(from_start(
            warmup.saturating_add(measured).saturating_add(round),
        ));
    }
    all
}

/// Preparing is said to go on after this time, ...
const FIRST: Span = Span::from_millis(1_000);
/// ... and then at this distance, ...
const EVERY: Span = Span::from_millis(10_000);
/// ... if more than this is still to be done.
const FEW: usize = 100;

/// Makes or reads the dataset, with a bar.
fn build(
    settings: &Settings,
    tokenizer: Option<&Tokenizer>,
    corpus: Option<Arc<CorpusText>>,
) -> Result<Dataset> {
    let shared = shards::Taken {
        shard: settings.shard(),
        phases: sessions(settings),
        pick: &|session, count| settings.sampling.pick(session, count),
        in_order: matches!(settings.sampling, Sampling::Sequential),
    };
    let build = Build {
        tokenizer,
        corpus,
        bodies: &settings.bodies,
        model_choice: settings.model_choice,
        system_prompt: settings.system_prompt.as_deref(),
        seed: settings.seed.value,
        fixed_seed: settings.seed.fixed,
        taken: &|count| shared.of(count),
        threads: settings.places.threads(),
    };
    // A file is read by its size, prompts are made one by one.
    let name = if makes_prompts(settings) {
        "Prompts"
    } else {
        "Dataset (KiB)"
    };
    let bar = settings.ui.bar(name, 0);
    let told = Cell::new(Stamp::now() - EVERY + FIRST);
    let progress = |done: usize, total: usize| {
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        let now = Stamp::now();
        // Without a bar, and where it is worth a line.
        if settings.ui == Ui::None && total - done > FEW && now.since(told.get()) >= EVERY {
            told.set(now);
            say::line(format_args!("preparing: {done} of {total} {name}"));
        }
    };
    let dataset = match &settings.input {
        Input::Synthetic(spec) => synthetic::build(spec, &build, &progress)?,
        Input::Mooncake(spec) => mooncake::build(spec, &build, &progress)?,
        Input::File(spec) => file::build(spec, &build, &progress)?,
    };
    let turns = dataset.turns().count() as f64 / dataset.conversations.len() as f64;
    ensure!(
        matches!(settings.input, Input::Synthetic(_))
            || turns >= 2.0
            || !matches!(settings.load.profiling.mode, Mode::Users { .. }),
        "--user-centric-rate needs conversations: the dataset has {turns:.2} turns each, it should be \
         at least 2; for single turns take --request-rate"
    );
    bar.finish_and_clear();
    Ok(dataset)
}
