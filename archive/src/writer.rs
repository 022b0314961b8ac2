//! Writing a bundle.
//!
//! The plan is made first, from the tree alone; then frames are made on several threads ([`pipeline`]) and written,
//! each at its place ([`output`]). So the bytes depend on the tree, the key and the blobs, never on the
//! number of threads. Nothing stands under the final name before everything is on the medium.

mod output;
mod pipeline;
mod small;
mod target;

use airgap_signing::{SigningKey, TrustRoot};
use camino::{Utf8Path, Utf8PathBuf};
use oci_spec::image::Digest;

use crate::limits::MIN_VOLUME_SIZE;
use crate::reader::sha256;
use crate::tree::Plan;
use crate::{
    BlobSource, BundleTree, Error, Event, OpenOptions, Result, VerifiedArchive, digest_of, first,
    frame, tail,
};
use output::Output;

/// How to write a bundle.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Splits the bundle into volumes of at most so many bytes (at least 8 MiB).
    ///
    /// A bundle that fits one volume is written as a plain file.
    pub volume_size: Option<u64>,
    /// Threads that read, hash and compress, 8 at most; the bytes written do not depend on it.
    pub jobs: usize,
    /// Replaces an existing bundle of that name, plain or in volumes, instead of refusing.
    pub overwrite: bool,
}

impl Default for WriteOptions {
    fn default() -> Self {
        let jobs = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            volume_size: None,
            jobs,
            overwrite: false,
        }
    }
}

/// A bundle that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Written {
    /// The file, or the volumes in order.
    pub paths: Vec<Utf8PathBuf>,
    /// Bytes of all files together.
    pub bytes: u64,
    /// The sha256 digest of `index.json`.
    pub index_digest: Digest,
}

/// Writes bundles.
#[derive(Debug)]
pub struct ArchiveWriter;

impl ArchiveWriter {
    /// Signs the tree's index and writes the bundle to `path` (`….tar.zst`), or to `path.001`, … in volumes.
    ///
    /// Written under temporary names in the target folder (`.<name>.001.partial`), synced, and renamed last volume
    /// first, so a crash leaves nothing under the final name or everything; what a killed run left is removed by
    /// the next. A blob that does not hash right is evicted from the source once, and the writing starts over behind
    /// the first frame; the second time it is an error.
    pub fn create(
        path: &Utf8Path,
        tree: &BundleTree,
        signer: &SigningKey,
        options: &WriteOptions,
        source: &dyn BlobSource,
        report: &(dyn Fn(Event) + Sync),
    ) -> Result<Written> {
        if options
            .volume_size
            .is_some_and(|size| size < MIN_VOLUME_SIZE)
        {
            let reason = format!("a volume has at least {MIN_VOLUME_SIZE} bytes");
            return Err(Error::InvalidTree {
                what: "in volumes of that size".to_owned(),
                reason,
            });
        }
        let Plan { index, layout } = tree.plan()?;
        let index_digest = digest_of(&index);
        let first = first::signed(&index, signer);
        let needed = upper_bound(&layout, options.volume_size);

        let mut output = Output::create(path, sha256(&index_digest), options, needed)?;
        output.write_stored(&first, report)?;
        report(Event::Started {
            total: layout.content(),
        });
        report(Event::Advanced {
            bytes: first.len() as u64,
        });
        let run = |output: &mut Output, again| {
            pipeline::run(tree, &layout, options.jobs, again, source, output, report)
        };
        match run(&mut output, false) {
            Err(Error::BlobMismatch { digest }) => {
                let evicted = source.evict(&digest);
                let evicted = evicted.map_err(|source| Error::BlobSource {
                    digest: digest.clone(),
                    source,
                })?;
                if !evicted {
                    return Err(Error::BlobMismatch { digest });
                }
                output.restart()?;
                report(Event::StartedOver { digest });
                report(Event::Started {
                    total: layout.content(),
                });
                report(Event::Advanced {
                    bytes: first.len() as u64,
                });
                run(&mut output, true)?;
            }
            other => other?,
        }
        let (paths, bytes) = output.finish(report)?;
        Ok(Written {
            paths,
            bytes,
            index_digest,
        })
    }

    /// Writes the countersignature `<bundle>.<keyid>.sig` beside a bundle and returns its path.
    ///
    /// The index is read from the bundle at `path` and checked against `trust` before it is signed again.
    pub fn countersign(
        path: &Utf8Path,
        signer: &SigningKey,
        trust: &TrustRoot,
    ) -> Result<Utf8PathBuf> {
        let archive = VerifiedArchive::open(path, trust, &OpenOptions::default())?;
        Self::write_sidecar(archive.volumes().base(), archive.index(), signer)
    }

    /// Writes the countersignature of a further key over an index this process has just made and signed.
    ///
    /// `bundle` is the bundle's path without a volume number. An existing sidecar of that key is replaced.
    pub fn write_sidecar(
        bundle: &Utf8Path,
        index: &[u8],
        signer: &SigningKey,
    ) -> Result<Utf8PathBuf> {
        let path = Utf8PathBuf::from(format!("{bundle}.{}.sig", signer.public_key().key_id()));
        let line = signer.sign(index).to_line();
        small::write_small(&path, line.as_bytes())?;
        Ok(path)
    }
}

/// Returns how many bytes the files have at most: as if nothing shrank.
fn upper_bound(layout: &crate::layout::Layout, volume_size: Option<u64>) -> u64 {
    let frames: u64 = layout
        .frames
        .iter()
        .map(|frame| frame::stored_size(frame.length) as u64)
        .sum();
    let volumes = volume_size.map_or(1, |size| frames / (size - MIN_VOLUME_SIZE / 2) + 2);
    let volumes = usize::try_from(volumes).unwrap_or(usize::MAX / 1024);
    frames + (tail::size(layout.frames.len(), volumes) + volumes * tail::VOLUME_HEAD) as u64
}
