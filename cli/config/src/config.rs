//! The configuration itself, made of its sections, and its forms.

use std::{collections::HashMap, path::PathBuf, sync::OnceLock};

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches, error::ErrorKind};
use serde::{Deserialize, Serialize};

use crate::{
    command::{OPPOSITES, Opposite, flag, with_switches},
    secret, sections,
    source::Sourced,
    wire::{self, Wire},
};

macro_rules! run_config {
    ($($field:ident: $section:ident, $heading:literal;)*) => {
        /// Everything that was asked of a run, and what it takes where nothing was asked.
        #[derive(clap::Args, Clone, PartialEq, Debug)]
        #[expect(missing_docs, reason = "the sections say it")]
        pub struct RunConfig {
            $(
                #[command(flatten, next_help_heading = $heading)]
                pub $field: sections::$section,
            )*
        }

        impl RunConfig {
            /// All settings by name, with values and sources.
            pub fn wire(&self) -> Wire {
                let mut wire = Wire::default();
                $(wire.take_in(wire::section(&self.$field));)*
                wire
            }

            /// The configuration of these settings, all others being at their defaults.
            ///
            /// # Errors
            /// A setting that is not there, a value that it does not take, or one that does not say
            /// where it comes from.
            pub fn of_wire(wire: &Wire) -> Result<Self, String> {
                check_names(wire)?;
                wire.check()?;
                let mut whole = default_wire().clone();
                whole.overlay(wire);
                Self::of_whole(&whole)
            }

            /// Takes over what was given there.
            pub fn overlay(&mut self, over: Self) {
                $(self.$field.overlay(over.$field);)*
            }

            fn of_whole(whole: &Wire) -> Result<Self, String> {
                Ok(Self { $($field: whole.section()?,)* })
            }
        }
    };
}

run_config! {
    endpoint: Endpoint, "Endpoint";
    load: Load, "Load";
    warmup: Warmup, "Warmup";
    cancellation: Cancellation, "Cancellation";
    input: Input, "Input";
    conversations: Conversations, "Conversations";
    rankings: Rankings, "Rankings";
    schedule: Schedule, "Fixed schedule";
    synthesis: Synthesis, "Trace synthesis";
    tokenizer: Tokenizer, "Tokenizer";
    output: Output, "Output";
    watch: Watch, "Server metrics and GPUs";
    sweep: Sweep, "Sweeps and repeated runs (docs/SWEEPS.md)";
    shards: Shards, "Shards (docs/SHARDS.md)";
    engine: Engine, "Engine";
}

/// A setting that names a file which a run reads.
#[derive(Debug)]
pub struct FileSetting<'a> {
    /// Its flag.
    pub flag: &'static str,
    /// The setting itself.
    pub path: &'a mut Option<Sourced<PathBuf>>,
    /// Where several processes make a run, what is in the file must be the same for all of them;
    /// else it is of one machine.
    pub is_common: bool,
}

