//! The cluster's certificate authority and everything it signs.

use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use super::fail::{Context as _, Fail, Result};

/// A certificate and its key, both PEM.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) cert: String,
    pub(crate) key: String,
}

/// How long RKE2's own authorities are valid: ten years.
const CA_DAYS: i64 = 3650;

/// Makes a certificate valid from yesterday on for so many days.
fn valid(params: &mut CertificateParams, days: i64) {
    let now = jiff::Timestamp::now();
    let date = |days: i64| {
        let day = (now + jiff::SignedDuration::from_hours(24 * days))
            .to_zoned(jiff::tz::TimeZone::UTC)
            .date();
        rcgen::date_time_ymd(
            i32::from(day.year()),
            day.month().unsigned_abs(),
            day.day().unsigned_abs(),
        )
    };
    params.not_before = date(-1);
    params.not_after = date(days);
}

fn ca_params(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    Ok(params)
}

/// A new authority. Its name is kept apart, since issuing needs the very same one.
pub(crate) fn new_ca(name: &str) -> Result<Pair> {
    let key = KeyPair::generate()?;
    let mut params = ca_params(name)?;
    valid(&mut params, CA_DAYS);
    let cert = params.self_signed(&key)?;
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// Signs a certificate for `names` (a server) or for nobody (a client), valid for `days`.
pub(crate) fn issue(
    ca_name: &str,
    ca_key: &str,
    subject: &str,
    names: &[String],
    days: i64,
) -> Result<Pair> {
    let issuer = Issuer::new(ca_params(ca_name)?, KeyPair::from_pem(ca_key)?);
    let mut params = CertificateParams::new(names.to_vec())?;
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![if names.is_empty() {
        ExtendedKeyUsagePurpose::ClientAuth
    } else {
        ExtendedKeyUsagePurpose::ServerAuth
    }];
    valid(&mut params, days);
    let key = KeyPair::generate()?;
    let cert = params.signed_by(&key, &issuer)?;
    Ok(Pair {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

/// A server's TLS settings; clients may show a certificate of `client_ca`.
pub(crate) fn server_config(pair: &Pair, client_ca: &str) -> Result<Arc<ServerConfig>> {
    let pem = |error: rustls::pki_types::pem::Error| Fail::new(error.to_string());
    let certs: Vec<_> = CertificateDer::pem_slice_iter(pair.cert.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(pem)?;
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).map_err(pem)?;
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_slice_iter(client_ca.as_bytes()) {
        roots.add(cert.map_err(pem)?)?;
    }
    let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
        .allow_unauthenticated()
        .build()
        .map_err(|error| Fail::new(error.to_string()))?;
    Ok(Arc::new(
        ServerConfig::builder()
            .with_client_cert_verifier(verifier)
            .with_single_cert(certs, key)?,
    ))
}

/// Writes a file that only root may read.
pub(crate) fn write_secret(path: &Path, bytes: &[u8]) -> Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    use std::io::Write as _;
    let dir = path.parent().context("no parent")?;
    fs_err::create_dir_all(dir).context(dir.display())?;
    let next = path.with_extension("next");
    let mut file = fs_err::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&next)
        .context(next.display())?;
    file.write_all(bytes).context(next.display())?;
    fs_err::rename(&next, path).context(path.display())
}
