//! Images in the three forms other tools read.

use std::collections::HashSet;

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::{Descriptor, Digest, MediaType};
use serde_json::{Value, json};

use super::{folder_of, write_blob, write_bytes, write_failed};
use crate::manifest::{DOCKER_MANIFEST, Kind};
use crate::{Error, Result, Role, VerifiedArchive, annotations, digest_of};

/// Docker's media types and OCI's for the same bytes.
const DOCKER_TO_OCI: [(&str, &str); 5] = [
    (
        DOCKER_MANIFEST,
        "application/vnd.oci.image.manifest.v1+json",
    ),
    (
        "application/vnd.docker.container.image.v1+json",
        "application/vnd.oci.image.config.v1+json",
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "application/vnd.oci.image.layer.v1.tar+gzip",
    ),
    (
        "application/vnd.docker.image.rootfs.diff.tar",
        "application/vnd.oci.image.layer.v1.tar",
    ),
    (
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    ),
];

/// The form in which an image is extracted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// An OCI image layout folder; a Docker-typed image is converted, which changes its digest.
    Oci,
    /// skopeo's `dir:` form; every digest stays as it is.
    Dir,
    /// A tar file for `docker load`.
    DockerArchive,
}

/// What an extraction wrote.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Extracted {
    /// The folder or file.
    pub path: Utf8PathBuf,
    /// The digest of the manifest as extracted.
    pub digest: Digest,
    /// True when the manifest had to be rewritten, so that its digest is not the one in the bundle.
    pub converted: bool,
}

/// A manifest chosen for extraction.
struct Chosen {
    digest: Digest,
    media_type: MediaType,
    bytes: Bytes,
}

/// Extracts the image (or chart, or other artifact) named `name` to `target`, which must not exist yet.
///
/// Of an index with several platforms, `platform` (`linux/arm64`) chooses one; [`Format::Oci`] keeps them all without it.
pub fn image(
    archive: &VerifiedArchive,
    name: &str,
    platform: Option<&str>,
    format: Format,
    target: &Utf8Path,
) -> Result<Extracted> {
    if target.symlink_metadata().is_ok() {
        return Err(Error::Exists {
            path: target.to_owned(),
        });
    }
    let entry = archive.entry(name)?;
    if format == Format::DockerArchive && entry.role != Role::Image {
        let reason = format!("a {} is no image that docker could load", entry.role);
        return Err(Error::Extract {
            what: name.to_owned(),
            reason,
        });
    }
    let chosen = choose(archive, name, &entry.descriptor, platform, format)?;
    let staged = tempfile::Builder::new()
        .prefix(".airgap-")
        .tempdir_in(folder_of(target))
        .map_err(write_failed(target))?;
    let folder =
        Utf8PathBuf::from_path_buf(staged.path().to_owned()).map_err(|_| Error::Extract {
            what: name.to_owned(),
            reason: "the target's path is not UTF-8".to_owned(),
        })?;
    let (digest, converted) = match format {
        Format::Oci => oci(archive, name, chosen, &folder)?,
        Format::Dir => dir(archive, chosen, &folder)?,
        Format::DockerArchive => {
            let digest = chosen.digest.clone();
            let file = folder.join("image.tar");
            docker_archive(archive, name, &chosen, &file)?;
            fs_err::rename(&file, target).map_err(write_failed(target))?;
            return Ok(Extracted {
                path: target.to_owned(),
                digest,
                converted: false,
            });
        }
    };
    // a temporary folder is private; what is handed over is not
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&folder, open).map_err(write_failed(target))?;
    fs_err::rename(staged.keep(), target).map_err(write_failed(target))?;
    Ok(Extracted {
        path: target.to_owned(),
        digest,
        converted,
    })
}

/// Chooses the manifest to extract, going from an index to one platform where the form holds only one.
fn choose(
    archive: &VerifiedArchive,
    name: &str,
    descriptor: &Descriptor,
    platform: Option<&str>,
    format: Format,
) -> Result<Chosen> {
    let chosen = |descriptor: &Descriptor| {
        Ok(Chosen {
            digest: descriptor.digest().clone(),
            media_type: descriptor.media_type().clone(),
            bytes: archive.manifest(descriptor.digest())?,
        })
    };
    if Kind::of(descriptor.media_type()) == Some(Kind::Manifest)
        || (platform.is_none() && format == Format::Oci)
    {
        return chosen(descriptor);
    }
    let children = archive.references(descriptor.digest())?;
    let text = |child: &Descriptor| {
        let platform = child.platform().as_ref();
        platform.map(|platform| {
            let variant = platform
                .variant()
                .as_ref()
                .map(|variant| format!("/{variant}"))
                .unwrap_or_default();
            format!("{}/{}{variant}", platform.os(), platform.architecture())
        })
    };
    let matching: Vec<&Descriptor> = match platform {
        Some(wanted) => children
            .iter()
            .filter(|child| text(child).as_deref() == Some(wanted))
            .collect(),
        None => children.iter().collect(),
    };
    if let [only] = matching[..] {
        return chosen(only);
    }
    let platforms: Vec<String> = children.iter().filter_map(text).collect();
    let reason = format!("choose one of its platforms: {}", platforms.join(", "));
    Err(Error::Extract {
        what: name.to_owned(),
        reason,
    })
}

