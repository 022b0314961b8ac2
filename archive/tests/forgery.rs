//! Bundles made by an attacker who can write any bytes, but has no trusted key; and strange ones made by one who has.
//!
//! The forger here is independent of the crate: it takes a good bundle apart with libzstd and puts it together again
//! by FORMAT.md, with checksums and tables that are right for what it wrote.

mod signed;

use airgap_archive::Error;
use camino::Utf8PathBuf;
use sha2::{Digest as _, Sha256};

use crate::support::{Folder, assert_untrusted, frames, open, sample, small, verify, write};

/// A frame as it will lie in the file, with what the tables will say of it.
#[derive(Clone)]
struct Frame {
    bytes: Vec<u8>,
    content: usize,
    checksum: u32,
}

/// Makes a stored frame (FORMAT §5).
fn stored(content: &[u8]) -> Frame {
    let mut bytes = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    bytes.extend(u32::try_from(content.len()).unwrap().to_le_bytes());
    let count = content.chunks(128 * 1024).count();
    for (number, block) in content.chunks(128 * 1024).enumerate() {
        let header = u32::try_from(block.len() << 3).unwrap() | u32::from(number + 1 == count);
        bytes.extend(&header.to_le_bytes()[..3]);
        bytes.extend(block);
    }
    Frame {
        bytes,
        content: content.len(),
        checksum: 0,
    }
}

/// Makes a frame of arbitrary bytes that claims so much content.
fn claimed(bytes: Vec<u8>, content: usize) -> Frame {
    Frame {
        checksum: flate2_crc(&bytes),
        bytes,
        content,
    }
}

fn flate2_crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

/// Takes a bundle apart into frames.
fn take_apart(bytes: &[u8]) -> Vec<Frame> {
    let apart = frames(bytes).into_iter().map(|frame| {
        let raw = bytes[frame.start..frame.end].to_vec();
        let content = zstd::bulk::decompress(&raw, frame.content).unwrap();
        let again = stored(&content);
        if again.bytes == raw {
            again
        } else {
            claimed(raw, frame.content)
        }
    });
    apart.collect()
}

fn content(frame: &Frame) -> Vec<u8> {
    zstd::bulk::decompress(&frame.bytes, frame.content).unwrap()
}

/// Puts frames together with a frame table and a seek table that are right for them (FORMAT §7).
fn put_together(frames: &[Frame], index: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = frames
        .iter()
        .flat_map(|frame| frame.bytes.clone())
        .collect();
    let tables = 8 + 52 - 8 + 8 + 4 * frames.len() + 8 + 8 * frames.len() + 9;
    let total = (bytes.len() + tables) as u64;
    let number = |size: usize| u32::try_from(size).unwrap().to_le_bytes();
    bytes.extend(0x184d_2a5a_u32.to_le_bytes());
    bytes.extend(number(44 + 8 + 4 * frames.len()));
    bytes.extend(b"airgap-t");
    bytes.extend(Sha256::digest(index));
    bytes.extend(number(1));
    bytes.extend(total.to_le_bytes());
    for frame in frames {
        bytes.extend(frame.checksum.to_le_bytes());
    }
    bytes.extend(0x184d_2a5e_u32.to_le_bytes());
    bytes.extend(number(8 * frames.len() + 9));
    for frame in frames {
        bytes.extend(number(frame.bytes.len()));
        bytes.extend(number(frame.content));
    }
    bytes.extend(number(frames.len()));
    bytes.push(0);
    bytes.extend(0x8f92_eab1_u32.to_le_bytes());
    assert_eq!(bytes.len() as u64, total);
    bytes
}

/// A good bundle, taken apart.
struct Victim {
    folder: Folder,
    path: Utf8PathBuf,
    index: Vec<u8>,
    frames: Vec<Frame>,
}

impl Victim {
    fn new() -> Self {
        let folder = Folder::new();
        let bundle = sample();
        let path = write(&bundle, &folder);
        let bytes = fs_err::read(&path).unwrap();
        let victim = Self {
            index: bundle.tree.index_bytes().unwrap(),
            frames: take_apart(&bytes),
            path,
            folder,
        };
        // the forger writes exactly what the writer wrote, so what is refused below is refused for its forgery
        assert!(put_together(&victim.frames, &victim.index) == bytes);
        victim
    }

