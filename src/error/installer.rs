//! What errors on site mean.

use airgap_installer::record::Refusal;
use airgap_installer::{ConnectionError, Error, Limit};

use crate::error::Kind;
use crate::error::advice::{Advice, Advise};

/// What to do when something failed that may well work next time.
const AGAIN: &str = "run the same command again: it goes on where it stopped";

impl Advise for Error {
    fn advise(&self) -> Advice {
        match self {
            Self::Connection(error) => error.advise(),
            Self::Archive(error) => error.advise(),
            Self::Registry(error) => at_the_site(error),
            Self::Damaged { .. } => Advice::untrusted().and(
                "`airgap verify` lists everything that is wrong; get a new copy of the bundle",
            ),
            Self::Refused(refusal) => refused(refusal),
            Self::Secret(_)
            | Self::SiteFile { .. }
            | Self::SiteSecret { .. }
            | Self::Render { .. } => Advice::usage(),
            Self::SiteCa { .. } => Advice::usage().and(
                "give the certificate and the key of a CA, or take `tls` out of hosts.yaml: one is then made on site",
            ),
            Self::Preflight { .. } => Advice {
                kind: Some(Kind::Findings),
                ..Advice::none()
            },
            Self::Hosts { failures } => Advice::of_several(failures.iter().map(|(_, error)| error)),
            Self::Cluster { remedy, .. } => Advice::hint(remedy),
            Self::Locked { .. } => Advice::hint(
                "wait until that installation has ended; if its process is gone, the lock ends by itself in two minutes",
            ),
            Self::LockLost { .. } => {
                Advice::hint("find out who else installs here, then run the same command again")
            }
            Self::Gate { host, limit, .. } => match limit {
                None => service_on(host),
                Some(Limit::Node) => service_on(host).and(longer("--node-timeout")),
                Some(Limit::Wave) => unhealthy(),
            }
            .and(AGAIN),
            Self::Unhealthy { .. } => unhealthy().and(AGAIN),
            Self::Kubernetes { .. } | Self::Answer { .. } | Self::Facts(_) => Advice::hint(AGAIN),
            Self::ReportFolder { .. } => {
                Advice::hint("choose another place with `--output`, and run the same command again")
            }
            Self::Edition(_) | Self::Bundle { .. } => {
                Advice::hint("use the installer that came with this bundle")
            }
            Self::Unproven { version, .. } => Advice::hint(format!(
                "install the bundle of version {version} first, or use the whole bundle in place of the delta"
            )),
            Self::System { .. } => Advice::none(),
        }
    }
}

fn service_on(host: &str) -> Advice {
    Advice::hint(format!(
        "look at the service on {host}: `journalctl -u rke2-server -u rke2-agent`"
    ))
}

fn unhealthy() -> Advice {
    Advice::hint("`airgap status` shows what is not healthy, and why").and(longer("--wave-timeout"))
}

fn longer(option: &str) -> String {
    format!("if it is only slow, wait longer for it: `{option} MINUTES`")
}

/// The site's registry is not a source of anything to trust: a wrong digest there is its fault.
fn at_the_site(error: &airgap_registry::Error) -> Advice {
    match error {
        airgap_registry::Error::DigestMismatch { .. } => Advice::hint(
            "the registry does not keep what it is given: look at its log and its storage",
        ),
        airgap_registry::Error::NameUnresolved { .. } => error
            .advise()
            .and("where no DNS knows the registry, list its addresses: `registry.addresses` in the inventory"),
        other => other.advise(),
    }
}

fn refused(refusal: &Refusal) -> Advice {
    match refusal {
        Refusal::Older { .. } => {
            Advice::untrusted().and("if going back is what you want: `--allow-downgrade`")
        }
        Refusal::Other { .. } => {
            Advice::untrusted().and("ask the publisher which of the two bundles is theirs")
        }
        Refusal::Expired { .. } => Advice::untrusted().and("ask the publisher for a newer bundle"),
    }
}

impl Advise for ConnectionError {
    fn advise(&self) -> Advice {
        match self {
            Self::Unreachable { address, .. } => Advice::hint(format!(
                "check that the host is up and that {address} is right: `ssh.address` and `ssh.port` in the inventory"
            )),
            Self::HostKey { .. } | Self::Login { .. } | Self::Sudo { .. } => self
                .remedies()
                .into_iter()
                .fold(Advice::none(), Advice::and),
            Self::Lost { .. } => Advice::hint(AGAIN),
            Self::DiskFull { path, .. } => Advice::hint(format!(
                "free space under {path} on that host, then run the same command again"
            )),
            Self::Protocol { .. }
            | Self::TimedOut { .. }
            | Self::CommandFailed { .. }
            | Self::ContentDiffers { .. }
            | Self::Content { .. } => Advice::none(),
            Self::LocalFile { .. } | Self::Secret { .. } => Advice::usage(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::error::CommandError;

    fn gate(limit: Option<Limit>) -> CommandError {
        CommandError::from(Error::Gate {
            host: "cp2".into(),
            what: "a Ready node",
            waited: Duration::from_mins(20),
            reason: "the node has not registered".into(),
            limit,
        })
    }

    #[test]
    fn what_took_too_long_names_the_option_that_allows_more() {
        let node = gate(Some(Limit::Node)).hints().join("\n");
        assert!(node.contains("`--node-timeout MINUTES`"), "{node}");
        assert!(
            node.contains("journalctl") && node.contains("cp2"),
            "{node}"
        );
        let argocd = gate(Some(Limit::Wave)).hints().join("\n");
        assert!(argocd.contains("`--wave-timeout MINUTES`"), "{argocd}");
        let wave = CommandError::from(Error::Unhealthy {
            wave: 2,
            waited: Duration::from_mins(30),
            components: vec![("loki".into(), "it is Progressing".into())],
        });
        assert!(wave.message().contains("loki (it is Progressing)"));
        let hints = wave.hints().join("\n");
        assert!(hints.contains("`--wave-timeout MINUTES`"), "{hints}");
        assert!(hints.contains(AGAIN), "{hints}");
    }

    #[test]
    fn what_will_never_come_up_is_not_waited_for_any_longer() {
        let hints = gate(None).hints().join("\n");
        assert!(!hints.contains("timeout"), "{hints}");
    }
}
