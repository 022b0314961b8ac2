//! Stand-in Helm charts: real `.tgz` files with plain templates, which both Helm and the stand-in can render.
//!
//! Each workload's image is a value, so site values reach it as they would in a publisher's chart.

use serde_json::{Value, json};

use crate::release::targz;

/// A chart in the making.
#[derive(Debug, Clone)]
pub struct Chart {
    name: String,
    version: String,
    app_version: String,
    images: Vec<(String, String)>,
    templates: Vec<(String, String)>,
}

impl Chart {
    /// Starts a chart.
    #[must_use]
    pub fn new(name: &str, version: &str) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            app_version: version.into(),
            images: Vec::new(),
            templates: Vec::new(),
        }
    }

    /// Adds a Deployment of one container.
    #[must_use]
    pub fn deployment(self, name: &str, image: &str) -> Self {
        self.workload("Deployment", name, image)
    }

    /// Adds a DaemonSet of one container.
    #[must_use]
    pub fn daemon_set(self, name: &str, image: &str) -> Self {
        self.workload("DaemonSet", name, image)
    }

    fn workload(mut self, kind: &str, name: &str, image: &str) -> Self {
        let key = format!("w{}", self.images.len());
        let replicas = if kind == "Deployment" {
            "\n  replicas: 1"
        } else {
            ""
        };
        let template = format!(
            "apiVersion: apps/v1\nkind: {kind}\nmetadata:\n  name: {name}\n  namespace: {{{{ .Release.Namespace }}}}\nspec:{replicas}\n  selector:\n    matchLabels:\n      app: {name}\n  \
             template:\n    metadata:\n      labels:\n        app: {name}\n    spec:\n      containers:\n      - name: main\n        image: {{{{ .Values.images.{key} | quote }}}}\n        imagePullPolicy: IfNotPresent\n"
        );
        self.templates.push((
            format!("templates/{kind}-{name}.yaml").to_lowercase(),
            template,
        ));
        self.images.push((key, image.into()));
        self
    }

    /// Adds a template as it is.
    #[must_use]
    pub fn template(mut self, path: &str, text: &str) -> Self {
        self.templates
            .push((format!("templates/{path}"), text.into()));
        self
    }

    /// Metadata as `Chart.yaml` and as the config of a Helm OCI artifact.
    #[must_use]
    pub fn metadata(&self) -> Value {
        json!({"apiVersion": "v2", "name": self.name, "version": self.version, "appVersion": self.app_version, "type": "application",
            "description": "airgap stand-in chart", "annotations": {"standin.airgap/generated": "true"}})
    }

    /// The packed chart, the same every time.
    #[must_use]
    pub fn tgz(&self) -> Vec<u8> {
        let images: serde_json::Map<String, Value> = self
            .images
            .iter()
            .map(|(key, image)| (key.clone(), image.clone().into()))
            .collect();
        let values = json!({"images": images}).to_string();
        let meta = self.metadata().to_string();
        let path = |file: &str| format!("{}/{file}", self.name);
        let mut files = vec![(path("Chart.yaml"), meta), (path("values.yaml"), values)];
        files.extend(
            self.templates
                .iter()
                .map(|(file, text)| (path(file), text.clone())),
        );
        let borrowed: Vec<(&str, u32, &[u8])> = files
            .iter()
            .map(|(path, text)| (path.as_str(), 0o644, text.as_bytes()))
            .collect();
        targz(&borrowed)
    }
}