    fn write(&self, frames: &[Frame]) {
        fs_err::write(&self.path, put_together(frames, &self.index)).unwrap();
    }

    #[track_caller]
    fn assert_refused(&self, frames: &[Frame], what: &str) {
        self.write(frames);
        assert_untrusted(&self.path, what);
    }
}

#[test]
fn frames_inserted_between_frames_are_refused() {
    let victim = Victim::new();
    let extra = stored(&[b'!'; 1024]);
    let skippable = vec![0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, b'e', b'v', b'i', b'l'];
    for place in 0..=victim.frames.len() {
        // listed in the tables
        let mut frames = victim.frames.clone();
        frames.insert(place, extra.clone());
        victim.assert_refused(&frames, &format!("a listed data frame at {place}"));
        let mut frames = victim.frames.clone();
        frames.insert(
            place,
            Frame {
                bytes: skippable.clone(),
                content: 0,
                checksum: flate2_crc(&skippable),
            },
        );
        victim.assert_refused(&frames, &format!("a listed skippable frame at {place}"));
        if place == 0 {
            continue;
        }
        // hidden at the end of the frame before, whose size in the table is enlarged
        for hidden in [&extra.bytes, &skippable] {
            let mut frames = victim.frames.clone();
            let before = &frames[place - 1];
            let bytes = [&before.bytes[..], hidden].concat();
            frames[place - 1] = claimed(bytes, before.content);
            victim.assert_refused(&frames, &format!("a hidden frame after {place}"));
        }
    }
}

#[test]
fn frames_hidden_between_frames_and_seek_table_are_refused() {
    let victim = Victim::new();
    let good = fs_err::read(&victim.path).unwrap();
    let end = frames(&good).last().unwrap().end;
    let mut bytes = good[..end].to_vec();
    bytes.extend(stored(&[b'!'; 1024]).bytes);
    bytes.extend(&good[end..]);
    fs_err::write(&victim.path, bytes).unwrap();
    assert_untrusted(&victim.path, "a frame before the tables");
}

