//! The stand-in release: the files an RKE2 release has, and the content of its runtime image.
//!
//! Names and layout are those of `rke2.linux-amd64.tar.gz`; the content is ours. Everything is made the same way every time for the
//! same binary, so locks made from it hold.

use std::collections::BTreeMap;

use camino::{Utf8Path, Utf8PathBuf};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};

use crate::charts::Chart;
use crate::image::Image;
use crate::rke2::release::Info;

const INSTALL: &str = include_str!("release/install.sh");
const KILLALL: &str = include_str!("release/rke2-killall.sh");
const UNINSTALL: &str = include_str!("release/rke2-uninstall.sh");
const UNIT: &str = include_str!("release/rke2.service");

/// What a stand-in release is made for.
#[derive(Debug, Clone)]
pub struct ReleaseSpec {
    /// `v1.36.4+rke2r1`.
    pub version: String,
    /// Every image of the release by its full name, those of all CNIs and ingress controllers too.
    pub images: Vec<String>,
    /// Images of publishers' charts that the stand-in cannot render, by `name:version` or `name`.
    pub chart_images: BTreeMap<String, Vec<String>>,
}

/// Files of a release by name, as the download page has them, and `install.sh` as the git tag has it.
#[derive(Debug, Clone)]
pub struct Release {
    /// Everything but the images.
    pub files: BTreeMap<String, Vec<u8>>,
    /// `docker.io/rancher/rke2-runtime:<tag>`.
    pub runtime_name: String,
    /// The runtime image of this platform.
    pub runtime: Image,
}

/// Which packaged chart starts which images, by what their names hold.
const CHARTS: &[(&str, &[&str])] = &[
    ("rke2-canal", &["hardened-calico", "hardened-flannel"]),
    (
        "rke2-cilium",
        &[
            "mirrored-cilium-cilium:",
            "mirrored-cilium-operator-generic",
            "mirrored-cilium-hubble",
            "hardened-cni-plugins",
            "mirrored-cilium-certgen",
        ],
    ),
    (
        "rke2-coredns",
        &["hardened-coredns", "hardened-cluster-autoscaler"],
    ),
    (
        "rke2-metrics-server",
        &["hardened-k8s-metrics-server", "hardened-addon-resizer"],
    ),
    (
        "rke2-snapshot-controller",
        &["hardened-snapshot-controller"],
    ),
    ("rke2-traefik", &["hardened-traefik"]),
    (
        "rke2-ingress-nginx",
        &["nginx-ingress-controller", "kube-webhook-certgen"],
    ),
];

impl ReleaseSpec {
    /// The release the catalog is written for, with the images its lists name.
    #[must_use]
    pub fn stock() -> Self {
        let images = include_str!("release/images.txt")
            .lines()
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect();
        Self {
            version: "v1.36.4+rke2r1".into(),
            images,
            chart_images: BTreeMap::new(),
        }
    }

    /// The tag that images carry.
    #[must_use]
    pub fn tag(&self) -> String {
        self.version.replace('+', "-")
    }

    fn find(&self, part: &str) -> Result<String, String> {
        let found = self.images.iter().find(|image| image.contains(part));
        found.cloned().ok_or_else(|| {
            format!(
                "the stand-in release {} needs an image like {part:?}",
                self.version
            )
        })
    }

    fn info(&self) -> Result<Info, String> {
        Ok(Info {
            version: self.version.clone(),
            runtime: self.find("/rke2-runtime:")?,
            kubernetes: self.find("/hardened-kubernetes:")?,
            etcd: self.find("/hardened-etcd:")?,
            pause: self.find("/mirrored-pause:")?,
            cloud_provider: self.find("/rke2-cloud-provider:")?,
            klipper_helm: self.find("/klipper-helm:")?,
            charts: self.charts(),
            chart_images: self.chart_images.clone(),
        })
    }

    /// The images of each packaged chart that the release has any for.
    fn charts(&self) -> BTreeMap<String, Vec<String>> {
        CHARTS
            .iter()
            .map(|(chart, parts)| {
                let mine = self
                    .images
                    .iter()
                    .filter(|image| parts.iter().any(|part| image.contains(part)));
                ((*chart).to_owned(), mine.cloned().collect::<Vec<_>>())
            })
            .filter(|(_, images)| !images.is_empty())
            .collect()
    }

