//! Charts rendered by a helm: a script that behaves as the case wants, and the real program where it is on PATH.

use std::process::Command;

use airgap_bundler::{Cache, Error, Helm, render_charts, unrendered};
use airgap_manifests::{Catalog, ImageLock, RenderedImages};
use camino::{Utf8Path, Utf8PathBuf};

use crate::support::*;

/// Prints a deployment whose image is what the case says, and checks what helm is given.
const SCRIPT: &str = r#"#!/bin/sh
[ "$1" = version ] && { echo v0.0.0-fake; exit 0; }
[ "$1 $2" = "template argo-cd" ] && [ -s "$3" ] && [ "$4 $5 $6" = "--namespace argocd --values" ] && [ -s "$7" ] || { echo "called as $*" >&2; exit 1; }
[ "$8 $9" = "--kube-version 1.36.4" ] || { echo "no version: $*" >&2; exit 1; }
[ -z "$AIRGAP_CANARY" ] || { echo "the environment leaks" >&2; exit 1; }
cat <<END
---
# Source: argo-cd/templates/server.yaml
kind: Deployment
metadata: {name: server}
spec:
  template:
    spec:
      containers:
        - image: IMAGE
          args: [--cache=docker.io/library/redis:8.2.3]
END
"#;

/// A catalog, its lock, a cache with the one chart, and a helm.
struct Case {
    dir: tempfile::TempDir,
    catalog: Catalog,
    lock: ImageLock,
    cache: Cache,
}

impl Case {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let cache = Cache::open(&root(&dir).join("cache")).unwrap();
        let catalog = catalog();
        let mut lock = catalog.lock_skeleton(&Catalog::builtin_lock().unwrap());
        for locked in &mut lock.charts {
            let archive = chart(&locked.name, &locked.version);
            locked.sha256 = Some(cache.insert(&archive).unwrap());
        }
        Self {
            dir,
            catalog,
            lock,
            cache,
        }
    }

    fn helm(&self, script: &str) -> Utf8PathBuf {
        let (text, path) = (root(&self.dir).join("text"), root(&self.dir).join("helm"));
        fs_err::write(&text, script).unwrap();
        // made by another process: a program cannot be run while it is open for writing, and a child that another test is just starting
        // would hold it open if it had been in this one
        let status = Command::new("install")
            .args(["-m", "755", text.as_str(), path.as_str()])
            .status();
        assert!(status.unwrap().success());
        path
    }

    fn render(&self, script: &str) -> Result<RenderedImages, Error> {
        let helm = Helm::at(&self.helm(script))?;
        render_charts(&self.catalog, &self.lock, &self.cache, &helm, &quiet)
    }

    fn problems(&self, rendered: &RenderedImages) -> Vec<String> {
        let records = self.catalog.fresh_records(&self.lock, rendered);
        let catalog = self.catalog.clone().with_records(records);
        let problems = catalog.check_records(&self.lock);
        problems.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn what_a_chart_asks_for_is_recorded_with_template_and_field() {
    let case = Case::new();
    let rendered = case.render(&SCRIPT.replace("IMAGE", ARGOCD)).unwrap();
    let found = rendered.values().next().unwrap();
    assert_eq!(found.source, "helm v0.0.0-fake");
    let field = "Deployment server spec.template.spec.containers.0";
    let found: Vec<_> = found
        .images
        .iter()
        .map(|found| (found.image.as_str(), found.field.clone().unwrap()))
        .collect();
    assert_eq!(
        found,
        [
            ("docker.io/library/redis:8.2.3", format!("{field}.args.0")),
            (ARGOCD, format!("{field}.image")),
        ]
    );
    assert_eq!(case.problems(&rendered), [""; 0]);
    let records = case.catalog.fresh_records(&case.lock, &rendered);
    assert!(unrendered(&records).is_empty());
    let own = case
        .catalog
        .fresh_records(&case.lock, &RenderedImages::new());
    assert_eq!(unrendered(&own)["argo-cd 10.1.1"], 1);
}

#[test]
fn an_image_that_only_the_rendering_shows_is_an_error_with_its_place() {
    let case = Case::new();
    let rendered = case
        .render(&SCRIPT.replace("IMAGE", "quay.io/hidden/one:v1"))
        .unwrap();
    let problems = case.problems(&rendered);
    assert_eq!(problems.len(), 1, "{problems:#?}");
    for word in [
        "components/argo-cd.yaml:",
        "chart argo-cd 10.1.1, template argo-cd/templates/server.yaml, Deployment server spec.template.spec.containers.0.image",
        "image quay.io/hidden/one:v1 is not among those of `argo-cd`",
    ] {
        assert!(problems[0].contains(word), "{word}: {}", problems[0]);
    }
}

#[test]
fn a_chart_that_renders_differently_twice() {
    let case = Case::new();
    let random = SCRIPT.replace("IMAGE", ARGOCD).replace(
        "kind: Deployment",
        "kind: Deployment\nrandom: $(od -An -N8 -tx8 /dev/urandom | tr -d ' ')",
    );
    let error = case.render(&random).unwrap_err().to_string();
    assert!(
        error.contains(
            "chart argo-cd 10.1.1 with the values of argo-cd for small/aws, small/onprem"
        ) && error.contains("renders differently every time, in argo-cd/templates/server.yaml"),
        "{error}"
    );
}

#[test]
fn what_helm_refuses_is_said_in_its_words() {
    let case = Case::new();
    let script = "#!/bin/sh\n[ \"$1\" = version ] && exit 0\necho 'Error: values do not meet the schema' >&2\nexit 1\n";
    let error = case.render(script).unwrap_err().to_string();
    assert!(
        error.contains("argo-cd 10.1.1") && error.contains("do not meet the schema"),
        "{error}"
    );
    let error = case.render("#!/bin/sh\nexit 3\n").unwrap_err().to_string();
    assert!(error.contains("version"), "{error}");
    let none = Helm::at(Utf8Path::new("/nowhere/helm"))
        .unwrap_err()
        .to_string();
    assert!(none.contains("/nowhere/helm"), "{none}");
    let broken =
        "#!/bin/sh\n[ \"$1\" = version ] && exit 0\necho '# Source: a/b.yaml'; echo 'a: ['\n";
    let error = case.render(broken).unwrap_err().to_string();
    assert!(error.contains("a/b.yaml makes what is not YAML"), "{error}");
}

/// The publishers' charts with the shipped values, by the real helm; runs only where there is one, which nothing requires.
#[test]
fn the_shipped_charts_ask_for_what_their_components_list() {
    let path = std::env::var("PATH").unwrap_or_default();
    let mut folders = path
        .split(':')
        .map(|folder| Utf8Path::new(folder).join("helm"));
    let Some(helm) = folders.find(|helm| helm.is_file()) else {
        println!("helm is not on PATH: the publishers' charts are not rendered");
        return;
    };
    let Some(charts) = crate::charts::publishers() else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(root(&dir)).unwrap();
    for path in charts {
        cache.insert(&fs_err::read(path).unwrap()).unwrap();
    }
    let (catalog, lock) = (
        Catalog::builtin().unwrap(),
        Catalog::builtin_lock().unwrap(),
    );
    let helm = Helm::at(&helm).unwrap();
    let rendered = render_charts(&catalog, &lock, &cache, &helm, &quiet).unwrap();
    assert!(rendered.len() >= 3, "{}", rendered.len());
    let records = catalog.fresh_records(&lock, &rendered);
    let problems = catalog.with_records(records).check_records(&lock);
    assert_eq!(problems, []);
}
