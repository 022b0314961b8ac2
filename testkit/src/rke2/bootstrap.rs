//! Stages the content of the `rke2-runtime` image: `/bin` and `/charts` into the data directory.
//!
//! As in RKE2, this pull always keeps the image's own registry as the last endpoint: only `runtime-image` takes it off docker.io.

use std::path::{Path, PathBuf};

use super::config::Config;
use super::fail::{Context as _, Fail, Result};
use super::image::ImageName;
use super::pull::{Puller, sha256};
use super::registries::Registries;
use super::{log, release};

/// What the runtime image was staged as.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) charts: PathBuf,
}

/// The reference RKE2 would pull its runtime from.
pub(crate) fn runtime_reference(config: &Config, release: &release::Info) -> String {
    if let Some(image) = config.get("runtime-image") {
        return image.to_owned();
    }
    match config.get("system-default-registry") {
        Some(registry) => format!(
            "{registry}/{}",
            release.runtime.trim_start_matches("docker.io/")
        ),
        None => release.runtime.clone(),
    }
}

pub(crate) async fn stage(
    config: &Config,
    release: &release::Info,
    registries: &Registries,
    data: &Path,
) -> Result<Staged> {
    let reference = runtime_reference(config, release);
    let name = ImageName::parse(&reference)?;
    let hash = sha256(reference.as_bytes());
    let tag = release.version.replace('+', "-");
    let dir = data.join("data").join(format!("{tag}-{}", &hash[7..19]));
    if !dir.join(".extracted").exists() {
        log::info(format!("Pulling runtime image {reference}"));
        let puller = Puller::new(
            registries.clone(),
            false,
            &data.join("agent/containerd/content"),
        );
        let image = puller
            .pull(&name)
            .await
            .context(format!("failed to get runtime image {reference}"))?;
        if dir.exists() {
            fs_err::remove_dir_all(&dir)?;
        }
        fs_err::create_dir_all(&dir)?;
        for layer in image.manifest["layers"].as_array().into_iter().flatten() {
            unpack(
                &puller.blob_path(layer["digest"].as_str().unwrap_or_default()),
                &dir,
            )?;
        }
        for tool in ["kubectl", "crictl", "kubelet", "containerd"] {
            if !dir.join("bin").join(tool).exists() {
                return Err(Fail::new(format!(
                    "runtime image {reference} has no /bin/{tool}"
                )));
            }
        }
        fs_err::write(dir.join(".extracted"), image.digest.as_bytes())?;
        log::info(format!(
            "Extracted runtime image {} from {}",
            image.digest, image.origin
        ));
    }
    let link = data.join("bin");
    // replaced by rename, so that a reader always finds one of the two
    let next = data.join(".bin.next");
    let _ = fs_err::remove_file(&next);
    std::os::unix::fs::symlink(dir.join("bin"), &next)?;
    fs_err::rename(&next, &link).context(link.display())?;
    Ok(Staged {
        charts: dir.join("charts"),
    })
}

fn unpack(layer: &Path, into: &Path) -> Result<()> {
    let file = fs_err::File::open(layer).context(layer.display())?;
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        if ["bin", "charts"]
            .iter()
            .any(|wanted| path.starts_with(wanted))
        {
            entry
                .unpack_in(into)
                .context(format!("failed to extract {}", path.display()))?;
        }
    }
    Ok(())
}
