//! One GET: log in where asked, follow redirects without the login, tell failures apart, try again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, Instant},
};

use reqwest::{RequestBuilder, Response, StatusCode, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use url::Url;

use super::{PullOptions, challenge::Challenge};
use crate::{
    credentials::Credentials,
    error::{Error, Result},
    http::{Host, HostOptions, authority},
    retry::{Attempts, Failure, RetryPolicy},
    tls::Scope,
    upstreams::HostConfig,
};

/// A token is renewed this long before it ends, so that it does not end on the way.
const TOKEN_MARGIN: Duration = Duration::from_secs(15);
/// What the specification of docker's tokens says when the answer does not.
const TOKEN_LIFETIME: Duration = Duration::from_mins(1);
/// No token is kept for longer, whatever the answer says.
const LONGEST_LIFETIME: Duration = Duration::from_hours(24);
/// More than any token service sends.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// So many redirects lead from an object to where it is.
const MOST_REDIRECTS: u32 = 5;

/// A host with its client, its login, and the tokens it gave.
#[derive(Debug)]
pub(super) struct Source {
    host: Host,
    secure: bool,
    login: Option<Credentials>,
    known: Mutex<Known>,
}

/// What was learned about a host's way to log in.
#[derive(Debug, Default)]
struct Known {
    basic: bool,
    /// Tokens by repository.
    tokens: HashMap<String, (SecretString, Instant)>,
}

/// What a request carried for a login.
#[derive(Debug)]
enum Shown {
    Nothing,
    Basic,
    Token(SecretString),
}

impl Source {
    pub(super) fn new(
        base: &Url,
        configured: Option<&HostConfig>,
        login: Option<Credentials>,
        options: &PullOptions,
        complaints: Arc<AtomicU64>,
    ) -> Result<Self> {
        let identity = configured.and_then(|host| host.identity.as_ref());
        let host = Host::new(
            base,
            &HostOptions {
                addresses: &[],
                ca_pem: configured.and_then(|host| host.ca_pem.as_deref()),
                scope: Scope::WithSystem,
                identity: identity.map(|(chain, key)| (chain.as_str(), key.expose_secret())),
                proxy: options.proxy.as_ref(),
                connect_timeout: options.connect_timeout,
                read_timeout: Some(options.read_timeout),
                complaints,
            },
        )?;
        let secure = base.scheme() == "https";
        Ok(Self {
            host,
            secure,
            login,
            known: Mutex::default(),
        })
    }

    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds what is known to be right, and tells what; nothing is sent unasked to a host whose challenge is not known.
    fn log_in(&self, request: RequestBuilder, repository: Option<&str>) -> (RequestBuilder, Shown) {
        let (basic, token) = self.known(|known| {
            let token = repository.and_then(|repository| known.tokens.get(repository));
            let good = token.filter(|(_, until)| *until > Instant::now() + TOKEN_MARGIN);
            (known.basic, good.map(|(token, _)| token.clone()))
        });
        match (token, &self.login) {
            (Some(token), _) => (
                request.bearer_auth(token.expose_secret()),
                Shown::Token(token),
            ),
            (None, Some(Credentials::Basic { username, password })) if basic => (
                request.basic_auth(username, Some(password.expose_secret())),
                Shown::Basic,
            ),
            _ => (request, Shown::Nothing),
        }
    }

    /// Drops a token that was refused, unless another request has renewed it meanwhile.
    fn drop_token(&self, repository: Option<&str>, refused: &SecretString) {
        let Some(repository) = repository else {
            return;
        };
        self.known(|known| {
            let kept = known.tokens.get(repository);
            if kept.is_some_and(|(kept, _)| kept.expose_secret() == refused.expose_secret()) {
                known.tokens.remove(repository);
            }
        });
    }

    /// Learns how to answer a challenge; `false` when there is no way.
    async fn answer(
        &self,
        challenge: Option<Challenge>,
        shown: &Shown,
        repository: Option<&str>,
        object: &str,
    ) -> Result<bool, Failure> {
        match challenge {
            // who said nothing may say what is wanted once the token that was refused is gone
            None => Ok(matches!(shown, Shown::Token(_))),
            Some(Challenge::Basic) => {
                let able = matches!(self.login, Some(Credentials::Basic { .. }));
                self.known(|known| known.basic = true);
                // a challenge to a request that carried the login means that the login is wrong; another request may have
                // learned of Basic since this one was sent
                Ok(able && !matches!(shown, Shown::Basic))
            }
            Some(Challenge::Bearer {
                realm,
                service,
                scope,
            }) => {
                let Some(repository) = repository else {
                    return Ok(false);
                };
                let scope = scope.unwrap_or_else(|| format!("repository:{repository}:pull"));
                let token = self
                    .token(&realm, service.as_deref(), &scope, object)
                    .await?;
                self.known(|known| known.tokens.insert(repository.to_owned(), token));
                Ok(true)
            }
        }
    }

    /// Gets a token from the service that the host named.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        object: &str,
    ) -> Result<(SecretString, Instant), Failure> {
        let protocol = |message: String| {
            Failure::from(Error::Protocol {
                host: self.host.name.clone(),
                object: object.to_owned(),
                message,
            })
        };
        let mut url = Url::parse(realm)
            .map_err(|_| protocol("its token service has no valid address".to_owned()))?;
        if self.secure && url.scheme() != "https" {
            let message = "its token service has no TLS, so no login is sent there".to_owned();
            return Err(protocol(message));
        }
        let mut pairs = vec![("scope", scope)];
        pairs.extend(service.map(|service| ("service", service)));
        let request = match &self.login {
            Some(Credentials::IdentityToken(token)) => {
                pairs.extend([
                    ("grant_type", "refresh_token"),
                    ("client_id", "airgap"),
                    ("refresh_token", token.expose_secret()),
                ]);
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(pairs)
                    .finish();
                let kind = "application/x-www-form-urlencoded";
                self.host
                    .client
                    .post(url)
                    .header(header::CONTENT_TYPE, kind)
                    .body(form)
            }
            Some(Credentials::Basic { username, password }) => {
                url.query_pairs_mut().extend_pairs(pairs);
                let request = self.host.client.get(url);
                request.basic_auth(username, Some(password.expose_secret()))
            }
            None => {
                url.query_pairs_mut().extend_pairs(pairs);
                self.host.client.get(url)
            }
        };
        let sent = request.send().await;
        let response = sent.map_err(|error| self.host.no_answer(error, object))?;
        if matches!(
            response.status(),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN
        ) {
            return Err(self.unauthorized(object).into());
        }
        if response.status().is_redirection() {
            let message =
                "its token service redirects, and a login goes only where the registry says"
                    .to_owned();
            return Err(protocol(message));
        }
        if !response.status().is_success() {
            return Err(self.host.refusal(response, object).await.0);
        }
        let body = self.host.read(response, MAX_TOKEN_BYTES, object).await?;
        let answer: TokenAnswer = serde_json::from_slice(&body)
            .map_err(|_| protocol("its token service sent no token".to_owned()))?;
        // Harbor sends `access_token` too, but empty
        let token = [answer.token, answer.access_token]
            .into_iter()
            .flatten()
            .find(|it| !it.is_empty());
        let token = token.ok_or_else(|| protocol("its token service sent no token".to_owned()))?;
        Ok((token.into(), Instant::now() + lifetime(answer.expires_in)))
    }

    fn unauthorized(&self, object: &str) -> Error {
        Error::Unauthorized {
            host: self.host.name.clone(),
            user: self
                .login
                .as_ref()
                .and_then(Credentials::username)
                .map(str::to_owned),
            object: object.to_owned(),
        }
    }
}

