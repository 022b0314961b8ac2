//! The numbers of the format (FORMAT §2, §3): what is accepted before and after trust.

/// Content of one frame at most, in bytes; its window is never larger, for every frame is a single segment (§5).
pub(crate) const FRAME_SIZE: usize = 4 << 20;

/// An entry of this size or more has frames of its own (§6).
pub(crate) const LARGE_BLOB: u64 = 1 << 20;

/// `index.json` at most: with its three companions it must fit the first frame (§3).
pub(crate) const MAX_INDEX: u64 = (FRAME_SIZE - 8 * 1024) as u64;

/// A manifest or image index at most (§3).
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;

/// A blob at most: 1 TiB (§3).
pub(crate) const MAX_BLOB: u64 = 1 << 40;

/// All content together at most: 16 TiB (§3).
pub(crate) const MAX_CONTENT: u64 = 1 << 44;

/// Frames at most (§7): as many as there are when all content is in entries of 1 MiB, with a frame for each.
pub(crate) const MAX_FRAMES: usize = (MAX_CONTENT >> 20) as usize;

/// The smallest volume size accepted when writing: room for the largest frame and for the tail (§8).
pub(crate) const MIN_VOLUME_SIZE: u64 = 8 << 20;

/// Volumes are numbered with three digits (§8).
pub(crate) const MAX_VOLUMES: u32 = 999;

/// A name in an annotation at most, in bytes (§4).
pub(crate) const MAX_NAME: usize = 512;
