//! Charts: how they are fetched, and which images they would start.
//!
//! No Helm is at hand, so templates are rendered only where they use plain `.Values`, `.Release` and `.Chart` fields, as the
//! generated stand-in charts do. A chart with more than that counts as a publisher's own; its images come from the release's list.

use std::collections::BTreeMap;
use std::io::Read as _;

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::api::merge;
use super::fail::{Context as _, Fail, Result};
use super::pull::Session;
use super::registries::{Auth, Endpoint, RegistryConfig, Tls};
use super::yaml;

/// A chart's files by path below its folder.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) name: String,
    pub(crate) version: String,
    annotations: Map<String, Value>,
    files: BTreeMap<String, String>,
}

/// What one workload of a chart runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) images: Vec<String>,
    pub(crate) node_selector: BTreeMap<String, String>,
}

/// How a registry is reached by something that runs in a pod: no mirrors, no registries.yaml.
#[derive(Debug, Clone, Default)]
pub(crate) struct Access {
    pub(crate) username: Option<String>,
    pub(crate) password: Option<String>,
    pub(crate) ca_pem: Option<String>,
    pub(crate) plain_http: bool,
    pub(crate) insecure: bool,
    pub(crate) address: Option<std::net::SocketAddr>,
}

impl Chart {
    /// Opens a `.tgz`.
    pub(crate) fn open(tgz: &[u8]) -> Result<Self> {
        let mut files = BTreeMap::new();
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(tgz));
        for entry in archive.entries().context("chart archive")? {
            let mut entry = entry.context("chart archive")?;
            let path = entry.path()?.to_string_lossy().into_owned();
            let Some((_, inner)) = path.split_once('/') else {
                continue;
            };
            let mut text = String::new();
            if entry.read_to_string(&mut text).is_ok() {
                files.insert(inner.to_owned(), text);
            }
        }
        let meta = yaml::one(
            files
                .get("Chart.yaml")
                .context("Chart.yaml file is missing")?,
        )?;
        let field = |name: &str| {
            meta[name]
                .as_str()
                .map(str::to_owned)
                .context(format!("chart.metadata.{name} is required"))
        };
        let (name, version) = (field("name")?, field("version")?);
        Ok(Self {
            name,
            version,
            annotations: meta["annotations"].as_object().cloned().unwrap_or_default(),
            files,
        })
    }

    /// Pulls `oci://host/path:version` as helm does.
    pub(crate) async fn pull(reference: &str, version: &str, access: &Access) -> Result<Self> {
        let rest = reference
            .strip_prefix("oci://")
            .context(format!("{reference} is not an oci:// reference"))?;
        let (host, repository) = rest
            .split_once('/')
            .context(format!("{reference} has no repository"))?;
        if version.is_empty() {
            return Err(Fail::new(format!("chart {reference}: version is required")));
        }
        let scheme = if access.plain_http { "http" } else { "https" };
        let endpoint = Endpoint {
            base: format!("{scheme}://{host}/v2"),
            host: host.to_owned(),
            repository: repository.to_owned(),
            default: true,
        };
        let ca = match &access.ca_pem {
            Some(pem) => {
                let mut file = tempfile::NamedTempFile::new()?;
                std::io::Write::write_all(&mut file, pem.as_bytes())?;
                Some(file)
            }
            None => None,
        };
        let config = RegistryConfig {
            auth: access.username.as_ref().map(|user| Auth {
                username: Some(user.clone()),
                password: access.password.clone(),
                ..Auth::default()
            }),
            tls: Some(Tls {
                ca_file: ca
                    .as_ref()
                    .map(|file| file.path().to_string_lossy().into_owned()),
                insecure_skip_verify: Some(access.insecure),
                ..Tls::default()
            }),
        };
        let name = host.split(':').next().unwrap_or(host);
        let resolve: Vec<_> = access
            .address
            .iter()
            .map(|address| (name.to_owned(), *address))
            .collect();
        let session = Session::open(&endpoint, &config, host, &resolve)?;
        let (bytes, _) = session
            .manifest(&version.replace('+', "_"))
            .await
            .context(format!("failed to pull chart {reference}:{version}"))?;
        let manifest: Value = serde_json::from_slice(&bytes)?;
        if manifest["config"]["mediaType"] != "application/vnd.cncf.helm.config.v1+json" {
            return Err(Fail::new(format!(
                "{reference}:{version} is not a Helm chart: config {}",
                manifest["config"]["mediaType"]
            )));
        }
        let mut layers = manifest["layers"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|layer| {
                layer["mediaType"] == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
            });
        let layer = layers
            .next()
            .context("manifest does not contain a chart layer")?;
        let digest = layer["digest"].as_str().unwrap_or_default();
        let tgz = session
            .get(&format!("blobs/{digest}"), "*/*")
            .await?
            .bytes()
            .await?;
        if super::pull::sha256(&tgz) != digest {
            return Err(Fail::new(format!(
                "chart layer {digest} has digest {}",
                super::pull::sha256(&tgz)
            )));
        }
        let chart = Self::open(&tgz)?;
        let wanted = repository.rsplit('/').next().unwrap_or(repository);
        if chart.name != wanted || chart.version != version {
            return Err(Fail::new(format!(
                "chart at {reference}:{version} calls itself {} {}",
                chart.name, chart.version
            )));
        }
        Ok(chart)
    }

    /// The chart in a HelmChart's `chartContent`.
    pub(crate) fn inline(content: &str) -> Result<Self> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(content.trim())
            .map_err(|error| Fail::new(format!("chartContent: {error}")))?;
        Self::open(&bytes)
    }

    /// The objects among the values that a chart does nothing but print; `None` for every other chart.
    pub(crate) fn objects(&self, values: &Value) -> Option<Vec<Value>> {
        const PRINTS: &str = "{{- range .Values.objects }} --- {{ toYaml . }} {{- end }}";
        let mut templates = self
            .files
            .iter()
            .filter(|(path, _)| path.starts_with("templates/"));
        let (_, text) = templates.next()?;
        let prints = text.split_whitespace().eq(PRINTS.split_whitespace());
        (prints && templates.next().is_none())
            .then(|| values["objects"].as_array().cloned().unwrap_or_default())
    }

    /// What the chart would start with these values.
    pub(crate) fn workloads(
        &self,
        release: &str,
        namespace: &str,
        values: &Value,
        known: &BTreeMap<String, Vec<String>>,
    ) -> Result<Vec<Workload>> {
        let mut all = match self.files.get("values.yaml") {
            Some(text) => yaml::one(text).context("values.yaml")?,
            None => json!({}),
        };
        merge(&mut all, values);
        let scope = json!({"Values": all, "Release": {"Name": release, "Namespace": namespace, "Service": "Helm"},
            "Chart": {"Name": self.name, "Version": self.version}});
        let mut out = Vec::new();
        for (path, text) in self.files.iter().filter(|(path, _)| {
            path.starts_with("templates/")
                && std::path::Path::new(path)
                    .extension()
                    .is_some_and(|end| end == "yaml")
        }) {
            let Some(rendered) = render(text, &scope).context(path)? else {
                return Ok(vec![self.listed(release, known)?]);
            };
            for object in yaml::many(&rendered).context(path)? {
                out.extend(workload(&object));
            }
        }
        Ok(out)
    }

    fn listed(&self, release: &str, known: &BTreeMap<String, Vec<String>>) -> Result<Workload> {
        let annotated = self
            .annotations
            .get("standin.airgap/images")
            .and_then(Value::as_str)
            .map(|text| {
                text.lines()
                    .map(str::trim)
                    .filter(|line| !line.is_empty())
                    .map(str::to_owned)
                    .collect()
            });
        let images = annotated.or_else(|| {
            known
                .get(&format!("{}:{}", self.name, self.version))
                .or_else(|| known.get(&self.name))
                .cloned()
        });
        let images = images.context(format!(
            "the stand-in can neither render chart {} {} nor find its images in the release",
            self.name, self.version
        ))?;
        Ok(Workload {
            kind: "Deployment".into(),
            name: release.to_owned(),
            images,
            node_selector: BTreeMap::new(),
        })
    }
}

