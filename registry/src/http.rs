//! One HTTP client per host, and what its failures mean.
//!
//! Invariant: every failure becomes one of [`Error`]'s cases here or in [`crate::site`], by type and status,
//! never by matching the words of a library.

use std::{
    io,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt as _;
use reqwest::{Response, StatusCode, header, redirect};
use serde::Deserialize;
use url::Url;

use crate::{
    error::{Error, Result},
    puller::Proxy,
    resolve::{Resolver, Unresolved},
    retry::{Again, Failure, parse_retry_after},
    tls::{Scope, Seen, Trust},
};

/// So long a refusal may take to say why.
const REFUSAL_PATIENCE: Duration = Duration::from_mins(1);

/// How a host is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct HostOptions<'a> {
    pub(crate) addresses: &'a [IpAddr],
    pub(crate) ca_pem: Option<&'a str>,
    pub(crate) scope: Scope,
    pub(crate) identity: Option<(&'a str, &'a str)>,
    pub(crate) proxy: Option<&'a Proxy>,
    pub(crate) connect_timeout: Duration,
    pub(crate) read_timeout: Option<Duration>,
    /// Counts the answers 429.
    pub(crate) complaints: Arc<AtomicU64>,
}

/// A client for one host. It follows no redirect.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    /// The host with its port, for messages.
    pub(crate) name: String,
    pub(crate) client: reqwest::Client,
    seen: Arc<Mutex<Option<Seen>>>,
    complaints: Arc<AtomicU64>,
}

/// Returns `host` or `host:port` of a URL.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

impl Host {
    /// Prepares a client for the host of `base`; nothing is connected yet.
    pub(crate) fn new(base: &Url, options: &HostOptions<'_>) -> Result<Self> {
        let name = authority(base);
        let setup = |source| Error::Setup {
            host: name.clone(),
            source,
        };
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("airgap/", env!("CARGO_PKG_VERSION")))
            .http1_only()
            .no_proxy()
            .referer(false)
            // shorter than servers keep idle connections, so that none is used as it is closed
            .pool_idle_timeout(Duration::from_secs(20))
            .connect_timeout(options.connect_timeout)
            .dns_resolver(Arc::new(Resolver::with(
                base.host_str().unwrap_or_default(),
                options.addresses,
            )))
            // the client would take a login along, or bring it back at a second hop: who follows has to look
            .redirect(redirect::Policy::none());
        if let Some(timeout) = options.read_timeout {
            builder = builder.read_timeout(timeout);
        }
        if let Some(proxy) = options.proxy {
            let exceptions = proxy
                .exceptions
                .as_deref()
                .and_then(reqwest::NoProxy::from_string);
            let through = reqwest::Proxy::all(proxy.url.clone());
            builder = builder.proxy(
                through
                    .map_err(|error| setup(error.into()))?
                    .no_proxy(exceptions),
            );
        }
        let seen = if base.scheme() == "http" && options.ca_pem.is_none() {
            // plain HTTP must work where no authority is installed at all
            builder = builder.tls_certs_only([]);
            Arc::default()
        } else {
            let trust = Trust::new(options.ca_pem, options.scope).map_err(setup)?;
            let seen = trust.seen();
            let config = trust.client_config(options.identity).map_err(setup)?;
            builder = builder.tls_backend_preconfigured(config);
            seen
        };
        let client = builder.build().map_err(|error| setup(error.into()))?;
        Ok(Self {
            name,
            client,
            seen,
            complaints: Arc::clone(&options.complaints),
        })
    }

    /// Tells what a request that got no answer died of.
    pub(crate) fn no_answer(&self, error: reqwest::Error, object: &str) -> Failure {
        let host = self.name.clone();
        if let Some(unresolved) = find::<Unresolved>(&error) {
            let source = io::Error::new(unresolved.0.kind(), unresolved.0.to_string());
            let host = host
                .rsplit_once(':')
                .map_or(host.clone(), |(name, _)| name.to_owned());
            // a resolver that is overloaded or starts anew fails as one that does not know the name
            return Failure {
                error: Error::NameUnresolved { host, source },
                again: Again::Soon,
            };
        }
        if let Some(rustls::Error::InvalidCertificate(_)) = find::<rustls::Error>(&error) {
            let seen = self
                .seen
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone();
            if let Some((presented, Some(reason))) = seen {
                return Error::CertificateUntrusted {
                    host,
                    reason,
                    presented,
                }
                .into();
            }
        }
        let connecting = error.is_connect();
        let source = Box::new(error.without_url());
        let error = if connecting {
            Error::Unreachable { host, source }
        } else {
            Error::ConnectionLost {
                host,
                object: object.to_owned(),
                attempts: 1,
                source,
            }
        };
        Failure {
            error,
            again: Again::Soon,
        }
    }

    /// Tells what an answer means that is neither success nor known to the caller.
    pub(crate) async fn refusal(&self, response: Response, object: &str) -> (Failure, Refusal) {
        let status = response.status();
        if status == StatusCode::TOO_MANY_REQUESTS {
            self.complaints.fetch_add(1, Ordering::Relaxed);
        }
        let retry_after = response
            .headers()
            .get(header::RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| parse_retry_after(value, jiff::Timestamp::now()));
        let refusal = Refusal::read(response, REFUSAL_PATIENCE).await;
        let (host, object) = (self.name.clone(), object.to_owned());
        let again = match retry_after {
            Some(wait) => Again::After(wait),
            None => Again::Soon,
        };
        let failure = match status {
            StatusCode::TOO_MANY_REQUESTS => Failure {
                error: Error::RateLimited {
                    host,
                    object,
                    attempts: 1,
                    retry_after,
                },
                again,
            },
            StatusCode::NOT_FOUND => Error::NotFound { host, object }.into(),
            _ => Failure {
                again: if is_transient(status) {
                    again
                } else {
                    Again::Never
                },
                error: Error::Status {
                    host,
                    object,
                    status: status.as_u16(),
                    message: refusal.words(),
                },
            },
        };
        (failure, refusal)
    }

    /// Reads a small body, to `limit` bytes.
    pub(crate) async fn read(
        &self,
        response: Response,
        limit: u64,
        object: &str,
    ) -> Result<Vec<u8>, Failure> {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| self.no_answer(error, object))?;
            if bytes.len() as u64 + chunk.len() as u64 > limit {
                let message = format!("its answer is larger than {limit} bytes");
                let (host, object) = (self.name.clone(), object.to_owned());
                return Err(Error::Protocol {
                    host,
                    object,
                    message,
                }
                .into());
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}

