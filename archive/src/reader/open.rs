//! Opening a bundle: signature first, then structure, then manifests (FORMAT §10).

use std::collections::HashMap;
use std::sync::Mutex;

use airgap_signing::TrustRoot;
use bytes::Bytes;
use camino::Utf8Path;
use oci_spec::image::Digest;

use super::frames::{self, Failure, Frames};
use super::{Inner, OpenOptions};
use crate::frame::Decompressor;
use crate::graph::Graph;
use crate::index::{self, Problem};
use crate::layout::{Content, Layout, Piece};
use crate::limits::FRAME_SIZE;
use crate::{Error, Result, Role, Volumes, check, digest_of, first, pool};

/// Opens the bundle at `path`, or says why it is not to be trusted.
pub(super) fn open(path: &Utf8Path, trust: &TrustRoot, options: &OpenOptions) -> Result<Inner> {
    let volumes = Volumes::locate(path, &options.folders)?;

    // 1. the first frame, without a decompressor
    let volume = volumes.open_first()?;
    let first = first::read(&volume.file, &volume.path)?;

    // 2. trust, over exactly these bytes
    let mut signatures = vec![first.signature];
    signatures.extend(frames::sidecars(&volumes, &options.folders, trust));
    let signed_by = trust
        .verify(&first.index, &signatures)
        .map_err(|source| Error::Untrusted {
            path: volume.path.clone(),
            shown: Some(first.key.key_id()),
            source,
        })?;
    if !first::is_consistent(&first) {
        let reason = "index.json.sig is not the signature of index.json.pub".to_owned();
        return Err(Error::Damaged {
            volume: volume.path,
            reason,
        });
    }

    // 3. the index
    let (info, entries) = parse_index(&first.index, &volume.path)?;
    let index_digest = digest_of(&first.index);
    let whole_digest = whole(&info, &entries).unwrap_or_else(|| index_digest.clone());
    let index_sha256 = sha256(&index_digest);

    // 4. volumes and tables
    let first_path = volume.path.clone();
    let store = Frames::open(&volumes, volume, &index_sha256)?;

    // 5. manifests, group by group, each hashed before it is read
    let wrong = |reason: String| Error::NotABundle {
        path: first_path.clone(),
        reason,
    };
    let mut graph = Graph::new(&entries).map_err(wrong)?;
    let mut layout = Layout::new(first.length);
    store.check(&layout, 0)?;
    let mut manifests = HashMap::new();
    for children in [false, true] {
        let group = if children {
            graph.children()
        } else {
            graph.top()
        }
        .to_vec();
        let from = layout.frames.len();
        let pieces = layout.pieces.len();
        layout.append(&group);
        store.check(&layout, from)?;
        read_manifests(&store, &layout, pieces, &mut manifests)?;
        for (digest, _) in &group {
            graph.add(digest, &manifests[digest]).map_err(wrong)?;
        }
    }

    // 6. everything else follows from them
    let leaves = graph.leaves(&entries).map_err(wrong)?;
    let from = layout.frames.len();
    // a frame is never shorter than 12 bytes, so a tree that claims more than the files can hold is no reason to
    // allocate a list of its frames
    let claimed: u64 = leaves
        .iter()
        .map(|(_, size)| size / FRAME_SIZE as u64)
        .sum();
    if claimed > store.count() as u64 {
        let reason = "the files hold fewer frames than the signed index demands".to_owned();
        return Err(Error::Damaged {
            volume: first_path,
            reason,
        });
    }
    layout.append(&leaves);
    layout.finish();
    store.check(&layout, from)?;
    if layout.frames.len() != store.count() {
        let volume = store.path(layout.frames.len()).to_owned();
        let reason = "a frame follows the end of the stream".to_owned();
        return Err(Error::Damaged { volume, reason });
    }

    let blobs = layout
        .pieces
        .iter()
        .map(|piece| (piece.digest.clone(), piece.size))
        .collect();
    let by_digest = layout
        .pieces
        .iter()
        .enumerate()
        .map(|(number, piece)| (piece.digest.clone(), number))
        .collect();
    Ok(Inner {
        info,
        entries,
        index: first.index,
        index_digest,
        whole_digest,
        signed_by,
        trusted_keys: trust.usable().cloned().collect(),
        shown_key: first.key,
        volumes,
        frames: store,
        layout,
        graph,
        manifests,
        blobs,
        by_digest,
        shared: Mutex::new(None),
    })
}

