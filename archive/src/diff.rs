//! Comparing two bundles.

use std::collections::{BTreeMap, HashMap};

use oci_spec::image::Digest;

use crate::{Entry, VerifiedArchive};

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
    /// Bytes of blobs that both hold.
    pub shared_bytes: u64,
}

impl Difference {
    /// Compares two bundles by name, digest and blobs; signatures and referrers are left to their subjects.
    #[must_use]
    pub fn between(old: &VerifiedArchive, new: &VerifiedArchive) -> Self {
        let named = |archive: &VerifiedArchive| -> BTreeMap<String, Entry> {
            let entries = archive.entries().iter();
            entries
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
        let held: HashMap<&Digest, u64> = old
            .blobs()
            .iter()
            .map(|(digest, size)| (digest, *size))
            .collect();
        for (digest, size) in new.blobs() {
            let place = if held.contains_key(digest) {
                &mut difference.shared_bytes
            } else {
                &mut difference.new_bytes
            };
            *place += size;
        }
        difference
    }
}
