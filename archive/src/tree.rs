//! The tree of a bundle that is being made: manifests and their descriptors, before a byte is written.

use std::collections::HashMap;

use bytes::Bytes;
use jiff::Timestamp;
use oci_spec::image::{Descriptor, Digest, MediaType, Platform};

use crate::graph::{Blob, Graph};
use crate::layout::Layout;
use crate::limits::MAX_INDEX;
use crate::{
    Base, DeltaBase, Error, Omitted, Result, Role, annotations, delta, digest_of, first, index,
    manifest,
};

/// What the index says of the bundle as a whole (FORMAT §4).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BundleInfo {
    /// The bundle's name, the stem of its file name when written; of a delta, that of the whole bundle.
    pub name: String,
    /// The edition, such as `standard`.
    pub edition: String,
    /// The version people speak of.
    pub version: String,
    /// The release number, which only ever grows.
    pub release: u64,
    /// `linux/amd64`, or `all`.
    pub platform: String,
    /// The source date, in whole seconds.
    pub created: Timestamp,
    /// From when on the bundle must not be installed.
    pub expires: Option<Timestamp>,
    /// Sha256 of the installer binary handed over beside the bundle, as 64 hexadecimal digits.
    pub installer_sha256: Option<String>,
    /// The bundle a delta builds on; absent of a bundle that is whole. Set by [`BundleTree::build_on`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<DeltaBase>,
}

/// One top-level manifest to add to a [`BundleTree`].
#[derive(Debug, Clone)]
pub struct Addition {
    /// The manifest, byte for byte.
    pub manifest: Bytes,
    /// Its media type: an OCI or Docker manifest or index.
    pub media_type: MediaType,
    /// What it is.
    pub role: Role,
    /// Its full source name, such as `quay.io/argoproj/argocd:v3.4.4`; absent for signatures, and for referrers without a tag.
    pub name: Option<String>,
    /// For a signature or referrer: the digest of what it belongs to.
    pub subject: Option<Digest>,
    /// The platform of a single-platform image.
    pub platform: Option<Platform>,
}

/// One top-level descriptor of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Digest, size and media type of its manifest, with all annotations.
    pub descriptor: Descriptor,
    /// What it is.
    pub role: Role,
    /// Its full source name; absent for signatures, and for referrers without a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// For a signature or referrer: the digest of what it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Digest>,
}

/// Collects manifests, and derives every blob's digest and size from them.
///
/// The same additions in any order give the same index bytes.
#[derive(Debug)]
pub struct BundleTree {
    info: BundleInfo,
    entries: Vec<Entry>,
    /// Manifests, and small blobs supplied as bytes.
    supplied: HashMap<Digest, Bytes>,
}

/// A tree that is complete: its index, and where everything will lie.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) index: Vec<u8>,
    pub(crate) layout: Layout,
}

fn invalid(what: impl std::fmt::Display, reason: impl Into<String>) -> Error {
    Error::InvalidTree {
        what: what.to_string(),
        reason: reason.into(),
    }
}

fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

impl BundleTree {
    /// Starts an empty tree; times are cut to whole seconds.
    #[must_use]
    pub fn new(mut info: BundleInfo) -> Self {
        info.created = whole_seconds(info.created);
        info.expires = info.expires.map(whole_seconds);
        Self {
            info,
            entries: Vec::new(),
            supplied: HashMap::new(),
        }
    }