/// Returns how long a token is kept; one shorter than the margin is still good for the request at hand.
fn lifetime(expires_in: Option<u64>) -> Duration {
    let said = expires_in.map_or(TOKEN_LIFETIME, Duration::from_secs);
    said.clamp(TOKEN_MARGIN + Duration::from_secs(1), LONGEST_LIFETIME)
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

/// One thing to read, and where.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    pub(super) url: Url,
    /// The repository at that host, which tokens are for; `None` for files.
    pub(super) repository: Option<String>,
    pub(super) object: String,
}

impl Place {
    /// Reads a small object whole; returns it with the header `Content-Type`.
    pub(super) async fn read(
        &self,
        accept: &str,
        limit: u64,
        retry: RetryPolicy,
    ) -> Result<(Vec<u8>, Option<String>)> {
        let mut attempts = Attempts::new(retry);
        loop {
            match self.read_once(accept, limit).await {
                Ok(read) => return Ok(read),
                Err(failure) => attempts.wait_or_give_up(failure).await?,
            }
        }
    }

    async fn read_once(
        &self,
        accept: &str,
        limit: u64,
    ) -> Result<(Vec<u8>, Option<String>), Failure> {
        let response = self.get(Some(accept), 0).await?;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = self.source.host.read(response, limit, &self.object).await?;
        Ok((bytes, content_type))
    }

