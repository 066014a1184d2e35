//! What `pinfire profile -h` shows: the flags that people use, on two screens. `--help` has all.

use clap::Command;

/// The settings that most runs are made of, by their ids.
const USED: [&str; 30] = [
    "help",
    "config",
    "dry_run",
    "model",
    "url",
    "endpoint_type",
    "streaming",
    "api_key",
    "header",
    "concurrency",
    "request_rate",
    "request_count",
    "benchmark_duration",
    "warmup_request_count",
    "random_seed",
    "request_cancellation_rate",
    "request_cancellation_delay",
    "verify_release",
    "isl",
    "osl",
    "input_file",
    "extra_inputs",
    "tokenizer",
    "artifact_dir",
    "goodput",
    "console",
    "quiet",
    "ui",
    "search",
    "slo",
];

const EXAMPLES: &str = "\
Examples:
  A first run, on a scripted server inside the process:
    pinfire profile --url mock: --model mock --streaming --concurrency 100 --request-count 2000
  Disconnect a fifth of the requests 100 ms after they were sent, and check that the server lets go:
    pinfire profile --model NAME --streaming --concurrency 50 --request-count 1000 \\
      --request-cancellation-rate 20 --request-cancellation-delay 0.1 --verify-release
  Find the highest concurrency at which the 99th percentile of TTFT is at most 500 ms:
    pinfire profile --model NAME --streaming --request-count 500 \\
      --search concurrency:1,512 --slo \"ttft.p99<=500\"
";

/// Leaves the flags that few need to `--help`.
pub fn of(command: Command) -> Command {
    command
        .mut_args(|flag| {
            let used = USED.contains(&flag.get_id().as_str());
            flag.hide_short_help(!used)
        })
        .after_help(format!(
            "These are the flags that most runs need; `pinfire profile --help` has all of them.\n\n{EXAMPLES}"
        ))
        .after_long_help(EXAMPLES)
}

#[cfg(test)]
mod tests {
    use crate::args;

    /// Of every flag that is named here there is one, and two screens hold what is shown.
    #[test]
    fn the_short_help_of_profile_fits_two_screens() {
        let mut root = args::command();
        root.build();
        let profile = root.find_subcommand_mut("profile").unwrap();
        for id in super::USED {
            assert!(
                profile.get_arguments().any(|flag| flag.get_id() == id),
                "{id}"
            );
        }
        let short = profile.render_help().to_string();
        assert!(short.lines().count() <= 100, "{short}");
        let long = profile.render_long_help().to_string();
        let shown = profile.get_arguments().filter_map(|flag| flag.get_long());
        for flag in shown {
            assert!(long.contains(&format!("--{flag}")), "{flag}");
        }
        assert!(
            short.contains("--concurrency 100 --request-count 2000\n"),
            "{short}"
        );
    }
}