/// Returns the digest that the index would have if nothing was left out; `None` of a bundle that is whole.
fn whole(info: &crate::BundleInfo, entries: &[crate::Entry]) -> Option<Digest> {
    info.delta.as_ref()?;
    let info = crate::BundleInfo {
        delta: None,
        ..info.clone()
    };
    let carried = entries.iter().filter(|entry| entry.role != Role::Delta);
    Some(digest_of(&index::render(
        &info,
        &carried.cloned().collect::<Vec<_>>(),
    )))
}

/// Reads the index, and says why it is none.
pub(crate) fn parse_index(
    bytes: &[u8],
    path: &Utf8Path,
) -> Result<(crate::BundleInfo, Vec<crate::Entry>)> {
    index::parse(bytes).map_err(|problem| match problem {
        Problem::NotABundle(reason) => Error::NotABundle {
            path: path.to_owned(),
            reason,
        },
        Problem::Unsupported(reason) => Error::Unsupported {
            path: path.to_owned(),
            reason,
        },
    })
}

/// Returns the raw bytes of a digest this crate made.
pub(crate) fn sha256(digest: &Digest) -> [u8; 32] {
    let mut bytes = [0; 32];
    hex::decode_to_slice(digest.digest(), &mut bytes)
        .expect("a sha256 digest is 64 hexadecimal digits");
    bytes
}

/// Reads and hashes all manifests from piece number `from` on.
fn read_manifests(
    frames: &Frames,
    layout: &Layout,
    from: usize,
    manifests: &mut HashMap<Digest, Bytes>,
) -> Result<()> {
    let Some(first) = layout.pieces.get(from) else {
        return Ok(());
    };
    let mut buffers = pool::take(2);
    let (content, scratch) = buffers.split_at_mut(1);
    let mut decompressor = Decompressor::new().map_err(|source| Error::Io {
        operation: "decompress",
        path: frames.path(0).to_owned(),
        source,
    })?;
    let mut large: Option<(check::Large, Vec<u8>)> = None;
    for number in first.frame..layout.frames.len() {
        let frame = &layout.frames[number];
        let content = &mut content[0][..frame.length];
        let blame = match &frame.content {
            Content::Part { piece, .. } => *piece,
            Content::Shared { pieces, .. } => pieces.start,
            Content::First => continue,
        };
        frames
            .read(number, content, &mut scratch[0], &mut decompressor)
            .map_err(|failure| failure.into_error(&layout.pieces[blame], frames.path(number)))?;
        let damaged =
            |piece: &Piece, reason| Failure::Damaged(reason).into_error(piece, frames.path(number));
        match &frame.content {
            Content::First => {}
            Content::Shared { pieces, .. } => {
                for piece in &layout.pieces[pieces.clone()] {
                    let bytes =
                        check::small(piece, content).map_err(|reason| damaged(piece, reason))?;
                    manifests.insert(piece.digest.clone(), Bytes::copy_from_slice(bytes));
                }
            }
            Content::Part { piece, .. } => {
                let piece = &layout.pieces[*piece];
                let (checker, bytes) =
                    large.get_or_insert_with(|| (check::Large::new(piece), Vec::new()));
                let range = checker
                    .next(piece, content)
                    .map_err(|reason| damaged(piece, reason))?;
                bytes.extend(&content[range]);
                if number + 1 == piece.frames().end {
                    let bytes = large.take().map(|(_, bytes)| bytes).unwrap_or_default();
                    manifests.insert(piece.digest.clone(), bytes.into());
                }
            }
        }
    }
    Ok(())
}

impl Failure {
    /// Says what the failure means for an entry.
    pub(crate) fn into_error(self, piece: &Piece, volume: &Utf8Path) -> Error {
        match self {
            Self::Io(source) => Error::Io {
                operation: "read",
                path: volume.to_owned(),
                source,
            },
            Self::Damaged(reason) => Error::BlobDamaged {
                digest: piece.digest.clone(),
                volume: volume.to_owned(),
                reason,
            },
        }
    }
}