impl RunConfig {
    /// The settings that name files which a run reads: the one table of them.
    pub const fn files_mut(&mut self) -> [FileSetting<'_>; 6] {
        const fn common<'a>(
            flag: &'static str,
            path: &'a mut Option<Sourced<PathBuf>>,
        ) -> FileSetting<'a> {
            FileSetting {
                flag,
                path,
                is_common: true,
            }
        }
        [
            common("--input-file", &mut self.input.input_file),
            common("--ca-cert", &mut self.endpoint.ca_cert),
            common("--request-rate-series", &mut self.load.request_rate_series),
            common(
                "--system-prompt-file",
                &mut self.conversations.system_prompt_file,
            ),
            FileSetting {
                is_common: false,
                ..common("--calibration", &mut self.output.calibration)
            },
            common("--release-profile", &mut self.watch.release_profile),
        ]
    }

    /// The files and folders whose contents must be the same for all processes of a run, with the
    /// flags that name them.
    pub fn common_files(&self) -> Vec<(&'static str, PathBuf)> {
        let mut own = self.clone();
        let common = own.files_mut().into_iter().filter(|file| file.is_common);
        let named = common.filter_map(|file| Some((file.flag, file.path.as_ref()?.value.clone())));
        named.collect()
    }

    /// Of the form that travels and is stored. A change that an older pinfire would misread has
    /// another number.
    pub const VERSION: u32 = 1;

    /// The guarded texts of the configuration, with the settings that hold them.
    pub(crate) fn guarded_mut(
        &mut self,
    ) -> impl Iterator<Item = (&'static str, &mut secret::Guarded)> {
        let key = self.endpoint.api_key.iter_mut();
        let key = key.map(|one| ("--api-key", one.value.as_mut()));
        let headers = self.endpoint.header.iter_mut();
        let headers = headers.map(|one| ("--header", one.value.as_mut()));
        let urls = self.endpoint.url.iter_mut();
        let urls = urls.map(|one| ("--url", one.value.as_mut()));
        let pages = self.watch.server_metrics.iter_mut();
        let pages = pages.map(|one| ("--server-metrics", one.value.as_mut()));
        let gpus = self.watch.gpu_telemetry.iter_mut();
        let gpus = gpus.map(|one| ("--gpu-telemetry", one.value.as_mut()));
        let path = self.endpoint.endpoint.iter_mut();
        let path = path.map(|one| ("--endpoint", one.value.as_mut()));
        let fields = self.input.extra_inputs.iter_mut();
        let fields = fields.map(|one| ("--extra-inputs", one.value.as_mut()));
        let all = key.chain(headers).chain(urls).chain(pages).chain(gpus);
        all.chain(path).chain(fields)
    }

    /// The settings that may hold credentials, with them: to be compared, never to be shown.
    pub fn exposed(&self) -> Vec<String> {
        let mut own = self.clone();
        let exposed = own.guarded_mut();
        exposed
            .map(|(flag, guarded)| format!("{flag} {}", guarded.expose()))
            .collect()
    }

    /// Nothing but the settings that may hold credentials.
    #[must_use]
    pub fn credentials(&self) -> Self {
        let mut only = Self::default();
        only.endpoint.api_key.clone_from(&self.endpoint.api_key);
        only.endpoint.header.clone_from(&self.endpoint.header);
        only.endpoint.url.clone_from(&self.endpoint.url);
        only.endpoint.endpoint.clone_from(&self.endpoint.endpoint);
        only.watch
            .server_metrics
            .clone_from(&self.watch.server_metrics);
        only.watch
            .gpu_telemetry
            .clone_from(&self.watch.gpu_telemetry);
        only.input.extra_inputs.clone_from(&self.input.extra_inputs);
        only
    }

    /// Gives credentials that differ references that differ.
    pub(crate) fn name_secrets(&mut self) {
        secret::name_apart(self.guarded_mut().map(|(_, guarded)| guarded));
    }

    /// Puts credentials in where a stored configuration has only references to them.
    ///
    /// # Errors
    /// One is not there; the text names the setting.
    pub fn fill_secrets(&mut self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        for (flag, guarded) in self.guarded_mut() {
            secret::fill(guarded, lookup).map_err(|variable| {
                format!("credentials are not stored; give {flag} again, or set {variable}")
            })?;
        }
        Ok(())
    }

    /// The configuration of one run, without what says how several are made.
    #[must_use]
    pub fn without_sweep(mut self) -> Self {
        self.sweep = Self::default().sweep;
        self
    }
}

impl Default for RunConfig {
    fn default() -> Self {
        defaults()
    }
}

/// The form that travels.
#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    settings: Wire,
}

impl Serialize for RunConfig {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        Envelope {
            version: Self::VERSION,
            settings: self.wire(),
        }
        .serialize(to)
    }
}

impl<'de> Deserialize<'de> for RunConfig {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let envelope = Envelope::deserialize(from)?;
        if envelope.version != Self::VERSION {
            return Err(serde::de::Error::custom(format!(
                "a configuration of version {}; this pinfire reads {}",
                envelope.version,
                Self::VERSION
            )));
        }
        Self::of_wire(&envelope.settings).map_err(serde::de::Error::custom)
    }
}

impl RunConfig {
    /// Whether both ask for the same, wherever their values come from.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.wire().values() == other.wire().values()
    }
}

/// The settings that a run takes where nothing is given.
fn default_wire() -> &'static Wire {
    static DEFAULTS: OnceLock<Wire> = OnceLock::new();
    DEFAULTS.get_or_init(|| defaults().wire())
}

/// Whether there are such settings at all.
fn check_names(wire: &Wire) -> Result<(), String> {
    let known = settings();
    match wire.all().find(|(name, _)| known.get(name).is_none()) {
        Some((name, _)) => Err(format!("there is no setting `{name}`")),
        None => Ok(()),
    }
}

