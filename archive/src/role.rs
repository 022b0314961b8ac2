//! What a top-level descriptor of a bundle is.

use std::fmt;
use std::str::FromStr;

/// The kind of thing a top-level descriptor stands for (annotation `airgap.role`).
///
/// The order is the order of descriptors in `index.json`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// The edition artifact: its resolved description, values and static manifests.
    Edition,
    /// An RKE2 release artifact.
    Rke2,
    /// A Helm chart as an OCI artifact.
    Chart,
    /// A container image: one manifest, or an index with its children.
    Image,
    /// A signature manifest in cosign's format; pushed under the tag `sha256-<hex>.sig` of its subject.
    Signature,
    /// Anything else that refers to a subject: attestations, SBOMs, OCI referrers.
    Referrer,
    /// The list of layers that a delta leaves out.
    Delta,
}

impl Role {
    /// Returns the annotation's value.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edition => "edition",
            Self::Rke2 => "rke2",
            Self::Chart => "chart",
            Self::Image => "image",
            Self::Signature => "signature",
            Self::Referrer => "referrer",
            Self::Delta => "delta",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is not the name of a role.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a role: expected edition, rke2, chart, image, signature, referrer or delta")]
pub struct UnknownRole(String);

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        [
            Self::Edition,
            Self::Rke2,
            Self::Chart,
            Self::Image,
            Self::Signature,
            Self::Referrer,
            Self::Delta,
        ]
        .into_iter()
        .find(|role| role.as_str() == text)
        .ok_or_else(|| UnknownRole(text.to_owned()))
    }
}
