//! The readiness probe: every server is asked for every model before the run, by the engine itself,
//! so that a server which answers here is one that the run can reach.

use std::{sync::Arc, time::Duration};

use anyhow::{Result, bail};
use pinfire_analysis::reading::{Reading, Rules, Target as ServerName, Verdict};
use pinfire_base::{
    clock::{Span, Stamp},
    ready::Ready,
    record::{Keep, MarkKind, Outcome, Phase, Record},
    url::TargetUrl,
};
use pinfire_config::words::ProbeQuestion;
use pinfire_dialect::{Answers, BodyOptions, EndpointKind};
use pinfire_engine::{
    plan::{PhasePlan, Reuse, Target},
    run::Engine,
    schedule::{Limit, Sampling, Schedule},
};
use pinfire_workload::dataset::one_token;

use super::{PreparedRun, request::target};
use crate::{readiness::Probe, settings::Settings, terminal::say, transport::Reached};

/// An attempt has at least so long: a first token may wait for kernels to be compiled.
const INFERENCE_LEAST: f64 = 30.0;
/// A list of models has nothing to wait for.
const MODELS_LEAST: f64 = 5.0;
/// How often the control side looks whether an attempt has ended.
const LOOK: Duration = Duration::from_millis(10);

/// One question to one server.
#[derive(Clone, Copy)]
enum Question {
    Models,
    /// Whether it is there at all: for servers without a list of models.
    Base,
    Inference,
}

impl Probe {
    /// Waits until every server has answered for every model.
    ///
    /// # Errors
    /// One has not in its time; the text says what its last answer was.
    pub fn wait(&self, run: &mut PreparedRun<'_>) -> Result<()> {
        let PreparedRun {
            settings,
            servers,
            engine,
            ..
        } = run;
        let questions: &[Question] = match self.mode {
            ProbeQuestion::Models => &[Question::Models],
            ProbeQuestion::Inference => &[Question::Inference],
            ProbeQuestion::Both => &[Question::Models, Question::Inference],
        };
        if self.mode != ProbeQuestion::Models && !one_token(&settings.bodies)?.1 {
            say::warning(format_args!(
                "{} has no request of one word: the servers are asked with one of chat",
                settings.bodies.endpoint.name()
            ));
        }
        for server in &*servers {
            for model in &settings.bodies.models {
                let asked = Asked {
                    settings,
                    server,
                    model,
                };
                for &question in questions {
                    self.ask(asked, question, engine)?;
                }
            }
        }
        Ok(())
    }

    fn ask(&self, asked: Asked<'_>, question: Question, engine: &mut Engine) -> Result<()> {
        let Asked { server, model, .. } = asked;
        let end = Stamp::now() + self.budget;
        let mut tries = 0;
        loop {
            tries += 1;
            let begun = Stamp::now();
            let record = self.attempt(asked, question, end, engine)?;
            let reason = match unready(&record, question, model, &server.base) {
                Some(NotThere::ListMissing) => {
                    let record = self.attempt(asked, Question::Base, end, engine)?;
                    unready(&record, Question::Base, model, &server.base)
                        .map(|_| "neither /v1/models nor the URL itself is there".to_owned())
                }
                Some(NotThere::Because(reason)) => Some(reason),
                None => None,
            };
            let Some(reason) = reason else { return Ok(()) };
            let next = begun + self.interval;
            if next >= end {
                bail!(
                    "{} was not ready for model {model} within {} s ({tries} {}, the last: \
                     {reason}); nothing was measured. Look at the server, or raise \
                     --wait-for-model-timeout",
                    server.base,
                    self.budget.as_secs_f64(),
                    if tries == 1 { "try" } else { "tries" },
                );
            }
            if tries == 1 {
                say::line(format_args!(
                    "waiting for {} to serve {model} ({reason})",
                    server.base
                ));
            }
            let rest = next.since(Stamp::now());
            std::thread::sleep(Duration::from_nanos(rest.nanos()));
        }
    }

