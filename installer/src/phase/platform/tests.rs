//! A changed release on a site that runs: nothing passes on what the cluster said before the change.

use std::{
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

use airgap_manifests::{Gate, ResolvedEdition, SiteKind};
use camino::{Utf8Path, Utf8PathBuf};
use secrecy::{ExposeSecret, SecretString};

use super::*;
use crate::{
    Command, Connection, ConnectionError, Facts, InstallOptions, Inventory, Output, Put,
    PutOutcome, SecretSource, Secrets,
    desired::{Desired, Member},
    lock::Lock,
    machine::{Counting, fake},
    record::{Offer, Release},
    render::{argocd::Application, registries::SiteRegistryRef},
    site_secrets::SiteSecrets,
};

const REGISTRY: SiteRegistryRef<'static> = SiteRegistryRef {
    endpoint: "harbor.x.example",
    project: "airgap",
    own_ca: false,
    pull: None,
};

/// A cluster whose controllers take their time: what they say changes only with every second question after a change.
#[derive(Debug, Default)]
struct Cluster {
    /// What was asked and done, in order.
    log: Vec<String>,
    chart: Value,
    /// The element of each Application, and how often it was asked for since that changed.
    elements: Vec<Value>,
    asked: u64,
    /// How often the jobs were asked for since the HelmChart changed.
    jobs_asked: Option<u64>,
}

impl Cluster {
    fn answer(&mut self, command: &str, input: &[u8]) -> String {
        if command.contains(" apply ") {
            let list: Value = serde_json::from_slice(input).expect("a list of objects");
            for object in list["items"].as_array().expect("items") {
                self.log.push(format!("apply {}", name_of(object)));
                match object["kind"].as_str() {
                    Some("HelmChart") => {
                        self.chart = object.clone();
                        self.jobs_asked = Some(0);
                    }
                    Some("ApplicationSet") => {
                        let elements = &object["spec"]["generators"][0]["list"]["elements"];
                        self.elements = elements.as_array().cloned().expect("elements");
                        for element in &self.elements {
                            self.log
                                .push(format!("{} {}", element["name"], element["version"]));
                        }
                        self.asked = 0;
                    }
                    _ => {}
                }
            }
            return String::new();
        }
        let items = if command.contains("jobs.batch") {
            self.jobs()
        } else if command.contains("applications.argoproj.io") {
            self.applications()
        } else {
            json!([])
        };
        json!({"items": items}).to_string()
    }

    /// The job of before the change, complete; then the one that replaces it.
    fn jobs(&mut self) -> Value {
        let (uid, complete) = match self.jobs_asked.as_mut() {
            None => ("former", "True"),
            Some(asked) => {
                *asked += 1;
                match asked {
                    1 | 2 => ("former", "True"),
                    3 | 4 => ("later", "False"),
                    _ => ("later", "True"),
                }
            }
        };
        self.log.push(format!("job {uid} {complete}"));
        json!([{"metadata": {"name": "helm-install-argo-cd", "uid": uid}, "status": {"conditions": [{"type": "Complete", "status": complete}]}}])
    }

    /// The Applications: the former ones, then changed ones with the former status, then what the change leads to.
    fn applications(&mut self) -> Value {
        self.asked += 1;
        let stage = self.asked;
        self.log.push(format!("applications {stage}"));
        let of = |element: &Value| {
            let name = element["name"].as_str().expect("a name");
            let former = spec(&application(name, "1.0.0"));
            let later = spec(&application(name, "1.1.0"));
            let (present, compared, sync, health) = match stage {
                _ if element["version"] == "1.0.0" => (&former, &former, "Synced", "Healthy"),
                1 | 2 => (&former, &former, "Synced", "Healthy"),
                3 | 4 => (&later, &former, "Synced", "Healthy"),
                5 => (&later, &later, "OutOfSync", "Healthy"),
                6 => (&later, &later, "Synced", "Progressing"),
                _ => (&later, &later, "Synced", "Healthy"),
            };
            json!({"metadata": {"name": name}, "spec": present,
                "status": {"sync": {"status": sync, "comparedTo": compared}, "health": {"status": health}}})
        };
        self.elements.iter().map(of).collect()
    }
}

/// The seed of that cluster.
struct Seed(Arc<Mutex<Cluster>>);

