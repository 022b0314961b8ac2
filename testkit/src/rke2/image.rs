//! Names of images as containerd reads them.

use super::fail::{Fail, Result};

/// A parsed image name, docker.io filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImageName {
    pub(crate) registry: String,
    pub(crate) repository: String,
    pub(crate) tag: Option<String>,
    pub(crate) digest: Option<String>,
}

impl ImageName {
    pub(crate) fn parse(name: &str) -> Result<Self> {
        let bad = || Fail::new(format!("invalid reference format: {name:?}"));
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => {
                let hex = digest.strip_prefix("sha256:").ok_or_else(bad)?;
                if hex.len() != 64 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                    return Err(bad());
                }
                (rest, Some(digest.to_owned()))
            }
            None => (name, None),
        };
        let (path, tag) = match rest.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, Some(tag.to_owned())),
            _ => (rest, None),
        };
        let (registry, repository) = match path.split_once('/') {
            Some((host, repository)) if host.contains(['.', ':']) || host == "localhost" => {
                (host, repository.to_owned())
            }
            Some(_) => ("docker.io", path.to_owned()),
            None => ("docker.io", format!("library/{path}")),
        };
        let ok = |part: &str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
        };
        if !repository.split('/').all(ok) || tag.as_ref().is_some_and(String::is_empty) {
            return Err(bad());
        }
        let registry = if registry == "index.docker.io" {
            "docker.io"
        } else {
            registry
        };
        let tag = if tag.is_none() && digest.is_none() {
            Some("latest".to_owned())
        } else {
            tag
        };
        Ok(Self {
            registry: registry.to_owned(),
            repository,
            tag,
            digest,
        })
    }

    /// What a manifest is asked for by: the digest if there is one, else the tag.
    pub(crate) fn reference(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }

    /// The full name, as containerd stores it.
    pub(crate) fn full(&self) -> String {
        let tag = self
            .tag
            .as_ref()
            .map(|tag| format!(":{tag}"))
            .unwrap_or_default();
        let digest = self
            .digest
            .as_ref()
            .map(|digest| format!("@{digest}"))
            .unwrap_or_default();
        format!("{}/{}{tag}{digest}", self.registry, self.repository)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_docker_hubs() {
        assert_eq!(
            ImageName::parse("nginx").unwrap().full(),
            "docker.io/library/nginx:latest"
        );
        assert_eq!(
            ImageName::parse("rancher/pause:3.6").unwrap().full(),
            "docker.io/rancher/pause:3.6"
        );
    }

    #[test]
    fn ports_tags_and_digests_are_told_apart() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let name = ImageName::parse(&format!("h.test:443/p/quay.io/a/b:v1@{digest}")).unwrap();
        assert_eq!(
            (name.registry.as_str(), name.repository.as_str()),
            ("h.test:443", "p/quay.io/a/b")
        );
        assert_eq!(
            (name.tag.as_deref(), name.reference()),
            (Some("v1"), digest.as_str())
        );
    }

    #[test]
    fn a_short_digest_is_refused() {
        assert!(ImageName::parse("a@sha256:12").is_err());
    }
}
