//! Requests to the site's registry: counted, with the login, each failure told apart.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use reqwest::{Method, RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{Counters, SiteConfig};
use crate::{
    error::{Error, Result},
    http::{Host, HostOptions, Refusal, is_transient},
    retry::{Again, Attempts, Failure, RetryPolicy},
    tls::Scope,
};

/// A small request takes no longer than this.
pub(super) const SMALL_TIMEOUT: Option<Duration> = Some(Duration::from_mins(1));
/// What the registry does after the last byte of a manifest or blob may take so long.
pub(super) const COMMIT_TIMEOUT: Duration = Duration::from_mins(15);

/// The host, the login and the counters.
#[derive(Debug)]
pub(super) struct Connection {
    base: Url,
    host: Host,
    login: Option<(String, SecretString)>,
    pub(super) counters: Counters,
    pub(super) complaints: Arc<AtomicU64>,
    pub(super) retry: RetryPolicy,
}

/// A request of the rights probe leaves nothing behind, so it is not counted as a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    Probe,
}

impl Connection {
    pub(super) fn new(config: &SiteConfig) -> Result<Self> {
        let base = parse_endpoint(&config.endpoint)?;
        let addresses: &[IpAddr] = &config.addresses;
        let complaints = Arc::<AtomicU64>::default();
        let host = Host::new(
            &base,
            &HostOptions {
                addresses,
                ca_pem: config.ca_pem.as_deref(),
                scope: Scope::OnlyGiven,
                identity: None,
                proxy: None,
                connect_timeout: Duration::from_secs(10),
                // a PUT is silent for as long as its body takes; each request has its own limit
                read_timeout: None,
                complaints: Arc::clone(&complaints),
            },
        )?;
        let login = config.login.clone();
        Ok(Self {
            base,
            host,
            login,
            counters: Counters::default(),
            complaints,
            retry: config.retry,
        })
    }

    pub(super) fn host(&self) -> &str {
        &self.host.name
    }

    pub(super) fn user(&self) -> Option<String> {
        self.login.as_ref().map(|(user, _)| user.clone())
    }

