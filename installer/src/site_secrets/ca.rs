//! The certificate authority of a site: checking the one that is given, making one where none is.

use jiff::{Timestamp, tz::TimeZone};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData,
    date_time_ymd,
};
use secrecy::{ExposeSecret, SecretString};

use crate::{Error, Result};

/// How long a CA made here holds. Its certificates are renewed by cert-manager; the CA itself is not.
const YEARS: i32 = 15;

/// Refuses a certificate that is no CA's, has expired, or belongs to another key.
pub(super) fn check(certificate: &str, key: &SecretString) -> Result<()> {
    let wrong = |reason: String| Error::SiteCa { reason };
    let (_, block) = x509_parser::pem::parse_x509_pem(certificate.trim_start().as_bytes())
        .map_err(|_| wrong("certFile holds no certificate in PEM".to_owned()))?;
    let parsed = block
        .parse_x509()
        .map_err(|_| wrong("certFile holds no X.509 certificate".to_owned()))?;
    let authority = parsed.basic_constraints().ok().flatten();
    if !authority.is_some_and(|constraints| constraints.value.ca) {
        return Err(wrong(format!(
            "the certificate of {} is not that of a CA (its basic constraints do not say CA:TRUE)",
            parsed.subject()
        )));
    }
    let ends = parsed.validity().not_after.timestamp();
    if ends < Timestamp::now().as_second() {
        return Err(wrong(format!(
            "the certificate of {} has expired",
            parsed.subject()
        )));
    }
    let pair = KeyPair::from_pem(key.expose_secret())
        .map_err(|_| wrong("key holds no private key in PEM without a passphrase".to_owned()))?;
    if pair.subject_public_key_info() != parsed.public_key().raw {
        return Err(wrong(
            "the key is not the one that the certificate was made for".to_owned(),
        ));
    }
    Ok(())
}

/// Makes a CA: its certificate and its private key, in PEM.
pub(super) fn make(cluster: &str) -> Result<(SecretString, SecretString)> {
    let failed = |error: rcgen::Error| Error::System {
        what: "make a certificate authority",
        source: std::io::Error::other(error),
    };
    let pair = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("{cluster} platform CA"));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    // strict verifiers, Python's since 3.13 among them, want it
    params.use_authority_key_identifier_extension = true;
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let (year, month) = (i32::from(today.year()), today.month().unsigned_abs());
    // from the first of the month: the nodes' clocks may be a little behind
    params.not_before = date_time_ymd(year, month, 1);
    params.not_after = date_time_ymd(year + YEARS, month, 1);
    let certificate = params.self_signed(&pair).map_err(failed)?;
    Ok((certificate.pem().into(), pair.serialize_pem().into()))
}
