//! What a server's certificate says, for the person who has to mend it.

use std::{fmt, net::IpAddr};

use crate::error::Result;

/// What one presented certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Its subject, as `CN=harbor.site`.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The names and addresses it is for.
    pub names: Vec<String>,
    /// First second of validity (seconds since 1970).
    pub not_before: i64,
    /// Last second of validity (seconds since 1970).
    pub not_after: i64,
    /// The sha256 of its DER, in hex.
    pub sha256: String,
}

/// Why a certificate is not trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untrusted {
    /// No trusted CA issued it.
    UnknownIssuer,
    /// It is for other names.
    WrongName,
    /// It is no longer valid.
    Expired,
    /// It is not valid yet, or the clock here is wrong.
    NotYetValid,
    /// Another reason, in the words of the TLS library.
    Other(String),
}

impl fmt::Display for Untrusted {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::UnknownIssuer => "it was issued by an authority that is not trusted here",
            Self::WrongName => "it is not for this name",
            Self::Expired => "it has expired",
            Self::NotYetValid => "it is not valid yet, by the clock of this machine",
            Self::Other(reason) => reason,
        })
    }
}

/// What a TLS connection to a registry showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFindings {
    /// The address that answered.
    pub address: std::net::SocketAddr,
    /// The presented chain, the server's own certificate first.
    pub presented: Vec<CertificateFacts>,
    /// Why it is not trusted; `None` when it is.
    pub untrusted: Option<Untrusted>,
}

/// Connects to `endpoint` (`host[:port]`), each of `addresses` in place of DNS where any is given, and
/// reports what the certificate says and whether `ca_pem` (else the system's authorities) vouches for it.
pub async fn tls_findings(
    endpoint: &str,
    addresses: &[IpAddr],
    ca_pem: Option<&str>,
) -> Result<Vec<TlsFindings>> {
    let _ = (endpoint, addresses, ca_pem);
    todo!()
}
