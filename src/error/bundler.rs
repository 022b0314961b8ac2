//! What errors of `lock`, `bundle` and the cache mean.

use airgap_bundler::Error;

use crate::error::advice::{Advice, Advise};
use crate::error::archive::is_full;

/// What to do where cache or bundle do not fit.
fn make_room() -> Advice {
    Advice::hint("free space there, or use another folder: `--output`, `--cache`")
        .and("`airgap cache prune` removes what no release needed lately")
}

impl Advise for Error {
    fn advise(&self) -> Advice {
        match self {
            Self::Io { source, .. } if is_full(source) => make_room(),
            Self::Io { .. } | Self::CacheBusy { .. } | Self::Unusable { .. } | Self::Catalog(_) => {
                Advice::none()
            }
            Self::Choice(_) => Advice::usage(),
            Self::NoSpace { .. } => make_room(),
            Self::WrongContent { .. } => Advice::untrusted()
                .and("nothing was kept of it; run the same command again, and if it repeats do not trust that source"),
            Self::NotCached { .. } => Advice::hint("run it once without `--offline`, where there is internet"),
            Self::Fetch { source, .. } => source.advise(),
            Self::Vanished { .. } => Advice::hint("`airgap lock` resolves it anew; review what changed"),
            Self::Misplaced { .. } => Advice::hint("correct the component's URL or reference; its publisher may have moved or withdrawn it"),
            Self::Archive(error) => error.advise(),
            Self::WrittenDamaged { .. } => Advice::untrusted()
                .and("the disk does not keep what is written to it: write to another one with `--output`"),
            Self::Several(errors) => Advice::of_several(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::CommandError;

    fn wrong() -> Error {
        Error::WrongContent {
            object: "quay.io/x:1".into(),
            expected: airgap_archive::digest_of(b"asked for"),
            actual: "something else".into(),
        }
    }

    fn unreachable(host: &str) -> Error {
        let source = std::io::Error::other("no such host").into();
        Error::Fetch {
            object: format!("{host}/x:1"),
            source: Box::new(airgap_registry::Error::Unreachable {
                host: host.into(),
                source,
            }),
        }
    }

    #[test]
    fn wrong_content_is_not_to_be_trusted() {
        assert_eq!(CommandError::from(wrong()).exit_code(), 3);
    }

    #[test]
    fn of_several_errors_the_gravest_decides_and_each_cause_is_told() {
        let several = Error::Several(vec![
            unreachable("quay.io"),
            wrong(),
            unreachable("ghcr.io"),
        ]);
        let error = CommandError::from(several);
        assert_eq!(error.exit_code(), 3);
        let causes = error.causes().join("\n");
        assert!(
            causes.contains("quay.io") && causes.contains("ghcr.io"),
            "{causes}"
        );
    }

    #[test]
    fn what_a_registry_refuses_keeps_its_advice() {
        let error = CommandError::from(unreachable("quay.io"));
        assert_eq!(error.exit_code(), 1);
        assert!(
            error.hints()[0].contains("https://quay.io/v2/"),
            "{:?}",
            error.hints()
        );
    }

    #[test]
    fn a_cache_on_a_full_disk_has_the_advice_of_a_disk_too_small() {
        let hints = |error: Error| CommandError::from(error).hints().to_vec();
        let full = |kind: std::io::ErrorKind| {
            hints(Error::Io {
                operation: "write",
                path: "/cache/partial/x".into(),
                source: kind.into(),
            })
        };
        let too_small = hints(Error::NoSpace {
            path: "/cache".into(),
            needed: 2,
            free: 1,
        });
        assert_eq!(full(std::io::ErrorKind::StorageFull), too_small);
        assert_eq!(full(std::io::ErrorKind::QuotaExceeded), too_small);
        assert!(full(std::io::ErrorKind::PermissionDenied).is_empty());
    }

    #[test]
    fn what_is_not_at_its_source_is_the_catalogs_to_correct() {
        let error = CommandError::from(Error::Misplaced {
            object: "quay.io/x:1".into(),
            source: Box::new(airgap_registry::Error::NotFound {
                host: "quay.io".into(),
                object: "quay.io/x:1".into(),
            }),
        });
        let hint = &error.hints()[0];
        assert!(hint.contains("the component's URL or reference"), "{hint}");
        assert!(error.causes().join("\n").contains("is not at quay.io"));
    }
}
