//! What errors about bundles mean.

use std::io;

use airgap_archive::Error;

use crate::error::advice::{Advice, Advise};

/// What to do where a bundle does not fit.
const MAKE_ROOM: &str = "free space, or write elsewhere with `--output`; what was fetched is kept";

/// What to do with a bundle that is not what was signed.
const NEW_COPY: &str =
    "do not use this bundle: make a new copy of it, and ask the publisher if that is damaged too";

impl Advise for Error {
    fn advise(&self) -> Advice {
        let advice = match self {
            Self::Io { source, .. } if is_full(source) => Advice::hint(MAKE_ROOM),
            Self::Io { .. }
            | Self::InvalidTree { .. }
            | Self::BlobSource { .. }
            | Self::TooLarge { .. } => Advice::none(),
            Self::NoSpace { .. } => Advice::hint(MAKE_ROOM),
            Self::FileTooLarge { .. } => Advice::hint(
                "FAT32, as most sticks have it, ends at 4 GiB: write volumes with `--volume-size 4095MiB`",
            ),
            Self::Exists { .. } => Advice::hint("move it away, or write elsewhere with `--output`"),
            Self::BlobMismatch { .. } => Advice::hint(
                "run the same command again; if it repeats, the disk under the cache is failing",
            ),
            Self::NotABundle { .. } => Advice::hint(
                "a bundle is called `airgap-<edition>-<version>-<arch>.tar.zst`, or `.tar.zst.001`",
            )
            .and(NEW_COPY),
            Self::Unsupported { .. } => {
                Advice::hint("use the installer that came with this bundle")
            }
            Self::Untrusted { source, .. } => source.advise(),
            Self::Damaged { .. } | Self::BlobDamaged { .. } => Advice::hint(NEW_COPY),
            Self::VolumeMissing { .. } | Self::VolumeIncomplete { .. } => {
                Advice::hint("put all volumes of the bundle into one folder")
            }
            Self::VolumeForeign { .. } => Advice::hint(
                "put the volumes of one bundle only into a folder; they were made together",
            ),
            Self::NotFound { .. } => Advice::hint("`airgap inspect` lists what the bundle holds"),
            Self::LeftOut { .. } => {
                Advice::hint("take it out of the bundle that the delta builds on")
            }
            Self::Extract { .. } => Advice::usage(),
        };
        if self.is_trust_failure() {
            Advice {
                hints: advice.hints,
                ..Advice::untrusted()
            }
        } else {
            advice
        }
    }
}

/// Tells whether a file failed for want of space.
pub(super) fn is_full(source: &io::Error) -> bool {
    matches!(
        source.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandError;

    #[test]
    fn a_file_too_large_for_its_disk_names_the_option_that_helps() {
        let error = CommandError::from(Error::FileTooLarge {
            path: "/media/stick/x.tar.zst".into(),
            source: io::ErrorKind::FileTooLarge.into(),
        });
        assert_eq!(error.exit_code(), 1);
        let hint = &error.hints()[0];
        assert!(hint.contains("`--volume-size 4095MiB`"), "{hint}");
        assert_eq!(crate::render::parse_size("4095MiB"), Ok(4095 << 20));
    }

    #[test]
    fn a_full_disk_has_one_advice_however_it_is_told() {
        let io = |kind: io::ErrorKind| {
            let (operation, path) = ("write", "x.sig".into());
            let source = kind.into();
            let error = CommandError::from(Error::Io {
                operation,
                path,
                source,
            });
            error.hints().to_vec()
        };
        assert_eq!(io(io::ErrorKind::StorageFull), [MAKE_ROOM]);
        assert_eq!(io(io::ErrorKind::QuotaExceeded), [MAKE_ROOM]);
        assert!(io(io::ErrorKind::NotFound).is_empty());
    }
}
