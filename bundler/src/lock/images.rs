//! Images: from a tag to an index, its platforms and their sizes.

use std::collections::BTreeMap;

use airgap_manifests::{ImageName, LockedImage, LockedManifest};
use oci_spec::{
    distribution::Reference,
    image::{Descriptor, Digest},
};
use serde::Deserialize;

use super::{PLATFORMS, Resolver};
use crate::{
    error::{Error, Result},
    fetch::{Source, Wanted},
    manifest::{Content, Manifest},
};

/// Configs are small; a larger one is refused, in bytes.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;

/// Of an image's config, what says which platform it is for.
#[derive(Deserialize)]
struct ConfigPlatform {
    os: String,
    architecture: String,
}

impl Resolver<'_> {
    /// Resolves an image; a digest that a chart pins it to goes before what the tag says now.
    pub(super) async fn image(
        &self,
        name: &ImageName,
        pinned: Option<&Digest>,
    ) -> Result<LockedImage> {
        let (object, reference) = (name.to_string(), name.reference());
        let manifest = if let Some(digest) = pinned {
            self.fetcher.manifest(&object, &reference, digest).await?
        } else {
            let raw = self.puller.resolve(&reference).await;
            let raw = raw.map_err(|source| Error::Fetch {
                object: object.clone(),
                source: Box::new(source),
            })?;
            let digest = self.fetcher.cache.insert(&raw.bytes)?;
            Manifest::parse(&object, digest, raw.bytes)?
        };
        let platforms = match &manifest.content {
            Content::Index(children) => self.platforms(&object, &reference, children).await?,
            Content::Image { config, .. } => {
                let platform = self.platform_of(&object, &reference, config).await?;
                let locked = LockedManifest {
                    digest: manifest.digest.clone(),
                    size: Some(manifest.content_bytes()),
                };
                BTreeMap::from([(platform, locked)])
            }
        };
        if !platforms
            .keys()
            .any(|platform| PLATFORMS.contains(&platform.as_str()))
        {
            return Err(Error::Unusable {
                object,
                reason: format!("it is for none of {}", PLATFORMS.join(", ")),
            });
        }
        let mut subjects = vec![manifest.digest.clone()];
        subjects.extend(
            platforms
                .values()
                .map(|locked| locked.digest.clone())
                .filter(|digest| *digest != manifest.digest),
        );
        let attached = self.attached(&object, &reference, &subjects).await?;
        Ok(LockedImage {
            name: name.clone(),
            index: Some(manifest.digest),
            platforms,
            attached,
            source: Some(format!("registry {}", name.registry())),
        })
    }

    async fn platforms(
        &self,
        object: &str,
        reference: &Reference,
        children: &[Descriptor],
    ) -> Result<BTreeMap<String, LockedManifest>> {
        let mut platforms = BTreeMap::new();
        for platform in PLATFORMS {
            if let Some(child) = child_for(children, platform) {
                let manifest = self
                    .fetcher
                    .manifest(object, reference, child.digest())
                    .await?;
                let locked = LockedManifest {
                    digest: child.digest().clone(),
                    size: Some(manifest.content_bytes()),
                };
                platforms.insert(platform.to_owned(), locked);
            }
        }
        Ok(platforms)
    }

    async fn platform_of(
        &self,
        object: &str,
        reference: &Reference,
        config: &Descriptor,
    ) -> Result<String> {
        let wanted = Wanted {
            object: object.to_owned(),
            digest: config.digest().clone(),
            size: Some(config.size()),
            sources: vec![Source::Repository(reference.clone())],
        };
        let bytes = self.fetcher.read(&wanted, MAX_CONFIG).await?;
        let platform: ConfigPlatform =
            serde_json::from_slice(&bytes).map_err(|_| Error::Unusable {
                object: object.to_owned(),
                reason: "its config does not say which platform it is for".into(),
            })?;
        Ok(format!("{}/{}", platform.os, platform.architecture))
    }
}

/// Finds the child of an index for a platform such as `linux/arm64`; of several variants the first without or with the usual one.
pub(crate) fn child_for<'a>(children: &'a [Descriptor], platform: &str) -> Option<&'a Descriptor> {
    let fits = |child: &&Descriptor| {
        child
            .platform()
            .as_ref()
            .is_some_and(|of| format!("{}/{}", of.os(), of.architecture()) == platform)
    };
    let usual = |child: &&Descriptor| {
        let variant = child
            .platform()
            .as_ref()
            .and_then(|of| of.variant().as_deref());
        variant.is_none_or(|variant| variant == "v8" || variant == "v1")
    };
    children
        .iter()
        .filter(fits)
        .find(usual)
        .or_else(|| children.iter().find(fits))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_usual_variant_of_a_platform_is_taken() {
        let child = |letter: &str, arch: &str, variant: Option<&str>| {
            let mut platform = json!({"os": "linux", "architecture": arch});
            if let Some(variant) = variant {
                platform["variant"] = json!(variant);
            }
            json!({"mediaType": "m", "size": 1, "digest": format!("sha256:{}", letter.repeat(64)), "platform": platform})
        };
        let children: Vec<Descriptor> = serde_json::from_value(json!([
            child("a", "amd64", Some("v3")), child("b", "amd64", None), child("c", "arm64", Some("v8")), child("d", "arm", Some("v7")),
            {"mediaType": "m", "size": 1, "digest": format!("sha256:{}", "e".repeat(64)), "platform": {"os": "unknown", "architecture": "unknown"}},
        ]))
        .unwrap();
        let found = |platform| {
            child_for(&children, platform).map(|child| child.digest().digest()[..1].to_owned())
        };
        assert_eq!(found("linux/amd64").as_deref(), Some("b"));
        assert_eq!(found("linux/arm64").as_deref(), Some("c"));
        assert_eq!(found("windows/amd64"), None);
    }
}
