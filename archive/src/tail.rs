//! What stands after the last frame, and at the head of further volumes (FORMAT §7, §8).
//!
//! The seek table makes random access possible for any reader of the zstd seekable format; the frame table before it
//! names the volumes and carries checksums. Neither is signed and neither is trusted: all but the compressed sizes is
//! known beforehand and compared, the sizes must fit the files exactly, and each frame must fill its place.

use crate::frame;
use crate::limits::{FRAME_SIZE, MAX_FRAMES, MAX_VOLUMES};

/// The skippable frame that holds a seek table, as the seekable format says.
const SEEK_MAGIC: u32 = 0x184d_2a5e;
/// The last four bytes of a seekable file.
const SEEK_FOOTER: u32 = 0x8f92_eab1;
/// The skippable frame that holds our own structures.
const OWN_MAGIC: u32 = 0x184d_2a5a;
const TABLE_TAG: &[u8; 8] = b"airgap-t";
const VOLUME_TAG: &[u8; 8] = b"airgap-v";

/// Bytes of the seek table's footer: count, descriptor, magic.
const FOOTER: usize = 9;
/// Bytes of a seek table without its entries.
const SEEK_FIXED: usize = 8 + FOOTER;
/// Bytes of the frame table without volumes and checksums: frame header, tag, index digest, volume count.
const TABLE_FIXED: usize = 8 + 8 + 32 + 4;

/// Bytes at the head of every volume but the first.
pub(crate) const VOLUME_HEAD: usize = 8 + 8 + 32 + 4;

/// A frame as the tail describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Recorded {
    /// Bytes in the file.
    pub(crate) compressed: u32,
    /// Bytes of content.
    pub(crate) content: u32,
    /// Checksum of a compressed frame; zero for a stored one.
    pub(crate) checksum: u32,
}

impl Recorded {
    /// Says whether this is a stored frame, which follows from the sizes alone (§5).
    pub(crate) fn is_stored(&self) -> bool {
        self.compressed as usize == frame::stored_size(self.content as usize)
    }
}

/// Returns the bytes of a tail of so many frames and volumes.
pub(crate) fn size(frames: usize, volumes: usize) -> usize {
    TABLE_FIXED + 8 * volumes + 4 * frames + SEEK_FIXED + 8 * frames
}

/// Renders the head of volume `number`, which is 2 or more.
pub(crate) fn volume_head(index_sha256: &[u8; 32], number: u32) -> [u8; VOLUME_HEAD] {
    let mut head = [0; VOLUME_HEAD];
    head[..4].copy_from_slice(&OWN_MAGIC.to_le_bytes());
    head[4..8].copy_from_slice(&length_of(VOLUME_HEAD - 8));
    head[8..16].copy_from_slice(VOLUME_TAG);
    head[16..48].copy_from_slice(index_sha256);
    head[48..].copy_from_slice(&number.to_le_bytes());
    head
}

/// Says whether this is the head of a volume, of whichever bundle and number.
pub(crate) fn is_volume_head(head: &[u8; VOLUME_HEAD]) -> bool {
    // magic, length and tag
    head[..16] == volume_head(&[0; 32], 0)[..16]
}

fn length_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes)
        .expect("a table is far below 4 GiB")
        .to_le_bytes()
}

/// Renders the tail: the frame table, then the seek table.
pub(crate) fn render(index_sha256: &[u8; 32], volumes: &[u64], frames: &[Recorded]) -> Vec<u8> {
    let mut tail = Vec::with_capacity(size(frames.len(), volumes.len()));
    tail.extend(OWN_MAGIC.to_le_bytes());
    tail.extend(length_of(
        TABLE_FIXED - 8 + 8 * volumes.len() + 4 * frames.len(),
    ));
    tail.extend(TABLE_TAG);
    tail.extend(index_sha256);
    tail.extend(length_of(volumes.len()));
    tail.extend(volumes.iter().flat_map(|length| length.to_le_bytes()));
    tail.extend(frames.iter().flat_map(|frame| frame.checksum.to_le_bytes()));
    tail.extend(SEEK_MAGIC.to_le_bytes());
    tail.extend(length_of(SEEK_FIXED - 8 + 8 * frames.len()));
    for frame in frames {
        tail.extend(frame.compressed.to_le_bytes());
        tail.extend(frame.content.to_le_bytes());
    }
    tail.extend(length_of(frames.len()));
    tail.push(0);
    tail.extend(SEEK_FOOTER.to_le_bytes());
    tail
}

/// Reads the footer at the very end of a bundle and returns how many frames the seek table lists.
///
/// `None` means that this is not the end of a bundle: a volume before the last, or a file cut off.
pub(crate) fn frame_count(end: &[u8]) -> Option<usize> {
    let footer = end.get(end.len().checked_sub(FOOTER)?..)?;
    if footer[4..] != [&[0][..], &SEEK_FOOTER.to_le_bytes()].concat() {
        return None;
    }
    usize::try_from(u32_at(footer, 0)?).ok()
}

