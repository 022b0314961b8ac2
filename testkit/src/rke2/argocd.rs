//! Argo CD, as far as an installer sees it: ApplicationSets make Applications, Applications pull their charts and get healthy.
//!
//! Nothing happens before the pods of Argo CD's own release run. Charts are pulled with the repository Secrets and the CA ConfigMap of
//! Argo CD's namespace and nothing else; their images are pulled by the nodes like any pod's. What changes takes its time, one pass for
//! each of its two controllers: a set's Applications are the former ones for a while, and then have a status that compares the former ones.

mod changes;
mod template;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use self::changes::{Seen, compared_to};
use self::template::{Style, fill, fill_text};
use super::api::{self, merge};
use super::chart::{Access, Chart};
use super::fail::{Context as _, Fail, Result};
use super::kinds::{self, Kind};
use super::pull::sha256;
use super::server::Server;
use super::{custom, demands, helm, schema, workloads, yaml};

/// Label of the Helm release Secret that says which chart it is.
pub(crate) const CHART_LABEL: &str = "standin.airgap/chart";

/// What was done for each Application.
#[derive(Debug, Default)]
pub(crate) struct Controller {
    synced: BTreeMap<String, String>,
    seen: Seen,
    retry: BTreeMap<String, (i64, u32)>,
}

