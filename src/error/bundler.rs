//! What errors of `lock`, `bundle` and the cache mean.

use airgap_bundler::Error;

use crate::error::advice::{Advice, Advise};

impl Advise for Error {
    fn advise(&self) -> Advice {
        match self {
            Self::Io { .. } | Self::CacheBusy { .. } | Self::Unusable { .. } | Self::Catalog(_) => {
                Advice::none()
            }
            Self::NoSpace { .. } => Advice::hint("free space there, or use another folder: `--output`, `--cache`")
                .and("`airgap cache prune` removes what no release needed lately"),
            Self::WrongContent { .. } => Advice::untrusted()
                .and("nothing was kept of it; run the same command again, and if it repeats do not trust that source"),
            Self::NotCached { .. } => Advice::hint("run it once without `--offline`, where there is internet"),
            Self::Fetch { source, .. } => source.advise(),
            Self::Vanished { .. } => Advice::hint("`airgap lock` resolves it anew; review what changed"),
            Self::Archive(error) => error.advise(),
            Self::WrittenDamaged { .. } => Advice::untrusted()
                .and("the disk does not keep what is written to it: write to another one with `--output`"),
            Self::Several(errors) => Advice::of_several(errors),
        }
    }
}
