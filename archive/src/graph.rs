//! Which blobs a bundle holds, in which order (FORMAT §6): derived from the signed tree and from nothing else.
//!
//! Three groups lie one after the other: top-level manifests, children of indexes, all other blobs. Reader and writer
//! walk the same way, group by group, because each group's content is needed to know the next.

use std::collections::{HashMap, HashSet};

use oci_spec::image::{Descriptor, Digest, MediaType};

use crate::limits::MAX_CONTENT;
use crate::manifest::{self, Kind};
use crate::{Entry, Omitted, Role, delta, header};

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
    /// The manifest that lists what a delta leaves out.
    list: Option<Digest>,
    omitted: Vec<Omitted>,
}

impl Graph {
    /// Begins with the entries of the index, which have been checked one by one.
    pub(crate) fn new(entries: &[Entry]) -> Result<Self, String> {
        let mut graph = Self::default();
        for entry in entries {
            if entry.role == Role::Delta {
                graph.list = Some(entry.descriptor.digest().clone());
            }
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
        let failed = |reason| format!("{digest}: {reason}");
        let found = if self.list.as_ref() == Some(digest) {
            let (config, omitted) = delta::parse(bytes).map_err(failed)?;
            self.omitted = omitted;
            vec![config]
        } else {
            manifest::references(&media_type, bytes).map_err(failed)?
        };
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
        let omitted = self.check_omitted(entries)?;
        let mut leaves = Vec::new();
        let manifests: Vec<Digest> = self
            .top
            .iter()
            .chain(&self.children)
            .map(|(digest, _)| digest.clone())
            .collect();
        for manifest in &manifests {
            for descriptor in self.references.get(manifest).cloned().unwrap_or_default() {
                if let Some(size) = omitted.get(descriptor.digest()) {
                    if *size != descriptor.size() {
                        return Err(format!("{} is said to have two sizes", descriptor.digest()));
                    }
                    continue;
                }
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

    /// Checks that what a delta leaves out are layers of images it carries, and of nothing else.
    fn check_omitted(&self, entries: &[Entry]) -> Result<HashMap<Digest, u64>, String> {
        if self.list.is_none() {
            return Ok(HashMap::new());
        }
        let layers = self.image_layers(entries);
        let mut omitted = HashMap::new();
        for Omitted { digest, size, .. } in &self.omitted {
            if !layers.contains_key(digest) {
                return Err(format!(
                    "{digest} is listed as left out, but is no layer of images alone"
                ));
            }
            if omitted.insert(digest.clone(), *size).is_some() {
                return Err(format!("{digest} is listed as left out twice"));
            }
        }
        Ok(omitted)
    }

    /// Returns the layers of an entry's image, of all its platforms.
    pub(crate) fn layers<'a>(&'a self, entry: &Entry) -> impl Iterator<Item = &'a Descriptor> {
        self.manifests(entry).flat_map(|manifest| {
            let references = self.references(manifest).unwrap_or_default();
            // the first is the config
            references.iter().skip(1)
        })
    }

    /// Returns the manifests of an entry that refer to blobs: its own, or the children of its index.
    fn manifests<'a>(&'a self, entry: &Entry) -> impl Iterator<Item = &'a Digest> {
        let own = self.references.get_key_value(entry.descriptor.digest());
        let index = Kind::of(entry.descriptor.media_type()) == Some(Kind::Index);
        let (own, children) = match own {
            Some((_, children)) if index => (None, &children[..]),
            Some((digest, _)) => (Some(digest), &[][..]),
            None => (None, &[][..]),
        };
        own.into_iter()
            .chain(children.iter().map(Descriptor::digest))
    }

    /// Returns the blobs to which only images refer, and only as layers: what a delta may leave out.
    pub(crate) fn image_layers(&self, entries: &[Entry]) -> HashMap<Digest, Descriptor> {
        let mut layers = HashMap::new();
        let mut others: HashSet<&Digest> = HashSet::new();
        for entry in entries {
            let image = entry.role == Role::Image;
            for manifest in self.manifests(entry) {
                let references = self.references(manifest).unwrap_or_default();
                let first_layer = if image { 1 } else { references.len() };
                others.extend(references.iter().take(first_layer).map(Descriptor::digest));
                for layer in references.iter().skip(first_layer) {
                    layers.insert(layer.digest().clone(), layer.clone());
                }
            }
        }
        layers.retain(|digest, _| !others.contains(digest) && self.media_type(digest).is_none());
        layers
    }

    /// Returns what a delta leaves out, in the order of its list.
    pub(crate) fn omitted(&self) -> &[Omitted] {
        &self.omitted
    }

    /// Returns what a manifest refers to.
    pub(crate) fn references(&self, digest: &Digest) -> Option<&[Descriptor]> {
        self.references.get(digest).map(Vec::as_slice)
    }
}
