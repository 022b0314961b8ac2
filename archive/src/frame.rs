//! Zstd frames, written and checked by hand as far as possible (FORMAT §5).
//!
//! Two kinds exist. A *stored* frame holds raw blocks only, so neither side runs a compressor and every byte of it
//! that is not content is known beforehand. A *compressed* frame has exactly one possible header for its content
//! size, is strictly smaller than the stored form, and is covered by a checksum in the tail, because a flipped bit
//! in entropy tables can decode to the same content. The kind follows from the size alone.

use std::io::{self, IoSlice, IoSliceMut};

use crate::limits::FRAME_SIZE;

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Content of a raw block at most; the format's own limit.
const BLOCK: usize = 128 * 1024;

/// Bytes before the first block of a stored frame.
pub(crate) const STORED_HEADER: usize = 9;

/// Room for any frame, stored or compressed, and for what the compressor may need beyond.
pub(crate) const CAPACITY: usize = FRAME_SIZE + 32 * 1024;

/// The level for what shrinks; what does not is stored.
const LEVEL: i32 = 3;

/// Returns the header of a stored frame: single segment, content size in four bytes.
pub(crate) fn stored_header(content: usize) -> [u8; STORED_HEADER] {
    let mut header = [0; STORED_HEADER];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = 0xa0;
    let size = u32::try_from(content).expect("a frame's content is at most 4 MiB");
    header[5..].copy_from_slice(&size.to_le_bytes());
    header
}

/// Returns the length of a stored frame.
pub(crate) fn stored_size(content: usize) -> usize {
    STORED_HEADER + content + 3 * content.div_ceil(BLOCK)
}

/// Returns the headers of a stored frame's raw blocks, in order.
fn block_headers(content: usize) -> Vec<[u8; 3]> {
    let mut headers = Vec::with_capacity(content.div_ceil(BLOCK));
    let mut left = content;
    while left > 0 {
        let size = left.min(BLOCK);
        left -= size;
        let last = u32::from(left == 0);
        let word = last | u32::try_from(size << 3).expect("a block is at most 128 KiB");
        let [a, b, c, _] = word.to_le_bytes();
        headers.push([a, b, c]);
    }
    headers
}

