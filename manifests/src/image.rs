//! Image names: the one place where a reference is brought into its full form.
//!
//! Invariant: two references to the same tag of the same repository give equal [`ImageName`]s, whoever wrote them
//! (`redis:8`, `index.docker.io/library/redis:8` and `docker.io/redis:8@sha256:…` are one name). Nothing is resolved here.

use std::fmt;
use std::str::FromStr;

use oci_spec::distribution::Reference;
use oci_spec::image::Digest;
use serde::{Deserialize, Serialize};

/// Why a text is not an image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an image reference with a tag: {why}")]
pub struct ImageNameError {
    /// The text as it was written.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// A full image name with its tag and no digest: `docker.io/library/redis:8.2.3-alpine`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ImageName {
    registry: String,
    repository: String,
    tag: String,
}

/// An image reference: a name, and the digest where one was written behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageReference {
    /// The full name.
    pub name: ImageName,
    /// The digest behind `@`, as `sha256:<hex>`.
    pub digest: Option<Digest>,
}

impl ImageName {
    /// Returns the registry's host, with its port where it has one: `docker.io`.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the repository below the registry: `library/redis`.
    #[must_use]
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// Returns the tag.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Returns registry and repository without the tag: `docker.io/library/redis`.
    #[must_use]
    pub fn full_repository(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Returns the name as `oci-spec` knows it.
    #[must_use]
    pub fn reference(&self) -> Reference {
        Reference::with_tag(
            self.registry.clone(),
            self.repository.clone(),
            self.tag.clone(),
        )
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}:{}", self.registry, self.repository, self.tag)
    }
}

impl FromStr for ImageName {
    type Err = ImageNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let reference: ImageReference = text.parse()?;
        match reference.digest {
            None => Ok(reference.name),
            Some(_) => Err(ImageNameError {
                text: text.to_owned(),
                why: "a digest does not belong in a name; images.lock holds it".to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for ImageName {
    type Error = ImageNameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.digest {
            Some(digest) => write!(f, "{}@{digest}", self.name),
            None => self.name.fmt(f),
        }
    }
}

impl FromStr for ImageReference {
    type Err = ImageNameError;

    /// Parses a reference as it stands in a chart; a missing tag is an error, `latest` is never assumed.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = |why: String| ImageNameError {
            text: text.to_owned(),
            why,
        };
        let reference = Reference::try_from(text).map_err(|error| fail(error.to_string()))?;
        // the parser takes them for part of a host, where the host is only implied
        if reference
            .repository()
            .contains(|c: char| c.is_ascii_uppercase())
        {
            return Err(fail("a repository has no upper-case letters".to_owned()));
        }
        let plain = text.split('@').next().unwrap_or(text);
        let last = plain.rsplit('/').next().unwrap_or(plain);
        let tag = match (last.contains(':'), reference.tag()) {
            (true, Some(tag)) => tag.to_owned(),
            _ => return Err(fail("the tag is missing".to_owned())),
        };
        let digest = reference
            .digest()
            .map(|digest| {
                digest
                    .parse::<Digest>()
                    .map_err(|error| fail(error.to_string()))
            })
            .transpose()?;
        let name = ImageName {
            registry: reference.registry().to_ascii_lowercase(),
            repository: reference.repository().to_owned(),
            tag,
        };
        Ok(Self { name, digest })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> String {
        text.parse::<ImageReference>().unwrap().name.to_string()
    }

    #[test]
    fn docker_hub_has_one_spelling() {
        for text in [
            "redis:8",
            "library/redis:8",
            "docker.io/redis:8",
            "docker.io/library/redis:8",
            "index.docker.io/redis:8",
            "index.docker.io/library/redis:8",
        ] {
            assert_eq!(name(text), "docker.io/library/redis:8", "{text}");
        }
        assert_eq!(name("hashicorp/vault:1"), "docker.io/hashicorp/vault:1");
        assert_eq!(name("localhost:5000/a/b:1"), "localhost:5000/a/b:1");
        assert_eq!(
            name("ecr-public.aws.com/docker/library/redis:8"),
            "ecr-public.aws.com/docker/library/redis:8"
        );
    }

    #[test]
    fn tag_and_digest_may_stand_together() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let reference: ImageReference = format!("quay.io/cilium/cilium:v1@{digest}")
            .parse()
            .unwrap();
        assert_eq!(reference.name.to_string(), "quay.io/cilium/cilium:v1");
        assert_eq!(reference.digest.unwrap().to_string(), digest);
    }

    #[test]
    fn a_missing_tag_is_never_latest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for text in [
            "redis".to_owned(),
            "localhost:5000/redis".to_owned(),
            format!("redis@{digest}"),
            String::new(),
            "a b:1".to_owned(),
            "quay.io/UPPER:1".to_owned(),
            "UPPER/name:1".to_owned(),
        ] {
            assert!(text.parse::<ImageReference>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_is_idempotent(text in "[a-zA-Z0-9./:@_-]{0,60}") {
            if let Ok(reference) = text.parse::<ImageReference>() {
                let full = reference.name.to_string();
                prop_assert_eq!(full.parse::<ImageName>().unwrap(), reference.name);
            }
        }

        #[test]
        fn every_full_name_round_trips(host in "[a-z]{1,8}\\.[a-z]{2,3}", repository in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,2}", tag in "[a-z0-9][a-z0-9._-]{0,20}") {
            let text = format!("{host}/{repository}:{tag}");
            prop_assume!(host != "docker.io");
            prop_assert_eq!(text.parse::<ImageName>().unwrap().to_string(), text);
        }
    }
}