impl Connection for Seed {
    fn host(&self) -> &'static str {
        "cp1"
    }

    fn run(&mut self, command: &Command) -> std::result::Result<Output, ConnectionError> {
        let input = command.input().map(|input| input.expose_secret().to_vec());
        let mut cluster = self.0.lock().expect("the cluster");
        let answer = cluster.answer(&command.to_string(), &input.unwrap_or_default());
        Ok(Output {
            stdout: answer.into_bytes(),
            ..Output::default()
        })
    }

    fn put(
        &mut self,
        file: &Put,
        _: &mut dyn Read,
    ) -> std::result::Result<PutOutcome, ConnectionError> {
        panic!("nothing should write {}", file.path)
    }

    fn read(&mut self, path: &Utf8Path) -> std::result::Result<Option<Vec<u8>>, ConnectionError> {
        panic!("nothing should read {path}")
    }
}

/// An operator who is asked for nothing.
struct NoOperator;

impl SecretSource for NoOperator {
    fn env(&self, _: &str) -> Option<SecretString> {
        None
    }

    fn prompt(&self, _: &str) -> std::io::Result<Option<SecretString>> {
        Ok(None)
    }

    fn home(&self) -> Option<Utf8PathBuf> {
        None
    }

    fn ssh_agent(&self) -> Option<Utf8PathBuf> {
        None
    }
}

fn application(name: &str, version: &str) -> Application {
    Application {
        name: name.to_owned(),
        namespace: name.to_owned(),
        release: name.to_owned(),
        chart: name.to_owned(),
        version: version.to_owned(),
        values: json!({"replicas": 1}),
        ignore: Vec::new(),
    }
}

fn spec(application: &Application) -> Value {
    argocd::application_spec(&REGISTRY, application).expect("a spec")
}

fn chart(version: &str) -> Value {
    argocd::helm_chart(
        &REGISTRY,
        "argo-cd",
        "argocd",
        "argo-cd",
        version,
        &json!({}),
    )
    .expect("a chart")
}

fn member(name: &str) -> Member {
    let application = application(name, "1.1.0");
    Member {
        name: name.to_owned(),
        gate: Gate::Healthy,
        spec: spec(&application),
        application,
    }
}

fn edition() -> ResolvedEdition {
    let digest = format!("sha256:{}", "0".repeat(64));
    serde_json::from_value(json!({
        "schema": 1, "edition": "small", "title": "Small", "version": "1.1.0", "release": 2, "lockedAt": "2026-01-01T00:00:00Z",
        "manifestsDigest": digest, "platform": "linux/amd64", "minNodes": 1,
        "rke2": {"version": "v1", "cni": "canal", "ingress": "traefik", "runtimeImage": "docker.io/rancher/rke2-runtime:v1", "files": []},
        "images": [], "charts": [], "components": {}, "sites": {}, "mirrorHosts": [],
    }))
    .expect("an edition")
}

/// Two waves, both changed with the release.
fn desired<'a>(inventory: &'a Inventory, edition: &'a ResolvedEdition) -> Desired<'a> {
    assert_eq!(inventory.site, SiteKind::Onprem);
    let secrets = Secrets::new(&NoOperator, Utf8Path::new("."));
    Desired {
        inventory,
        edition,
        facts: airgap_manifests::SiteFacts::new(),
        registry: REGISTRY,
        ca_pem: None,
        push: ("push".to_owned(), "secret".into()),
        extra_accounts: std::collections::BTreeMap::new(),
        site_secrets: SiteSecrets::of(inventory, &secrets).expect("no secrets"),
        offer: Offer {
            release: Release {
                release: 2,
                version: "1.1.0".to_owned(),
                edition: "small".to_owned(),
                platform: "linux/amd64".to_owned(),
                index_digest: String::new(),
            },
            created: jiff::Timestamp::UNIX_EPOCH,
            expires: None,
        },
        runtime_image: String::new(),
        decided: airgap_manifests::Rke2Config::default(),
        static_files: Vec::new(),
        release_files: Vec::new(),
        gitops: Some(GitOps {
            namespace: "argocd".to_owned(),
            release: "argo-cd".to_owned(),
            chart: chart("2.0.0"),
        }),
        waves: vec![vec![member("storage")], vec![member("web")]],
        notices: Vec::new(),
    }
}

/// What the cluster is with the release before, all of it well.
fn before() -> ClusterState {
    let former = ["storage", "web"].map(|name| application(name, "1.0.0"));
    let well = |application: &Application| {
        let spec = spec(application);
        json!({"metadata": {"name": application.name, "namespace": "argocd"}, "spec": spec,
            "status": {"sync": {"status": "Synced", "comparedTo": spec}, "health": {"status": "Healthy"}}})
    };
    ClusterState {
        helmcharts: vec![chart("1.0.0")],
        applicationsets: vec![
            argocd::application_set("argocd", &REGISTRY, &former).expect("a set"),
        ],
        applications: former.iter().map(well).collect(),
        ..ClusterState::default()
    }
}

