//! Kubernetes objects: a Service to find the leader by, what it reads, a Job for it, and one for
//! the shards. None of them needs a right of its own: no Role, no account's token.

use anyhow::{Context, Result, bail, ensure};
use pinfire_config::Get;
use serde_json::{Map, Value, json};

use super::{
    Cluster, credential_file, only_for,
    quote::{word, yaml},
    token,
    volume::{self, Carried, DATA_FOLDER, RUN_FOLDER},
};

/// Where shards find the leader.
const PORT: u16 = 7711;
/// Who runs in the image that `tools/image` makes.
const USER: u32 = 65_532;
/// The leader carries no load: it merges, and answers heartbeats.
const LEADER_CPUS: u32 = 2;
const LEADER_MEMORY: &str = "2Gi";
/// A shard's memory where nothing is said.
const MEMORY: &str = "4Gi";
/// SIGTERM is the first Ctrl-C: files are written, and shipped, in this time.
const GRACE_S: u32 = 120;
/// How long the Jobs and their pods can be looked at after their end.
const KEEP_S: u32 = 86_400;
/// Most of a name of a pod's host, or of a label's value.
const LABEL_MOST: usize = 63;

/// The objects, in the order in which they are to be made.
///
/// # Errors
/// A flag that is for Slurm, a name that Kubernetes does not take, a file that cannot travel.
pub fn manifest(mut cluster: Cluster) -> Result<String> {
    let flags = &cluster.flags;
    only_for("Slurm", &flags.of_slurm())?;
    check(&cluster)?;
    let carried = volume::carry(&mut cluster.config, cluster.flags.claim.is_some())?;
    cluster.config.output.artifact_dir = None;
    let run_file = cluster.config.yaml();
    let pods = Pods {
        credentials: cluster.credentials(&run_file),
        cluster: &cluster,
    };
    let objects = [
        pods.service(),
        pods.config_map(&run_file, carried),
        pods.secret(&token()?),
        pods.leader(),
        pods.shards(),
    ];
    let documents = objects.each_ref().map(yaml);
    Ok(pods.head() + &documents.join("---\n"))
}

/// Whether Kubernetes will take all names.
fn check(cluster: &Cluster) -> Result<()> {
    let flags = &cluster.flags;
    let name = flags.name();
    let digits = (cluster.shards - 1).to_string().len();
    let most = LABEL_MOST - "-lead".len().max(1 + digits);
    if !is_label(name) || !name.starts_with(|c: char| c.is_ascii_lowercase()) || name.len() > most {
        bail!(
            "--name {name:?}: Kubernetes takes lower-case letters, digits and -, a letter first and no - \
             last, here at most {most} of them"
        );
    }
    if let Some(namespace) = &flags.namespace {
        ensure!(
            is_label(namespace),
            "--namespace {namespace:?}: Kubernetes takes lower-case letters, digits and -, no - first or \
             last, at most {LABEL_MOST} of them"
        );
    }
    for (flag, value) in [
        ("--secret", &flags.secret),
        ("--claim", &flags.claim),
        ("--results-claim", &flags.results_claim),
        ("--queue", &flags.queue),
    ] {
        let value = value.as_deref().unwrap_or("x");
        ensure!(
            value.len() <= 253 && value.split('.').all(is_label),
            "{flag} {value:?}: Kubernetes takes lower-case letters, digits, - and . here, no - or . first \
             or last"
        );
    }
    let image = flags.image.as_deref();
    let image =
        image.context("--image NAME: Kubernetes needs to know the image; tools/image makes one")?;
    ensure!(
        !image.is_empty() && image.chars().all(|c| c.is_ascii_graphic()),
        "--image {image:?}: a name has no blanks; registry/name:tag"
    );
    let profile = flags.seccomp_profile.as_deref().unwrap_or("x");
    ensure!(
        !profile.is_empty()
            && !profile.starts_with('/')
            && !profile.split('/').any(|part| part == ".."),
        "--seccomp-profile {profile:?}: it is a path below the kubelet's seccomp folder, such as \
         profiles/pinfire.json"
    );
    ensure!(
        cluster.config.output.artifact_dir.get().is_none(),
        "--artifact-dir: in pods results are in /out; leave it out (--results-claim keeps them on a volume)"
    );
    if let Some(file) = credential_file(&cluster.config) {
        bail!(
            "{file}: that file is not in the pods; give the credential itself, which is not printed: the \
             manifest names a Secret for it"
        );
    }
    Ok(())
}

