//! A certificate authority for tests, and the server certificates it issues.
//!
//! Every authority has its own key, made when it is made; nothing is shared between tests.

use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// A certificate authority of one test.
#[derive(Debug)]
pub struct TestCa {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl TestCa {
    /// Makes an authority of that common name.
    ///
    /// # Panics
    /// Panics when a key cannot be made.
    #[must_use]
    pub fn new(common_name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names to refuse");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(2124, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .self_signed(&key)
            .expect("an authority can sign itself");
        Self {
            pem: certificate.pem(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Returns the authority's certificate as PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// Returns the authority's own key as PEM.
    #[must_use]
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a certificate for these names and addresses.
    #[must_use]
    pub fn server(&self, names: &[&str]) -> ServerCert {
        self.issue(names, 2124)
    }

    /// Issues a certificate that expired at the end of 2024.
    #[must_use]
    pub fn expired_server(&self, names: &[&str]) -> ServerCert {
        self.issue(names, 2025)
    }

    fn issue(&self, names: &[&str], until_year: i32) -> ServerCert {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let common_name = names.first().cloned().unwrap_or_default();
        let mut params = CertificateParams::new(names).expect("test names are valid");
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.not_before = date_time_ymd(2024, 1, 1);
        params.not_after = date_time_ymd(until_year, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("the authority can sign");
        ServerCert {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        }
    }
}

/// A server's certificate and key.
#[derive(Clone)]
pub struct ServerCert {
    chain_pem: String,
    key_pem: String,
}

impl std::fmt::Debug for ServerCert {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ServerCert").finish_non_exhaustive()
    }
}

impl ServerCert {
    /// Takes a certificate and key that are already there, both PEM.
    #[must_use]
    pub fn from_pem(chain_pem: String, key_pem: String) -> Self {
        Self { chain_pem, key_pem }
    }

    /// Returns the certificate as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> &str {
        &self.chain_pem
    }

    /// Writes `server.crt` and `server.key` into a folder and returns both paths.
    ///
    /// # Panics
    /// Panics when the files cannot be written.
    #[must_use]
    pub fn write(&self, folder: &Utf8Path) -> (Utf8PathBuf, Utf8PathBuf) {
        let paths = (folder.join("server.crt"), folder.join("server.key"));
        fs_err::write(&paths.0, &self.chain_pem).expect("the certificate can be written");
        fs_err::write(&paths.1, &self.key_pem).expect("the key can be written");
        paths
    }

    /// Returns what a server needs to present this certificate, over HTTP/1.1 only.
    ///
    /// # Panics
    /// Panics when certificate and key do not fit.
    #[must_use]
    pub fn server_config(&self) -> Arc<ServerConfig> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .expect("the certificate is PEM");
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes()).expect("the key is PEM");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("certificate and key fit");
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}
