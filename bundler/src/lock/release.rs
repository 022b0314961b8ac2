//! The files of the RKE2 release, checked against the release's own checksums.

use std::collections::BTreeMap;

use airgap_manifests::{ImageName, ImageReference, LockedFile, Release, ReleaseFile, WantedImage};
use airgap_registry::Puller;
use futures_util::StreamExt as _;
use oci_spec::image::Digest;
use url::Url;

use super::Resolver;
use crate::{
    checksums::Checksums,
    error::{Error, Result},
    fetch::{Source, Wanted},
};

/// The largest file that is read into memory, in bytes: charts, checksum files, scripts.
pub(crate) const MAX_SMALL_FILE: u64 = 64 << 20;

/// The images that the catalog names.
type Names = BTreeMap<ImageName, WantedImage>;

impl Resolver<'_> {
    /// Resolves every file of a release, and checks that the catalog names every image of the release's own lists.
    pub(super) async fn release(
        &self,
        release: &Release,
        images: &Names,
    ) -> Result<Vec<LockedFile>> {
        let (mut locked, mut errors) = (Vec::new(), Vec::new());
        let mut sums = BTreeMap::new();
        let (lists, files): (Vec<_>, Vec<_>) = release
            .files
            .iter()
            .partition(|file| is_checksums(&file.name));
        for file in lists {
            match self.checksums(file).await {
                Ok((list, entry)) => {
                    sums.insert(file.platform.clone(), list);
                    locked.push(entry);
                }
                Err(error) => errors.push(error),
            }
        }
        for file in files {
            match self
                .release_file(release, file, &sums, !errors.is_empty())
                .await
            {
                Ok(Some(entry)) => {
                    if file.name.starts_with("rke2-images") {
                        let checked = self.check_list(release, file, &entry, images).await;
                        errors.extend(checked.err());
                    }
                    locked.push(entry);
                }
                Ok(None) => {}
                Err(error) => errors.push(error),
            }
        }
        if errors.is_empty() {
            Ok(locked)
        } else {
            Err(Error::all(errors))
        }
    }

    async fn checksums(&self, file: &ReleaseFile) -> Result<(Checksums, LockedFile)> {
        let bytes = small_file(self.puller, &file.url).await?;
        let text = String::from_utf8_lossy(&bytes);
        let list = Checksums::parse(&text).map_err(|error| Error::Unusable {
            object: file.url.clone(),
            reason: error.to_string(),
        })?;
        Ok((
            list,
            self.entry(file, &bytes, "the release's download page")?,
        ))
    }

    /// Resolves a file: through its checksum list, or, for the installer that no list names, from the release's git tag.
    async fn release_file(
        &self,
        release: &Release,
        file: &ReleaseFile,
        sums: &BTreeMap<Option<String>, Checksums>,
        lists_missing: bool,
    ) -> Result<Option<LockedFile>> {
        let unusable = |reason: String| Error::Unusable {
            object: format!("{} ({})", file.name, file.url),
            reason,
        };
        let listed = sums
            .get(&file.platform)
            .and_then(|list| list.get(&file.name));
        if let Some(digest) = listed {
            let wanted = wanted(release, file, digest)?;
            let size = Some(self.fetcher.sound_blob(&wanted).await?);
            let source = Some("the release's own sha256sum file".to_owned());
            return Ok(Some(LockedFile {
                url: file.url.clone(),
                sha256: Some(digest.clone()),
                size,
                source,
            }));
        }
        if file.name != "install.sh" {
            // Without its list nothing can be said of a file; the list's own error is the one to read.
            if lists_missing {
                return Ok(None);
            }
            return Err(unusable(
                "the release's sha256sum file does not list it".into(),
            ));
        }
        let tag = release.version.replace('+', "%2B");
        if !file.url.contains(&format!("/{tag}/"))
            && !file.url.contains(&format!("/{}/", release.version))
        {
            return Err(unusable(format!(
                "it is not from the git tag {}",
                release.version
            )));
        }
        let bytes = small_file(self.puller, &file.url).await?;
        self.entry(file, &bytes, "the release's git tag").map(Some)
    }

    /// Compares one of the release's image lists with what the catalog names.
    async fn check_list(
        &self,
        release: &Release,
        file: &ReleaseFile,
        entry: &LockedFile,
        images: &Names,
    ) -> Result<()> {
        let Some(digest) = &entry.sha256 else {
            return Ok(());
        };
        let wanted = wanted(release, file, digest)?;
        let bytes = self.fetcher.read(&wanted, MAX_SMALL_FILE).await?;
        let text = String::from_utf8_lossy(&bytes);
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let missing: Vec<Error> = lines
            .filter_map(|line| match line.parse::<ImageReference>() {
                Ok(reference) if images.contains_key(&reference.name) => None,
                Ok(reference) => Some(Error::Unusable {
                    object: reference.name.to_string(),
                    reason: format!("{} lists it, but no component names it", file.name),
                }),
                Err(error) => Some(Error::Unusable {
                    object: file.url.clone(),
                    reason: error.to_string(),
                }),
            })
            .collect();
        if missing.is_empty() {
            Ok(())
        } else {
            Err(Error::all(missing))
        }
    }

    fn entry(&self, file: &ReleaseFile, bytes: &[u8], source: &str) -> Result<LockedFile> {
        let sha256 = Some(self.fetcher.cache.insert(bytes)?);
        let (url, size) = (file.url.clone(), Some(bytes.len() as u64));
        Ok(LockedFile {
            url,
            sha256,
            size,
            source: Some(source.to_owned()),
        })
    }
}

/// A file that the release's checksums name.
fn wanted(release: &Release, file: &ReleaseFile, digest: &Digest) -> Result<Wanted> {
    Ok(Wanted {
        object: format!("{} of RKE2 {} ({})", file.name, release.version, file.url),
        digest: digest.clone(),
        size: None,
        sources: vec![Source::Url(parse(&file.url)?)],
    })
}

/// Reads a file of which no digest is known yet.
pub(crate) async fn small_file(puller: &Puller, url: &str) -> Result<Vec<u8>> {
    let failed = |source| Error::Fetch {
        object: url.to_owned(),
        source: Box::new(source),
    };
    let mut stream = puller.file(&parse(url)?, 0).await.map_err(failed)?.stream;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk.map_err(failed)?);
        if bytes.len() as u64 > MAX_SMALL_FILE {
            let reason = format!("it is larger than {MAX_SMALL_FILE} bytes");
            return Err(Error::Unusable {
                object: url.to_owned(),
                reason,
            });
        }
    }
    Ok(bytes)
}

/// Tells whether a file of a release is its checksum list.
pub(crate) fn is_checksums(name: &str) -> bool {
    name.starts_with("sha256sum-")
}

/// Reads a URL that the catalog or the lock holds.
pub(crate) fn parse(url: &str) -> Result<Url> {
    Url::parse(url).map_err(|error| Error::Unusable {
        object: url.to_owned(),
        reason: format!("it is not a URL: {error}"),
    })
}