#[test]
fn a_changed_release_waits_for_what_comes_of_the_change() {
    let (inventory, edition) = (fake::inventory(), edition());
    let desired = desired(&inventory, &edition);
    let options = InstallOptions {
        poll: Duration::from_millis(1),
        wave_timeout: Duration::from_mins(1),
        ..InstallOptions::default()
    };
    let said = Mutex::new(Vec::new());
    let report = |event: Event| {
        if let Event::Wave { wave, waiting, .. } = event {
            said.lock()
                .expect("events")
                .push((wave, waiting.join("; ")));
        }
    };
    let work = Work {
        desired: &desired,
        options: &options,
        lock: &Lock::fake(),
        report: &report,
    };
    let cluster = Arc::new(Mutex::new(Cluster::default()));
    let mut machine = Machine {
        host: &inventory.hosts[0],
        connection: Counting::new(Box::new(Seed(Arc::clone(&cluster)))),
        facts: Facts::default(),
    };
    work.platform(&mut machine, &before()).expect("a platform");

    let cluster = cluster.lock().expect("the cluster");
    // the job of before the change is noted with the change
    assert_eq!(argocd::former_job(&cluster.chart), Some("former"));
    let asked: Vec<&str> = cluster.log.iter().map(String::as_str).collect();
    let first_set = asked
        .iter()
        .position(|line| *line == "apply ApplicationSet argocd/airgap")
        .expect("a set");
    assert_eq!(
        asked[first_set - 1],
        "job later True",
        "Argo CD was not installed anew: {asked:#?}"
    );
    // what is installed changes with its wave only, and each wave is waited for to the end
    let waves: Vec<&str> = asked[first_set + 1..]
        .iter()
        .filter(|line| !line.starts_with("applications") || **line == "applications 7")
        .copied()
        .collect();
    assert_eq!(
        waves,
        [
            "\"storage\" \"1.1.0\"",
            "\"web\" \"1.0.0\"",
            "applications 7",
            "apply ApplicationSet argocd/airgap",
            "\"storage\" \"1.1.0\"",
            "\"web\" \"1.1.0\"",
            "applications 7",
        ],
        "{asked:#?}"
    );
    let said = said.lock().expect("events");
    let first: Vec<&str> = said
        .iter()
        .filter(|(wave, _)| *wave == 1)
        .map(|(_, waiting)| waiting.as_str())
        .collect();
    assert_eq!(
        first,
        [
            "storage: Argo CD has not brought its Application to what is asked for yet",
            "storage: Argo CD has not compared what is asked for with the cluster yet",
            "storage: OutOfSync, Healthy",
            "storage: Synced, Progressing",
            "",
        ]
    );
}

#[test]
fn a_plan_takes_no_status_of_before_for_that_of_now() {
    let (inventory, edition) = (fake::inventory(), edition());
    let desired = desired(&inventory, &edition);
    let job = |uid: &str| json!({"metadata": {"name": "helm-install-argo-cd", "uid": uid}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}});
    // a run was killed right after it had applied everything
    let members = desired.waves.iter().flatten();
    let applications: Vec<Application> = members.map(|member| member.application.clone()).collect();
    let mut state = ClusterState {
        helmcharts: vec![argocd::with_former_job(chart("2.0.0"), "former")],
        applicationsets: vec![
            argocd::application_set("argocd", &REGISTRY, &applications).expect("a set"),
        ],
        jobs: vec![job("former")],
        ..before()
    };
    let pending = |state: &ClusterState| {
        let waves = look::waves(&desired, Some(state)).expect("waves");
        waves.iter().map(|wave| wave.pending.len()).sum::<usize>()
    };
    assert_eq!(pending(&state), 2);
    assert!(look::gitops(&desired, Some(&state)).is_some());
    // and then all of it came about
    state.jobs = vec![job("later")];
    for application in &mut state.applications {
        let name = application["metadata"]["name"].as_str().unwrap_or_default();
        let now = spec(&super::tests::application(name, "1.1.0"));
        application["status"]["sync"]["comparedTo"] = now.clone();
        application["spec"] = now;
    }
    assert_eq!(pending(&state), 0);
    assert_eq!(look::gitops(&desired, Some(&state)), None);
}
