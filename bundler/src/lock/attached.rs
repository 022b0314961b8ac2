//! What upstream keeps beside an image: signatures, attestations, SBOMs, OCI referrers. Recorded by digest, never verified.

use airgap_manifests::Attached;
use oci_spec::{distribution::Reference, image::Digest};
use serde::Deserialize;

use super::Resolver;
use crate::error::{Error, Result};

/// The tags that cosign keeps beside a manifest.
const COMPANIONS: [&str; 3] = ["sig", "att", "sbom"];

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArtifactType {
    artifact_type: Option<String>,
}

impl Resolver<'_> {
    /// Looks for everything attached to any of `subjects`, in an order of its own.
    pub(super) async fn attached(
        &self,
        object: &str,
        reference: &Reference,
        subjects: &[Digest],
    ) -> Result<Vec<Attached>> {
        let failed = |source| Error::Fetch {
            object: format!("what is attached to {object}"),
            source: Box::new(source),
        };
        let mut attached = Vec::new();
        for subject in subjects {
            for suffix in COMPANIONS {
                let Some(manifest) = self
                    .puller
                    .companion(reference, subject, suffix)
                    .await
                    .map_err(failed)?
                else {
                    continue;
                };
                let digest = self.fetcher.cache.insert(&manifest.bytes)?;
                let kind: ArtifactType =
                    serde_json::from_slice(&manifest.bytes).unwrap_or(ArtifactType {
                        artifact_type: None,
                    });
                attached.push(Attached {
                    subject: subject.clone(),
                    digest,
                    tag: Some(format!(
                        "{}-{}.{suffix}",
                        subject.algorithm(),
                        subject.digest()
                    )),
                    artifact_type: kind.artifact_type,
                });
            }
            for referrer in self
                .puller
                .referrers(reference, subject)
                .await
                .map_err(failed)?
            {
                attached.push(Attached {
                    subject: subject.clone(),
                    digest: referrer.digest().clone(),
                    tag: None,
                    artifact_type: referrer.artifact_type().as_ref().map(ToString::to_string),
                });
            }
        }
        Ok(attached)
    }
}