    /// Makes the release around `binary`, the stand-in itself, for `amd64` or `arm64`.
    ///
    /// # Errors
    /// Says which image the list lacks.
    pub fn make(&self, binary: &[u8], arch: &str) -> Result<Release, String> {
        let info = self.info()?;
        let json = serde_json::to_vec_pretty(&info).map_err(|error| error.to_string())?;
        let unit = |role: &str, other: &str| {
            UNIT.replace("@ROLE@", role)
                .replace("@OTHER@", other)
                .into_bytes()
        };
        let server = unit("server", "agent");
        let agent = unit("agent", "server");
        let tarball = targz(&[
            ("bin/rke2", 0o755, binary),
            ("bin/rke2-killall.sh", 0o755, KILLALL.as_bytes()),
            ("bin/rke2-uninstall.sh", 0o755, UNINSTALL.as_bytes()),
            ("lib/systemd/system/rke2-agent.env", 0o644, b"HOME=/root\n"),
            ("lib/systemd/system/rke2-agent.service", 0o644, &agent),
            ("lib/systemd/system/rke2-server.env", 0o644, b"HOME=/root\n"),
            ("lib/systemd/system/rke2-server.service", 0o644, &server),
            ("share/rke2/LICENSE.txt", 0o644, b"The airgap stand-in is part of airgap and under its licence.\n"),
            ("share/rke2/airgap-standin.json", 0o644, &json),
            ("share/rke2/rke2-cis-sysctl.conf", 0o644, b"vm.panic_on_oom=0\nvm.overcommit_memory=1\nkernel.panic=10\nkernel.panic_on_oops=1\n"),
        ]);
        let mut files = BTreeMap::new();
        files.insert(format!("rke2.linux-{arch}.tar.gz"), tarball);
        for (set, names) in self.lists() {
            let text = names.join("\n") + "\n";
            files.insert(
                format!("rke2-images-{set}.linux-{arch}.txt"),
                text.into_bytes(),
            );
        }
        let sums = files
            .iter()
            .map(|(name, bytes)| format!("{}  {name}\n", hex::encode(Sha256::digest(bytes))))
            .collect::<Vec<_>>()
            .concat();
        files.insert(format!("sha256sum-{arch}.txt"), sums.into_bytes());
        files.insert("install.sh".into(), INSTALL.as_bytes().to_vec());
        Ok(Release {
            files,
            runtime_name: info.runtime.clone(),
            runtime: self.runtime(binary, arch),
        })
    }

    /// The image lists a release ships, by set.
    fn lists(&self) -> BTreeMap<&'static str, Vec<String>> {
        let mut sets: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for image in &self.images {
            let set = match image {
                image
                    if image.contains("hardened-calico") || image.contains("hardened-flannel") =>
                {
                    "canal"
                }
                image
                    if image.contains("mirrored-cilium")
                        || image.contains("hardened-cni-plugins") =>
                {
                    "cilium"
                }
                image
                    if image.contains("nginx-ingress-controller")
                        || image.contains("kube-webhook-certgen") =>
                {
                    "ingress-nginx"
                }
                _ => "core",
            };
            sets.entry(set).or_default().push(image.clone());
            sets.entry("all").or_default().push(image.clone());
        }
        for names in sets.values_mut() {
            names.sort();
        }
        sets
    }

    /// `/bin` with the stand-in's tools and `/charts` with the packaged charts as HelmCharts.
    fn runtime(&self, binary: &[u8], arch: &str) -> Image {
        const TOOL: &[u8] = b"#!/bin/sh\necho 'airgap stand-in: not a real binary'\n";
        const CRICTL: &[u8] = b"#!/bin/sh\nexec \"${0%/*}/kubectl\" --standin-crictl \"$@\"\n";
        let mut files: Vec<(String, Vec<u8>)> = vec![
            ("bin/kubectl".into(), binary.to_vec()),
            ("bin/crictl".into(), CRICTL.to_vec()),
        ];
        for tool in [
            "containerd",
            "containerd-shim-runc-v2",
            "ctr",
            "kubelet",
            "runc",
        ] {
            files.push((format!("bin/{tool}"), TOOL.to_vec()));
        }
        for (name, images) in self.charts() {
            files.push((
                format!("charts/{name}.yaml"),
                packaged(&name, &images).into_bytes(),
            ));
        }
        let borrowed: Vec<(&str, &[u8])> = files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes.as_slice()))
            .collect();
        Image::oci()
            .platform(&format!("linux/{arch}"))
            .layer(&borrowed)
            .build()
    }
}

