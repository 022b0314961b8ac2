//! Images: the manifest that the tag points at in this bundle, its children, and what upstream attached to them.

use airgap_manifests::{ImageName, LockedImage, ResolvedImage};
use bytes::Bytes;
use oci_spec::{distribution::Reference, image::Digest};
use serde::Deserialize;

use super::{Gatherer, WantedBlobs};
use crate::{
    artifact::signature_tag,
    error::{Error, Result},
    event::Event,
    fetch::{Source, Wanted},
    lock::images::{MAX_CONFIG, child_for},
    manifest::{Content, Manifest},
    platform::BundlePlatform,
};

/// How deep indexes may nest below an image's own.
const MAX_DEPTH: usize = 2;

/// One image of the bundle.
pub(in crate::bundle) struct Image {
    pub(in crate::bundle) name: ImageName,
    /// What the tag points at in the bundle.
    pub(in crate::bundle) root: Manifest,
    /// Everything below an index.
    pub(in crate::bundle) children: Vec<Manifest>,
    /// Upstream's index, where the bundle carries only one platform of it: evidence for what is attached to it.
    pub(in crate::bundle) index: Option<Manifest>,
    /// What upstream attached to what is carried, or to `index`.
    pub(in crate::bundle) attached: Vec<Attachment>,
}

/// Something that upstream keeps beside an image.
pub(in crate::bundle) struct Attachment {
    pub(in crate::bundle) subject: Digest,
    pub(in crate::bundle) tag: Option<String>,
    pub(in crate::bundle) manifest: Manifest,
    /// The config of a signature manifest, to which ours are appended.
    pub(in crate::bundle) config: Option<Bytes>,
}

impl Image {
    /// Lists the manifests that are carried for the image.
    pub(in crate::bundle) fn carried(&self) -> impl Iterator<Item = &Manifest> {
        std::iter::once(&self.root).chain(&self.children)
    }

    /// Tells whether something is carried under this digest.
    pub(in crate::bundle) fn carries(&self, digest: &Digest) -> bool {
        self.carried().any(|manifest| manifest.digest == *digest)
    }

    /// Adds every blob of the image and of what is attached to it.
    pub(in crate::bundle) fn want(&self, wanted: &mut WantedBlobs) {
        let (object, source) = (
            self.name.to_string(),
            Source::Repository(self.name.reference()),
        );
        let manifests = self
            .carried()
            .chain(self.attached.iter().map(|attachment| &attachment.manifest));
        for manifest in manifests.filter(|manifest| !manifest.is_index()) {
            manifest
                .references()
                .for_each(|blob| wanted.add(&object, blob, &source));
        }
    }
}

/// Of an image's config, what says which platform it is for.
#[derive(Deserialize)]
struct ConfigPlatform {
    os: String,
    architecture: String,
}