fn kind(name: &str) -> Result<Kind> {
    kinds::by_kind(name).context(format!("no kind {name}"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

impl Controller {
    /// One pass.
    pub(crate) async fn tick(&mut self, server: &Server) -> Result<()> {
        let Some(namespace) = running_in(server) else {
            return Ok(());
        };
        let sets: Vec<Value> = server.peers.read(|state| {
            state
                .under(&format!("argoproj.io/applicationsets/{namespace}/"))
                .cloned()
                .collect()
        });
        for set in &sets {
            let name = text(&set["metadata"]["name"]);
            let ripe = self.seen.is_ripe("ApplicationSet", name, &set["spec"]);
            expand(server, &namespace, set, ripe).await?;
        }
        let applications: Vec<Value> = server.peers.read(|state| {
            state
                .under(&format!("argoproj.io/applications/{namespace}/"))
                .cloned()
                .collect()
        });
        for application in &applications {
            self.reconcile(server, &namespace, application).await?;
        }
        Ok(())
    }

    async fn reconcile(
        &mut self,
        server: &Server,
        namespace: &str,
        application: &Value,
    ) -> Result<()> {
        let name = text(&application["metadata"]["name"]).to_owned();
        let spec = &application["spec"];
        let print = sha256(spec.to_string().as_bytes());
        let was_compared = !application["status"]["sync"]["comparedTo"].is_null();
        if !self.seen.is_ripe("Application", &name, spec) && was_compared {
            return Ok(());
        }
        let compared = compared_to(spec);
        let now = jiff::Timestamp::now().as_second();
        let due = self.retry.get(&name).is_none_or(|(when, _)| *when <= now);
        if self.synced.get(&name) != Some(&print) {
            if spec["syncPolicy"]["automated"].is_null() {
                return status(
                    server,
                    namespace,
                    &name,
                    json!({"sync": {"status": "OutOfSync", "comparedTo": compared}, "health": {"status": "Missing"}}),
                )
                .await;
            }
            if !due {
                return Ok(());
            }
            match sync(server, namespace, application).await {
                Ok(()) => {
                    self.synced.insert(name.clone(), print);
                    self.retry.remove(&name);
                }
                Err(error) => {
                    let tries = self.retry.get(&name).map_or(0, |(_, tries)| *tries) + 1;
                    self.retry
                        .insert(name.clone(), (now + i64::from(tries.min(5)), tries));
                    let failed = json!({"sync": {"status": "Unknown", "comparedTo": compared}, "health": {"status": "Missing"}, "resources": [],
                        "conditions": [{"type": "ComparisonError", "message": error.0}],
                        "operationState": {"phase": "Error", "message": error.0}});
                    return status(server, namespace, &name, failed).await;
                }
            }
        }
        let target = text(&spec["destination"]["namespace"]);
        let release = spec["source"]["helm"]["releaseName"]
            .as_str()
            .unwrap_or(&name);
        let values = values(spec)?;
        let (healthy, reason) = server.peers.read(|state| {
            let (running, reason) = workloads::health(state, release, target);
            match demands::unmet(state, target, &values).waits {
                waits if running && !waits.is_empty() => (false, waits.join("; ")),
                _ => (running, reason),
            }
        });
        let health = match (healthy, reason.is_empty()) {
            (true, _) => json!({"status": "Healthy"}),
            (false, true) => json!({"status": "Progressing"}),
            (false, false) => json!({"status": "Degraded", "message": reason}),
        };
        let resources = json!([{"group": "apps", "kind": "Deployment", "namespace": target, "name": release, "status": "Synced", "health": health}]);
        let revision = spec["source"]["targetRevision"].clone();
        let now = json!({"sync": {"status": "Synced", "revision": revision, "comparedTo": compared}, "health": health, "resources": resources, "conditions": [],
            "operationState": {"phase": "Succeeded", "message": "successfully synced (all tasks run)"}});
        status(server, namespace, &name, now).await
    }
}

/// The namespace of Argo CD's release, once its pods run.
fn running_in(server: &Server) -> Option<String> {
    server.peers.read(|state| {
        let release = state
            .under("/secrets/")
            .find(|secret| secret["metadata"]["labels"][CHART_LABEL] == "argo-cd")?;
        let (namespace, name) = (
            text(&release["metadata"]["namespace"]),
            text(&release["metadata"]["labels"]["name"]),
        );
        workloads::health(state, name, namespace)
            .0
            .then(|| namespace.to_owned())
    })
}

async fn status(server: &Server, namespace: &str, name: &str, status: Value) -> Result<()> {
    put_status(server, "Application", namespace, name, status).await
}

async fn put_status(
    server: &Server,
    kind_name: &str,
    namespace: &str,
    name: &str,
    status: Value,
) -> Result<()> {
    let kind = kind(kind_name)?;
    let key = kind.key(namespace, name);
    // a commit travels to every server: what is as it was needs none
    let same = |live: Value| live["status"] == status;
    if server.get(&kind, namespace, name).is_some_and(same) {
        return Ok(());
    }
    server
        .peers
        .commit(|state| {
            let Some(mut live) = state.objects.get(&key).cloned() else {
                return Ok(());
            };
            live["status"] = status;
            api::store(state, &kind, &key, live);
            Ok(())
        })
        .await
}

/// Makes or updates the Applications of one set, as its policy allows; those that are there are left as they are until `ripe`.
async fn expand(server: &Server, namespace: &str, set: &Value, ripe: bool) -> Result<()> {
    let name = text(&set["metadata"]["name"]).to_owned();
    let made = render(set);
    let conditions = match &made {
        Ok(_) => {
            json!([{"type": "ErrorOccurred", "status": "False"}, {"type": "ResourcesUpToDate", "status": "True"}])
        }
        Err(error) => {
            json!([{"type": "ErrorOccurred", "status": "True", "message": error.0}, {"type": "ResourcesUpToDate", "status": "False"}])
        }
    };
    put_status(
        server,
        "ApplicationSet",
        namespace,
        &name,
        json!({"conditions": conditions}),
    )
    .await?;
    let Ok(made) = made else { return Ok(()) };
    let policy = set["spec"]["syncPolicy"]["applicationsSync"]
        .as_str()
        .unwrap_or("sync")
        .to_owned();
    let applications = kind("Application")?;
    server
        .peers
        .commit(|state| {
            let mut names = Vec::new();
            for mut application in made {
                let own = text(&application["metadata"]["name"]).to_owned();
                names.push(own.clone());
                application["metadata"]["namespace"] = namespace.into();
                application["metadata"]["labels"]["standin.airgap/set"] = name.clone().into();
                let key = applications.key(namespace, &own);
                if let Some(live) = state.objects.get(&key) {
                    if !ripe || policy == "create-only" || policy == "create-delete" {
                        continue;
                    }
                    let mut next = live.clone();
                    next["spec"] = application["spec"].clone();
                    for field in ["labels", "annotations"] {
                        if application["metadata"][field].is_object() {
                            merge(
                                &mut next["metadata"][field],
                                &application["metadata"][field],
                            );
                        }
                    }
                    application = next;
                }
                api::store(state, &applications, &key, application);
            }
            if policy == "sync" || policy == "create-delete" {
                let prefix = applications.prefix(Some(namespace));
                state.objects.retain(|key, object| {
                    !(key.starts_with(&prefix)
                        && object["metadata"]["labels"]["standin.airgap/set"] == name.as_str())
                        || names
                            .iter()
                            .any(|kept| object["metadata"]["name"] == kept.as_str())
                });
            }
            Ok(())
        })
        .await
}

fn render(set: &Value) -> Result<Vec<Value>> {
    let spec = &set["spec"];
    let style = Style {
        go: spec["goTemplate"] == true,
        missing_is_error: spec["goTemplateOptions"]
            .as_array()
            .is_some_and(|all| all.iter().any(|option| option == "missingkey=error")),
    };
    let mut out: Vec<Value> = Vec::new();
    for generator in spec["generators"].as_array().into_iter().flatten() {
        for element in generator["list"]["elements"]
            .as_array()
            .into_iter()
            .flatten()
        {
            if !style.go
                && element
                    .as_object()
                    .into_iter()
                    .flatten()
                    .any(|(_, value)| !value.is_string() && !value.is_object())
            {
                return Err(Fail::new(
                    "list generator: without goTemplate every element's value must be a string",
                ));
            }
            let mut application = fill(&spec["template"], element, style)?;
            application["apiVersion"] = "argoproj.io/v1alpha1".into();
            application["kind"] = "Application".into();
            if let Some(patch) = spec["templatePatch"].as_str() {
                let patch =
                    yaml::one(&fill_text(patch, element, style)?).context("templatePatch")?;
                if !patch["spec"]["project"].is_null() {
                    return Err(Fail::new("templatePatch: the project field is not allowed"));
                }
                if !patch.is_null() {
                    merge(&mut application, &patch);
                }
            }
            let problems = schema::problems(&application);
            if !problems.is_empty() {
                return Err(Fail::new(format!(
                    "application {} is invalid: {}",
                    application["metadata"]["name"],
                    problems.join(", ")
                )));
            }
            let name = &application["metadata"]["name"];
            if out.iter().any(|other| other["metadata"]["name"] == *name) {
                return Err(Fail::new(format!(
                    "ApplicationSet {} contains applications with duplicate name: {name}",
                    set["metadata"]["name"]
                )));
            }
            out.push(application);
        }
    }
    Ok(out)
}

/// Fetches the chart of an Application and puts its workloads into the cluster.
async fn sync(server: &Server, argo: &str, application: &Value) -> Result<()> {
    let (name, spec) = (text(&application["metadata"]["name"]), &application["spec"]);
    let project = text(&spec["project"]);
    if project != "default" && server.get(&kind("AppProject")?, argo, project).is_none() {
        return Err(Fail::new(format!(
            "application references project {project} which does not exist"
        )));
    }
    let destination = &spec["destination"];
    if destination["server"] != "https://kubernetes.default.svc"
        && destination["name"] != "in-cluster"
    {
        return Err(Fail::new(format!("cluster {destination} is not known")));
    }
    let namespace = text(&destination["namespace"]).to_owned();
    let create = spec["syncPolicy"]["syncOptions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|option| option == "CreateNamespace=true"));
    let source = &spec["source"];
    let chart = fetch(server, argo, source).await?;
    let values = values(spec)?;
    let release = source["helm"]["releaseName"]
        .as_str()
        .unwrap_or(name)
        .to_owned();
    let objects = chart.objects(&values);
    let work = match &objects {
        Some(objects) => custom::workloads(objects),
        None => chart.workloads(&release, &namespace, &values, &server.release.chart_images)?,
    };
    let namespaces = kind("Namespace")?;
    server
        .peers
        .commit(|state| {
            let key = namespaces.key("", &namespace);
            if !state.objects.contains_key(&key) {
                if !create {
                    return Err(Fail::new(format!("one or more objects failed to apply, reason: namespaces {namespace:?} not found")));
                }
                let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
                api::store(state, &namespaces, &key, object);
            }
            custom::brought_by(state, &chart.name, &values)?;
            if let Some(kind) = demands::unmet(state, &namespace, &values).kinds.first() {
                return Err(Fail::new(kind));
            }
            custom::apply(state, name, &namespace, objects.as_deref().unwrap_or_default())?;
            workloads::put(state, &release, &namespace, &work, false)
        })
        .await
}

/// The values of an Application's chart.
fn values(spec: &Value) -> Result<Value> {
    let helm = &spec["source"]["helm"];
    if helm["valuesObject"].is_object() {
        return Ok(helm["valuesObject"].clone());
    }
    let parsed = match helm["values"].as_str() {
        Some(content) => yaml::one(content).context("helm.values")?,
        None => Value::Null,
    };
    Ok(if parsed.is_null() { json!({}) } else { parsed })
}

async fn fetch(server: &Server, argo: &str, source: &Value) -> Result<Chart> {
    let (url, revision) = (text(&source["repoURL"]), text(&source["targetRevision"]));
    let repository = repository(server, argo, url);
    let reference = if let Some(chart) = source["chart"].as_str() {
        if url.contains("://") {
            return Err(Fail::new(format!(
                "failed to get index: Get \"{}/index.yaml\": no such host",
                url.trim_end_matches('/')
            )));
        }
        let found = repository.as_ref().context(format!("repository {url} is not known: helm repository without scheme needs a repository secret"))?;
        if found.get("type").map(String::as_str) != Some("helm")
            || found.get("enableOCI").map(String::as_str) != Some("true")
        {
            return Err(Fail::new(format!(
                "repository {url} is not of type helm with enableOCI"
            )));
        }
        format!("oci://{url}/{chart}")
    } else if url.starts_with("oci://") {
        url.to_owned()
    } else {
        return Err(Fail::new(format!(
            "the stand-in pulls charts from OCI repositories only, not {url}"
        )));
    };
    let found = repository.unwrap_or_default();
    let host = reference
        .trim_start_matches("oci://")
        .split('/')
        .next()
        .unwrap_or_default()
        .to_owned();
    let bare = host.split(':').next().unwrap_or_default();
    let trusted = server
        .get(&kind("ConfigMap")?, argo, "argocd-tls-certs-cm")
        .unwrap_or_default();
    let access = Access {
        username: found.get("username").cloned(),
        password: found.get("password").cloned(),
        ca_pem: trusted["data"][bare].as_str().map(str::to_owned),
        insecure: found.get("insecure").is_some_and(|value| value == "true"),
        address: helm::pod_address(server, &host, 443, false).await?,
        plain_http: false,
    };
    Chart::pull(&reference, revision, &access).await
}

/// The repository Secret for a URL, with the credentials of a template where it has none of its own.
fn repository(server: &Server, argo: &str, url: &str) -> Option<BTreeMap<String, String>> {
    let trim = |url: &str| {
        url.trim_start_matches("oci://")
            .trim_end_matches('/')
            .to_owned()
    };
    let secrets: Vec<(String, BTreeMap<String, String>)> = server.peers.read(|state| {
        let prefix = format!("/secrets/{argo}/");
        let all = state.under(&prefix);
        all.filter_map(|secret| {
            Some((
                secret["metadata"]["labels"]["argocd.argoproj.io/secret-type"]
                    .as_str()?
                    .to_owned(),
                helm::decode(secret),
            ))
        })
        .collect()
    });
    let same =
        |data: &BTreeMap<String, String>| data.get("url").is_some_and(|own| trim(own) == trim(url));
    let mut found = secrets
        .iter()
        .find(|(kind, data)| kind == "repository" && same(data))
        .map(|(_, data)| data.clone());
    let template = secrets.iter().find(|(kind, data)| {
        kind == "repo-creds"
            && data
                .get("url")
                .is_some_and(|own| trim(url).starts_with(&trim(own)))
    });
    if let Some((_, template)) = template {
        let target = found.get_or_insert_with(BTreeMap::new);
        for (key, value) in template {
            target.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }
    found
}