/// Writes skopeo's `dir:` form.
fn dir(archive: &VerifiedArchive, chosen: Chosen, folder: &Utf8Path) -> Result<(Digest, bool)> {
    write_bytes(
        b"Directory Transport Version: 1.1\n",
        &folder.join("version"),
    )?;
    write_bytes(&chosen.bytes, &folder.join("manifest.json"))?;
    let mut written = HashSet::new();
    for blob in archive.references(&chosen.digest)? {
        if written.insert(blob.digest().clone()) {
            write_blob(archive, blob.digest(), &folder.join(blob.digest().digest()))?;
        }
    }
    Ok((chosen.digest, false))
}

/// Writes an OCI image layout with one tagged manifest.
fn oci(
    archive: &VerifiedArchive,
    name: &str,
    chosen: Chosen,
    folder: &Utf8Path,
) -> Result<(Digest, bool)> {
    let blobs = folder.join("blobs/sha256");
    fs_err::create_dir_all(&blobs).map_err(write_failed(&blobs))?;
    write_bytes(
        br#"{"imageLayoutVersion":"1.0.0"}"#,
        &folder.join("oci-layout"),
    )?;

    let mut todo = vec![chosen.digest.clone()];
    let mut written = HashSet::new();
    while let Some(digest) = todo.pop() {
        if written.insert(digest.clone()) {
            write_blob(archive, &digest, &blobs.join(digest.digest()))?;
            let references = archive.references(&digest).unwrap_or_default();
            todo.extend(
                references
                    .iter()
                    .map(|descriptor| descriptor.digest().clone()),
            );
        }
    }
    let is_docker =
        matches!(&chosen.media_type, MediaType::Other(other) if other == DOCKER_MANIFEST);
    let (digest, media_type, size) = if is_docker {
        let converted = to_oci(name, &chosen.bytes)?;
        let digest = digest_of(&converted);
        fs_err::remove_file(blobs.join(chosen.digest.digest())).map_err(write_failed(&blobs))?;
        write_bytes(&converted, &blobs.join(digest.digest()))?;
        (digest, MediaType::ImageManifest, converted.len())
    } else {
        (chosen.digest, chosen.media_type, chosen.bytes.len())
    };
    let index = json!({
        "schemaVersion": 2,
        "manifests": [{
            "mediaType": media_type,
            "digest": digest,
            "size": size,
            "annotations": {annotations::REF_NAME: name},
        }],
    });
    write_bytes(index.to_string().as_bytes(), &folder.join("index.json"))?;
    Ok((digest, is_docker))
}

/// Rewrites a Docker-typed manifest as an OCI one over the same blobs.
fn to_oci(name: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::Extract {
        what: name.to_owned(),
        reason,
    };
    let mut manifest: Value = serde_json::from_slice(bytes).map_err(|e| refused(e.to_string()))?;
    let retype = |place: &mut Value| {
        let found = place["mediaType"]
            .as_str()
            .and_then(|docker| DOCKER_TO_OCI.iter().find(|(from, _)| *from == docker));
        match found {
            Some((_, oci)) => {
                place["mediaType"] = (*oci).into();
                Ok(())
            }
            None => Err(refused(format!(
                "no OCI media type stands for {}",
                place["mediaType"]
            ))),
        }
    };
    retype(&mut manifest)?;
    retype(&mut manifest["config"])?;
    for layer in manifest["layers"].as_array_mut().into_iter().flatten() {
        retype(layer)?;
    }
    Ok(manifest.to_string().into_bytes())
}

/// Writes a tar that `docker load` and skopeo's `docker-archive:` read; layers stay compressed.
fn docker_archive(
    archive: &VerifiedArchive,
    name: &str,
    chosen: &Chosen,
    target: &Utf8Path,
) -> Result<()> {
    let failed = write_failed(target);
    let file = fs_err::File::create_new(target).map_err(&failed)?;
    let mut tar = tar::Builder::new(file);
    let header = |size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_size(size);
        header
    };
    let references = archive.references(&chosen.digest)?;
    let [config, layers @ ..] = references else {
        return Err(Error::Extract {
            what: name.to_owned(),
            reason: "it has no config".to_owned(),
        });
    };
    let mut written = HashSet::new();
    let mut append = |tar: &mut tar::Builder<_>, descriptor: &Descriptor, path: &str| {
        if !written.insert(descriptor.digest().clone()) {
            return Ok(());
        }
        let blob = archive.blob(descriptor.digest())?;
        tar.append_data(&mut header(descriptor.size()), path, blob)
            .map_err(|e| unwrap_archive(e, target))
    };
    let config_path = format!("{}.json", config.digest().digest());
    append(&mut tar, config, &config_path)?;
    let mut paths = Vec::new();
    for layer in layers {
        let path = format!("{}.tar", layer.digest().digest());
        append(&mut tar, layer, &path)?;
        paths.push(path);
    }
    let manifest =
        json!([{"Config": config_path, "RepoTags": [name], "Layers": paths}]).to_string();
    tar.append_data(
        &mut header(manifest.len() as u64),
        "manifest.json",
        manifest.as_bytes(),
    )
    .map_err(&failed)?;
    let file = tar.into_inner().map_err(&failed)?;
    file.sync_all().map_err(&failed)
}

/// Brings back our own error from where the tar writer read a blob; anything else is a failure to write.
fn unwrap_archive(error: std::io::Error, target: &Utf8Path) -> Error {
    match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => write_failed(target)(error),
    }
}
