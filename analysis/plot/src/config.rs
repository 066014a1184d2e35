//! The settings file: which presets are drawn, presets of one's own, and which runs are baselines.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use serde::Deserialize;

use super::{
    load::Run,
    preset::{self, Preset},
};

/// The whole file. Every key may be absent.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Config {
    pub visualization: Visualization,
    pub settings: Settings,
    pub experiment_classification: Option<Classification>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Visualization {
    pub multi_run_defaults: Option<Vec<String>>,
    pub single_run_defaults: Option<Vec<String>>,
    pub multi_run_plots: BTreeMap<String, Preset>,
    pub single_run_plots: BTreeMap<String, Preset>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Settings {
    pub server_metrics_downsampling: Downsampling,
}

/// Windows into which samples of a server are summed up before they are drawn.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Downsampling {
    pub enabled: bool,
    pub window_size_seconds: f64,
    pub aggregation_method: Aggregation,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Aggregation {
    Mean,
    Max,
    Min,
    Median,
}

impl Default for Downsampling {
    fn default() -> Self {
        Self {
            enabled: true,
            window_size_seconds: 5.0,
            aggregation_method: Aggregation::Mean,
        }
    }
}

/// Which runs are baselines, which are treatments.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the keys of settings files, see docs/PLOTS.md")]
pub struct Classification {
    #[serde(default)]
    pub baselines: Vec<String>,
    #[serde(default)]
    pub treatments: Vec<String>,
    #[serde(default)]
    pub default: Class,
    #[serde(default)]
    pub group_extraction_pattern: Option<String>,
    #[serde(default)]
    pub group_display_names: BTreeMap<String, String>,
}

/// What a run is in a comparison.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Class {
    Baseline,
    #[default]
    Treatment,
}

impl Config {
    /// Reads a settings file.
    ///
    /// # Errors
    /// It cannot be read, is no YAML, or has a key or a value that is none; one line that names
    /// file and line.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text =
            fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let config = Self::of(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(config)
    }

    /// The settings in a text; an empty one says nothing.
    ///
    /// # Errors
    /// As of [`Config::read`], without the file.
    pub fn of(text: &str) -> Result<Self, String> {
        if text
            .lines()
            .all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
        {
            return Ok(Self::default());
        }
        let mut config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let place = error
                .location()
                .map(|at| format!("line {}, column {}: ", at.line(), at.column()));
            let said = error.without_snippet().to_string();
            let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
            // It stands in front.
            let said = said.split(" at line ").next().unwrap_or(&said);
            format!("{}{said}", place.unwrap_or_default())
        })?;
        let window = config
            .settings
            .server_metrics_downsampling
            .window_size_seconds;
        if !(window.is_finite() && window > 0.0) {
            return Err(format!(
                "settings.server_metrics_downsampling.window_size_seconds is {window}; it must be above 0"
            ));
        }
        let plots = &mut config.visualization;
        for presets in [&mut plots.multi_run_plots, &mut plots.single_run_plots] {
            for (name, preset) in presets {
                if name.is_empty() || name.contains(['/', '\\']) || name.starts_with('.') {
                    return Err(format!(
                        "preset {name:?}: the name becomes a file's, so it must not be empty, begin with a dot or hold a slash"
                    ));
                }
                if preset
                    .ci_level
                    .is_some_and(|level| !(0.5..1.0).contains(&level))
                {
                    return Err(format!(
                        "preset {name}: ci_level must be from 0.5 to below 1, such as 0.95"
                    ));
                }
                preset.name.clone_from(name);
            }
        }
        config.presets(true)?;
        config.presets(false)?;
        if let Some(pattern) = config
            .experiment_classification
            .as_ref()
            .and_then(|classes| classes.group_extraction_pattern.as_ref())
        {
            regex::Regex::new(pattern).map_err(|_| {
                format!("group_extraction_pattern {pattern:?} is no regular expression")
            })?;
        }
        Ok(config)
    }

    /// Keys that are taken for the sake of AIPerf's files and change nothing here, one line each.
    pub fn unused(&self) -> Vec<String> {
        let plots = &self.visualization;
        let presets = plots.multi_run_plots.iter().chain(&plots.single_run_plots);
        let unused = presets.filter_map(|(name, preset)| {
            let keys = [
                ("primary_style", preset.primary_style.is_some()),
                ("secondary_style", preset.secondary_style.is_some()),
                ("supplementary_col", preset.supplementary_col.is_some()),
            ];
            let keys: Vec<&str> = keys.iter().filter(|key| key.1).map(|key| key.0).collect();
            (!keys.is_empty()).then(|| {
                format!(
                    "preset {name}: {} changes nothing; lines and markers are pinfire's own",
                    keys.join(", ")
                )
            })
        });
        unused.collect()
    }

    /// The file that counts: the given one, else that of the first folder, else the user's own.
    pub fn find(given: Option<&Path>, first: &Path, home: Option<&Path>) -> Option<PathBuf> {
        let of_run = first.join(".aiperf-plot-config.yaml");
        let of_user = home.map(|home| home.join(".aiperf/plot_config.yaml"));
        given
            .map(Path::to_owned)
            .or_else(|| of_run.is_file().then_some(of_run))
            .or_else(|| of_user.filter(|path| path.is_file()))
    }

    /// The presets to draw, of several runs or of one; a preset of the file's own hides a built-in
    /// one of the same name.
    ///
    /// # Errors
    /// A default names a preset that is neither.
    pub fn presets(&self, multi: bool) -> Result<Vec<Preset>, String> {
        let plots = &self.visualization;
        let (own, wanted, built_in, key) = if multi {
            (
                &plots.multi_run_plots,
                &plots.multi_run_defaults,
                preset::multi_run(),
                "multi_run_defaults",
            )
        } else {
            (
                &plots.single_run_plots,
                &plots.single_run_defaults,
                preset::single_run(),
                "single_run_defaults",
            )
        };
        let mut all: Vec<Preset> = built_in
            .into_iter()
            .filter(|preset| !own.contains_key(&preset.name))
            .collect();
        all.extend(own.values().cloned());
        let Some(wanted) = wanted else { return Ok(all) };
        let pick = |name: &String| {
            all.iter()
                .find(|preset| preset.name == *name)
                .cloned()
                .ok_or_else(|| {
                    let names: Vec<&str> = all.iter().map(|preset| preset.name.as_str()).collect();
                    format!(
                        "visualization.{key} names {name:?}, which is no preset; there are {}",
                        names.join(", ")
                    )
                })
        };
        wanted.iter().map(pick).collect()
    }
}

