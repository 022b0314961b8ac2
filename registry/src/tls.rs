//! Whom to trust over TLS, and what a server's certificate says, for the person who has to mend it.
//!
//! Invariant: nothing here makes an untrusted connection usable. [`tls_findings`] looks at a certificate
//! and sends nothing over the connection.

use std::{
    fmt,
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore,
    SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _},
};
use sha2::{Digest as _, Sha256};
use x509_parser::{extensions::GeneralName, prelude::FromDer as _};

use crate::{
    error::{Error, Result},
    resolve,
};

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

impl CertificateFacts {
    fn read(der: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).ok()?;
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let names = alternative.map_or_else(Vec::new, |extension| {
            extension
                .value
                .general_names
                .iter()
                .filter_map(name_of)
                .collect()
        });
        Some(Self {
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names,
            not_before: certificate.validity().not_before.timestamp(),
            not_after: certificate.validity().not_after.timestamp(),
            sha256: hex::encode(Sha256::digest(der)),
        })
    }
}

fn name_of(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let four = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            let sixteen = <[u8; 16]>::try_from(*bytes).map(IpAddr::from);
            four.or(sixteen).ok().map(|address| address.to_string())
        }
        _ => None,
    }
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

impl From<&rustls::Error> for Untrusted {
    fn from(error: &rustls::Error) -> Self {
        let rustls::Error::InvalidCertificate(reason) = error else {
            return Self::Other(error.to_string());
        };
        match reason {
            // a renewed authority under its old name shows as a bad signature
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::UnknownIssuer,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::WrongName
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// What a TLS connection to a registry showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFindings {
    /// The address that answered.
    pub address: SocketAddr,
    /// The presented chain, the server's own certificate first.
    pub presented: Vec<CertificateFacts>,
    /// Why it is not trusted; `None` when it is.
    pub untrusted: Option<Untrusted>,
}

/// Connects to `endpoint` (`host[:port]`), to each of `addresses` in place of DNS where any is given, and
/// reports what the certificate says and whether `ca_pem` (else the system's authorities) vouches for it.
pub async fn tls_findings(
    endpoint: &str,
    addresses: &[IpAddr],
    ca_pem: Option<&str>,
) -> Result<Vec<TlsFindings>> {
    let endpoint = endpoint.strip_prefix("https://").unwrap_or(endpoint);
    let setup = |source: Box<dyn std::error::Error + Send + Sync>| Error::Setup {
        host: endpoint.to_owned(),
        source,
    };
    let url =
        url::Url::parse(&format!("https://{endpoint}/")).map_err(|error| setup(error.into()))?;
    let host = url
        .host_str()
        .unwrap_or_default()
        .trim_matches(['[', ']'])
        .to_owned();
    let port = url.port_or_known_default().unwrap_or(443);
    let name = ServerName::try_from(host.clone()).map_err(|error| setup(error.into()))?;
    let trust = Trust::new(ca_pem, Scope::OnlyGiven).map_err(setup)?;
    let addresses: Vec<SocketAddr> = if addresses.is_empty() {
        resolve::lookup(&host, port)
            .await
            .map_err(|source| Error::NameUnresolved {
                host: host.clone(),
                source,
            })?
            .into_iter()
            .take(1)
            .collect()
    } else {
        addresses
            .iter()
            .map(|address| SocketAddr::new(*address, port))
            .collect()
    };
    let mut findings = Vec::new();
    for address in addresses {
        let (trust, name) = (trust.clone(), name.clone());
        let looked = tokio::task::spawn_blocking(move || look(address, name, trust)).await;
        let looked = looked.map_err(|error| setup(error.into()))?;
        findings.push(looked.map_err(|source| Error::Unreachable {
            host: format!("{endpoint} ({address})"),
            source: source.into(),
        })?);
    }
    Ok(findings)
}

/// Makes one handshake and goes away.
fn look(
    address: SocketAddr,
    name: ServerName<'static>,
    mut trust: Trust,
) -> std::io::Result<TlsFindings> {
    trust.only_looking = true;
    let seen = Arc::clone(&trust.seen);
    let config = trust.client_config(None).map_err(std::io::Error::other)?;
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let connected = ClientConnection::new(Arc::new(config), name);
    let mut connection = connected.map_err(std::io::Error::other)?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    let (presented, untrusted) = seen
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take()
        .unwrap_or_default();
    Ok(TlsFindings {
        address,
        presented,
        untrusted,
    })
}

/// What a verifier saw last: the chain, and why it was refused.
pub(crate) type Seen = (Vec<CertificateFacts>, Option<Untrusted>);

/// Which authorities count beside those given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Only those given; the system's where none are given.
    OnlyGiven,
    /// Those given and the system's.
    WithSystem,
}

/// A verifier that remembers what it refused, so that an error can say what the server presented.
#[derive(Debug, Clone)]
pub(crate) struct Trust {
    inner: Arc<dyn ServerCertVerifier>,
    provider: Arc<CryptoProvider>,
    seen: Arc<Mutex<Option<Seen>>>,
    /// Complete the handshake whatever the verdict; nothing is sent over such a connection.
    only_looking: bool,
}

impl Trust {
    pub(crate) fn new(
        ca_pem: Option<&str>,
        scope: Scope,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let given = match ca_pem {
            None => Vec::new(),
            Some(pem) => {
                let given = CertificateDer::pem_slice_iter(pem.as_bytes())
                    .collect::<Result<Vec<_>, _>>()?;
                if given.is_empty() {
                    return Err("the CA file holds no certificate".into());
                }
                given
            }
        };
        let system = || {
            rustls_platform_verifier::Verifier::new_with_extra_roots(
                given.clone(),
                Arc::clone(&provider),
            )
        };
        let inner: Arc<dyn ServerCertVerifier> = if given.is_empty() {
            Arc::new(system()?)
        } else if scope == Scope::WithSystem
            && let Ok(verifier) = system()
        {
            Arc::new(verifier)
        } else {
            let mut roots = RootCertStore::empty();
            for certificate in given {
                roots.add(certificate)?;
            }
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()?
        };
        Ok(Self {
            inner,
            provider,
            seen: Arc::default(),
            only_looking: false,
        })
    }

    /// Returns where the verifier writes what it refused.
    pub(crate) fn seen(&self) -> Arc<Mutex<Option<Seen>>> {
        Arc::clone(&self.seen)
    }

    /// Returns a client configuration, with a client certificate and key (PEM) where given.
    pub(crate) fn client_config(
        self,
        identity: Option<(&str, &str)>,
    ) -> Result<ClientConfig, Box<dyn std::error::Error + Send + Sync>> {
        let provider = Arc::clone(&self.provider);
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(self));
        let Some((certificate, key)) = identity else {
            return Ok(builder.with_no_client_auth());
        };
        let chain = CertificateDer::pem_slice_iter(certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes())?;
        Ok(builder.with_client_auth_cert(chain, key)?)
    }
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verdict = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        if verdict.is_err() || self.only_looking {
            let presented = std::iter::once(end_entity)
                .chain(intermediates)
                .filter_map(CertificateFacts::read)
                .collect();
            let seen = (presented, verdict.as_ref().err().map(Untrusted::from));
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
        }
        if self.only_looking {
            Ok(ServerCertVerified::assertion())
        } else {
            verdict
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
