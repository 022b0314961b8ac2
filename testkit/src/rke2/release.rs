//! What the real binary has compiled in: its version and the images it starts. Read from
//! `<prefix>/share/rke2/airgap-standin.json`, which the stand-in release carries beside its own files.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::fail::{Context as _, Result};

/// The compiled-in facts of one RKE2 version.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Info {
    /// `v1.36.4+rke2r1`.
    pub version: String,
    /// `docker.io/rancher/rke2-runtime:<tag>`.
    pub runtime: String,
    /// The image of the API server, controller manager, scheduler and kube-proxy.
    pub kubernetes: String,
    /// The image of etcd.
    pub etcd: String,
    /// The sandbox image.
    pub pause: String,
    /// The image of the embedded cloud controller.
    pub cloud_provider: String,
    /// The image of the Helm jobs.
    pub klipper_helm: String,
    /// Images of each packaged chart, by chart name (`rke2-canal`, `rke2-coredns`, …).
    pub charts: BTreeMap<String, Vec<String>>,
    /// Images of charts that the stand-in cannot render, by `name:version` or `name`.
    #[serde(default)]
    pub chart_images: BTreeMap<String, Vec<String>>,
}

impl Info {
    pub(crate) fn load() -> Result<Self> {
        let exe = std::env::current_exe()?;
        let prefix = exe
            .parent()
            .and_then(|bin| bin.parent())
            .map_or_else(|| PathBuf::from("/usr/local"), PathBuf::from);
        let path = prefix.join("share/rke2/airgap-standin.json");
        let text = fs_err::read_to_string(&path).context(path.display())?;
        serde_json::from_str(&text).context(path.display())
    }
}
