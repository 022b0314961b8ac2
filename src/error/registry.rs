//! What errors about registries and download sites mean.

use airgap_registry::Error;

use crate::error::advice::{Advice, Advise};
use crate::render;

impl Advise for Error {
    fn advise(&self) -> Advice {
        match self {
            Self::Config { .. } | Self::InvalidName { .. } => Advice::usage(),
            Self::CredentialHelper { host, .. } => Advice::hint(format!(
                "log in without the helper: write an `auths` entry for {host} into docker's config.json"
            )),
            Self::NameUnresolved { host, .. } => Advice::hint(format!(
                "ask DNS what this machine asks: `getent hosts {}`", without_port(host)
            )),
            Self::Unreachable { host, .. } => Advice::hint(format!(
                "try it from this machine: `curl -v https://{host}/v2/`"
            )),
            Self::CertificateUntrusted { host, .. } => Advice::hint(
                "name the CA that signed it: `registry.caFile` in the inventory, or `configs.<host>.tls.ca_file` in `--upstreams`",
            )
            .and(format!("see what it shows: `openssl s_client -connect {host} -showcerts </dev/null`")),
            Self::Unauthorized { user: Some(user), .. } => {
                Advice::hint(format!("check the password of account {user}: it is the one the inventory or docker's config.json names"))
            }
            Self::Unauthorized { user: None, host, .. } => {
                Advice::hint(format!("log in first: `docker login {host}`, or name an account in the configuration"))
            }
            Self::Forbidden { action, .. } => {
                Advice::hint(format!("give the account the right to {action} in this project"))
            }
            Self::QuotaExceeded { project, needed, used, limit, .. } => {
                let known = match (used, limit) {
                    (Some(used), Some(limit)) => {
                        format!(" ({} of {} are used)", render::bytes(*used), render::bytes(*limit))
                    }
                    _ => String::new(),
                };
                Advice::hint(format!(
                    "raise the quota of project {project} by at least {}{known}, then run the same command again",
                    render::bytes(*needed)
                ))
            }
            Self::ProjectMissing { project, .. } => Advice::hint(format!(
                "have project {project} created, or give the push account the right to create it"
            )),
            Self::ImmutableTag { .. } => {
                Advice::hint("another release was pushed under this tag: remove it there, or exempt the project from the rule")
            }
            Self::Policy { .. } => Advice::hint("exempt this project from the registry's policy"),
            Self::ReadOnly { .. } => Advice::hint("wait until the registry takes writes again, then run the same command"),
            Self::RateLimited { .. } => Advice::hint("log in for a higher limit, use fewer `--jobs`, or try again later"),
            Self::DigestMismatch { .. } => {
                Advice::untrusted().and("the registry, or something between here and there, changes what it serves")
            }
            Self::ConnectionLost { .. } => Advice::hint("run the same command again: it goes on where it stopped"),
            Self::Status { status, .. } if *status >= 500 => {
                Advice::hint("the server has a problem of its own: look at its log, then run the same command again")
            }
            Self::NotFound { .. }
            | Self::Body { .. }
            | Self::Status { .. }
            | Self::Protocol { .. }
            | Self::Setup { .. } => Advice::none(),
        }
    }
}

fn without_port(host: &str) -> &str {
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}