/// A packaged chart as RKE2 ships it: a bootstrap HelmChart with the chart inside.
fn packaged(name: &str, images: &[String]) -> String {
    use base64::Engine as _;
    let cni = ["rke2-canal", "rke2-cilium"].contains(&name);
    let mut chart = Chart::new(name, "0.0.0-standin");
    for (index, image) in images.iter().enumerate() {
        chart = if cni {
            chart.daemon_set(&format!("{name}-{index}"), image)
        } else {
            chart.deployment(&format!("{name}-{index}"), image)
        };
    }
    let content = base64::engine::general_purpose::STANDARD.encode(chart.tgz());
    format!(
        "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata:\n  name: {name}\n  namespace: kube-system\nspec:\n  bootstrap: {cni}\n  failurePolicy: retry\n  forceConflicts: true\n  chartContent: {content}\n"
    )
}

impl Release {
    /// Writes the files into a folder.
    ///
    /// # Errors
    /// Fails where a file cannot be written.
    pub fn write(&self, folder: &Utf8Path) -> std::io::Result<()> {
        fs_err::create_dir_all(folder)?;
        for (name, bytes) in &self.files {
            fs_err::write(folder.join(name), bytes)?;
        }
        Ok(())
    }
}

/// Finds the stand-in binary beside the running program (or at `AIRGAP_STANDIN_BIN`), without debug information where `strip` is at hand.
///
/// # Errors
/// Says how to build it where it is missing.
pub fn standin_binary() -> std::io::Result<Vec<u8>> {
    let path = match std::env::var("AIRGAP_STANDIN_BIN") {
        Ok(path) => Utf8PathBuf::from(path),
        Err(_) => beside_us()?,
    };
    let stripped = tempfile::NamedTempFile::new()?;
    let done = std::process::Command::new("strip")
        .arg("-o")
        .arg(stripped.path())
        .arg(&path)
        .output();
    if done.is_ok_and(|output| output.status.success()) {
        fs_err::read(stripped.path())
    } else {
        fs_err::read(&path)
    }
}

fn beside_us() -> std::io::Result<Utf8PathBuf> {
    let exe = std::env::current_exe()?;
    let mut dir = exe.as_path();
    while let Some(parent) = dir.parent() {
        let candidate = parent.join("airgap-standin-rke2");
        if candidate.is_file() {
            return Utf8PathBuf::from_path_buf(candidate)
                .map_err(|path| std::io::Error::other(format!("{} is not UTF-8", path.display())));
        }
        if parent.file_name().is_some_and(|name| name == "target") {
            break;
        }
        dir = parent;
    }
    Err(std::io::Error::other(
        "the stand-in is not built: cargo build -p airgap-testkit --bins",
    ))
}

/// A deterministic `.tar.gz`.
pub(crate) fn targz(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(
        GzBuilder::new()
            .mtime(0)
            .write(Vec::new(), Compression::new(6)),
    );
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(1_700_000_000);
        // writing to memory fails only for a path that tar cannot hold, which none of ours is
        tar.append_data(&mut header, path, *content)
            .expect("a short path and memory");
    }
    tar.into_inner()
        .and_then(flate2::write::GzEncoder::finish)
        .expect("memory can be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_the_same_every_time_and_its_sums_hold() {
        let spec = ReleaseSpec::stock();
        let one = spec.make(b"binary", "amd64").unwrap();
        let two = spec.make(b"binary", "amd64").unwrap();
        assert_eq!(one.files, two.files);
        assert_eq!(one.runtime.manifest, two.runtime.manifest);
        let sums = String::from_utf8(one.files["sha256sum-amd64.txt"].clone()).unwrap();
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            assert_eq!(sum, hex::encode(Sha256::digest(&one.files[name])));
        }
        assert!(
            !sums.contains("install.sh"),
            "as in the real release, the script is not in the sums"
        );
    }

    #[test]
    fn a_list_without_etcd_is_named() {
        let mut spec = ReleaseSpec::stock();
        spec.images.retain(|image| !image.contains("etcd"));
        assert!(
            spec.make(b"", "amd64")
                .unwrap_err()
                .contains("hardened-etcd")
        );
    }
}