/// The flags of a configuration, without those of any command.
pub fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| {
        let command = RunConfig::augment_args(Command::new("pinfire"));
        let mut command = with_switches(command.disable_help_flag(true));
        command.build();
        Settings(command)
    })
}

/// All settings, as flags.
pub struct Settings(Command);

impl Settings {
    /// All of them, in the order of their declaration; opposites behind.
    pub fn all(&self) -> impl Iterator<Item = &Arg> {
        self.0.get_arguments()
    }

    /// The setting of this name.
    pub fn get(&self, name: &str) -> Option<&Arg> {
        static PLACES: OnceLock<HashMap<String, usize>> = OnceLock::new();
        let places = PLACES.get_or_init(|| {
            let all = self.all().enumerate();
            all.map(|(at, flag)| (flag.get_id().to_string(), at))
                .collect()
        });
        self.all().nth(*places.get(name)?)
    }

    /// The setting that a key or flag of this name gives, in any writing, aliases included.
    pub fn named(&self, name: &str) -> Option<&Arg> {
        let name = name.replace('_', "-");
        self.all().find(|flag| {
            let names = flag.get_long_and_visible_aliases().unwrap_or_default();
            names.contains(&name.as_str())
        })
    }
}

/// What a run takes where nothing is given.
#[expect(
    clippy::expect_used,
    reason = "the defaults are constants of the declaration, and a test reads them"
)]
pub(crate) fn defaults() -> RunConfig {
    let matches = settings()
        .0
        .clone()
        .try_get_matches_from(["pinfire"])
        .expect("no setting is required");
    RunConfig::from_arg_matches(&matches).expect("the defaults are values")
}

impl RunConfig {
    /// What was typed, and defaults.
    ///
    /// # Errors
    /// A switch was given together with its opposite.
    pub fn typed(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut config = Self::from_arg_matches(matches)?;
        for Opposite { name, .. } in OPPOSITES {
            let opposite = matches.get_one::<Sourced<bool>>(&format!("no_{name}"));
            let Some(opposite) = opposite else { continue };
            if config.switch(name).is_some() {
                let said = format!(
                    "{} and its opposite exclude each other: leave one out",
                    flag(name)
                );
                return Err(clap::Error::raw(ErrorKind::ArgumentConflict, said));
            }
            *config.switch(name) = Some(Sourced {
                value: !opposite.value,
                source: opposite.source.clone(),
            });
        }
        config.name_secrets();
        Ok(config)
    }

    /// A switch that has an opposite.
    fn switch(&mut self, name: &str) -> &mut Option<Sourced<bool>> {
        match name {
            "fixed_schedule" => &mut self.schedule.fixed_schedule,
            "parameter_sweep_same_seed" => &mut self.sweep.parameter_sweep_same_seed,
            "profile_run_disable_warmup_after_first" => {
                &mut self.sweep.profile_run_disable_warmup_after_first
            }
            "set_consistent_seed" => &mut self.sweep.set_consistent_seed,
            "vary_seed_per_trial" => &mut self.sweep.vary_seed_per_trial,
            other => unreachable!("{other} has no opposite"),
        }
    }
}

/// A configuration as part of a command's flags: what was typed, and defaults.
#[derive(Clone, PartialEq, Debug)]
pub struct Typed(pub RunConfig);

impl Args for Typed {
    fn augment_args(command: Command) -> Command {
        RunConfig::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        RunConfig::augment_args_for_update(command)
    }
}

impl FromArgMatches for Typed {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        RunConfig::typed(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_flags_are_sound() {
        settings().0.clone().debug_assert();
        assert_eq!(defaults(), RunConfig::default());
        let mut config = defaults();
        for Opposite { name, .. } in OPPOSITES {
            assert!(config.switch(name).is_none());
            assert!(settings().get(name).is_some(), "{name}");
        }
    }

    #[test]
    fn every_setting_of_a_path_is_in_the_table_of_files() {
        let path = settings().named("input-file").unwrap();
        let kind = path.get_value_parser().type_id();
        let of_paths = settings()
            .all()
            .filter(|flag| flag.get_value_parser().type_id() == kind);
        let named: BTreeSet<String> = of_paths
            .map(|flag| format!("--{}", flag.get_long().unwrap()))
            .collect();
        let mut config = defaults();
        let table = config.files_mut();
        let mut table: BTreeSet<String> = table.iter().map(|file| file.flag.to_owned()).collect();
        // It is written, not read.
        table.insert("--artifact-dir".to_owned());
        assert_eq!(named, table);
    }
}
