//! Names that registries accept: projects, repositories, tags.
//!
//! Invariant: each type has one parser, which holds the grammar of the OCI distribution specification and
//! the narrower one of Harbor. Left out: short names such as `nginx`, which `oci_spec`'s `Reference` completes.

use std::fmt;

use oci_spec::image::Digest;

use crate::error::{Error, Result};

/// The longest `project/repository`, in bytes: registries take 245, node runtimes 255 with the host.
const MAX_NAME_BYTES: usize = 200;

/// A Harbor project: the first segment of a repository's path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProjectName(String);

impl ProjectName {
    /// Parses a name such as `airgap`: lower-case letters and digits, with single `.`, `_` or `-` between.
    pub fn parse(name: &str) -> Result<Self> {
        let fail = |reason| {
            Err(Error::InvalidName {
                kind: "project name",
                name: name.to_owned(),
                reason,
            })
        };
        if name.is_empty() || name.len() > 100 {
            return fail("it must have 1 to 100 characters");
        }
        let mut previous_separator = true;
        for character in name.chars() {
            let separator = matches!(character, '.' | '_' | '-');
            if !separator && !character.is_ascii_lowercase() && !character.is_ascii_digit() {
                return fail("only a-z, 0-9 and `.`, `_`, `-` are allowed");
            }
            if separator && previous_separator {
                return fail("it must begin with a letter or digit and have single separators");
            }
            previous_separator = separator;
        }
        if previous_separator {
            return fail("it must end with a letter or digit");
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A repository below a project, such as `quay.io/argoproj/argocd`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName(String);

impl RepositoryName {
    /// Parses a path of lower-case segments joined by `/`.
    pub fn parse(name: &str) -> Result<Self> {
        let fail = |reason| {
            Err(Error::InvalidName {
                kind: "repository name",
                name: name.to_owned(),
                reason,
            })
        };
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return fail("it must have 1 to 200 characters");
        }
        if name.split('/').all(valid_segment) {
            Ok(Self(name.to_owned()))
        } else {
            fail("each segment must be of a-z, 0-9, joined by `.`, `_`, `__` or dashes")
        }
    }

    /// Returns where an image of that full repository, such as `quay.io/argoproj/argocd`, is kept at the site: the same name, host first.
    ///
    /// Docker's several names for its registry become `docker.io`, and the colon before a port a dash. A name without a host, which only
    /// means one, is refused: bundles hold full names.
    pub fn of(full: &str) -> Result<Self> {
        let (host, path) = full.split_once('/').unwrap_or((full, ""));
        if !host.contains(['.', ':']) && host != "localhost" {
            return Err(Error::InvalidName {
                kind: "full repository name",
                name: full.to_owned(),
                reason: "it must begin with a registry's host",
            });
        }
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            host => host,
        };
        Self::parse(&format!("{}/{path}", host.replace(':', "-").to_lowercase()))
    }

    /// Returns the name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Whether a segment is `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`.
fn valid_segment(segment: &str) -> bool {
    let bytes = segment.as_bytes();
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if !bytes.first().is_some_and(alphanumeric) || !bytes.last().is_some_and(alphanumeric) {
        return false;
    }
    segment
        .split(|character: char| character.is_ascii_lowercase() || character.is_ascii_digit())
        .all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-')
        })
}

/// A tag: at most 128 characters of `A-Za-z0-9._-`, not beginning with `.` or `-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Parses a tag.
    pub fn parse(tag: &str) -> Result<Self> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let valid = (1..=128).contains(&tag.len())
            && tag.bytes().next().is_some_and(word)
            && tag
                .bytes()
                .all(|byte| word(byte) || matches!(byte, b'.' | b'-'));
        if valid {
            Ok(Self(tag.to_owned()))
        } else {
            Err(Error::InvalidName {
                kind: "tag",
                name: tag.to_owned(),
                reason: "it must have 1 to 128 of A-Z, a-z, 0-9, `_`, `.`, `-`, and begin with none of `.-`",
            })
        }
    }

    /// Returns the tag under which cosign looks for a companion of `subject`: `sha256-<hex>.<suffix>`.
    #[must_use]
    pub fn companion(subject: &Digest, suffix: &str) -> Self {
        Self(format!(
            "{}-{}.{suffix}",
            subject.algorithm(),
            subject.digest()
        ))
    }

    /// Returns the tag that lists the referrers of `subject` where there is no referrers API.
    #[must_use]
    pub fn referrers(subject: &Digest) -> Self {
        Self(format!("{}-{}", subject.algorithm(), subject.digest()))
    }

    /// Returns the tag.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// How a manifest is asked for or named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ManifestReference {
    /// By a name that may move.
    Tag(Tag),
    /// By its content.
    Digest(Digest),
}

