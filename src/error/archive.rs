//! What errors about bundles mean.

use airgap_archive::Error;

use crate::error::advice::{Advice, Advise};

/// What to do with a bundle that is not what was signed.
const NEW_COPY: &str =
    "do not use this bundle: make a new copy of it, and ask the publisher if that is damaged too";

impl Advise for Error {
    fn advise(&self) -> Advice {
        let advice = match self {
            Self::Io { .. }
            | Self::InvalidTree { .. }
            | Self::BlobSource { .. }
            | Self::TooLarge { .. } => Advice::none(),
            Self::NoSpace { .. } => Advice::hint(
                "free space, or write elsewhere with `--output`; what was fetched is kept",
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
