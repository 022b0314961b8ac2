//! Where the frames lie in the volumes, and reading one of them.

use std::io;

use airgap_signing::TrustRoot;
use camino::{Utf8Path, Utf8PathBuf};

use crate::frame::{self, Decompressor};
use crate::layout::Layout;
use crate::limits::MAX_FRAMES;
use crate::tail::{self, Recorded};
use crate::volumes::OpenVolume;
use crate::{Error, Result, Volumes};

/// A frame's place.
#[derive(Debug, Clone, Copy)]
struct Place {
    volume: u16,
    offset: u64,
    recorded: Recorded,
}

/// The volumes of a bundle and the places of its frames, which fill them exactly.
#[derive(Debug)]
pub(crate) struct Frames {
    volumes: Vec<OpenVolume>,
    places: Vec<Place>,
}

/// Why a frame could not be had.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The medium could not be read.
    Io(io::Error),
    /// The frame is not what it must be.
    Damaged(&'static str),
}

impl Frames {
    /// Reads the tail, and checks that the volumes are whole and filled by frames from end to end (FORMAT §7, §8).
    pub(crate) fn open(
        volumes: &Volumes,
        first: OpenVolume,
        index_sha256: &[u8; 32],
    ) -> Result<Self> {
        let mut opened = vec![first];
        opened.extend(volumes.open_others(index_sha256)?);
        let last = opened.last().expect("at least the first volume");
        let damaged = |path: &Utf8Path, reason: String| Error::Damaged {
            volume: path.to_owned(),
            reason,
        };

        let mut footer = [0; tail::FOOTER_SIZE];
        let at = last.length.saturating_sub(tail::FOOTER_SIZE as u64);
        let whole = last.read_exact(&mut footer, at)?;
        let Some(count) = tail::frame_count(&footer).filter(|_| whole) else {
            if volumes.is_set() {
                let next = u32::try_from(opened.len() + 1).unwrap_or(u32::MAX);
                return Err(Error::VolumeIncomplete {
                    name: volumes.name(),
                    next,
                    last: last.path.clone(),
                });
            }
            let reason = "it does not end as a bundle does: cut off, or followed by other bytes";
            return Err(damaged(&last.path, reason.to_owned()));
        };
        // the count is not signed: nothing is reserved by it before it proved possible
        let size = (count <= MAX_FRAMES).then(|| tail::size(count, opened.len()) as u64);
        let Some(size) = size else {
            return Err(damaged(
                &last.path,
                "its seek table lists more frames than a bundle can have".to_owned(),
            ));
        };
        let Some(start) = last.length.checked_sub(size) else {
            return Err(damaged(
                &last.path,
                "its seek table is larger than the file".to_owned(),
            ));
        };
        let shrank = || damaged(&last.path, "it shrank while being read".to_owned());
        let mut fixed = vec![0; tail::fixed_size()];
        if !last.read_exact(&mut fixed, start)? {
            return Err(shrank());
        }
        match tail::volume_count(&fixed, index_sha256) {
            Ok(number) if number as usize == opened.len() => {}
            Ok(_) => {
                let reason = "its frame table is for another number of volumes";
                return Err(damaged(&last.path, reason.to_owned()));
            }
            Err(_) if Self::is_joined(last, count, index_sha256)? => {
                let reason = "its volumes were joined or renamed; use them as they were written";
                return Err(damaged(&last.path, reason.to_owned()));
            }
            Err(reason) => return Err(damaged(&last.path, reason.to_owned())),
        }
        let mut bytes = vec![0; usize::try_from(size).expect("a table fits memory")];
        if !last.read_exact(&mut bytes, start)? {
            return Err(shrank());
        }
        let (lengths, recorded) = tail::parse(&bytes, index_sha256)
            .map_err(|reason| damaged(&last.path, reason.to_owned()))?;
        for (volume, expected) in opened.iter().zip(&lengths) {
            if volume.length != *expected {
                let reason = format!("it has {} bytes instead of {expected}", volume.length);
                return Err(damaged(&volume.path, reason));
            }
        }
        let places = place(&recorded, &opened, start).ok_or_else(|| {
            damaged(
                &last.path,
                "its seek table does not fit the files".to_owned(),
            )
        })?;
        Ok(Self {
            volumes: opened,
            places,
        })
    }

