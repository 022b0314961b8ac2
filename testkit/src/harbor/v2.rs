//! The registry API as Harbor's core guards it: who is asking, for which project, and may they.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};

use super::{
    Shared, api,
    api::{parameter, read_only, unauthorized},
    policy, proxy,
    state::Right,
};
use crate::{
    guard::{Guard, basic, bearer},
    serve::Connection,
    upstream::error,
};

pub(super) fn routes(shared: Arc<Shared>, guard: Guard, address: SocketAddr) -> Router {
    Router::new().fallback(
        move |ConnectInfo(connection): ConnectInfo<Connection>, request: Request| async move {
            let forget = || shared.tokens.forget();
            let work = |request| dispatch(&shared, address, request);
            guard.pass(connection, request, forget, work).await
        },
    )
}

async fn dispatch(shared: &Arc<Shared>, address: SocketAddr, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/service/token" {
        api::token(shared, request).await
    } else if path.starts_with("/api/") {
        api::answer(shared, request).await
    } else if path == "/v2" || path.starts_with("/v2/") {
        answer(shared, address, request).await
    } else {
        StatusCode::NOT_FOUND.into_response()
    }
}

/// Who a request comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Caller {
    /// It carries no login.
    Nobody,
    /// It carries a right one; a token of nobody has an empty name.
    Account(String),
    /// It carries a wrong one.
    Wrong,
}

/// Finds out who is asking; a wrong password takes 1.5 s to be refused.
pub(super) async fn caller(shared: &Shared, headers: &HeaderMap) -> Caller {
    if let Some((user, password)) = basic(headers) {
        if shared.state(|state| state.login(&user, &password)) {
            return Caller::Account(user);
        }
        tokio::time::sleep(Duration::from_millis(1500)).await;
        return Caller::Wrong;
    }
    if let Some(token) = bearer(headers) {
        return shared
            .tokens
            .grant(&token)
            .map_or(Caller::Wrong, Caller::Account);
    }
    if headers.contains_key(header::AUTHORIZATION) {
        Caller::Wrong
    } else {
        Caller::Nobody
    }
}

/// What a path below `/v2/` is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The whole repository, with its project.
    pub(super) repository: String,
    /// The project.
    pub(super) project: String,
    /// What of it.
    pub(super) object: Object,
}

/// What of a repository is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Object {
    /// A manifest by tag or digest.
    Manifest(String),
    /// A blob.
    Blob(String),
    /// Uploads, or one of them.
    Upload,
    /// The referrers of a digest.
    Referrers(String),
    /// The list of tags.
    Tags,
}

impl Target {
    fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("/v2/")?;
        let (repository, object) = if let Some((repository, _)) = rest.split_once("/blobs/uploads")
        {
            (repository, Object::Upload)
        } else if let Some(repository) = rest.strip_suffix("/tags/list") {
            (repository, Object::Tags)
        } else {
            let (front, name) = rest.rsplit_once('/')?;
            let (repository, kind) = front.rsplit_once('/')?;
            let name = name.to_owned();
            match kind {
                "manifests" => (repository, Object::Manifest(name)),
                "blobs" => (repository, Object::Blob(name)),
                "referrers" => (repository, Object::Referrers(name)),
                _ => return None,
            }
        };
        let project = repository.split('/').next().unwrap_or_default().to_owned();
        Some(Self {
            repository: repository.to_owned(),
            project,
            object,
        })
    }
}

async fn answer(shared: &Arc<Shared>, address: SocketAddr, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let who = caller(shared, request.headers()).await;
    let target = Target::parse(&path);
    if who == Caller::Nobody {
        return challenge(shared, address, &request, target.as_ref());
    }
    if who == Caller::Wrong {
        return unauthorized();
    }
    let Some(target) = target else {
        return if path.trim_end_matches('/') == "/v2" {
            let version = [(
                header::HeaderName::from_static("docker-distribution-api-version"),
                "registry/2.0",
            )];
            (version, axum::Json(serde_json::json!({}))).into_response()
        } else {
            error(StatusCode::NOT_FOUND, "NOT_FOUND", "no such path")
        };
    };
    if !target.repository.contains('/') {
        let message = format!("invalid repository name: {}", target.repository);
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", &message);
    }
    let user = match &who {
        Caller::Account(user) if !user.is_empty() => Some(user.as_str()),
        _ => None,
    };
    if !shared.state(|state| state.projects.contains_key(&target.project)) {
        let mut response = error(
            StatusCode::UNAUTHORIZED,
            "UNAUTHORIZED",
            "unauthorized to access repository",
        );
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(""));
        return response;
    }
    let reading =
        matches!(*request.method(), Method::GET | Method::HEAD) && target.object != Object::Upload;
    let needed = if reading { Right::Pull } else { Right::Push };
    let mut allowed = shared.state(|state| state.may(user, &target.project, needed));
    let query = request.uri().query().unwrap_or_default().to_owned();
    if let Some(from) = parameter(&query, "from") {
        let Some((project, _)) = from.split_once('/') else {
            return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "invalid from");
        };
        allowed &= shared.state(|state| state.may(user, project, Right::Pull));
    }
    if !allowed {
        // with a login the challenge is Basic, whatever the first one was
        return unauthorized();
    }
    if !reading && shared.state(|state| state.read_only) {
        return read_only();
    }
    if let Some(refusal) =
        policy::before(shared, &target, request.method(), request.headers(), &query)
    {
        return refusal;
    }
    if let Object::Referrers(subject) = &target.object {
        return policy::referrers(shared, &target, subject);
    }
    proxy::forward(shared, address, &target, request, &query).await
}

fn challenge(
    shared: &Shared,
    address: SocketAddr,
    request: &Request,
    target: Option<&Target>,
) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok())
        .map_or_else(|| address.to_string(), str::to_owned);
    let scheme = if shared.tls { "https" } else { "http" };
    let scope = target.map_or_else(String::new, |target| {
        let actions = if matches!(*request.method(), Method::GET | Method::HEAD) {
            "pull"
        } else {
            "pull,push"
        };
        format!(",scope=\"repository:{}:{actions}\"", target.repository)
    });
    let value = format!(
        "Bearer realm=\"{scheme}://{host}/service/token\",service=\"harbor-registry\"{scope}"
    );
    let mut response = error(
        StatusCode::UNAUTHORIZED,
        "UNAUTHORIZED",
        "unauthorized to access repository",
    );
    if let Ok(value) = value.parse() {
        response
            .headers_mut()
            .insert(header::WWW_AUTHENTICATE, value);
    }
    response
}