/// Whether another attempt may go better; what a server does not implement it will not in a minute.
pub(crate) fn is_transient(status: StatusCode) -> bool {
    status == StatusCode::TOO_MANY_REQUESTS
        || status == StatusCode::REQUEST_TIMEOUT
        || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// The body of a refusal: the distribution API's errors, or the first line of anything else.
#[derive(Debug, Default)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
}

#[derive(Deserialize)]
struct Envelope {
    errors: Vec<EnvelopeError>,
}

#[derive(Deserialize)]
struct EnvelopeError {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
    #[serde(default)]
    detail: serde_json::Value,
}

impl Refusal {
    /// Reads what comes: a proxy may announce a body that it never sends, and a PUT has no limit of its own.
    async fn read(response: Response, patience: Duration) -> Self {
        let mut bytes = Vec::new();
        let mut stream = response.bytes_stream();
        let all = async {
            while let Some(Ok(chunk)) = stream.next().await {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > 16 << 10 {
                    break;
                }
            }
        };
        if tokio::time::timeout(patience, all).await.is_err() {
            tracing::debug!("a refusal did not come to its end");
        }
        Self::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> Self {
        let envelope = serde_json::from_slice::<Envelope>(bytes).ok();
        if let Some(first) = envelope.and_then(|envelope| envelope.errors.into_iter().next()) {
            let detail = match &first.detail {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(detail) => format!(" ({detail})"),
                other => format!(" ({other})"),
            };
            return Self {
                code: first.code,
                message: clean(&format!("{}{detail}", first.message)),
            };
        }
        let text = String::from_utf8_lossy(bytes);
        // a proxy's page says nothing that its status does not
        let text = if text.trim_start().starts_with('<') {
            ""
        } else {
            text.trim()
        };
        Self {
            code: String::new(),
            message: clean(text.lines().next().unwrap_or_default()),
        }
    }

    /// Returns code and message as one phrase, if the server gave any.
    pub(crate) fn said(&self) -> Option<String> {
        let silent = self.code.is_empty() && self.message.is_empty();
        (!silent).then(|| self.words())
    }

    /// Returns code and message as one phrase.
    pub(crate) fn words(&self) -> String {
        match (self.code.as_str(), self.message.as_str()) {
            ("", "") => "no explanation".to_owned(),
            ("", message) => message.to_owned(),
            (code, "") => code.to_owned(),
            (code, message) => format!("{code}: {message}"),
        }
    }
}

/// Cuts a server's words to a line that a terminal can show.
fn clean(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(300)
        .collect()
}

/// Finds an error of a type in a chain, also inside `io::Error`s, whose `source` skips what they wrap.
fn find<'a, T: std::error::Error + 'static>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        if let Some(inner) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            && let Some(found) = find::<T>(inner)
        {
            return Some(found);
        }
        next = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test]
    async fn a_refusal_that_does_not_end_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let client = reqwest::Client::builder().tls_certs_only([]).no_proxy();
        let sent = client.build().unwrap().get(url).send();
        let (response, held) = tokio::join!(sent, async {
            let (mut connection, _) = listener.accept().await.unwrap();
            connection.read_u8().await.unwrap();
            let head = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 100\r\n\r\nno upstream\n";
            connection.write_all(head).await.unwrap();
            connection
        });
        let refusal = Refusal::read(response.unwrap(), Duration::from_millis(200));
        let refusal = tokio::time::timeout(Duration::from_mins(1), refusal).await;
        assert_eq!(refusal.expect("it ends").words(), "no upstream");
        drop(held);
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_resolved_is_asked_for_again() {
        let base = Url::parse("http://registry.invalid").unwrap();
        let options = HostOptions {
            addresses: &[],
            ca_pem: None,
            scope: Scope::OnlyGiven,
            identity: None,
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            read_timeout: None,
            complaints: Arc::default(),
        };
        let host = Host::new(&base, &options).unwrap();
        let error = host.client.get(base).send().await.unwrap_err();
        let failure = host.no_answer(error, "the test");
        assert!(matches!(failure.error, Error::NameUnresolved { .. }));
        assert_eq!(failure.again, Again::Soon);
    }

    #[test]
    fn refusals_are_read_from_json_text_and_pages() {
        let harbor = br#"{"errors":[{"code":"DENIED","message":"no \u001b[31m","detail":"x"}]}"#;
        assert_eq!(Refusal::parse(harbor).words(), "DENIED: no [31m (x)");
        assert_eq!(
            Refusal::parse(b"404 page not found\nmore").words(),
            "404 page not found"
        );
        assert_eq!(
            Refusal::parse(b"<html><h1>502</h1>").words(),
            "no explanation"
        );
        assert_eq!(Refusal::parse(b"").words(), "no explanation");
    }
}
