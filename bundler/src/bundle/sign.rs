//! A signature in cosign's format for everything that is pushed.
//!
//! Invariant: one signature manifest per signed digest, with a layer for each of our keys behind whatever layers upstream's own
//! signature manifest for that digest has.

use std::collections::HashSet;

use airgap_archive::{BundleTree, Role};
use airgap_signing::SigningKey;
use oci_spec::image::Digest;

use super::{gather::Image, tree::add_artifact};
use crate::{artifact::signature_manifest, error::Result};

/// Signs each digest once.
pub(super) struct Signer<'a> {
    keys: &'a [SigningKey],
    done: HashSet<Digest>,
}

impl<'a> Signer<'a> {
    pub(super) fn new(keys: &'a [SigningKey]) -> Self {
        Self {
            keys,
            done: HashSet::new(),
        }
    }

    /// Signs an image and, where an index is carried, each of its children.
    pub(super) fn image(&mut self, tree: &mut BundleTree, image: &Image) -> Result<()> {
        let repository = image.name.full_repository();
        for manifest in image.carried() {
            let upstream = image.attached.iter().find_map(|attachment| {
                let config = attachment.config.as_deref()?;
                let of_it = attachment.subject == manifest.digest;
                of_it.then_some((&attachment.manifest.bytes[..], config))
            });
            self.sign(tree, &repository, &manifest.digest, upstream)?;
        }
        Ok(())
    }

    /// Signs an artifact that was made here.
    pub(super) fn artifact(
        &mut self,
        tree: &mut BundleTree,
        repository: &str,
        digest: &Digest,
    ) -> Result<()> {
        self.sign(tree, repository, digest, None)
    }

    fn sign(
        &mut self,
        tree: &mut BundleTree,
        repository: &str,
        digest: &Digest,
        upstream: Option<(&[u8], &[u8])>,
    ) -> Result<()> {
        if self.done.insert(digest.clone()) {
            let signature = signature_manifest(repository, digest, self.keys, upstream);
            add_artifact(tree, signature, Role::Signature, None, Some(digest.clone()))?;
        }
        Ok(())
    }
}
