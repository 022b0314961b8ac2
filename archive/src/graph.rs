//! Which blobs a bundle holds, in which order (FORMAT §6): derived from the signed tree and from nothing else.
//!
//! Three groups lie one after the other: top-level manifests, children of indexes, all other blobs. Reader and writer
//! walk the same way, group by group, because each group's content is needed to know the next.

use std::collections::HashMap;

use oci_spec::image::{Descriptor, Digest, MediaType};

use crate::limits::MAX_CONTENT;
use crate::manifest::{self, Kind};
use crate::{Entry, header};

/// Digest and size of a blob.
pub(crate) type Blob = (Digest, u64);

/// The tree, as far as it is known.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    top: Vec<Blob>,
    children: Vec<Blob>,
    /// Size, and media type where it is a manifest, of every blob known so far.
    known: HashMap<Digest, (u64, Option<MediaType>)>,
    references: HashMap<Digest, Vec<Descriptor>>,
    content: u64,
}

impl Graph {
    /// Begins with the entries of the index, which have been checked one by one.
    pub(crate) fn new(entries: &[Entry]) -> Result<Self, String> {
        let mut graph = Self::default();
        for entry in entries {
            if graph.learn(&entry.descriptor)? {
                graph
                    .top
                    .push((entry.descriptor.digest().clone(), entry.descriptor.size()));
            }
        }
        Ok(graph)
    }

    /// Notes a descriptor; says whether its digest is new, and refuses one that contradicts an earlier descriptor.
    fn learn(&mut self, descriptor: &Descriptor) -> Result<bool, String> {
        let (digest, size) = (descriptor.digest(), descriptor.size());
        let media_type = descriptor.media_type();
        let media_type = Kind::of(media_type).map(|_| media_type.clone());
        if let Some((known_size, known_type)) = self.known.get(digest) {
            if *known_size != size {
                return Err(format!("{digest} is said to have two sizes"));
            }
            // a manifest may also be carried as a plain blob of another manifest; two kinds of manifest it cannot be
            if media_type.is_some() && *known_type != media_type {
                return Err(format!("{digest} is said to have two media types"));
            }
            return Ok(false);
        }
        self.content += header::record(size);
        if self.content > MAX_CONTENT {
            return Err(format!("the content exceeds {MAX_CONTENT} bytes"));
        }
        self.known.insert(digest.clone(), (size, media_type));
        Ok(true)
    }

    /// Returns the top-level manifests, each once.
    pub(crate) fn top(&self) -> &[Blob] {
        &self.top
    }

    /// Returns the children of indexes, each once; complete when every top-level manifest was added.
    pub(crate) fn children(&self) -> &[Blob] {
        &self.children
    }

    /// Returns the media type of a manifest.
    pub(crate) fn media_type(&self, digest: &Digest) -> Option<&MediaType> {
        self.known
            .get(digest)
            .and_then(|(_, media_type)| media_type.as_ref())
    }

    /// Adds the content of a manifest, which the caller has hashed.
    pub(crate) fn add(&mut self, digest: &Digest, bytes: &[u8]) -> Result<(), String> {
        let media_type = self
            .media_type(digest)
            .cloned()
            .ok_or_else(|| format!("{digest} is no manifest"))?;
        let found = manifest::references(&media_type, bytes)
            .map_err(|reason| format!("{digest}: {reason}"))?;
        if Kind::of(&media_type) == Some(Kind::Index) {
            for descriptor in &found {
                if self.learn(descriptor)? {
                    self.children
                        .push((descriptor.digest().clone(), descriptor.size()));
                }
            }
        }
        self.references.insert(digest.clone(), found);
        Ok(())
    }

    /// Returns all blobs that are no manifests, largest first; call when every manifest was added.
    pub(crate) fn leaves(&mut self, entries: &[Entry]) -> Result<Vec<Blob>, String> {
        for entry in entries {
            if let Some(subject) = &entry.subject
                && !self.references.contains_key(subject)
            {
                return Err(format!(
                    "{} {} belongs to {subject}, which is not carried",
                    entry.role,
                    entry.descriptor.digest()
                ));
            }
        }
        let mut leaves = Vec::new();
        let manifests: Vec<Digest> = self
            .top
            .iter()
            .chain(&self.children)
            .map(|(digest, _)| digest.clone())
            .collect();
        for manifest in &manifests {
            for descriptor in self.references.get(manifest).cloned().unwrap_or_default() {
                if self.learn(&descriptor)? {
                    leaves.push((descriptor.digest().clone(), descriptor.size()));
                }
            }
        }
        leaves.sort_by(|(a, a_size), (b, b_size)| {
            b_size.cmp(a_size).then_with(|| a.as_ref().cmp(b.as_ref()))
        });
        Ok(leaves)
    }

    /// Returns what a manifest refers to.
    pub(crate) fn references(&self, digest: &Digest) -> Option<&[Descriptor]> {
        self.references.get(digest).map(Vec::as_slice)
    }
}
