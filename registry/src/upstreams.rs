//! Where upstream names are fetched from: RKE2's registries.yaml, and URL prefixes for files.

use camino::Utf8Path;
use url::Url;

use crate::error::Result;

/// Mirrors, logins and certificate authorities for upstream registries and file servers.
#[derive(Debug, Clone, Default)]
pub struct Upstreams {}

impl Upstreams {
    /// Parses the file's text; `path` is named in errors, and relative file names are below its folder.
    pub fn from_yaml(text: &str, path: &Utf8Path) -> Result<Self> {
        let _ = (text, path);
        todo!()
    }

    /// Returns where a file is fetched from: the longest matching prefix replaced.
    #[must_use]
    pub fn file_url(&self, url: &Url) -> Url {
        url.clone()
    }
}