impl fmt::Display for ManifestReference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(formatter, ":{tag}"),
            Self::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

impl From<Tag> for ManifestReference {
    fn from(tag: Tag) -> Self {
        Self::Tag(tag)
    }
}

impl From<Digest> for ManifestReference {
    fn from(digest: Digest) -> Self {
        Self::Digest(digest)
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::distribution::Reference;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_follow_the_grammar() {
        for name in ["airgap", "registry.k8s.io", "a-b_c.d", "0"] {
            assert!(ProjectName::parse(name).is_ok(), "{name}");
        }
        for name in ["", "a__b", "a--b", "-a", "a.", "A", "a/b", "h:5000", "ä"] {
            assert!(ProjectName::parse(name).is_err(), "{name}");
        }
        for name in [
            "a",
            "quay.io/argoproj/argocd",
            "a__b/c---d",
            "docker.io/library/nginx",
        ] {
            assert!(RepositoryName::parse(name).is_ok(), "{name}");
        }
        for name in [
            "", "/a", "a/", "a//b", "a___b", "a._b", "a/B", "a/../b", "a/-b", "a:b",
        ] {
            assert!(RepositoryName::parse(name).is_err(), "{name}");
        }
        for tag in ["v3.4.4", "_x", "1.36.4-rke2r1", "A"] {
            assert!(Tag::parse(tag).is_ok(), "{tag}");
        }
        for tag in ["", ".x", "-x", "v1+rke2", "a/b", &"x".repeat(129)] {
            assert!(Tag::parse(tag).is_err(), "{tag}");
        }
        let error = Tag::parse("v1+rke2").unwrap_err().to_string();
        assert!(
            error.starts_with("`v1+rke2` is not a valid tag: "),
            "{error}"
        );
    }

    #[test]
    fn a_site_keeps_the_whole_source_name() {
        let kept = |name: &str| RepositoryName::of(name).unwrap().to_string();
        assert_eq!(kept("docker.io/library/nginx"), "docker.io/library/nginx");
        assert_eq!(
            kept("index.docker.io/rancher/rke2-runtime"),
            "docker.io/rancher/rke2-runtime"
        );
        assert_eq!(kept("quay.io/argoproj/argocd"), "quay.io/argoproj/argocd");
        assert_eq!(kept("localhost:5000/a/b"), "localhost-5000/a/b");
        for short in [
            "nginx",
            "library/nginx",
            "quay.io",
            "quay.io/",
            "quay.io/a:1",
            "",
        ] {
            assert!(RepositoryName::of(short).is_err(), "{short}");
        }
    }

    proptest! {
        #[test]
        fn what_parses_is_kept_as_it_is(name in "[a-zA-Z0-9._/:+-]{0,40}") {
            if let Ok(parsed) = RepositoryName::parse(&name) {
                prop_assert_eq!(parsed.as_str(), &name);
                let full = format!("h.io/{parsed}:x");
                let reference: Reference = full.parse().unwrap();
                prop_assert_eq!(reference.repository(), name.as_str());
                let kept = RepositoryName::of(&format!("h.io/{parsed}"));
                prop_assert_eq!(kept.unwrap().to_string(), format!("h.io/{name}"));
            }
            if let Ok(parsed) = Tag::parse(&name) {
                let full = format!("h.io/a/b:{parsed}");
                let reference: Reference = full.parse().unwrap();
                prop_assert_eq!(reference.tag(), Some(name.as_str()));
            }
        }
    }
}
