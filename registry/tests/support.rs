//! What the tests share: a Harbor with one project, and pushing a whole image.

use std::time::Duration;

use airgap_registry::{
    ByteStream, ManifestReference, ProjectName, RepositoryName, RetryPolicy, SiteConfig,
    SiteRegistry, Tag, TagOutcome,
};
use airgap_testkit::{
    harbor::{Account, HarborConfig, HarborEmulation, Project},
    image::{Image, digest_of},
    tls::TestCa,
};
use bytes::Bytes;
use futures_util::stream;
use oci_spec::image::{Digest, MediaType};

pub(crate) const PASSWORD: &str = "Canary-5f1c";

/// Tries often, waits little.
pub(crate) fn quick() -> RetryPolicy {
    RetryPolicy {
        attempts: 4,
        first_wait: Duration::from_millis(60),
        longest_wait: Duration::from_millis(200),
        longest_retry_after: Duration::from_secs(3),
    }
}

/// A Harbor with TLS, the project `airgap`, and its authority.
pub(crate) struct Site {
    pub(crate) harbor: HarborEmulation,
    pub(crate) ca: TestCa,
}

impl Site {
    pub(crate) fn start(project: Project) -> Self {
        let ca = TestCa::new("Site CA");
        let harbor = HarborEmulation::start(HarborConfig {
            tls: Some(ca.server(&["localhost", "127.0.0.1"])),
            accounts: vec![
                Account::pusher("airgap", PASSWORD),
                Account::puller("airgap", PASSWORD),
                Account::admin("admin", PASSWORD),
                Account::with("stranger", PASSWORD, "other", &[]),
            ],
            projects: vec![project],
            ..HarborConfig::default()
        });
        Self { harbor, ca }
    }

    pub(crate) fn usual() -> Self {
        Self::start(Project::named("airgap"))
    }

    pub(crate) fn config(&self, user: &str) -> SiteConfig {
        SiteConfig {
            endpoint: format!("localhost:{}", self.harbor.address().port()),
            project: ProjectName::parse("airgap").unwrap(),
            addresses: vec!["127.0.0.1".parse().unwrap()],
            ca_pem: Some(self.ca.pem().to_owned()),
            login: Some((user.to_owned(), PASSWORD.into())),
            retry: quick(),
        }
    }

    pub(crate) async fn pusher(&self) -> SiteRegistry {
        SiteRegistry::connect(self.config("robot$airgap+push"))
            .await
            .unwrap()
    }
}

pub(crate) fn repository(name: &str) -> RepositoryName {
    RepositoryName::parse(name).unwrap()
}

pub(crate) fn tag(name: &str) -> Tag {
    Tag::parse(name).unwrap()
}

/// A body in pieces of 64 KiB.
pub(crate) fn body(bytes: &Bytes) -> ByteStream {
    let pieces: Vec<_> = bytes
        .chunks(64 << 10)
        .map(|piece| Ok(bytes.slice_ref(piece)))
        .collect();
    Box::pin(stream::iter(pieces))
}

pub(crate) async fn upload(
    site: &SiteRegistry,
    repository: &RepositoryName,
    blob: &Bytes,
) -> airgap_registry::Result<Digest> {
    let digest = digest_of(blob);
    site.upload(repository, &digest, blob.len() as u64, || body(blob))
        .await?;
    Ok(digest)
}

/// Pushes an image as the installer does: blobs, children, the manifest, the tag last.
pub(crate) async fn push(
    site: &SiteRegistry,
    repository: &RepositoryName,
    tag: &Tag,
    image: &Image,
) -> airgap_registry::Result<TagOutcome> {
    for blob in &image.blobs {
        if !site.blob_exists(repository, &digest_of(blob)).await? {
            upload(site, repository, blob).await?;
        }
    }
    for (media_type, child) in &image.children {
        let there: ManifestReference = digest_of(child).into();
        if site.head_manifest(repository, &there).await?.is_none() {
            site.put_manifest(repository, &MediaType::from(media_type.as_str()), child)
                .await?;
        }
    }
    let media_type = MediaType::from(image.media_type.as_str());
    site.tag(repository, tag, &media_type, &image.manifest)
        .await
}

/// A two-platform image with layers large enough to be cut.
pub(crate) fn sample() -> Image {
    let noise = airgap_testkit::image::noise(400 << 10, 7);
    Image::index(vec![
        (
            "linux/amd64",
            Image::oci().layer(&[("bin/a", &noise)]).build(),
        ),
        (
            "linux/arm64",
            Image::oci()
                .platform("linux/arm64")
                .layer(&[("bin/a", b"arm")])
                .build(),
        ),
    ])
}

/// The message of an error and of everything behind it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text.push_str(": ");
        text.push_str(&error.to_string());
        next = error.source();
    }
    text
}
