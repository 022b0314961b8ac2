//! Charts rendered by helm, to learn which images they ask for.
//!
//! There is no renderer of our own: what is recorded is what helm makes of the publisher's chart, with the values of every
//! edition and kind of site. Each is rendered twice; a chart that differs from itself would be drift for ever on site.
//! Helm gets nothing of this process's environment, and no cluster.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
};

use airgap_manifests::{
    Catalog, Component, FoundImage, ImageLock, KnownImages, NeededRendering, Rendered,
    RenderedImages, find_images, to_yaml,
};
use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use crate::{
    cache::Cache,
    error::{Error, Result},
    event::{Event, Report},
};

/// The largest chart, and the largest rendering of one, in bytes.
const MAX_CHART: u64 = 64 << 20;

/// The helm program.
#[derive(Debug, Clone)]
pub struct Helm {
    program: Utf8PathBuf,
    version: String,
}

impl Helm {
    /// Asks a program for its version; `program` is helm's path.
    pub fn at(program: &Utf8Path) -> Result<Self> {
        let helm = Self {
            program: program.to_owned(),
            version: String::new(),
        };
        let folder = tempfile::tempdir().map_err(Error::io("make", "a temporary folder"))?;
        let said = helm.run(&["version", "--short"], folder.path())?;
        let version = said.split_whitespace().next().unwrap_or("of no version");
        Ok(Self {
            version: version.to_owned(),
            ..helm
        })
    }

    /// Returns the version as helm says it: `v3.19.0+g3d8990f`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    fn run(&self, arguments: &[&str], home: &std::path::Path) -> Result<String> {
        let failed = |reason: String| Error::Unusable {
            object: format!("{} {}", self.program, arguments.first().unwrap_or(&"")),
            reason,
        };
        let output = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .env("HOME", home)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .output()
            .map_err(|error| failed(error.to_string()))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said: Vec<&str> = said.lines().take(4).collect();
            return Err(failed(said.join(" ")));
        }
        String::from_utf8(output.stdout).map_err(|_| failed("it wrote what is not text".into()))
    }

    fn template(
        &self,
        needed: &NeededRendering<'_>,
        kube_version: &str,
        folder: &Utf8Path,
    ) -> Result<String> {
        let (chart, values) = (folder.join("chart.tgz"), folder.join("values.yaml"));
        self.run(
            &[
                "template",
                needed.component.release_name(),
                chart.as_str(),
                "--namespace",
                &needed.component.namespace,
                "--values",
                values.as_str(),
                "--kube-version",
                kube_version,
                "--skip-tests",
            ],
            folder.as_std_path(),
        )
    }
}

