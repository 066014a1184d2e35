//! Config files: what they say, what flags say over them, and that a run leaves one that repeats
//! it.

use pinfire_tests::binary::call;

use super::refusals::one_line;

const FILE: &str = "\
variables:
  requests: 6
benchmark:
  model: mock
  endpoint:
    url: ${SERVER:mock:}
    streaming: true
    apiKey: ${KEY:sk-secret}
  tokenizer: builtin
  dataset:
    isl: {mean: 20, stddev: 4}
    turns: {mean: 2, stddev: 1}
  profiling:
    concurrency: 2
    requests: \"{{ requests * 2 }}\"
    cancellation: {rate: 50, delay: 30s}
  artifacts: {dir: out}
";

#[test]
fn a_run_by_a_file_leaves_one_that_repeats_it() {
    let first = call(["profile", "--config", "run.yaml"]);
    first.write("run.yaml", FILE);
    let first = first.run().code(0);
    assert_eq!(super::sums(&first), [12, 12, 0, 0, 0]);
    let resolved = first.file("resolved_config.yaml");
    assert!(resolved.contains("\nrequest-count: 12\n"), "{resolved}");
    assert!(!resolved.contains("sk-secret"), "{resolved}");
    let dry = |text: &str, more: &[&str]| {
        let mut call = call(["profile", "-f", "run.yaml", "--dry-run"]);
        call.more(more.iter().copied());
        call.env("PINFIRE_API_KEY", "sk-secret");
        call.write("run.yaml", text);
        call.run().code(0).stdout
    };
    let seed = resolved
        .lines()
        .find_map(|line| line.strip_prefix("random-seed: "))
        .expect("the seed that was drawn");
    let again = dry(&resolved, &[]);
    assert_eq!(again.lines().count(), 12);
    assert_eq!(again, dry(FILE, &["--random-seed", seed]));
    assert_ne!(again, dry(FILE, &["--random-seed", "1"]));
    // A flag wins over the file.
    assert_eq!(dry(&resolved, &["--request-count", "3"]).lines().count(), 3);
}

#[test]
fn what_is_typed_is_in_the_file_of_the_run() {
    let line = "profile --model mock --tokenizer builtin --url mock: --request-rate 300 \
                --arrival-pattern gamma --arrival-smoothness 0.5 --request-count 20 --isl 9 \
                --extra-inputs ignore_eos:true --artifact-dir out --random-seed 7";
    let typed = call(line.split_whitespace()).run().code(0);
    let resolved = typed.file("resolved_config.yaml");
    let mut dry = call(line.split_whitespace());
    dry.more(["--dry-run"]);
    let by_file = call(["profile", "--config", "resolved.yaml", "--dry-run"]);
    by_file.write("resolved.yaml", &resolved);
    assert_eq!(dry.run().code(0).stdout, by_file.run().code(0).stdout);
}

#[test]
fn a_wrong_file_is_one_line() {
    for (text, expected) in [
        (
            "model: m\nconcurency: 5\n",
            "run.yaml:2: concurency: there is no such key; did you mean `concurrency`?",
        ),
        (
            "model: m\nconcurrency: none\n",
            "run.yaml:2: concurrency: invalid value 'none'",
        ),
        ("model: m\nui: [\n", "run.yaml:2: invalid YAML"),
        ("streaming: true\n", "run.yaml: no model is named"),
        (
            "model: ${NOBODY}\n",
            "run.yaml:1: the environment variable NOBODY is not set",
        ),
        (
            "model: m\narrival-smoothness: 2\n",
            "it needs --request-rate (run.yaml:2)",
        ),
        (
            "model: m\npublic_dataset: sharegpt\n",
            "run.yaml:2: public_dataset: --public-dataset: ",
        ),
        ("benchmark: {slos: 5}\n", "run.yaml:1: slos: it takes a map"),
    ] {
        for command in [
            &["profile", "--config", "run.yaml"][..],
            &["config", "validate", "run.yaml"],
        ] {
            let wrong = call(command.iter().copied());
            wrong.write("run.yaml", text);
            one_line(&wrong.run().code(1), expected);
        }
    }
    let missing = call(["profile", "--config", "nowhere.yaml"]).run().code(1);
    one_line(&missing, "--config nowhere.yaml: No such file");
}

#[test]
fn files_are_begun_checked_and_shown() {
    let list = call(["config", "init", "--list"]).run().code(0).stdout;
    assert!(
        list.contains("cancellation ") && list.lines().count() > 5,
        "{list}"
    );
    let found = call(["config", "init", "--search", "hung up"])
        .run()
        .code(0)
        .stdout;
    assert_eq!(found.lines().count(), 1);
    let begun = call(["config", "init", "--template", "mock", "--output", "a.yaml"]);
    let path = begun.folder().join("a.yaml");
    let begin = begun.start();
    // The folder lives as long as the call.
    let text = {
        let ended = begin.wait().code(0);
        assert!(
            ended.stderr.contains("profile --config a.yaml"),
            "{}",
            ended.stderr
        );
        std::fs::read_to_string(path).expect("the file")
    };
    let shown = call(["config", "expand", "a.yaml"]);
    shown.write("a.yaml", &text);
    let shown = shown.run().code(0).stdout;
    assert!(
        shown.starts_with("pinfire profile --model=mock --url=mock: --streaming=true"),
        "{shown}"
    );
    for format in ["yaml", "json"] {
        let shown = call(["config", "expand", "a.yaml", "--format", format]);
        shown.write("a.yaml", &text);
        let again = call(["config", "validate", "b.yaml"]);
        again.write("b.yaml", &shown.run().code(0).stdout);
        let said = again.run().code(0).stdout;
        assert!(
            said.starts_with("b.yaml: a valid config file: 2000 requests, 100 at once"),
            "{said}"
        );
    }
    one_line(
        &call(["config", "init", "--template", "x"]).run().code(1),
        "it must be one of: minimal",
    );
}

#[test]
fn shells_complete_the_flags() {
    for shell in ["bash", "zsh", "fish"] {
        let script = call(["completions", shell]).run().code(0).stdout;
        assert!(script.contains("request-cancellation-rate"), "{shell}");
    }
}

#[test]
fn a_list_in_a_file_is_a_sweep() {
    let sweep = call(["profile", "--config", "run.yaml", "--num-profile-runs", "1"]);
    let text = "model: mock\nurl: 'mock:'\ntokenizer: builtin\nstreaming: true\nisl: 9\n\
                request-count: 4\nartifact-dir: out\nprofiling: {concurrency: [1, 2]}\n";
    sweep.write("run.yaml", text);
    let sweep = sweep.run().code(0);
    let point = sweep.file("concurrency_2/resolved_config.yaml");
    assert!(point.contains("\nconcurrency: 2\n"), "{point}");
    assert!(sweep.has("sweep_aggregate"));
    for (command, expected) in [
        (
            "validate",
            "4 requests, 1 at once, to mock:; 2 points, this is the first\n",
        ),
        ("expand", "--concurrency=2"),
    ] {
        let shown = call(["config", command, "run.yaml"]);
        shown.write("run.yaml", text);
        let shown = shown.run().code(0).stdout;
        assert!(shown.contains(expected), "{shown}");
    }
}
