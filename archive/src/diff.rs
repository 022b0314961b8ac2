//! Comparing two bundles.

use std::collections::{BTreeMap, HashSet};

use oci_spec::image::Digest;

use crate::{Entry, Role, VerifiedArchive};

/// How two bundles differ.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Difference {
    /// Entries only the new bundle holds.
    pub added: Vec<Entry>,
    /// Entries only the old bundle holds.
    pub removed: Vec<Entry>,
    /// Entries of the same name with another digest: old, new.
    pub changed: Vec<(Entry, Entry)>,
    /// Bytes of blobs that the new bundle holds and the old does not.
    pub new_bytes: u64,
    /// Bytes of blobs that both hold, or would if they were no deltas.
    pub shared_bytes: u64,
}

impl Difference {
    /// Compares two bundles by name, digest and blobs; signatures and referrers are left to their subjects.
    #[must_use]
    pub fn between(old: &VerifiedArchive, new: &VerifiedArchive) -> Self {
        let named = |archive: &VerifiedArchive| -> BTreeMap<String, Entry> {
            let entries = archive.entries().iter();
            entries
                .filter(|entry| entry.role != Role::Delta)
                .filter_map(|entry| Some((entry.name.clone()?, entry.clone())))
                .collect()
        };
        let (mut before, after) = (named(old), named(new));
        let mut difference = Self::default();
        for (name, entry) in after {
            match before.remove(&name) {
                None => difference.added.push(entry),
                Some(was) if was.descriptor.digest() != entry.descriptor.digest() => {
                    difference.changed.push((was, entry));
                }
                Some(_) => {}
            }
        }
        difference.removed = before.into_values().collect();
        let held: HashSet<&Digest> = blobs(old).map(|(digest, _)| digest).collect();
        for (digest, size) in blobs(new) {
            let place = if held.contains(digest) {
                &mut difference.shared_bytes
            } else {
                &mut difference.new_bytes
            };
            *place += size;
        }
        difference
    }
}

/// Returns the blobs of a bundle, those that a delta leaves out included, and its list of these not.
fn blobs(archive: &VerifiedArchive) -> impl Iterator<Item = (&Digest, u64)> {
    let mut lists = archive.entries().iter();
    let list = lists.find(|entry| entry.role == Role::Delta);
    let list = list.map(|entry| entry.descriptor.digest().clone());
    let carried = archive.blobs().iter();
    carried
        .filter(move |(digest, _)| Some(digest) != list.as_ref())
        .map(|(digest, size)| (digest, *size))
        .chain(
            archive
                .omitted()
                .iter()
                .map(|layer| (&layer.digest, layer.size)),
        )
}