/// Writes `content` as a stored frame without copying it.
pub(crate) fn write_stored(mut output: impl io::Write, content: &[u8]) -> io::Result<()> {
    let header = stored_header(content.len());
    let blocks = block_headers(content.len());
    let mut slices = vec![IoSlice::new(&header)];
    for (block, bytes) in blocks.iter().zip(content.chunks(BLOCK)) {
        slices.push(IoSlice::new(block));
        slices.push(IoSlice::new(bytes));
    }
    let mut left = slices.as_mut_slice();
    while !left.is_empty() {
        match output.write_vectored(left) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut left, written),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// Reads a stored frame at `offset` into exactly `content`, and checks every byte that is not content.
pub(crate) fn read_stored(
    file: impl std::os::fd::AsFd,
    offset: u64,
    content: &mut [u8],
) -> io::Result<Result<(), &'static str>> {
    let length = content.len();
    let expected = block_headers(length);
    let mut header = [0; STORED_HEADER];
    let mut blocks = vec![[0; 3]; expected.len()];
    {
        let mut slices = vec![IoSliceMut::new(&mut header)];
        for (block, bytes) in blocks.iter_mut().zip(content.chunks_mut(BLOCK)) {
            slices.push(IoSliceMut::new(block));
            slices.push(IoSliceMut::new(bytes));
        }
        let mut left = slices.as_mut_slice();
        let mut at = offset;
        while !left.is_empty() {
            match rustix::io::preadv(&file, left, at) {
                Ok(0) => return Ok(Err("the file ends inside a frame")),
                Ok(read) => {
                    at += read as u64;
                    IoSliceMut::advance_slices(&mut left, read);
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    if header != stored_header(length) || blocks != expected {
        return Ok(Err("the frame is not stored as the format says"));
    }
    Ok(Ok(()))
}

/// Returns the one header that a compressed frame of that content size has (§5).
fn compressed_header(content: usize) -> Vec<u8> {
    let mut header = MAGIC.to_vec();
    let size = u32::try_from(content).expect("a frame's content is at most 4 MiB");
    match size {
        0..=255 => header.extend([0x20, size.to_le_bytes()[0]]),
        256..=65_791 => {
            header.push(0x60);
            header.extend(&(size - 256).to_le_bytes()[..2]);
        }
        _ => {
            header.push(0xa0);
            header.extend(size.to_le_bytes());
        }
    }
    header
}

/// Compresses frames; one per thread.
pub(crate) struct Compressor(zstd::bulk::Compressor<'static>);

impl Compressor {
    pub(crate) fn new() -> io::Result<Self> {
        use zstd::zstd_safe::CParameter;
        let mut compressor = zstd::bulk::Compressor::new(LEVEL)?;
        // a window as large as any content makes every frame a single segment, so its header has one form
        compressor.set_parameter(CParameter::WindowLog(FRAME_SIZE.ilog2()))?;
        compressor.set_parameter(CParameter::ContentSizeFlag(true))?;
        compressor.set_parameter(CParameter::ChecksumFlag(false))?;
        Ok(Self(compressor))
    }

    /// Compresses `content` into `output` and returns the frame's length, or `None` when it saves nothing.
    pub(crate) fn compress(
        &mut self,
        content: &[u8],
        output: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let length = self.0.compress_to_buffer(content, output)?;
        Ok((length < stored_size(content.len())).then_some(length))
    }
}

/// Says whether compression to `length` bytes is worth it: at least 1 % saved.
pub(crate) fn worthwhile(content: usize, length: usize) -> bool {
    length <= content - content / 100
}

/// Says whether content calls itself compressed already: gzip, zstd or xz, by their first bytes.
///
/// Trying costs a core what hashing the frame does, and such content saves about 1 % at best.
pub(crate) fn is_compressed_already(content: &[u8]) -> bool {
    const FIRST: [&[u8]; 3] = [&[0x1f, 0x8b], &MAGIC, &[0xfd, b'7', b'z', b'X', b'Z', 0]];
    FIRST.iter().any(|first| content.starts_with(first))
}

/// Decompresses frames; one per thread.
pub(crate) struct Decompressor(zstd::bulk::Decompressor<'static>);

impl Decompressor {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self(zstd::bulk::Decompressor::new()?))
    }

    /// Decompresses exactly one frame into exactly `content`.
    ///
    /// Everything libzstd would tolerate beside the frame is refused first: another header, a second frame, a
    /// skippable frame, a content size that differs.
    pub(crate) fn decompress(
        &mut self,
        frame: &[u8],
        content: &mut [u8],
    ) -> Result<(), &'static str> {
        if !frame.starts_with(&compressed_header(content.len())) {
            return Err("the frame's header is not the one for its content");
        }
        if zstd::zstd_safe::find_frame_compressed_size(frame) != Ok(frame.len()) {
            return Err("the frame does not fill its place");
        }
        match self.0.decompress_to_buffer(frame, content) {
            Ok(length) if length == content.len() => Ok(()),
            Ok(_) => Err("the frame holds less than it says"),
            Err(_) => Err("the frame does not decompress to its size"),
        }
    }
}

/// Returns the checksum of a compressed frame's bytes (§7).
pub(crate) fn checksum(frame: &[u8]) -> u32 {
    crc32fast::hash(frame)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stored(content: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        write_stored(&mut frame, content).unwrap();
        frame
    }

    fn read_back(frame: &[u8], length: usize) -> Result<Vec<u8>, &'static str> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, frame).unwrap();
        let mut content = vec![0; length];
        read_stored(&file, 0, &mut content)
            .unwrap()
            .map(|()| content)
    }

    #[test]
    fn capacity_holds_the_worst_that_the_compressor_needs() {
        assert!(CAPACITY >= zstd::zstd_safe::compress_bound(FRAME_SIZE));
        assert!(CAPACITY >= stored_size(FRAME_SIZE));
    }

    #[test]
    fn stored_frames_are_valid_zstd_and_have_the_size_foretold() {
        for length in [1, 511, 512, BLOCK - 1, BLOCK, BLOCK + 1, FRAME_SIZE] {
            let content: Vec<u8> = (0..251_u8).cycle().take(length).collect();
            let frame = stored(&content);
            assert_eq!(frame.len(), stored_size(length));
            assert_eq!(zstd::bulk::decompress(&frame, length).unwrap(), content);
            assert_eq!(read_back(&frame, length).unwrap(), content);
        }
    }

    #[test]
    fn any_flipped_bit_in_a_stored_frames_framing_is_seen() {
        let content = vec![b'x'; BLOCK + 10];
        let frame = stored(&content);
        let framing = (0..12).chain(STORED_HEADER + 3 + BLOCK..STORED_HEADER + 6 + BLOCK);
        for position in framing {
            for bit in 0..8 {
                let mut bad = frame.clone();
                bad[position] ^= 1 << bit;
                assert!(
                    read_back(&bad, content.len()).is_err(),
                    "byte {position} bit {bit}"
                );
            }
        }
    }

    #[test]
    fn compressed_frames_have_the_header_foretold() {
        let mut compressor = Compressor::new().unwrap();
        let mut decompressor = Decompressor::new().unwrap();
        for length in [
            100,
            255,
            256,
            65_791,
            65_792,
            1 << 20,
            FRAME_SIZE - 512,
            FRAME_SIZE,
        ] {
            let content = vec![b'x'; length];
            let mut output = vec![0; CAPACITY];
            let size = compressor.compress(&content, &mut output).unwrap().unwrap();
            let mut back = vec![0; length];
            decompressor.decompress(&output[..size], &mut back).unwrap();
            assert_eq!(back, content);
        }
    }

    #[test]
    fn a_second_frame_in_a_frames_place_is_refused() {
        let mut compressor = Compressor::new().unwrap();
        let mut output = vec![0; CAPACITY];
        let size = compressor
            .compress(&[b'x'; 5000], &mut output)
            .unwrap()
            .unwrap();
        let mut frame = output[..size].to_vec();
        let mut content = vec![0; 5000];
        let mut decompressor = Decompressor::new().unwrap();
        // an empty skippable frame, which libzstd itself would pass over
        frame.extend([0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]);
        assert_eq!(
            decompressor.decompress(&frame, &mut content),
            Err("the frame does not fill its place")
        );
    }

    #[test]
    fn a_frame_that_inflates_past_its_declared_size_is_refused() {
        let mut compressor = Compressor::new().unwrap();
        let mut output = vec![0; CAPACITY];
        let size = compressor
            .compress(&vec![0; 100_000], &mut output)
            .unwrap()
            .unwrap();
        let mut frame = output[..size].to_vec();
        // the header now promises 90 000 bytes; the blocks still yield 100 000
        frame[5..9].copy_from_slice(&90_000_u32.to_le_bytes());
        let mut content = vec![0; 90_000];
        let refused = Decompressor::new()
            .unwrap()
            .decompress(&frame, &mut content);
        assert!(refused.is_err());
    }

    proptest! {
        #[test]
        fn decompressing_anything_never_panics(frame in proptest::collection::vec(any::<u8>(), 0..300), length in 1_usize..5000) {
            let mut content = vec![0; length];
            let _ = Decompressor::new().unwrap().decompress(&frame, &mut content);
        }
    }
}