impl Gatherer<'_> {
    pub(super) async fn image(&self, resolved: &ResolvedImage) -> Result<Image> {
        let (object, reference) = (resolved.name.to_string(), resolved.name.reference());
        let platform = self.request.platform;
        let whole = platform == BundlePlatform::All || resolved.whole_index;
        let first = self
            .fetcher
            .manifest(&object, &reference, &resolved.digest)
            .await?;
        let locked = self.request.lock.image(&resolved.name);
        let (root, index) = match &first.content {
            Content::Index(children) if !whole => {
                let child =
                    child_for(children, platform.as_str()).ok_or_else(|| Error::Unusable {
                        object: format!("{object} ({})", first.digest),
                        reason: format!("its index has no {platform}"),
                    })?;
                (
                    self.fetcher
                        .manifest(&object, &reference, child.digest())
                        .await?,
                    Some(first),
                )
            }
            Content::Image { .. } if !whole => {
                self.check_platform(&object, &reference, &first, locked)
                    .await?;
                (first, None)
            }
            _ => (first, None),
        };
        let children = self.children(&object, &reference, &root).await?;
        let mut image = Image {
            name: resolved.name.clone(),
            root,
            children,
            index,
            attached: Vec::new(),
        };
        self.attach(&object, &reference, &mut image, resolved, locked)
            .await?;
        (self.fetcher.report)(Event::Done { object });
        Ok(image)
    }

    /// Fetches everything below an index.
    async fn children(
        &self,
        object: &str,
        reference: &Reference,
        root: &Manifest,
    ) -> Result<Vec<Manifest>> {
        let mut found: Vec<Manifest> = Vec::new();
        let mut next: Vec<(Digest, usize)> = root
            .children()
            .iter()
            .map(|child| (child.digest().clone(), 1))
            .collect();
        while let Some((digest, depth)) = next.pop() {
            if found.iter().any(|manifest| manifest.digest == digest) {
                continue;
            }
            let manifest = self.fetcher.manifest(object, reference, &digest).await?;
            if manifest.is_index() && depth >= MAX_DEPTH {
                let object = format!("{object} ({digest})");
                return Err(Error::Unusable {
                    object,
                    reason: "its indexes nest too deeply".into(),
                });
            }
            next.extend(
                manifest
                    .children()
                    .iter()
                    .map(|child| (child.digest().clone(), depth + 1)),
            );
            found.push(manifest);
        }
        Ok(found)
    }

    /// Checks that a manifest without an index is for the bundle's platform, unless the lock says so.
    async fn check_platform(
        &self,
        object: &str,
        reference: &Reference,
        manifest: &Manifest,
        locked: Option<&LockedImage>,
    ) -> Result<()> {
        let platform = self.request.platform.as_str();
        let stated = locked.and_then(|locked| locked.platforms.get(platform));
        let Content::Image { config, .. } = &manifest.content else {
            return Ok(());
        };
        if stated.is_some_and(|stated| stated.digest == manifest.digest) {
            return Ok(());
        }
        let wanted = Wanted {
            object: object.to_owned(),
            digest: config.digest().clone(),
            size: Some(config.size()),
            sources: vec![Source::Repository(reference.clone())],
        };
        let config: Option<ConfigPlatform> =
            serde_json::from_slice(&self.fetcher.read(&wanted, MAX_CONFIG).await?).ok();
        match config {
            Some(of) if format!("{}/{}", of.os, of.architecture) == platform => Ok(()),
            of => Err(Error::Unusable {
                object: format!("{object} ({})", manifest.digest),
                reason: match of {
                    Some(of) => format!(
                        "it is for {}/{}, not for {platform}",
                        of.os, of.architecture
                    ),
                    None => format!("its config does not say that it is for {platform}"),
                },
            }),
        }
    }

    /// Fetches what the lock says is attached to what is carried, or to the index that is not.
    async fn attach(
        &self,
        object: &str,
        reference: &Reference,
        image: &mut Image,
        resolved: &ResolvedImage,
        locked: Option<&LockedImage>,
    ) -> Result<()> {
        let entries = locked
            .map(|locked| locked.attached.as_slice())
            .unwrap_or_default();
        for entry in entries {
            let carried = image.carries(&entry.subject);
            let to_index = resolved.index_digest.as_ref() == Some(&entry.subject);
            if !carried && !to_index {
                continue;
            }
            if !carried && image.index.is_none() {
                image.index = Some(
                    self.fetcher
                        .manifest(object, reference, &entry.subject)
                        .await?,
                );
            }
            let what = format!(
                "{} of {object}",
                entry.tag.as_deref().unwrap_or("a referrer")
            );
            let manifest = self
                .fetcher
                .manifest(&what, reference, &entry.digest)
                .await?;
            if manifest.is_index() {
                let message = format!("{what} is an image index and stays behind");
                (self.fetcher.report)(Event::Warning { message });
                continue;
            }
            let signature = entry.tag.as_ref() == Some(&signature_tag(&entry.subject));
            let config = match &manifest.content {
                Content::Image { config, .. } if signature => {
                    let wanted = Wanted {
                        object: what,
                        digest: config.digest().clone(),
                        size: Some(config.size()),
                        sources: vec![Source::Repository(reference.clone())],
                    };
                    Some(self.fetcher.read(&wanted, MAX_CONFIG).await?)
                }
                _ => None,
            };
            let (subject, tag) = (entry.subject.clone(), entry.tag.clone());
            image.attached.push(Attachment {
                subject,
                tag,
                manifest,
                config,
            });
        }
        Ok(())
    }
}