/// Fills in `{{ .A.b }}` and `{{ .A.b | quote }}`; `None` where the template needs a real Helm.
fn render(text: &str, scope: &Value) -> Result<Option<String>> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let Some((action, after)) = after.split_once("}}") else {
            return Ok(None);
        };
        let (path, quote) = match action.trim().split_once('|') {
            Some((path, function)) if function.trim() == "quote" => (path.trim(), true),
            Some(_) => return Ok(None),
            None => (action.trim(), false),
        };
        let plain = path.starts_with('.')
            && path.len() > 1
            && path
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain {
            return Ok(None);
        }
        let value = path[1..].split('.').fold(scope, |value, key| &value[key]);
        let value = match value {
            Value::String(text) => text.clone(),
            Value::Null => return Err(Fail::new(format!("nil pointer evaluating {path}"))),
            other => other.to_string(),
        };
        if quote {
            out.push_str(&Value::String(value).to_string());
        } else {
            out.push_str(&value);
        }
        rest = after;
    }
    out.push_str(rest);
    Ok(Some(out))
}

pub(crate) fn workload(object: &Value) -> Option<Workload> {
    let kind = object["kind"].as_str()?;
    let pod = match kind {
        "Pod" => object,
        "Deployment" | "DaemonSet" | "StatefulSet" | "Job" => &object["spec"]["template"],
        _ => return None,
    };
    let selector = pod["spec"]["nodeSelector"]
        .as_object()
        .into_iter()
        .flatten();
    Some(Workload {
        kind: kind.to_owned(),
        name: object["metadata"]["name"].as_str()?.to_owned(),
        images: super::nodes::images(pod),
        node_selector: selector
            .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_that_prints_its_values_is_known_by_its_one_template() {
        let mut chart = Chart {
            name: "printer".into(),
            version: "1.0.0".into(),
            annotations: Map::new(),
            files: BTreeMap::from([(
                "templates/all.yaml".to_owned(),
                "{{- range .Values.objects }}\n---\n{{ toYaml . }}\n{{- end }}\n".to_owned(),
            )]),
        };
        let values = json!({"objects": [{"kind": "Namespace"}]});
        assert_eq!(chart.objects(&values).unwrap().len(), 1);
        let more = ("templates/more.yaml".to_owned(), "kind: Pod\n".to_owned());
        chart.files.extend([more]);
        assert_eq!(chart.objects(&values), None);
    }

    #[test]
    fn plain_fields_are_rendered_and_anything_else_is_left_to_helm() {
        let scope = json!({"Values": {"image": {"tag": "v1"}}, "Release": {"Name": "r"}});
        assert_eq!(
            render(
                "a: {{ .Values.image.tag | quote }}/{{ .Release.Name }}",
                &scope
            )
            .unwrap()
            .unwrap(),
            "a: \"v1\"/r"
        );
        assert!(render("{{ include \"x\" . }}", &scope).unwrap().is_none());
        assert!(render("{{- if .Values.x }}", &scope).unwrap().is_none());
        assert!(render("{{ .Values.absent }}", &scope).is_err());
    }
}
