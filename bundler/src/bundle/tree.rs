//! From what was gathered to the tree that is signed.
//!
//! Invariant: the tree depends on the lock, the catalog, the request and the keys, and on nothing else.

use airgap_archive::{Addition, BundleInfo, BundleTree, Role};
use airgap_manifests::{EDITION_MEDIA_TYPE, ResolvedEdition};
use airgap_signing::SigningKey;
use bytes::Bytes;
use oci_spec::image::{Digest, MediaType, Platform};

use super::{
    BundleRequest, LeftOut, default_file_name,
    gather::{Contents, Image, WantedBlobs},
    sign::Signer,
};
use crate::{
    artifact::{Artifact, EDITION_TYPE, Layer, RKE2_FILE, RKE2_TYPE, files_artifact},
    digest::digest_of,
    error::{Error, Result},
};

/// The annotation that says to which manifest a piece of evidence belongs.
const EVIDENCE_OF: &str = "airgap.evidence.of";
/// The annotation that says what a manifest kept as evidence is.
const EVIDENCE_TYPE: &str = "airgap.evidence.mediaType";
/// Media type of a manifest kept as evidence: as a layer it is bytes like any other.
const EVIDENCE: &str = "application/vnd.airgap.evidence.v1+json";
/// The annotation that says under which name upstream keeps it.
const EVIDENCE_NAME: &str = "airgap.evidence.name";

/// A tree, and the blobs that it only names.
pub(super) struct Built {
    pub(super) tree: BundleTree,
    pub(super) wanted: WantedBlobs,
    pub(super) left_out: Option<LeftOut>,
}

/// Builds the tree.
pub(super) fn build(
    request: &BundleRequest<'_>,
    contents: Contents,
    keys: &[SigningKey],
    installer_sha256: Option<String>,
) -> Result<Built> {
    let Contents {
        mut edition,
        images,
        charts,
        wanted,
    } = contents;
    let mut tree = BundleTree::new(info(request, &edition, installer_sha256)?);
    let mut signer = Signer::new(keys);
    for image in &images {
        add_image(&mut tree, image, request.platform.oci())?;
        signer.image(&mut tree, image)?;
    }
    for chart in &charts {
        let repository = format!("charts/{}", chart.name);
        let name = format!("{repository}:{}", chart.tag);
        let digest = add_artifact(
            &mut tree,
            chart.artifact.clone(),
            Role::Chart,
            Some(name),
            None,
        )?;
        signer.artifact(&mut tree, &repository, &digest)?;
        let resolved = edition
            .charts
            .iter_mut()
            .find(|of| of.name == chart.name && of.version == chart.version);
        if let Some(resolved) = resolved {
            resolved.digest = Some(digest);
        }
    }
    let release = add_artifact(
        &mut tree,
        rke2(&edition),
        Role::Rke2,
        Some(format!("rke2:{}", edition.rke2.version)),
        None,
    )?;
    signer.artifact(&mut tree, "rke2", &release)?;
    for image in &images {
        if let Some(resolved) = edition.images.iter_mut().find(|of| of.name == image.name) {
            resolved.digest = image.root.digest.clone();
            if let Some(index) = &image.index {
                resolved.index_digest = Some(index.digest.clone());
            }
        }
    }
    let name = format!("edition:{}", edition.edition);
    add_artifact(
        &mut tree,
        edition_artifact(&edition, &images),
        Role::Edition,
        Some(name),
        None,
    )?;
    let left_out = request.base.map(|base| {
        let omitted = tree.build_on(base)?;
        Ok::<_, Error>(LeftOut {
            base: base.id.clone(),
            layers: omitted.len(),
            bytes: omitted.iter().map(|layer| layer.size).sum(),
        })
    });
    Ok(Built {
        left_out: left_out.transpose()?,
        tree,
        wanted,
    })
}

fn info(
    request: &BundleRequest<'_>,
    edition: &ResolvedEdition,
    installer_sha256: Option<String>,
) -> Result<BundleInfo> {
    let whole = default_file_name(&edition.edition, &edition.version, request.platform);
    let file = match request.base {
        // so that it differs from the whole bundle in nothing but what it leaves out
        Some(_) => &whole,
        None => request.output.file_name().unwrap_or_default(),
    };
    Ok(BundleInfo {
        name: file.strip_suffix(".tar.zst").unwrap_or(file).to_owned(),
        edition: edition.edition.clone(),
        version: edition.version.clone(),
        release: edition.release,
        platform: request.platform.to_string(),
        created: request.created(),
        expires: request.expires()?,
        installer_sha256,
        delta: None,
    })
}

