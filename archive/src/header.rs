//! The one rendering of tar headers (FORMAT §6).
//!
//! There is no parser: a reader renders the header it expects and compares 512 bytes. So no name, link, device or
//! mode that a hostile archive might hold is ever looked at.

/// A tar block, and the size of a header.
pub(crate) const BLOCK: usize = 512;

/// The two zero blocks that end a tar stream.
pub(crate) const END: usize = 2 * BLOCK;

/// 1980-01-01, the earliest time that every file system can hold and that tar does not warn about.
const TIME: u64 = 315_532_800;

/// Renders the header of a regular file, 0644, owner 0:0, fixed time.
pub(crate) fn render(name: &str, size: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    header
        .set_path(name)
        .expect("a fixed name or a digest's name fits a ustar header");
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(TIME);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

/// Returns the zero bytes that fill the last block of `size` bytes.
pub(crate) fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// Returns the bytes of an entry in the stream: header, content, padding.
pub(crate) fn record(size: u64) -> u64 {
    BLOCK as u64 + size + padding(size)
}

/// Returns the name of a blob's entry.
pub(crate) fn blob_name(hex: &str) -> String {
    format!("blobs/sha256/{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_what_stock_tar_would_read() {
        let name = blob_name(&"a".repeat(64));
        let header = render(&name, 1234);
        assert_eq!(&header[..name.len()], name.as_bytes());
        assert_eq!(&header[124..136], b"00000002322\0");
        assert_eq!(&header[257..265], b"ustar\x0000");
        assert_eq!(header[156], b'0');
    }

    #[test]
    fn padding_fills_blocks() {
        for (size, expected) in [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)] {
            assert_eq!(padding(size), expected);
            assert_eq!(record(size) % BLOCK as u64, 0);
        }
    }
}