    /// Says whether a tail for another number of volumes stands at the end of this file.
    fn is_joined(last: &OpenVolume, count: usize, index_sha256: &[u8; 32]) -> Result<bool> {
        let mut fixed = vec![0; tail::fixed_size()];
        for volumes in 1..=crate::limits::MAX_VOLUMES {
            let size = tail::size(count, volumes as usize) as u64;
            let Some(start) = last.length.checked_sub(size) else {
                break;
            };
            if last.read_exact(&mut fixed, start)?
                && tail::volume_count(&fixed, index_sha256) == Ok(volumes)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Returns the number of frames in the files.
    pub(crate) fn count(&self) -> usize {
        self.places.len()
    }

    /// Checks that the files' frames from `from` on are those of the layout, as far as that goes.
    pub(crate) fn check(&self, layout: &Layout, from: usize) -> Result<()> {
        for (number, frame) in layout.frames.iter().enumerate().skip(from) {
            let content = self
                .places
                .get(number)
                .map(|place| place.recorded.content as usize);
            if content != Some(frame.length) {
                let volume = self.path(number).to_owned();
                let reason =
                    format!("frame {number} is not the one that follows from the signed index");
                return Err(Error::Damaged { volume, reason });
            }
        }
        Ok(())
    }

    /// Returns the file in which a frame lies; the last one for a frame that does not exist.
    pub(crate) fn path(&self, frame: usize) -> &Utf8Path {
        let volume = self
            .places
            .get(frame)
            .map_or(self.volumes.len() - 1, |place| usize::from(place.volume));
        &self.volumes[volume].path
    }

    /// Says whether a frame is stored, so that reading it needs no scratch space.
    pub(crate) fn is_stored(&self, frame: usize) -> bool {
        self.places[frame].recorded.is_stored()
    }

    /// Returns the bytes of all files.
    pub(crate) fn file_bytes(&self) -> u64 {
        self.volumes.iter().map(|volume| volume.length).sum()
    }

    /// Returns the volumes' paths.
    pub(crate) fn volume_paths(&self) -> impl Iterator<Item = &Utf8PathBuf> {
        self.volumes.iter().map(|volume| &volume.path)
    }

    /// Asks the system to forget what it cached of the files, so that the next reading is from the medium.
    pub(crate) fn drop_page_cache(&self) -> Result<()> {
        for volume in &self.volumes {
            rustix::fs::fadvise(&volume.file, 0, None, rustix::fs::Advice::DontNeed).map_err(
                |e| Error::Io {
                    operation: "read",
                    path: volume.path.clone(),
                    source: e.into(),
                },
            )?;
        }
        Ok(())
    }

    /// Reads one frame into exactly `content`; a compressed one goes through `scratch`.
    pub(crate) fn read(
        &self,
        number: usize,
        content: &mut [u8],
        scratch: &mut [u8],
        decompressor: &mut Decompressor,
    ) -> Result<(), Failure> {
        let place = &self.places[number];
        let volume = &self.volumes[usize::from(place.volume)];
        if place.recorded.is_stored() {
            return frame::read_stored(&volume.file, place.offset, content)
                .map_err(Failure::Io)?
                .map_err(Failure::Damaged);
        }
        let scratch = &mut scratch[..place.recorded.compressed as usize];
        match volume.read_exact(scratch, place.offset) {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Damaged("the file ends inside a frame")),
            Err(Error::Io { source, .. }) => return Err(Failure::Io(source)),
            Err(_) => return Err(Failure::Damaged("the file cannot be read")),
        }
        if frame::checksum(scratch) != place.recorded.checksum {
            return Err(Failure::Damaged(
                "a compressed frame does not have its checksum",
            ));
        }
        decompressor
            .decompress(scratch, content)
            .map_err(Failure::Damaged)
    }
}

/// Lays the frames end to end through the volumes; `None` when they do not fill them exactly.
fn place(recorded: &[Recorded], volumes: &[OpenVolume], tail_start: u64) -> Option<Vec<Place>> {
    let mut places = Vec::with_capacity(recorded.len());
    let (mut volume, mut offset) = (0_usize, 0_u64);
    let head = tail::VOLUME_HEAD as u64;
    let end_of = |volume: usize| {
        if volume + 1 == volumes.len() {
            tail_start
        } else {
            volumes[volume].length
        }
    };
    for frame in recorded {
        if offset == end_of(volume) && volume + 1 < volumes.len() {
            volume += 1;
            offset = head;
        }
        places.push(Place {
            volume: u16::try_from(volume).ok()?,
            offset,
            recorded: *frame,
        });
        offset += u64::from(frame.compressed);
        if offset > end_of(volume) {
            return None;
        }
    }
    // the last volume may hold the tail alone
    if offset == end_of(volume) && volume + 2 == volumes.len() {
        volume += 1;
        offset = head;
    }
    (volume + 1 == volumes.len() && offset == tail_start).then_some(places)
}

/// Reads the countersignatures of trusted keys beside the bundle; whatever is not exactly one is passed over.
pub(crate) fn sidecars(
    volumes: &Volumes,
    folders: &[Utf8PathBuf],
    trust: &TrustRoot,
) -> Vec<airgap_signing::Signature> {
    let beside = volumes
        .base()
        .parent()
        .map_or_else(Utf8PathBuf::new, Utf8Path::to_owned);
    let mut found = Vec::new();
    for key in trust.keys() {
        let name = format!("{}.{}.sig", volumes.name(), key.key_id());
        for folder in std::iter::once(&beside).chain(folders) {
            let path = folder.join(&name);
            let is_signature = path
                .metadata()
                .is_ok_and(|file| file.len() == airgap_signing::Signature::LINE_LENGTH as u64);
            if !is_signature {
                continue;
            }
            let signature = fs_err::read(&path)
                .ok()
                .and_then(|line| airgap_signing::Signature::parse(&line).ok());
            found.extend(signature);
        }
    }
    found
}
