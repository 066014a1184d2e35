//! What `cluster-manifest` prints: valid for the platform whatever the values hold, and refused in
//! one line what the platform would refuse later.

use std::{collections::BTreeSet, io::Write, os::unix::fs::PermissionsExt, process::Command};

use pinfire_tests::{
    binary::{Ended, call},
    python::python,
};
use serde_json::{Value, json};

use super::refusals::one_line;

const HOSTILE: &str =
    "m: 'é'\"$(touch gone)`touch gone`\n- }{ %#&*!|>@\\ \u{85}\u{2028}\t模型\u{1f600}";

fn printed(arguments: &[&str]) -> Ended {
    let words = ["cluster-manifest"].into_iter();
    call(words.chain(arguments.iter().copied())).run()
}

fn k8s(more: &[&str]) -> Ended {
    let needed = ["k8s", "--shards", "8", "--image", "reg:5000/pinfire:0.1.0"];
    let load = ["--concurrency", "64", "--request-count", "640"];
    printed(&[&needed[..], &load, more].concat())
}

#[test]
fn kubernetes_takes_the_objects_and_every_value_stays_one() {
    let everything: Vec<&str> = "--model m --url http://llm:8000/v1 --streaming --name r-1 --namespace \
        load --cpus 16 --memory 32Gi --secret keys --claim data --results-claim results --queue night \
        --node-selector kubernetes.io/arch=amd64 --node-selector pool= --avoid app=vllm --host-network \
        --seccomp-profile profiles/pinfire.json --keep 0 --deadline 900 --input-file \
        /data/trace.jsonl"
        .split_whitespace()
        .collect();
    let runs = [
        k8s(&everything).code(0),
        k8s(&[
            "--model",
            HOSTILE,
            "--system-prompt",
            HOSTILE,
            "--api-key",
            "sk-0123456789abcdef",
        ])
        .code(0),
    ];
    let folder = tempfile::tempdir().unwrap();
    let paths: Vec<_> = runs.iter().zip(["a.yaml", "b.yaml"]).collect();
    let paths = paths.into_iter().map(|(run, name)| {
        let path = folder.path().join(name);
        std::fs::write(&path, &run.stdout).unwrap();
        path
    });
    let Some(found) = python(include_str!("python/manifest.py"), paths) else {
        return;
    };
    for objects in found.as_array().unwrap() {
        let kinds: Vec<&str> = objects.as_array().unwrap().iter().map(kind).collect();
        assert_eq!(kinds, ["Service", "ConfigMap", "Secret", "Job", "Job"]);
        for job in [&objects[3], &objects[4]] {
            is_restricted(&job["spec"]["template"]["spec"]);
        }
    }
    is_everything(&found[0]);
    // The run file comes back to the very values.
    let run_file = found[1][1]["data"]["run.yaml"].as_str().unwrap();
    assert!(
        !runs[1].stdout.contains("0123456789abcdef"),
        "the credential is printed"
    );
    let mut expand = call(["config", "expand", "run.yaml", "--format", "json"]);
    expand.write("run.yaml", run_file);
    expand.env("PINFIRE_API_KEY", "sk-other-0123456789");
    let expanded = expand.run().code(0);
    let expanded: Value = serde_json::from_str(&expanded.stdout).unwrap();
    assert_eq!(expanded["concurrency"], 64);
    let one = |name: &str| match &expanded[name] {
        Value::Array(values) => values[0].clone(),
        value => value.clone(),
    };
    // A config file has its own dollar doubled.
    let written = HOSTILE.to_owned();
    assert_eq!(one("model"), json!(written));
    assert_eq!(one("system-prompt"), json!(written));
    let variables: BTreeSet<&str> = found[1][4]["spec"]["template"]["spec"]["containers"][0]["env"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|variable| variable["name"].as_str())
        .collect();
    let expected = ["PINFIRE_API_KEY", "PINFIRE_JOIN_TOKEN"];
    assert_eq!(variables, expected.into_iter().collect());
}

fn kind(object: &Value) -> &str {
    object["kind"].as_str().unwrap()
}