    /// One request, as a phase of its own.
    fn attempt(
        &self,
        asked: Asked<'_>,
        question: Question,
        end: Stamp,
        engine: &mut Engine,
    ) -> Result<Record> {
        let (target, body) = asked.request(question)?;
        let least = match question {
            Question::Inference => INFERENCE_LEAST,
            Question::Models | Question::Base => MODELS_LEAST,
        };
        let timeout = self.interval.max(Span::from_secs_f64(least));
        let left = end.since(Stamp::now()).max(Span::from_millis(1));
        let plan = Arc::new(PhasePlan {
            phase: Phase::Warmup,
            targets: Arc::new([target]),
            dialling: asked.settings.transport.dialling.clone(),
            dataset: Arc::new(Ready::singles(vec![body])),
            sampling: Sampling::Sequential,
            answers: Answers::of(EndpointKind::Raw),
            first_session: 0,
            schedule: Schedule::closed(1),
            concurrency: Some(Limit::of(1)),
            backs_off: false,
            prefill: None,
            duration: None,
            grace: None,
            cancel: None,
            id_key: crate::settings::random_bits()?,
            timeout: timeout.min(left),
            // The run's connections are its own.
            reuse: Reuse::Never,
            keep: Keep::default(),
        });
        engine.begin(&plan);
        while engine.wait(plan.phase, LOOK)?.is_none() {}
        // A phase that has ended has given up all its records.
        match engine.records().try_recv() {
            Ok(record) => Ok(record),
            Err(_) => bail!(
                "the readiness probe left no record: this is a bug in pinfire, please report it"
            ),
        }
    }
}

/// Who is asked for what.
#[derive(Clone, Copy)]
struct Asked<'a> {
    settings: &'a Settings,
    server: &'a Reached,
    model: &'a str,
}

impl Asked<'_> {
    fn request(self, question: Question) -> Result<(Target, Vec<u8>)> {
        let Self {
            settings, server, ..
        } = self;
        let get = |path: &str| -> Result<_> {
            let url = TargetUrl::join(&server.base, path)?;
            Ok((target(settings, server, &url, true)?, Vec::new()))
        };
        match question {
            Question::Models => get("/v1/models"),
            Question::Base => get(""),
            Question::Inference => {
                let bodies = BodyOptions {
                    models: vec![self.model.to_owned()],
                    streaming: false,
                    ..settings.bodies.clone()
                };
                let (body, _) = one_token(&bodies)?;
                Ok((target(settings, server, &server.url, false)?, body))
            }
        }
    }
}

/// Why a server is not ready yet.
#[derive(Debug, PartialEq, Eq)]
enum NotThere {
    /// It has no list of models (404).
    ListMissing,
    Because(String),
}

/// `None` for an answer that will do.
fn unready(record: &Record, question: Question, model: &str, base: &str) -> Option<NotThere> {
    let because = |reason: String| Some(NotThere::Because(reason));
    let status = record.wire.status;
    if record.outcome != Outcome::Complete {
        let rules = Rules {
            target: ServerName::of_urls(&[base.to_owned()]),
            ..Rules::default()
        };
        return match Reading::of(record, &rules).verdict {
            Verdict::Error(problem) => because(format!("{}: {}", problem.kind, problem.message)),
            _ => because("it was interrupted".to_owned()),
        };
    }
    let fine = match question {
        Question::Inference => status < 500,
        Question::Models | Question::Base => (200..300).contains(&status),
    };
    match question {
        Question::Models if status == 404 => Some(NotThere::ListMissing),
        _ if !fine => because(format!("HTTP status {status}")),
        Question::Models if !lists(record, model) => {
            because(format!("/v1/models does not list {model}"))
        }
        _ => None,
    }
}

/// Whether the body is a list of models with this one in it.
fn lists(record: &Record, model: &str) -> bool {
    record.transcript.iter().any(|mark| {
        mark.kind == MarkKind::Body
            && serde_json::from_slice::<serde_json::Value>(mark.bytes).is_ok_and(|list| {
                let models = list["data"].as_array();
                models.is_some_and(|models| models.iter().any(|one| one["id"] == model))
            })
    })
}