fn add_image(tree: &mut BundleTree, image: &Image, platform: Option<Platform>) -> Result<()> {
    tree.add(Addition {
        manifest: image.root.bytes.clone(),
        media_type: image.root.media_type.clone(),
        role: Role::Image,
        name: Some(image.name.to_string()),
        subject: None,
        platform: platform.filter(|_| !image.root.is_index()),
    })?;
    for child in &image.children {
        tree.add_child_manifest(child.bytes.clone());
    }
    for attachment in image
        .attached
        .iter()
        .filter(|attachment| image.carries(&attachment.subject))
    {
        // Cosign's own signatures travel inside ours, see `sign`.
        let merged = attachment.config.is_some();
        if !merged {
            let name = attachment
                .tag
                .as_ref()
                .map(|tag| format!("{}:{tag}", image.name.full_repository()));
            tree.add(Addition {
                manifest: attachment.manifest.bytes.clone(),
                media_type: attachment.manifest.media_type.clone(),
                role: Role::Referrer,
                name,
                subject: Some(attachment.subject.clone()),
                platform: None,
            })?;
        }
    }
    Ok(())
}

/// Adds an artifact that was made here, with its small blobs.
pub(super) fn add_artifact(
    tree: &mut BundleTree,
    artifact: Artifact,
    role: Role,
    name: Option<String>,
    subject: Option<Digest>,
) -> Result<Digest> {
    for blob in artifact.blobs {
        tree.add_blob(blob.into());
    }
    let media_type = MediaType::ImageManifest;
    let manifest = Bytes::from(artifact.manifest);
    Ok(tree.add(Addition {
        manifest,
        media_type,
        role,
        name,
        subject,
        platform: None,
    })?)
}

/// The RKE2 release: its files, titled as oras titles them.
fn rke2(edition: &ResolvedEdition) -> Artifact {
    let files = edition.rke2.files.iter();
    let layers: Vec<Layer> = files
        .map(|file| {
            Layer::file(
                RKE2_FILE,
                &file.name,
                file.digest.clone(),
                file.size.unwrap_or_default(),
            )
        })
        .collect();
    files_artifact(RKE2_TYPE, &layers, Vec::new())
}

/// The edition: its resolved description, and evidence about indexes of which only one platform is carried.
fn edition_artifact(edition: &ResolvedEdition, images: &[Image]) -> Artifact {
    let description = edition.to_json();
    let digest = digest_of(&description);
    let mut layers = vec![Layer::file(
        EDITION_MEDIA_TYPE,
        "edition.json",
        digest,
        description.len() as u64,
    )];
    let mut blobs = vec![description];
    for image in images {
        let attached: Vec<_> = image
            .attached
            .iter()
            .filter(|attachment| !image.carries(&attachment.subject))
            .collect();
        let manifests = attached
            .iter()
            .map(|attachment| (&attachment.manifest, attachment.tag.as_deref()));
        let index = image
            .index
            .iter()
            .filter(|_| !attached.is_empty())
            .map(|index| (index, Some(image.name.tag())));
        for (manifest, tag) in index.chain(manifests) {
            let mut layer = Layer {
                media_type: EVIDENCE.to_owned(),
                digest: manifest.digest.clone(),
                size: manifest.bytes.len() as u64,
                annotations: [
                    (EVIDENCE_OF.to_owned(), image.root.digest.to_string()),
                    (EVIDENCE_TYPE.to_owned(), manifest.media_type.to_string()),
                ]
                .into(),
            };
            if let Some(tag) = tag {
                layer.annotations.insert(
                    EVIDENCE_NAME.to_owned(),
                    format!("{}:{tag}", image.name.full_repository()),
                );
            }
            layers.push(layer);
            blobs.push(manifest.bytes.to_vec());
            layers.extend(
                manifest
                    .references()
                    .filter(|_| !manifest.is_index())
                    .map(|blob| Layer {
                        media_type: blob.media_type().to_string(),
                        digest: blob.digest().clone(),
                        size: blob.size(),
                        annotations: [(EVIDENCE_OF.to_owned(), manifest.digest.to_string())].into(),
                    }),
            );
        }
    }
    files_artifact(EDITION_TYPE, &layers, blobs)
}