    /// Adds a top-level manifest and returns its digest; adding the same again changes nothing.
    pub fn add(&mut self, addition: Addition) -> Result<Digest> {
        let Addition {
            manifest,
            media_type,
            role,
            name,
            subject,
            platform,
        } = addition;
        let digest = digest_of(&manifest);
        manifest::references(&media_type, &manifest).map_err(|reason| invalid(&digest, reason))?;
        let mut annotations = HashMap::from([(annotations::ROLE.to_owned(), role.to_string())]);
        if let Some(name) = &name {
            annotations.insert(annotations::REF_NAME.to_owned(), name.clone());
        }
        if let Some(subject) = &subject {
            annotations.insert(annotations::SUBJECT.to_owned(), subject.to_string());
        }
        let mut descriptor = Descriptor::new(media_type, manifest.len() as u64, digest.clone());
        descriptor.set_annotations(Some(annotations));
        descriptor.set_platform(platform);
        let entry = Entry {
            descriptor,
            role,
            name,
            subject,
        };
        self.supplied.insert(digest.clone(), manifest);
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
            // refuse a name given twice, or one missing, where the caller can still say who gave it
            index::check(&self.entries).map_err(|reason| invalid(&digest, reason))?;
        }
        Ok(digest)
    }

    /// Adds a manifest that an added index names among its children.
    pub fn add_child_manifest(&mut self, manifest: Bytes) -> Digest {
        self.add_blob(manifest)
    }

    /// Supplies a small blob (a config, a payload) as bytes, so that the source is not asked for it.
    pub fn add_blob(&mut self, bytes: Bytes) -> Digest {
        let digest = digest_of(&bytes);
        self.supplied.insert(digest.clone(), bytes);
        digest
    }

    /// Makes this a delta: leaves out every image layer that the base's images hold, and says which. Called last, once.
    ///
    /// Manifests, configs, and the layers of everything that is no image stay.
    pub fn build_on(&mut self, base: &Base) -> Result<Vec<Omitted>> {
        let entries = self.sorted();
        let graph = self.walk(&entries, |_| {})?;
        let list = base.list(&graph.image_layers(&entries));
        let (_, omitted) = delta::parse(&list).map_err(|reason| invalid("a delta", reason))?;
        self.info.delta = Some(base.id.clone());
        self.add_blob(Bytes::from_static(delta::EMPTY));
        self.add(Addition {
            manifest: list.into(),
            media_type: MediaType::ImageManifest,
            role: Role::Delta,
            name: Some(format!("delta:{}", base.id.version)),
            subject: None,
            platform: None,
        })?;
        Ok(omitted)
    }

    /// Returns what the index will say of the bundle as a whole.
    #[must_use]
    pub fn info(&self) -> &BundleInfo {
        &self.info
    }

    /// Returns the entries added so far.
    #[must_use]
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn sorted(&self) -> Vec<Entry> {
        let mut entries = self.entries.clone();
        index::sort(&mut entries);
        entries
    }

    /// Returns the exact bytes of `index.json`; fails when a child manifest is missing or a limit is exceeded.
    pub fn index_bytes(&self) -> Result<Vec<u8>> {
        self.plan().map(|plan| plan.index)
    }

    /// Returns digest and size of every blob that the [`crate::BlobSource`] will be asked for, in the order in which
    /// they will be written: largest first.
    pub fn blobs_to_fetch(&self) -> Result<Vec<(Digest, u64)>> {
        let pieces = self.plan()?.layout.pieces.into_iter();
        Ok(pieces
            .filter(|piece| !self.supplied.contains_key(&piece.digest))
            .map(|piece| (piece.digest, piece.size))
            .collect())
    }

    /// Returns the exact length of the tar stream; a bundle is larger by less than 0.01 % at most.
    pub fn content_size(&self) -> Result<u64> {
        self.plan().map(|plan| plan.layout.content())
    }

    /// Walks the tree as a reader will, and plans the stream.
    pub(crate) fn plan(&self) -> Result<Plan> {
        index::check_info(&self.info).map_err(|reason| invalid("the index", reason))?;
        let entries = self.sorted();
        index::check(&entries)
            .and_then(|()| delta::check(self.info.delta.is_some(), &entries))
            .map_err(|reason| invalid("the index", reason))?;
        let index = index::render(&self.info, &entries);
        if index.len() as u64 > MAX_INDEX {
            return Err(invalid(
                "the index",
                format!(
                    "it is {} bytes, more than the {MAX_INDEX} allowed",
                    index.len()
                ),
            ));
        }
        let mut layout = Layout::new(first::length(index.len()));
        let mut graph = self.walk(&entries, |group| layout.append(group))?;
        let leaves = graph
            .leaves(&entries)
            .map_err(|reason| invalid("the tree", reason))?;
        for (digest, size) in &leaves {
            if let Some(bytes) = self.supplied.get(digest)
                && bytes.len() as u64 != *size
            {
                return Err(invalid(
                    digest,
                    format!("it has {} bytes instead of {size}", bytes.len()),
                ));
            }
        }
        layout.append(&leaves);
        layout.finish();
        Ok(Plan { index, layout })
    }

    /// Reads the manifests of the tree, group by group, as a reader will.
    fn walk(&self, entries: &[Entry], mut group_follows: impl FnMut(&[Blob])) -> Result<Graph> {
        let tree = |reason: String| invalid("the tree", reason);
        let mut graph = Graph::new(entries).map_err(tree)?;
        for children in [false, true] {
            let group = if children {
                graph.children()
            } else {
                graph.top()
            }
            .to_vec();
            group_follows(&group);
            for (digest, size) in &group {
                let bytes = self
                    .supplied
                    .get(digest)
                    .ok_or_else(|| invalid(digest, "its manifest was not added"))?;
                if bytes.len() as u64 != *size {
                    return Err(invalid(
                        digest,
                        format!("it has {} bytes instead of {size}", bytes.len()),
                    ));
                }
                graph.add(digest, bytes).map_err(tree)?;
            }
        }
        Ok(graph)
    }

    /// Returns a supplied blob.
    pub(crate) fn supplied(&self, digest: &Digest) -> Option<&Bytes> {
        self.supplied.get(digest)
    }
}
