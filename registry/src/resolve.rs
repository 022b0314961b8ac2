//! Names to addresses: the given ones, else what the system's resolver says.
//!
//! It exists so that an unknown name is told apart from an unreachable server by type, not by words.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// The resolver's failure, as it is found in the chain of an HTTP error.
#[derive(Debug, thiserror::Error)]
#[error("the name cannot be resolved")]
pub(crate) struct Unresolved(#[source] pub(crate) io::Error);

/// What the HTTP client is given: it shows the source of a resolver's error in place of the error itself.
#[derive(Debug, thiserror::Error)]
#[error("the resolver failed")]
struct ResolverFailed(#[source] Unresolved);

/// A resolver with addresses for one name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolver {
    known: Option<(String, Vec<IpAddr>)>,
}

impl Resolver {
    /// Answers for `host` with `addresses`, unless there are none.
    pub(crate) fn with(host: &str, addresses: &[IpAddr]) -> Self {
        Self {
            known: (!addresses.is_empty()).then(|| (host.to_owned(), addresses.to_vec())),
        }
    }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let known = self.known.clone();
        Box::pin(async move {
            if let Some((host, addresses)) = known
                && host == name.as_str()
            {
                let addresses = addresses
                    .into_iter()
                    .map(|address| SocketAddr::new(address, 0));
                return Ok(Box::new(addresses) as Addrs);
            }
            match lookup(name.as_str(), 0).await {
                Ok(addresses) => Ok(Box::new(addresses.into_iter()) as Addrs),
                Err(error) => Err(Box::new(ResolverFailed(Unresolved(error))).into()),
            }
        })
    }
}

/// Asks the system's resolver; no address at all is an error.
pub(crate) async fn lookup(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let addresses: Vec<SocketAddr> = tokio::net::lookup_host((host, port)).await?.collect();
    if addresses.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "the name has no address",
        ));
    }
    Ok(addresses)
}