#[test]
fn a_seek_table_that_lies_is_refused() {
    let victim = Victim::new();
    let good = fs_err::read(&victim.path).unwrap();
    let count = victim.frames.len();
    let table = good.len() - 9 - 8 * count;
    let lie = |changes: &[(usize, u32)], what: &str| {
        let mut bytes = good.clone();
        for (at, value) in changes {
            bytes[*at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        fs_err::write(&victim.path, bytes).unwrap();
        assert_untrusted(&victim.path, what);
    };
    let read = |at: usize| u32::from_le_bytes(good[at..at + 4].try_into().unwrap());
    for frame in 0..count - 1 {
        let (this, next) = (table + 8 * frame, table + 8 * frame + 8);
        // the sum stays right, so only the frames themselves can tell
        lie(
            &[(this, read(this) + 1), (next, read(next) - 1)],
            "a byte moved to the frame before",
        );
        lie(
            &[(this, read(next)), (next, read(this))],
            "two sizes swapped",
        );
        lie(
            &[
                (this + 4, read(this + 4) + 512),
                (next + 4, read(next + 4) - 512),
            ],
            "content moved",
        );
        lie(&[(this + 4, u32::MAX)], "4 GiB of content");
        lie(&[(this, 0)], "an empty frame");
        lie(&[(this, u32::MAX)], "a frame of 4 GiB");
    }
    let footer = good.len() - 9;
    lie(
        &[(footer, u32::try_from(count).unwrap() + 1)],
        "one frame more",
    );
    lie(
        &[(footer, u32::try_from(count).unwrap() - 1)],
        "one frame less",
    );
    lie(&[(footer, u32::MAX)], "four billion frames");
}

#[test]
fn frames_left_out_or_in_another_order_are_refused() {
    let victim = Victim::new();
    for place in 0..victim.frames.len() {
        let mut frames = victim.frames.clone();
        frames.remove(place);
        victim.assert_refused(&frames, &format!("frame {place} left out"));
        let mut frames = victim.frames.clone();
        if place > 0 {
            frames.swap(place, place - 1);
            victim.assert_refused(&frames, &format!("frame {place} moved"));
        }
    }
}

#[test]
fn hostile_tar_entries_are_refused_because_the_header_is_another() {
    let victim = Victim::new();
    // a frame shared by small entries, whose first header is replaced
    let place = victim.frames.len() - 1;
    let content = content(&victim.frames[place]);
    let real = tar::Header::from_byte_slice(&content[..512]).clone();
    let hostile = |change: &dyn Fn(&mut tar::Header)| {
        let mut header = real.clone();
        change(&mut header);
        header.set_cksum();
        header
    };
    let name = |name: &'static [u8]| {
        move |header: &mut tar::Header| {
            let field = &mut header.as_old_mut().name;
            field.fill(0);
            field[..name.len()].copy_from_slice(name);
        }
    };
    let kind = |kind: tar::EntryType| move |header: &mut tar::Header| header.set_entry_type(kind);
    let cases: Vec<(&str, tar::Header)> = vec![
        ("a path upwards", hostile(&name(b"../../etc/cron.d/evil"))),
        ("an absolute path", hostile(&name(b"/etc/passwd"))),
        (
            "a path through the layout",
            hostile(&name(b"blobs/sha256/../../x")),
        ),
        ("a file over index.json", hostile(&name(b"index.json"))),
        ("another case", hostile(&name(b"INDEX.JSON"))),
        ("a symbolic link", hostile(&kind(tar::EntryType::Symlink))),
        ("a hard link", hostile(&kind(tar::EntryType::Link))),
        ("a character device", hostile(&kind(tar::EntryType::Char))),
        ("a block device", hostile(&kind(tar::EntryType::Block))),
        ("a fifo", hostile(&kind(tar::EntryType::Fifo))),
        ("a folder", hostile(&kind(tar::EntryType::Directory))),
        ("a sparse file", hostile(&kind(tar::EntryType::GNUSparse))),
        (
            "a GNU long name",
            hostile(&kind(tar::EntryType::GNULongName)),
        ),
        ("a pax header", hostile(&kind(tar::EntryType::XHeader))),
        (
            "a global pax header",
            hostile(&kind(tar::EntryType::XGlobalHeader)),
        ),
        (
            "a set-user-id file",
            hostile(&|header| header.set_mode(0o4755)),
        ),
        ("another owner", hostile(&|header| header.set_uid(1000))),
        ("another time", hostile(&|header| header.set_mtime(0))),
        ("another size", hostile(&|header| header.set_size(1))),
        (
            "a size in base 256",
            hostile(&|header| {
                header.as_old_mut().size = [0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100];
            }),
        ),
        (
            "a link target",
            hostile(&|header| header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/shadow")),
        ),
    ];
    for (what, header) in cases {
        assert_ne!(
            header.as_bytes()[..],
            content[..512],
            "{what} is no forgery"
        );
        let mut forged = content.clone();
        forged[..512].copy_from_slice(header.as_bytes());
        let mut frames = victim.frames.clone();
        frames[place] = stored(&forged);
        victim.write(&frames);
        let findings = verify(&victim.path).unwrap();
        assert!(
            findings
                .iter()
                .any(|finding| finding.problem
                    == "its tar header is not the one for its name and size"),
            "{what}: {findings:?}"
        );
        // what airgap would hand out is refused as well, not only what verify sees
        let archive = open(&victim.path).unwrap();
        let refused = archive
            .blobs()
            .iter()
            .filter(|(digest, size)| archive.read(digest, *size).is_err())
            .count();
        assert_eq!(refused, 1, "{what}");
    }
}

#[test]
fn entries_added_to_the_stream_are_refused() {
    let victim = Victim::new();
    let last = victim.frames.len() - 1;
    let original = content(&victim.frames[last]);
    // the last frame ends with the two zero blocks; a duplicate and a new entry go before or behind them
    let (entries, end) = original.split_at(original.len() - 1024);
    let mut more = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(4);
    header.set_mode(0o755);
    more.append_data(&mut header, "blobs/sha256/evil", &b"evil"[..])
        .unwrap();
    let evil = more.into_inner().unwrap()[..1024].to_vec();
    let duplicate = original[..1024].to_vec();
    for added in [evil, duplicate] {
        for forged in [
            [entries, &added, end].concat(),
            [entries, end, &added].concat(),
        ] {
            let mut frames = victim.frames.clone();
            frames[last] = stored(&forged);
            victim.assert_refused(&frames, "an added entry");
        }
    }
}

#[test]
fn bytes_in_the_padding_are_refused() {
    let victim = Victim::new();
    let last = victim.frames.len() - 1;
    let original = content(&victim.frames[last]);
    for at in [original.len() - 1, original.len() - 1024] {
        let mut forged = original.clone();
        forged[at] = 1;
        let mut frames = victim.frames.clone();
        frames[last] = stored(&forged);
        victim.assert_refused(&frames, "bytes after the end of the stream");
    }
}

#[test]
fn a_blob_that_inflates_past_its_declared_size_is_refused() {
    let victim = Victim::new();
    let place = victim
        .frames
        .iter()
        .position(|frame| frame.checksum != 0 && frame.content == 4 << 20)
        .unwrap();
    // 64 MiB of zeros in a frame whose header promises the 4 MiB that the tree demands
    let mut bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    let honest = &victim.frames[place].bytes;
    assert_eq!(
        honest[4], 0xa0,
        "a single segment with the size in four bytes"
    );
    assert_eq!(bomb[4] & 0xe0, 0x80, "a window and the size in four bytes");
    // the window byte goes, the size is replaced, and the frame is a single segment like any other
    bomb.remove(5);
    bomb[..9].copy_from_slice(&honest[..9]);
    let mut frames = victim.frames.clone();
    frames[place] = claimed(bomb.clone(), 4 << 20);
    victim.assert_refused(&frames, "a bomb under an honest header");
    let archive = open(&victim.path).unwrap();
    let (digest, _) = archive
        .blobs()
        .iter()
        .find(|(digest, size)| archive.read(digest, *size).is_err())
        .unwrap();
    let error = archive.read(digest, u64::MAX).unwrap_err();
    assert!(
        matches!(error, Error::BlobDamaged { .. }) && error.is_trust_failure(),
        "{error}"
    );

    // and one that is honest about its size, in header and table
    let honest_bomb = zstd::bulk::compress(&vec![0; 64 << 20], 19).unwrap();
    frames[place] = claimed(honest_bomb, 64 << 20);
    victim.assert_refused(&frames, "a bomb that says so");
}

#[test]
fn a_compressed_first_frame_is_refused_without_decompressing_it() {
    let victim = Victim::new();
    let first = content(&victim.frames[0]);
    let mut frames = victim.frames.clone();
    frames[0] = claimed(zstd::bulk::compress(&first, 3).unwrap(), first.len());
    victim.write(&frames);
    let error = open(&victim.path).unwrap_err();
    assert!(matches!(error, Error::NotABundle { .. }), "{error}");
}

#[test]
fn other_bytes_under_a_blobs_name_are_refused() {
    let victim = Victim::new();
    let last = victim.frames.len() - 1;
    let mut forged = content(&victim.frames[last]);
    forged[512] ^= 0xff;
    let mut frames = victim.frames.clone();
    frames[last] = stored(&forged);
    victim.write(&frames);
    let findings = verify(&victim.path).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].problem, "its bytes do not hash to its digest");
}

#[test]
fn a_frame_of_another_bundle_is_refused() {
    let victim = Victim::new();
    let other = Folder::new();
    let path = write(&small(), &other);
    let foreign = take_apart(&fs_err::read(path).unwrap());
    let mut frames = victim.frames.clone();
    frames[1] = foreign[1].clone();
    victim.assert_refused(&frames, "a foreign frame");
    // the whole body of one bundle under the signed index of another
    let mixed: Vec<Frame> = std::iter::once(victim.frames[0].clone())
        .chain(foreign.into_iter().skip(1))
        .collect();
    victim.assert_refused(&mixed, "a foreign body");
    assert_eq!(victim.folder.names(), ["bundle.tar.zst"]);
}