/// Bytes of [`frame_count`]'s input.
pub(crate) const FOOTER_SIZE: usize = FOOTER;

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at + 4)
        .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
}

/// Reads the number of volumes from the first bytes of a frame table, which must be this bundle's.
pub(crate) fn volume_count(tail: &[u8], index_sha256: &[u8; 32]) -> Result<u32, &'static str> {
    let fixed = tail
        .get(..TABLE_FIXED)
        .ok_or("the frame table is cut off")?;
    if fixed[..4] != OWN_MAGIC.to_le_bytes() || &fixed[8..16] != TABLE_TAG {
        return Err("no frame table stands before the seek table");
    }
    if fixed[16..48] != index_sha256[..] {
        return Err("the frame table belongs to another bundle");
    }
    let count = u32_at(fixed, 48).unwrap_or_default();
    if !(1..=MAX_VOLUMES).contains(&count) {
        return Err("the frame table names an impossible number of volumes");
    }
    Ok(count)
}

/// Returns the bytes of a tail before its frame and seek entries are known to be right.
pub(crate) fn fixed_size() -> usize {
    TABLE_FIXED
}

/// Reads a whole tail: the lengths of the volumes, and the frames.
pub(crate) fn parse(
    tail: &[u8],
    index_sha256: &[u8; 32],
) -> Result<(Vec<u64>, Vec<Recorded>), &'static str> {
    let volumes = volume_count(tail, index_sha256)? as usize;
    let frames = frame_count(tail).ok_or("the seek table has no end")?;
    if frames > MAX_FRAMES || tail.len() != size(frames, volumes) {
        return Err("the tables' sizes contradict each other");
    }
    let lengths: Vec<u64> = tail[TABLE_FIXED..TABLE_FIXED + 8 * volumes]
        .as_chunks::<8>()
        .0
        .iter()
        .map(|length| u64::from_le_bytes(*length))
        .collect();
    let sums = &tail[TABLE_FIXED + 8 * volumes..];
    let seek = &sums[4 * frames + 8..];
    let recorded: Vec<Recorded> = (0..frames)
        .filter_map(|number| {
            Some(Recorded {
                compressed: u32_at(seek, 8 * number)?,
                content: u32_at(seek, 8 * number + 4)?,
                checksum: u32_at(sums, 4 * number)?,
            })
        })
        .collect();
    for frame in &recorded {
        let content = frame.content as usize;
        if content == 0 || content > FRAME_SIZE {
            return Err("the seek table lists a frame of impossible content");
        }
        if frame.compressed == 0 || frame.compressed as usize > frame::stored_size(content) {
            return Err("the seek table lists a frame of impossible size");
        }
        if frame.is_stored() && frame.checksum != 0 {
            return Err("the frame table has a checksum for a stored frame");
        }
    }
    // whatever the code above did not look at is compared here
    if render(index_sha256, &lengths, &recorded) != tail {
        return Err("the tables are not laid out as the format says");
    }
    Ok((lengths, recorded))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SHA256: [u8; 32] = [7; 32];

    fn recorded() -> impl Strategy<Value = Recorded> {
        (
            1..=u32::try_from(FRAME_SIZE).unwrap(),
            any::<u32>(),
            any::<u32>(),
        )
            .prop_map(|(content, size, checksum)| {
                let stored = u32::try_from(frame::stored_size(content as usize)).unwrap();
                let compressed = size % stored + 1;
                Recorded {
                    compressed,
                    content,
                    checksum: if compressed == stored { 0 } else { checksum },
                }
            })
    }

    proptest! {
        #[test]
        fn tails_round_trip(
            volumes in proptest::collection::vec(any::<u64>(), 1..20),
            frames in proptest::collection::vec(recorded(), 0..50),
        ) {
            let tail = render(&SHA256, &volumes, &frames);
            prop_assert_eq!(tail.len(), size(frames.len(), volumes.len()));
            prop_assert_eq!(parse(&tail, &SHA256).unwrap(), (volumes, frames));
        }

        #[test]
        fn parsing_anything_never_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..400), real: bool) {
            if real && bytes.len() > 80 {
                let count = bytes.len();
                bytes[..4].copy_from_slice(&OWN_MAGIC.to_le_bytes());
                bytes[8..16].copy_from_slice(TABLE_TAG);
                bytes[16..48].copy_from_slice(&SHA256);
                bytes[count - 5] = 0;
                bytes[count - 4..].copy_from_slice(&SEEK_FOOTER.to_le_bytes());
            }
            let _ = parse(&bytes, &SHA256);
            let _ = frame_count(&bytes);
        }

        #[test]
        fn a_flipped_bit_is_refused_or_changes_a_number_that_is_checked_later(
            frames in proptest::collection::vec(recorded(), 1..5), position: prop::sample::Index, bit in 0..8,
        ) {
            let mut tail = render(&SHA256, &[9], &frames);
            let position = position.index(tail.len());
            tail[position] ^= 1_u8 << bit;
            if let Ok((lengths, parsed)) = parse(&tail, &SHA256) {
                prop_assert!(lengths != [9] || parsed != frames);
            }
        }
    }
}
