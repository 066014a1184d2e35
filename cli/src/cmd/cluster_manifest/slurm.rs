//! An sbatch script: one task per node, all with the same command line.

use anyhow::{Result, bail};
use pinfire_config::Get;

use super::{Cluster, only_for, quote::word};

/// The end of the run file in the script; no line of a run file is only a word.
const END: &str = "RUN_FILE";

/// The script.
///
/// # Errors
/// A flag that is for Kubernetes, or a name that Slurm would misread.
pub fn script(cluster: &Cluster) -> Result<String> {
    let flags = &cluster.flags;
    only_for("Kubernetes", &flags.of_kubernetes())?;
    let run_file = run_file(cluster);
    let mut lines = Vec::new();
    let shards = cluster.shards;
    lines.push("#!/bin/bash".to_owned());
    lines.push(format!(
        "# pinfire {}: one load from {shards} nodes. Submit it: sbatch FILE",
        env!("CARGO_PKG_VERSION")
    ));
    let seconds = flags.deadline;
    let time = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    );
    let mut options = vec![
        ("job-name", checked("--name", flags.name())?.to_owned()),
        ("nodes", shards.to_string()),
        ("ntasks", shards.to_string()),
        ("ntasks-per-node", "1".to_owned()),
        ("cpus-per-task", flags.cpus.to_string()),
        ("time", time),
        ("output", "%x-%j.log".to_owned()),
    ];
    if let Some(memory) = &flags.memory {
        options.push(("mem", format!("{}M", memory.mebibytes())));
    }
    for (flag, option, value) in [
        ("--partition", "partition", &flags.partition),
        ("--account", "account", &flags.account),
    ] {
        if let Some(value) = value {
            options.push((option, checked(flag, value)?.to_owned()));
        }
    }
    let option = |(name, value): (&str, String)| format!("#SBATCH --{name}={value}");
    lines.extend(options.into_iter().map(option));
    // Who shares a node with the load shares its network and its caches.
    lines.push("#SBATCH --exclusive".to_owned());
    lines.push("set -euo pipefail\n".to_owned());
    for name in cluster.credentials(&run_file) {
        lines.push(format!(
            ": \"${{{name}:?export it before sbatch; credentials are not in this script}}\""
        ));
    }
    let run = match cluster.config.output.artifact_dir.get() {
        Some(folder) => word(&folder.to_string_lossy()),
        None => format!("\"$SLURM_SUBMIT_DIR/{}-$SLURM_JOB_ID\"", flags.name()),
    };
    lines.push(format!(
        "# Results, and the word of the leader where it is found: every node must see this folder.\n\
         run={run}\n\
         mkdir -p \"$run\"\n\
         cat >\"$run/run.yaml\" <<'{END}'\n\
         {run_file}{END}\n\
         PINFIRE_JOIN_TOKEN=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \\n')\n\
         export PINFIRE_JOIN_TOKEN"
    ));
    let binary = flags.binary.as_deref().unwrap_or("pinfire");
    lines.push(format!(
        "# pinfire itself decides what a lost shard means; task 0 is the leader, and carries load too.\n\
         exec srun --kill-on-bad-exit=0 --wait=0 --cpu-bind=cores --cpus-per-task={} \\\n    \
         {} profile --config \"$run/run.yaml\" --shards auto --artifact-dir \"$run\"\n",
        flags.cpus,
        word(binary)
    ));
    Ok(lines.join("\n"))
}

/// The run file; where its results go, the script says.
fn run_file(cluster: &Cluster) -> String {
    let mut config = cluster.config.clone();
    config.output.artifact_dir = None;
    config.yaml()
}

/// A value of an `#SBATCH` line, where quotes do not help everywhere.
fn checked<'a>(flag: &str, text: &'a str) -> Result<&'a str> {
    let taken = |c: char| c.is_ascii_alphanumeric() || "_.,@+-".contains(c);
    if text.is_empty() || !text.chars().all(taken) || text.starts_with('-') {
        bail!("{flag} {text:?}: Slurm takes letters, digits, and _ . , @ + - here");
    }
    Ok(text)
}