impl Classification {
    /// The group and the class of a run.
    pub fn of(&self, run: &Run) -> (String, Class) {
        let path = run.folder.to_string_lossy();
        let fits = |globs: &[String]| {
            globs
                .iter()
                .any(|glob| fits(glob, &run.name) || fits(glob, &path))
        };
        let class = if fits(&self.baselines) {
            Class::Baseline
        } else if fits(&self.treatments) {
            Class::Treatment
        } else {
            self.default
        };
        (self.group(run), class)
    }

    fn group(&self, run: &Run) -> String {
        let varied = run.variation_label().map(str::to_owned);
        let of_parent = || {
            let pattern = regex::Regex::new(self.group_extraction_pattern.as_ref()?).ok()?;
            let parts: Vec<_> = run
                .folder
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            parts.iter().rev().find_map(|part| {
                let found = pattern.captures(part)?;
                Some(found.get(1).or_else(|| found.get(0))?.as_str().to_owned())
            })
        };
        let group = varied
            .or_else(of_parent)
            .unwrap_or_else(|| run.name.clone());
        self.group_display_names
            .get(&group)
            .cloned()
            .unwrap_or(group)
    }
}

/// Whether a text fits a glob: `*` any letters, `?` one letter.
fn fits(glob: &str, text: &str) -> bool {
    let (glob, text): (Vec<char>, Vec<char>) = (glob.chars().collect(), text.chars().collect());
    let (mut g, mut t) = (0, 0);
    let mut last_star = None;
    while t < text.len() {
        match glob.get(g) {
            Some('*') => {
                last_star = Some((g, t));
                g += 1;
            }
            Some(letter) if *letter == '?' || *letter == text[t] => {
                g += 1;
                t += 1;
            }
            _ => match last_star {
                Some((star, from)) => {
                    last_star = Some((star, from + 1));
                    g = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    glob[g..].iter().all(|letter| *letter == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_fit_names_and_paths() {
        for (glob, text, expected) in [
            ("*baseline*", "/runs/baseline_1", true),
            ("base?", "base1", true),
            ("base?", "base12", false),
            ("*", "", true),
            ("a*b*c", "axxbyybc", true),
            ("a*b", "axxbyy", false),
        ] {
            assert_eq!(fits(glob, text), expected, "{glob} {text}");
        }
    }

    #[test]
    fn mistakes_are_one_line_with_their_place() {
        for (text, expected) in [
            (
                "visualization:\n  multi_run_default: [a]\n",
                "multi_run_default",
            ),
            ("visualization: [1\n", "line"),
            (
                "visualization:\n  single_run_plots:\n    mine: {type: pie}\n",
                "pie",
            ),
            (
                "visualization:\n  single_run_defaults: [ttft_over_tim]\n",
                "ttft_over_tim\", which is no preset",
            ),
            (
                "visualization:\n  single_run_plots:\n    ../x: {type: scatter}\n",
                "slash",
            ),
            (
                "settings:\n  server_metrics_downsampling: {window_size_seconds: 0}\n",
                "above 0",
            ),
            (
                "experiment_classification: {group_extraction_pattern: '('}\n",
                "regular expression",
            ),
        ] {
            let error = Config::of(text).unwrap_err();
            assert!(
                error.contains(expected) && !error.contains('\n'),
                "{text}: {error}"
            );
        }
        let error = Config::of("settings: {}\nvisualisation: {}\n").unwrap_err();
        assert!(error.starts_with("line 2"), "{error}");
        assert_eq!(error.matches("line 2").count(), 1, "{error}");
    }

    #[test]
    fn own_presets_and_defaults_count() {
        let config = Config::of(
            "visualization:\n  single_run_defaults: [mine]\n  single_run_plots:\n    mine:\n      type: scatter\n      x: timestamp\n      y: {metric: request_latency, stat: p90}\n",
        )
        .unwrap();
        let presets = config.presets(false).unwrap();
        assert_eq!(presets.len(), 1);
        assert_eq!(presets[0].name, "mine");
        assert_eq!(presets[0].stat_of(presets[0].y.as_ref().unwrap()), "p90");
        assert_eq!(
            config.presets(true).unwrap().len(),
            preset::multi_run().len()
        );
        assert!(Config::of("# nothing\n").is_ok());
    }
}