    /// Prepares a counted request with the login.
    pub(super) fn request(&self, method: Method, url: Url, purpose: Purpose) -> RequestBuilder {
        let counter = match (&method, purpose) {
            (_, Purpose::Probe) => &self.counters.probes,
            (&Method::HEAD, _) => &self.counters.heads,
            (&Method::GET, _) => &self.counters.reads,
            _ => &self.counters.writes,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let request = self.host.client.request(method, url);
        match &self.login {
            Some((user, password)) => request.basic_auth(user, Some(password.expose_secret())),
            None => request,
        }
    }

    /// Returns the URL of a path on this host, which may have a query.
    pub(super) fn url(&self, path: &str) -> Result<Url> {
        self.base.join(path).map_err(|_| Error::InvalidName {
            kind: "path",
            name: path.to_owned(),
            reason: "it does not fit a URL",
        })
    }

    /// Sends a request once; redirects are refused.
    pub(super) async fn send(
        &self,
        request: RequestBuilder,
        timeout: Option<Duration>,
        object: &str,
    ) -> Result<Response, Failure> {
        let request = match timeout {
            Some(timeout) => request.timeout(timeout),
            None => request,
        };
        let sent = request.send().await;
        let response = sent.map_err(|error| self.host.no_answer(error, object))?;
        if response.status().is_redirection() {
            let to = response.headers().get(header::LOCATION);
            let to = to.and_then(|to| to.to_str().ok()).unwrap_or("nowhere");
            // the query of a signed address is a secret
            let to: String = to.split('?').take(1).collect();
            let message = format!(
                "it redirects to {}; give the address that answers as the endpoint",
                to.chars().take(200).collect::<String>()
            );
            return Err(self.protocol(message, object).into());
        }
        Ok(response)
    }

    /// Sends a small request without a body, again as the policy says; the caller reads the status.
    pub(super) async fn small(
        &self,
        method: Method,
        path: &str,
        headers: &[(header::HeaderName, &str)],
        object: &str,
    ) -> Result<Response> {
        let url = self.url(path)?;
        let mut attempts = Attempts::new(self.retry);
        loop {
            let mut request = self.request(method.clone(), url.clone(), Purpose::Work);
            for (name, value) in headers {
                request = request.header(name, *value);
            }
            let failure = match self.send(request, SMALL_TIMEOUT, object).await {
                Ok(response) if is_transient(response.status()) => {
                    self.host.refusal(response, object).await.0
                }
                Ok(response) => return Ok(response),
                Err(failure) => failure,
            };
            attempts.wait_or_give_up(failure).await?;
        }
    }

    /// Reads a small body.
    pub(super) async fn read(
        &self,
        response: Response,
        limit: u64,
        object: &str,
    ) -> Result<Vec<u8>> {
        self.host
            .read(response, limit, object)
            .await
            .map_err(|failure| failure.error)
    }

    /// Tells what an answer means that the caller did not expect.
    pub(super) async fn refusal(&self, response: Response, object: &str) -> (Failure, Refusal) {
        let status = response.status();
        let (failure, refusal) = self.host.refusal(response, object).await;
        let (host, object) = (self.host.name.clone(), object.to_owned());
        let error = match status {
            StatusCode::UNAUTHORIZED => Error::Unauthorized {
                host,
                user: self.user(),
                object,
            },
            StatusCode::FORBIDDEN if refusal.message.contains("read only mode") => {
                Error::ReadOnly { host, object }
            }
            StatusCode::PRECONDITION_FAILED => Error::Policy {
                host,
                object,
                message: refusal.words(),
            },
            _ => return (failure, refusal),
        };
        (
            Failure {
                error,
                again: Again::Never,
            },
            refusal,
        )
    }

    /// Proves that a registry answers and that the login is right.
    pub(super) async fn prove_login(&self) -> Result<()> {
        let object = "the login";
        let mut once = Attempts::new(RetryPolicy {
            attempts: 2,
            ..self.retry
        });
        loop {
            let request = self.request(Method::GET, self.url("/v2/")?, Purpose::Work);
            let failure = match self.send(request, SMALL_TIMEOUT, object).await {
                Ok(response) if response.status().is_success() => return Ok(()),
                Ok(response) if response.status() == StatusCode::NOT_FOUND => {
                    let message =
                        "there is no registry at this address: /v2/ is not there".to_owned();
                    return Err(self.protocol(message, object));
                }
                Ok(response) => self.refusal(response, object).await.0,
                // what refuses a first connection is not going to change in a second
                Err(failure) => return Err(failure.error.after(1)),
            };
            once.wait_or_give_up(failure).await?;
        }
    }

    pub(super) fn protocol(&self, message: String, object: &str) -> Error {
        Error::Protocol {
            host: self.host.name.clone(),
            object: object.to_owned(),
            message,
        }
    }

    /// Returns where an upload goes on: always at this host, with its scheme and port.
    ///
    /// A registry behind a proxy that hides TLS writes `http://`; its scheme and port are then not ours.
    pub(super) fn upload_url(&self, response: &Response, object: &str) -> Result<Url> {
        let location = response
            .headers()
            .get(header::LOCATION)
            .and_then(|value| value.to_str().ok());
        let Some(location) = location else {
            return Err(self.protocol(
                "it opened an upload without saying where".to_owned(),
                object,
            ));
        };
        let mut url = response
            .url()
            .join(location)
            .map_err(|_| self.protocol("its upload address is no URL".to_owned(), object))?;
        if url.host_str() != self.base.host_str() {
            let message = format!(
                "it sends uploads to {}; its own external address must be {}",
                url.host_str().unwrap_or_default(),
                self.host.name
            );
            return Err(self.protocol(message, object));
        }
        // both are http or https with a host, so neither can fail
        let changed = url
            .set_scheme(self.base.scheme())
            .and_then(|()| url.set_port(self.base.port()));
        changed.map_err(|()| self.protocol("its upload address is no URL".to_owned(), object))?;
        Ok(url)
    }
}

/// Reads `host`, `host:port`, `https://host` or `http://host`.
fn parse_endpoint(endpoint: &str) -> Result<Url> {
    let fail = |reason| Error::InvalidName {
        kind: "registry endpoint",
        name: endpoint.to_owned(),
        reason,
    };
    let text = if endpoint.contains("://") {
        endpoint.to_owned()
    } else {
        format!("https://{endpoint}")
    };
    let url = Url::parse(&text).map_err(|_| fail("it must be a host or host:port"))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none() {
        return Err(fail("it must be a host or host:port"));
    }
    if !matches!(url.path(), "/" | "") || url.query().is_some() || url.fragment().is_some() {
        return Err(fail(
            "it must be a host or host:port; the project has its own key",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Error::InvalidName {
            kind: "registry endpoint",
            name: url.host_str().unwrap_or_default().to_owned(),
            reason: "a login does not belong in the address",
        });
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_hosts() {
        assert_eq!(
            parse_endpoint("harbor.site").unwrap().as_str(),
            "https://harbor.site/"
        );
        assert_eq!(
            parse_endpoint("h:8443").unwrap().as_str(),
            "https://h:8443/"
        );
        assert_eq!(
            parse_endpoint("http://127.0.0.1:5000").unwrap().scheme(),
            "http"
        );
        for wrong in ["", "harbor.site/airgap", "ftp://h", "https://h/v2/", "h?x"] {
            assert!(parse_endpoint(wrong).is_err(), "{wrong}");
        }
        let error = parse_endpoint("https://u:canary@h")
            .unwrap_err()
            .to_string();
        assert!(!error.contains("canary"), "{error}");
    }
}