/// A part of a DNS name.
fn is_label(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let at_end = |c: char| c != '-';
    !text.is_empty()
        && text.len() <= LABEL_MOST
        && text.chars().all(inside)
        && text.starts_with(at_end)
        && text.ends_with(at_end)
}

/// What the objects are made from.
struct Pods<'a> {
    cluster: &'a Cluster,
    /// Variables that come from a Secret of the user's own.
    credentials: Vec<String>,
}

impl Pods<'_> {
    fn name(&self) -> &str {
        self.cluster.flags.name()
    }

    fn leader_name(&self) -> String {
        format!("{}-lead", self.name())
    }

    fn keep(&self) -> u32 {
        self.cluster.flags.keep.unwrap_or(KEEP_S)
    }

    fn credentials_name(&self) -> String {
        let given = self.cluster.flags.secret.clone();
        given.unwrap_or_else(|| format!("{}-credentials", self.name()))
    }

    /// How it is used, as comments.
    fn head(&self) -> String {
        let flags = &self.cluster.flags;
        let leader = self.leader_name();
        let kubectl = match &flags.namespace {
            Some(namespace) => format!("kubectl -n {namespace}"),
            None => "kubectl".to_owned(),
        };
        let mut out = format!(
            "# pinfire {}: one load from {} pods, and one that leads them.\n",
            env!("CARGO_PKG_VERSION"),
            self.cluster.shards
        );
        if !self.credentials.is_empty() {
            let values = self
                .credentials
                .iter()
                .map(|name| format!(" --from-literal={name}=…"));
            out += &format!(
                "# Once:   {kubectl} create secret generic {}{}\n",
                word(&self.credentials_name()),
                values.collect::<String>()
            );
        }
        let files = match &flags.results_claim {
            Some(claim) => format!("on the volume of {claim}"),
            None => "end with the leader's pod; --results-claim NAME keeps them".to_owned(),
        };
        out += &format!(
            "# Start:  {kubectl} apply -f FILE\n\
             # Report: {kubectl} logs -f job/{leader}\n\
             # Files:  {files}\n\
             # Again:  {kubectl} delete -f FILE, then start\n"
        );
        out
    }

    fn metadata(&self, name: &str) -> Value {
        let mut metadata = json!({"name": name});
        if let Some(namespace) = &self.cluster.flags.namespace {
            metadata["namespace"] = json!(namespace);
        }
        metadata["labels"] = json!({"app.kubernetes.io/part-of": self.name()});
        metadata
    }

    /// Before the Jobs, so that no name is asked for before it is there.
    fn service(&self) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": self.metadata(self.name()),
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": {"app": self.leader_name()},
                "ports": [{"name": "rendezvous", "port": PORT}],
            },
        })
    }

    fn config_map(&self, run_file: &str, carried: Vec<Carried>) -> Value {
        let mut data = Map::new();
        data.insert("run.yaml".to_owned(), json!(run_file));
        data.extend(
            carried
                .into_iter()
                .map(|file| (file.name, json!(file.text))),
        );
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": self.metadata(self.name()),
            "data": data,
        })
    }

    fn secret(&self, token: &str) -> Value {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": self.metadata(self.name()),
            "stringData": {"token": token},
        })
    }

    fn leader(&self) -> Value {
        let flags = &self.cluster.flags;
        let name = self.leader_name();
        let mut pod = self.pod(&["--leader-only"], LEADER_CPUS, LEADER_MEMORY);
        pod["hostname"] = json!("lead");
        pod["subdomain"] = json!(self.name());
        pod["containers"][0]["ports"] = json!([{"containerPort": PORT}]);
        if let Some(claim) = &flags.results_claim {
            pod["volumes"][0] =
                json!({"name": "out", "persistentVolumeClaim": {"claimName": claim}});
        }
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self.job_metadata(&name),
            "spec": {
                "backoffLimit": 0,
                "activeDeadlineSeconds": flags.deadline,
                "ttlSecondsAfterFinished": self.keep(),
                "template": {"metadata": {"labels": labels(&name)}, "spec": pod},
            },
        })
    }

    fn shards(&self) -> Value {
        let flags = &self.cluster.flags;
        let name = self.name();
        let join = format!("lead.{name}:{PORT}");
        let memory = flags.memory.as_ref().map_or(MEMORY, |memory| memory.text());
        let mut pod = self.pod(&["--join", &join], flags.cpus, memory);
        let own = json!({"matchLabels": {"app": name}});
        pod["topologySpreadConstraints"] = json!([{
            "maxSkew": 1,
            "topologyKey": "kubernetes.io/hostname",
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": own,
        }]);
        if !flags.avoid.is_empty() {
            let terms = flags.avoid.iter().map(|label| {
                json!({
                    "topologyKey": "kubernetes.io/hostname",
                    "labelSelector": {"matchLabels": {label.key.as_str(): label.value}},
                })
            });
            pod["affinity"] = json!({"podAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": terms.collect::<Vec<_>>(),
            }});
        }
        if flags.host_network {
            pod["hostNetwork"] = json!(true);
            pod["dnsPolicy"] = json!("ClusterFirstWithHostNet");
        }
        if let Some(profile) = &flags.seccomp_profile {
            pod["securityContext"]["seccompProfile"] =
                json!({"type": "Localhost", "localhostProfile": profile});
        }
        let shards = self.cluster.shards;
        // A lost shard must neither come back nor take the others and their files with it.
        json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": self.job_metadata(name),
            "spec": {
                "completions": shards,
                "parallelism": shards,
                "completionMode": "Indexed",
                "backoffLimitPerIndex": 0,
                "maxFailedIndexes": shards,
                "podReplacementPolicy": "Failed",
                "activeDeadlineSeconds": flags.deadline,
                "ttlSecondsAfterFinished": self.keep(),
                "template": {"metadata": {"labels": labels(name)}, "spec": pod},
            },
        })
    }

    fn job_metadata(&self, name: &str) -> Value {
        let mut metadata = self.metadata(name);
        if let Some(queue) = &self.cluster.flags.queue {
            metadata["labels"]["kueue.x-k8s.io/queue-name"] = json!(queue);
        }
        metadata
    }

    /// What the pods of both Jobs have in common: the restricted standard of pod security, and
    /// requests that equal the limits, so that a whole CPU can be a CPU of its own.
    /// All read the same run file: what is asked of the engine, too, is so in each of them.
    fn pod(&self, role: &[&str], cpus: u32, memory: &str) -> Value {
        let flags = &self.cluster.flags;
        let run_file = format!("{RUN_FOLDER}/run.yaml");
        let shards = self.cluster.shards.to_string();
        let run = ["profile", "--config", &run_file, "--shards", &shards];
        let args = [&run[..], role, &["--artifact-dir", "/out"]].concat();
        let resources = json!({"cpu": cpus.to_string(), "memory": memory});
        let mut env = vec![from_secret("PINFIRE_JOIN_TOKEN", self.name(), "token")];
        let secret = self.credentials_name();
        env.extend(
            self.credentials
                .iter()
                .map(|name| from_secret(name, &secret, name)),
        );
        let mut mounts = vec![
            json!({"name": "out", "mountPath": "/out"}),
            mount("run", RUN_FOLDER),
        ];
        let mut volumes = vec![
            json!({"name": "out", "emptyDir": {}}),
            json!({"name": "run", "configMap": {"name": self.name()}}),
        ];
        if let Some(claim) = &flags.claim {
            mounts.push(mount("data", DATA_FOLDER));
            volumes.push(json!({
                "name": "data",
                "persistentVolumeClaim": {"claimName": claim, "readOnly": true},
            }));
        }
        let mut pod = json!({
            "restartPolicy": "Never",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_S,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "fsGroup": USER,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [{
                "name": "pinfire",
                "image": flags.image,
                "args": args,
                "env": env,
                "resources": {"requests": resources.clone(), "limits": resources},
                "securityContext": {
                    "allowPrivilegeEscalation": false,
                    "readOnlyRootFilesystem": true,
                    "capabilities": {"drop": ["ALL"]},
                },
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        });
        if !flags.node_selector.is_empty() {
            let labels = flags.node_selector.iter();
            let labels = labels.map(|label| (label.key.clone(), json!(label.value)));
            pod["nodeSelector"] = Value::Object(labels.collect());
        }
        pod
    }
}

/// Istio's proxy would keep the Jobs alive, and block their first packets.
fn labels(name: &str) -> Value {
    json!({"app": name, "sidecar.istio.io/inject": "false"})
}

fn mount(volume: &str, path: &str) -> Value {
    json!({"name": volume, "mountPath": path, "readOnly": true})
}

fn from_secret(variable: &str, secret: &str, key: &str) -> Value {
    json!({"name": variable, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
}