/// The restricted standard of pod security, and no account's token.
fn is_restricted(pod: &Value) {
    let container = &pod["containers"][0];
    let own = &container["securityContext"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(own["allowPrivilegeEscalation"], false);
    assert_eq!(own["readOnlyRootFilesystem"], true);
    assert_eq!(own["capabilities"], json!({"drop": ["ALL"]}));
    assert_eq!(
        container["resources"]["requests"],
        container["resources"]["limits"]
    );
    assert_eq!(pod["restartPolicy"], "Never");
}

fn is_everything(objects: &Value) {
    let (service, leader, shards) = (&objects[0], &objects[3], &objects[4]);
    for object in objects.as_array().unwrap() {
        assert_eq!(object["metadata"]["namespace"], "load");
    }
    assert_eq!(service["spec"]["publishNotReadyAddresses"], true);
    let leading = &leader["spec"]["template"];
    assert_eq!(
        service["spec"]["selector"]["app"],
        leading["metadata"]["labels"]["app"]
    );
    assert_eq!(leading["spec"]["subdomain"], service["metadata"]["name"]);
    assert_eq!(leader["spec"]["activeDeadlineSeconds"], 900);
    let volumes = &leading["spec"]["volumes"];
    assert_eq!(volumes[0]["persistentVolumeClaim"]["claimName"], "results");
    let spec = &shards["spec"];
    for (key, expected) in [
        ("completions", json!(8)),
        ("parallelism", json!(8)),
        ("completionMode", json!("Indexed")),
        ("backoffLimitPerIndex", json!(0)),
        ("maxFailedIndexes", json!(8)),
        ("podReplacementPolicy", json!("Failed")),
        ("activeDeadlineSeconds", json!(900)),
        ("ttlSecondsAfterFinished", json!(0)),
    ] {
        assert_eq!(spec[key], expected, "{key}");
    }
    let pod = &spec["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(
        pod["nodeSelector"],
        json!({"kubernetes.io/arch": "amd64", "pool": ""})
    );
    let resources = &pod["containers"][0]["resources"]["limits"];
    assert_eq!(*resources, json!({"cpu": "16", "memory": "32Gi"}));
    let profile = &pod["securityContext"]["seccompProfile"];
    assert_eq!(profile["localhostProfile"], "profiles/pinfire.json");
    for job in [leader, shards] {
        assert_eq!(
            job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"],
            "night"
        );
    }
}

#[test]
fn files_of_this_machine_travel_or_are_refused() {
    let trace = "{\"text\": \"a\"}\n";
    let large = trace.repeat(70_000);
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(trace.as_bytes()).unwrap();
    let packed = packed.finish().unwrap();
    for (bytes, expected) in [
        (trace.as_bytes(), None),
        (&packed, Some("it is no text")),
        (
            b"{\"text\": \"Authorization: Bearer 0123456789abcdef0123456789\"}\n",
            Some("looks like a credential"),
        ),
        (large.as_bytes(), Some("too large for a ConfigMap")),
    ] {
        let words = "cluster-manifest k8s --shards 2 --image x --model m --concurrency 4 \
                     --request-count 4 --tokenizer builtin --input-file";
        let mut run = call(words.split_whitespace());
        run.more(["a b.jsonl"]);
        std::fs::write(run.folder().join("a b.jsonl"), bytes).unwrap();
        let run = run.run();
        match expected {
            None => {
                let run = run.code(0);
                assert!(
                    run.stdout
                        .contains("input-file: /etc/pinfire/0-a_b.jsonl\n")
                );
                assert!(
                    run.stdout
                        .contains("  \"0-a_b.jsonl\": |\n    {\"text\": \"a\"}\n")
                );
            }
            Some(expected) => one_line(&run.code(1), expected),
        }
    }
}

#[test]
fn what_a_platform_would_refuse_is_refused_before() {
    let long = "x".repeat(59);
    for (platform, flags, expected) in [
        ("k8s", "--shards 2", "--image NAME"),
        ("k8s", "--image x", "--shards N"),
        ("k8s", "--shards auto --image x", "--shards auto"),
        ("k8s", "--shards 2 --image x --osl 4,8", "is one load"),
        ("k8s", "--shard 0/2 --image x", "--shard"),
        ("k8s", "--shards 2 --image x --join lead", "leave them out"),
        ("slurm", "--shards 2 --leader-only", "leave them out"),
        (
            "k8s",
            "--shards 5 --image x",
            "5 shards share --concurrency 4",
        ),
        ("k8s", "--shards 0 --image x", "from 1 to 10000"),
        ("k8s", "--shards 2 --image x --cpus 0", "--cpus"),
        (
            "k8s",
            "--shards 2 --image x --name R1",
            "lower-case letters",
        ),
        ("k8s", "--shards 2 --image x --name 1r", "a letter first"),
        ("k8s", "--shards 2 --image x --name r-", "no - last"),
        (
            "k8s",
            &format!("--shards 2 --image x --name {long}"),
            "at most 58",
        ),
        ("k8s", "--shards 2 --image x --namespace a.b", "--namespace"),
        ("k8s", "--shards 2 --image x --secret A", "--secret"),
        ("k8s", "--shards 2 --image x --memory 4GB", "such as 4Gi"),
        ("k8s", "--shards 2 --image x --memory 0", "such as 4Gi"),
        ("k8s", "--shards 2 --image x --avoid app", "LABEL=VALUE"),
        ("k8s", "--shards 2 --image x --avoid a/b/c=d", "a label is"),
        (
            "k8s",
            "--shards 2 --image x --seccomp-profile ../x",
            "kubelet",
        ),
        (
            "k8s",
            "--shards 2 --image x --artifact-dir a",
            "results are in /out",
        ),
        (
            "k8s",
            "--shards 2 --image x --partition p",
            "for Slurm only",
        ),
        ("k8s", "--shards 2 --image x --input-file gone", "gone"),
        (
            "k8s",
            "--shards 2 --image x --tokenizer /tmp",
            "not in the pods",
        ),
        (
            "k8s",
            "--shards 2 --image x --deadline 60 --benchmark-duration 60",
            "--deadline 60",
        ),
        (
            "k8s",
            "--shards 2 --image x --concurency 5",
            "--concurrency",
        ),
        ("k8s", "--shards 2 --image x --workers-max 5", "--cores N"),
        (
            "slurm",
            "--shards 2 --image x",
            "--image is for Kubernetes only",
        ),
        (
            "slurm",
            "--shards 2 --keep 5",
            "--keep is for Kubernetes only",
        ),
        ("slurm", "--shards 2 --partition a;b", "--partition"),
        ("slurm", "--shards 2 --name a$b", "--name"),
        ("nomad", "--shards 2", "k8s, slurm"),
    ] {
        let load = ["--model", "m", "--concurrency", "4", "--request-count", "4"];
        let load = if flags.contains("benchmark-duration") {
            &load[..4]
        } else {
            &load[..]
        };
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let run = printed(&[&[platform], load, &flags[..]].concat());
        one_line(&run.code(1), expected);
    }
    let blank = "k8s --shards 2 --model m --concurrency 4 --request-count 4 --image";
    let blank: Vec<&str> = blank.split_whitespace().chain(["a b"]).collect();
    let blank = printed(&blank);
    one_line(&blank.code(1), "a name has no blanks");
}

/// The script by bash, with an `srun` that says what it was asked for.
#[test]
fn the_script_for_slurm_runs_and_every_value_stays_one() {
    let words = "slurm --shards 4 --cpus 8 --memory 2Gi --partition gpu --url http://llm:8000 --concurrency \
                 8 --request-count 80";
    let mut words: Vec<&str> = words.split_whitespace().collect();
    words.extend(["--model", HOSTILE, "--binary", "/opt/it's $HOME/pinfire"]);
    words.extend(["--api-key", "sk-0123456789abcdef"]);
    let run = printed(&words).code(0);
    for line in [
        "nodes=4",
        "ntasks-per-node=1",
        "cpus-per-task=8",
        "mem=2048M",
        "partition=gpu",
    ] {
        assert!(
            run.stdout.contains(&format!("\n#SBATCH --{line}\n")),
            "{line}"
        );
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    std::fs::write(at("job.sh"), &run.stdout).unwrap();
    let said = "#!/bin/sh\nprintf '%s\\n' \"token ${#PINFIRE_JOIN_TOKEN}\" \"$@\"\n";
    std::fs::write(at("srun"), said).unwrap();
    std::fs::set_permissions(at("srun"), PermissionsExt::from_mode(0o755)).unwrap();
    let bash = |key: Option<&str>| {
        let mut bash = Command::new("bash");
        bash.arg(at("job.sh"))
            .current_dir(folder.path())
            .env_clear();
        bash.env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()));
        bash.env("SLURM_SUBMIT_DIR", folder.path())
            .env("SLURM_JOB_ID", "7");
        bash.envs(key.map(|key| ("PINFIRE_API_KEY", key)));
        bash.output().unwrap()
    };
    let without = bash(None);
    assert!(!without.status.success());
    assert!(String::from_utf8_lossy(&without.stderr).contains("export it before sbatch"));
    let out = bash(Some("sk-other-0123456789"));
    assert!(out.status.success(), "{out:?}");
    assert!(!at("gone").exists(), "a value was run");
    let run_folder = at("pinfire-7");
    let told = String::from_utf8(out.stdout).unwrap();
    let told: Vec<&str> = told.lines().collect();
    let run_file = run_folder.join("run.yaml");
    let expected = [
        "token 32",
        "--kill-on-bad-exit=0",
        "--wait=0",
        "--cpu-bind=cores",
        "--cpus-per-task=8",
        "/opt/it's $HOME/pinfire",
        "profile",
        "--config",
        run_file.to_str().unwrap(),
        "--shards",
        "auto",
        "--artifact-dir",
        run_folder.to_str().unwrap(),
    ];
    assert_eq!(told, expected);
    let mut expand = call(["config", "expand", "run.yaml", "--format", "json"]);
    expand.write("run.yaml", &std::fs::read_to_string(run_file).unwrap());
    expand.env("PINFIRE_API_KEY", "sk-other-0123456789");
    let expanded: Value = serde_json::from_str(&expand.run().code(0).stdout).unwrap();
    let model = &expanded["model"];
    assert_eq!(model.get(0).unwrap_or(model), HOSTILE);
}