    /// Makes one request from `offset` on, with others for a login and for redirects; any success is returned.
    ///
    /// Where a redirect leaves the registry's scheme, host and port, the request carries no login, and a challenge is a refusal.
    pub(super) async fn get(&self, accept: Option<&str>, offset: u64) -> Result<Response, Failure> {
        let mut url = self.url.clone();
        let (mut answered, mut followed) = (0, 0);
        loop {
            let host = &self.source.host;
            let at_home = url.origin() == self.url.origin();
            let mut request = host.client.get(url.clone());
            // what comes is hashed, so it must come as it is
            request = request.header(header::ACCEPT_ENCODING, "identity");
            if let Some(accept) = accept {
                request = request.header(header::ACCEPT, accept);
            }
            if offset > 0 {
                request = request.header(header::RANGE, format!("bytes={offset}-"));
            }
            let mut shown = Shown::Nothing;
            if at_home {
                (request, shown) = self.source.log_in(request, self.repository.as_deref());
            }
            let sent = request.send().await;
            let response = sent.map_err(|error| host.no_answer(error, &self.object))?;
            if response.status().is_success() {
                return Ok(response);
            }
            if let Some(next) = self.redirect(&response)? {
                followed += 1;
                if followed > MOST_REDIRECTS {
                    let message = format!("it redirects more than {MOST_REDIRECTS} times");
                    return Err(self.protocol(message).into());
                }
                url = next;
                continue;
            }
            if !at_home {
                return Err(self.refusal_elsewhere(response, &url).await);
            }
            if response.status() == StatusCode::UNAUTHORIZED && answered < 2 {
                answered += 1;
                if let Shown::Token(refused) = &shown {
                    self.source.drop_token(self.repository.as_deref(), refused);
                }
                let challenges = response.headers().get_all(header::WWW_AUTHENTICATE);
                let challenge = challenges
                    .iter()
                    .filter_map(|value| Challenge::parse(value.to_str().ok()?))
                    .max_by_key(|challenge| matches!(challenge, Challenge::Bearer { .. }));
                let able = self
                    .source
                    .answer(challenge, &shown, self.repository.as_deref(), &self.object)
                    .await?;
                if able {
                    continue;
                }
            }
            return Err(self.refusal(response).await);
        }
    }

    /// Returns where an answer redirects to; `None` if it does not.
    fn redirect(&self, response: &Response) -> Result<Option<Url>> {
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(None);
        }
        let Some(location) = response.headers().get(header::LOCATION) else {
            return Ok(None);
        };
        let next = std::str::from_utf8(location.as_bytes()).ok();
        let next = next
            .and_then(|next| response.url().join(next).ok())
            .filter(|next| matches!(next.scheme(), "https" | "http"));
        let Some(next) = next else {
            return Err(self.protocol("it redirects to what is no address".to_owned()));
        };
        if response.url().scheme() == "https" && next.scheme() != "https" {
            return Err(self.protocol("it redirects from https to http".to_owned()));
        }
        Ok(Some(next))
    }

    /// Tells of a refusal where the registry redirected to: its login says nothing of the account.
    async fn refusal_elsewhere(&self, response: Response, at: &Url) -> Failure {
        let (mut failure, _) = self.source.host.refusal(response, &self.object).await;
        if let Error::Status { message, .. } = &mut failure.error {
            *message = format!("{message} (at {}, where it redirects to)", authority(at));
        }
        failure
    }

    async fn refusal(&self, response: Response) -> Failure {
        match response.status() {
            StatusCode::UNAUTHORIZED => self.source.unauthorized(&self.object).into(),
            StatusCode::FORBIDDEN => {
                let (_, refusal) = self.source.host.refusal(response, &self.object).await;
                let login = self.source.login.as_ref();
                Error::Forbidden {
                    host: self.source.host.name.clone(),
                    user: login.and_then(Credentials::username).map(str::to_owned),
                    action: "pull",
                    object: self.object.clone(),
                    message: refusal.said(),
                }
                .into()
            }
            _ => self.source.host.refusal(response, &self.object).await.0,
        }
    }

    /// Names what a body that broke died of.
    pub(super) fn broken(&self, error: reqwest::Error) -> Failure {
        self.source.host.no_answer(error, &self.object)
    }

    /// Returns an error about an answer that the protocol does not allow.
    pub(super) fn protocol(&self, message: String) -> Error {
        Error::Protocol {
            host: self.source.host.name.clone(),
            object: self.object.clone(),
            message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_lifetime_is_past_what_a_clock_can_count() {
        let hour = Duration::from_hours(1);
        assert_eq!(lifetime(Some(3600)), hour);
        assert_eq!(lifetime(None), TOKEN_LIFETIME);
        assert!(lifetime(Some(0)) > TOKEN_MARGIN);
        assert_eq!(lifetime(Some(u64::MAX)), 24 * hour);
    }
}
