//! The settings of which a list makes a sweep.

use serde_json::Value as Json;

use crate::{
    RunConfig,
    setting::{Listed, Setting},
    source::{Given, Place, Source, Sourced},
};

/// A setting that takes a list.
pub struct Axis {
    /// Its name.
    pub name: &'static str,
    /// Where its value belongs in AIPerf's configuration; the order of a grid follows it.
    pub path: &'static str,
    /// In folder names and tables.
    pub short: &'static str,
    texts: fn(&RunConfig) -> Vec<String>,
    places: fn(&RunConfig) -> Vec<Place>,
    set: fn(&mut RunConfig, &str) -> Result<(), String>,
}

impl std::fmt::Debug for Axis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

macro_rules! axes {
    ($($path:literal $short:literal $section:ident.$field:ident;)*) => {
        &[$(Axis {
            name: stringify!($field),
            path: $path,
            short: $short,
            texts: |config| texts(&config.$section.$field),
            places: |config| config.$section.$field.places(),
            set: |config, text| set(&mut config.$section.$field, text),
        }),*]
    };
}

/// All of them, by path.
#[rustfmt::skip]
pub static AXES: &[Axis] = axes! {
    "datasets.main.prompts.isl.mean" "isl" input.isl;
    "datasets.main.prompts.isl.stddev" "isl_stddev" input.isl_stddev;
    "datasets.main.prompts.osl.mean" "osl" input.osl;
    "datasets.main.prompts.osl.stddev" "osl_stddev" input.osl_stddev;
    "datasets.main.turns.mean" "turns" conversations.session_turns_mean;
    "phases.profiling.cancellation.delay" "delay" cancellation.request_cancellation_delay;
    "phases.profiling.cancellation.rate" "cancel" cancellation.request_cancellation_rate;
    "phases.profiling.concurrency" "concurrency" load.concurrency;
    "phases.profiling.duration" "duration" load.benchmark_duration;
    "phases.profiling.prefill_concurrency" "prefill_concurrency" load.prefill_concurrency;
    "phases.profiling.rate" "rate" load.request_rate;
    "phases.profiling.requests" "requests" load.request_count;
    "phases.profiling.sessions" "sessions" conversations.num_conversations;
    "phases.profiling.users" "users" load.num_users;
};

fn texts<T: Setting>(setting: &Option<Sourced<Listed<T>>>) -> Vec<String> {
    let values = setting.iter().flat_map(|setting| setting.value.all());
    values.map(Setting::shown).collect()
}

fn set<T: Setting>(setting: &mut Option<Sourced<Listed<T>>>, text: &str) -> Result<(), String> {
    let value = Listed::parse_element(text)?;
    // One of the values that were given comes from where they come from.
    let before = setting.take();
    let source = before.map_or(Source::Derived, |before| before.source);
    *setting = Some(Sourced { value, source });
    Ok(())
}

impl Axis {
    /// The axis of the setting of this name.
    pub fn named(name: &str) -> Option<&'static Self> {
        AXES.iter().find(|axis| axis.name == name)
    }

    /// The flag of the setting.
    pub fn flag(&self) -> String {
        crate::command::flag(self.name)
    }

    /// The values that the configuration has for it.
    pub fn texts(&self, config: &RunConfig) -> Vec<String> {
        (self.texts)(config)
    }

    /// Whether the configuration has a value for it, and where that was given.
    pub fn given<'a>(&'a self, config: &'a RunConfig) -> impl Given + 'a {
        struct Of<'a>(&'a Axis, &'a RunConfig);
        impl Given for Of<'_> {
            fn is_given(&self) -> bool {
                !self.0.texts(self.1).is_empty()
            }
            fn places(&self) -> Vec<Place> {
                (self.0.places)(self.1)
            }
        }
        Of(self, config)
    }

    /// Gives the configuration this value alone. No cancelling at all is a value of its rate.
    ///
    /// # Errors
    /// The setting does not take it.
    pub fn set(&self, config: &mut RunConfig, text: &str) -> Result<(), String> {
        (self.set)(config, text).map_err(|reason| format!("{} {text}: {reason}", self.flag()))?;
        config.cancel_nothing_at_zero();
        Ok(())
    }

    /// A value for files: a number as such, anything else as text.
    pub fn value(text: &str) -> Json {
        if let Ok(whole) = text.parse::<u64>() {
            return whole.into();
        }
        let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
        number.map_or_else(|| text.into(), Into::into)
    }
}

impl RunConfig {
    /// The axes of which the configuration has several values.
    pub fn swept(&self) -> Vec<&'static Axis> {
        let several = |axis: &&Axis| axis.texts(self).len() > 1;
        AXES.iter().filter(several).collect()
    }

    /// A rate of 0 leaves nothing of planned cancelling, wherever the rest of it comes from.
    fn cancel_nothing_at_zero(&mut self) {
        let asked = &mut self.cancellation;
        let rate = asked.request_cancellation_rate.as_ref();
        if rate.is_some_and(|rate| !rate.value.is_several() && rate.get() == 0.0) {
            asked.request_cancellation_rate = None;
            asked.request_cancellation_delay = None;
            asked.request_cancellation_trigger = None;
            asked.request_cancellation_mode = None;
            asked.request_cancellation_wave = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted() {
        assert!(AXES.is_sorted_by_key(|axis| axis.path));
        for axis in AXES {
            assert!(crate::config::settings().get(axis.name).is_some());
        }
    }

    #[test]
    fn no_cancelling_at_all_is_a_rate_of_zero() {
        let mut config = RunConfig::default();
        let (rate, delay) = (
            Axis::named("request_cancellation_rate").unwrap(),
            Axis::named("request_cancellation_delay").unwrap(),
        );
        delay.set(&mut config, "uniform:1,2").unwrap();
        rate.set(&mut config, "10").unwrap();
        assert_eq!(delay.texts(&config), ["uniform:1,2"]);
        rate.set(&mut config, "0").unwrap();
        assert_eq!(config, RunConfig::default());
        assert!(rate.set(&mut config, "101").is_err());
    }
}