/// Renders every chart of the catalog that is locked and in the cache, with every set of values that a site can give it.
///
/// # Errors
/// [`Error::Several`] with every chart that helm refuses, that differs from itself, or that makes what is no YAML.
pub fn render_charts(
    catalog: &Catalog,
    lock: &ImageLock,
    cache: &Cache,
    helm: &Helm,
    report: Report<'_>,
) -> Result<RenderedImages> {
    let known = KnownImages::of(catalog);
    let release = catalog.components().find_map(|of| of.release.as_ref());
    let kube_version = release.map_or("", |release| release.version.as_str());
    let kube_version = kube_version.trim_start_matches('v');
    let kube_version = kube_version.split('+').next().unwrap_or(kube_version);
    let (mut rendered, mut errors) = (RenderedImages::new(), Vec::new());
    for needed in catalog.renderings() {
        let Some(chart) = &needed.component.chart else {
            continue;
        };
        let locked = lock.chart(&chart.name, &chart.version);
        let Some(digest) = locked.and_then(|locked| locked.sha256.as_ref()) else {
            continue;
        };
        let Some(archive) = cache.read(digest, MAX_CHART)? else {
            continue;
        };
        let object = format!(
            "chart {} {} with the values of {} for {}",
            chart.name,
            chart.version,
            needed.component.name,
            needed
                .editions
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(", ")
        );
        match render(&needed, &archive, kube_version, helm, &known, &object) {
            Ok(images) => {
                let key = (needed.component.name.clone(), needed.digest.to_string());
                let source = format!("helm {}", helm.version);
                rendered.insert(key, Rendered { source, images });
                report(Event::Done { object });
            }
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() {
        Ok(rendered)
    } else {
        Err(Error::all(errors))
    }
}

fn render(
    needed: &NeededRendering<'_>,
    archive: &[u8],
    kube_version: &str,
    helm: &Helm,
    known: &KnownImages,
    object: &str,
) -> Result<Vec<FoundImage>> {
    let unusable = |reason: String| Error::Unusable {
        object: object.to_owned(),
        reason,
    };
    let values = needed
        .sample_values()
        .map_err(|error| unusable(error.to_string()))?;
    let values = to_yaml(&Value::Object(values)).map_err(|error| unusable(error.to_string()))?;
    let folder = tempfile::tempdir().map_err(Error::io("make", "a temporary folder"))?;
    let path = Utf8Path::from_path(folder.path())
        .ok_or_else(|| unusable("the temporary folder's name is not text".into()))?;
    for (name, bytes) in [("chart.tgz", archive), ("values.yaml", values.as_bytes())] {
        let path = path.join(name);
        fs_err::write(&path, bytes).map_err(Error::io("write", &path))?;
    }
    let refused = |error: Error| match error {
        Error::Unusable { reason, .. } => unusable(reason),
        other => other,
    };
    let text = helm.template(needed, kube_version, path).map_err(refused)?;
    let again = helm.template(needed, kube_version, path).map_err(refused)?;
    let declared = declared(needed.component);
    if let Some(template) = difference(&text, &again, &declared) {
        return Err(unusable(format!(
            "it renders differently every time, in {template}; let a secret made on site take the place of what is random, or declare it under `ignoreDifferences`"
        )));
    }
    let mut images = Vec::new();
    for (template, object) in objects(&text).map_err(unusable)? {
        images.extend(
            find_images(&object, known)
                .into_iter()
                .map(|found| FoundImage {
                    template: Some(template.clone()),
                    ..found
                }),
        );
    }
    images.sort();
    images.dedup();
    Ok(images)
}

/// Splits helm's output into documents, each with the template it says it comes from.
fn documents(text: &str) -> impl Iterator<Item = (String, &str)> {
    let mut start = 0;
    let mut parts = Vec::new();
    for (index, _) in text.match_indices("\n---") {
        parts.push(&text[start..=index]);
        start = index + 1;
    }
    parts.push(&text[start..]);
    parts.into_iter().map(|part| {
        let source = part
            .lines()
            .find_map(|line| line.strip_prefix("# Source: "));
        (
            source.unwrap_or("an unnamed template").trim().to_owned(),
            part,
        )
    })
}

/// Lists the keys that the component says differ for ever, as lines begin with them.
fn declared(component: &Component) -> Vec<String> {
    let pointers = component
        .ignore_differences
        .iter()
        .flat_map(|ignored| &ignored.json_pointers);
    pointers
        .filter_map(|pointer| pointer.rsplit('/').next())
        .map(|key| format!("{key}:"))
        .collect()
}

/// Names the first template that two renderings disagree in. Hooks do not count: each sync makes them anew, and nobody
/// compares them. Nor do lines that begin with a key of `declared`.
fn difference(one: &str, other: &str, declared: &[String]) -> Option<String> {
    let hook = |part: &str| part.contains("helm.sh/hook\"") || part.contains("helm.sh/hook:");
    let ignored = |line: &&str| {
        let line = line.trim_start();
        declared.iter().any(|key| line.starts_with(key.as_str()))
    };
    let kept = |text| -> Vec<(String, Vec<&str>)> {
        documents(text)
            .filter(|(_, part)| !hook(part))
            .map(|(name, part)| (name, part.lines().filter(|line| !ignored(line)).collect()))
            .collect()
    };
    let (one, other) = (kept(one), kept(other));
    if one.len() != other.len() {
        return Some("the number of objects".to_owned());
    }
    let mut pairs = one.into_iter().zip(other);
    pairs
        .find(|(one, other)| one != other)
        .map(|(one, _)| one.0)
}

/// Reads the objects of a rendering; a key written twice is the chart's own affair, as it is to helm.
fn objects(text: &str) -> std::result::Result<Vec<(String, Value)>, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let mut objects = Vec::new();
    for (template, part) in documents(text) {
        if part
            .lines()
            .any(|line| line.trim_end() == "kind: CustomResourceDefinition")
        {
            continue;
        }
        let read: Vec<Value> = serde_saphyr::from_multiple_with_options(part, options.clone())
            .map_err(|error| format!("{template} makes what is not YAML: {error}"))?;
        objects.extend(read.into_iter().map(|object| (template.clone(), object)));
    }
    Ok(objects)
}

/// Counts the sets of values whose record still holds a component's own list, by chart.
#[must_use]
pub fn unrendered(records: &[airgap_manifests::ChartRecord]) -> BTreeMap<String, usize> {
    let mut charts = BTreeMap::new();
    for record in records {
        let own = record
            .renderings
            .iter()
            .filter(|of| of.source == airgap_manifests::FACTS);
        match own.count() {
            0 => {}
            count => drop(charts.insert(format!("{} {}", record.chart, record.version), count)),
        }
    }
    charts
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "---\n# Source: a/templates/x.yaml\nkind: A\n---\n# Source: a/templates/y.yaml\nkind: B\nkind: C\n";

    #[test]
    fn documents_know_their_template_and_a_difference_is_named() {
        let found = objects(TEXT).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].0, "a/templates/y.yaml");
        assert_eq!(found[1].1["kind"], "C");
        assert_eq!(difference(TEXT, TEXT, &[]), None);
        let hook = TEXT.replace("kind: B", "kind: B\nhelm.sh/hook: pre-install");
        assert_eq!(difference(&hook, &hook.replace('B', "D"), &[]), None);
        assert_eq!(
            difference(TEXT, &TEXT.replace('B', "D"), &[]).unwrap(),
            "a/templates/y.yaml"
        );
        // what a component says to differ for ever is no difference
        let random = TEXT.replace("kind: C", "  rollme: x7Qa1");
        let declared = ["rollme:".to_owned()];
        let again = random.replace("x7Qa1", "bb3Zz");
        assert_eq!(difference(&random, &again, &declared), None);
        assert!(difference(&random, &again, &[]).is_some());
        assert!(
            objects("# Source: a/b.yaml\na: [\n")
                .unwrap_err()
                .contains("a/b.yaml")
        );
    }
}
