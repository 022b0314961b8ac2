//! How an upstream server answers: the read half of the distribution API, a token service, files.

use std::{net::SocketAddr, ops::Range, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    http::{HeaderMap, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio_util::io::ReaderStream;

use super::{Content, Shared, UpstreamAuth};
use crate::{
    guard::{Guard, basic, bearer},
    image::digest_of,
    serve::Connection,
};

pub(super) fn routes(shared: Arc<Shared>, guard: Guard, address: SocketAddr) -> Router {
    Router::new().fallback(
        move |ConnectInfo(connection): ConnectInfo<Connection>, request: Request| async move {
            let forget = || shared.tokens.forget();
            let work = |request| answer(&shared, address, request);
            guard.pass(connection, request, forget, work).await
        },
    )
}

async fn answer(shared: &Shared, address: SocketAddr, request: Request) -> Response {
    let path = request.uri().path().to_owned();
    if path == "/token" {
        return token(shared, request).await;
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return error(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "this server is read-only",
        );
    }
    let (method, headers) = (request.method().clone(), request.headers().clone());
    let Some(rest) = path.strip_prefix("/v2") else {
        let content = shared.store(|store| store.file(path.trim_start_matches('/')));
        return match content {
            Some(content) => send(content, "application/octet-stream", &method, &headers).await,
            None => (StatusCode::NOT_FOUND, "no such file").into_response(),
        };
    };
    let rest = rest.trim_start_matches('/');
    let Some((repository, kind, name)) = parse(rest) else {
        if let Some(refusal) = refuse(shared, address, &request, None) {
            return refusal;
        }
        return if rest.is_empty() {
            axum::Json(json!({})).into_response()
        } else {
            error(StatusCode::NOT_FOUND, "NAME_UNKNOWN", "no such path")
        };
    };
    if let Some(refusal) = refuse(shared, address, &request, Some(repository)) {
        return refusal;
    }
    if !shared.store(|store| store.has_repository(repository)) {
        return error(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "repository name not known to registry",
        );
    }
    match kind {
        "manifests" => manifest(shared, repository, name, &headers, &method),
        "blobs" => match shared.store(|store| store.blob(name)) {
            Some(content) => {
                let mut response =
                    send(content, "application/octet-stream", &method, &headers).await;
                if let Ok(value) = name.parse() {
                    response
                        .headers_mut()
                        .insert("docker-content-digest", value);
                }
                response
            }
            None => error(
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "blob unknown to registry",
            ),
        },
        _ if shared.referrers_api => {
            let manifests = shared.store(|store| store.referrers(repository, name));
            let index = json!({
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": manifests,
            });
            let kind = [(
                header::CONTENT_TYPE,
                "application/vnd.oci.image.index.v1+json",
            )];
            (kind, index.to_string()).into_response()
        }
        _ => (StatusCode::NOT_FOUND, "404 page not found\n").into_response(),
    }
}

/// Splits `repository/{manifests,blobs,referrers}/name`.
fn parse(path: &str) -> Option<(&str, &str, &str)> {
    let (front, name) = path.rsplit_once('/')?;
    let (repository, kind) = front.rsplit_once('/')?;
    matches!(kind, "manifests" | "blobs" | "referrers").then_some((repository, kind, name))
}

fn manifest(
    shared: &Shared,
    repository: &str,
    name: &str,
    headers: &HeaderMap,
    method: &Method,
) -> Response {
    let Some(stored) = shared.store(|store| store.manifest(repository, name)) else {
        return error(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            "manifest unknown",
        );
    };
    let accepted = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    if !accepted
        .into_iter()
        .any(|accept| accept.contains(&stored.media_type))
    {
        let message = "manifest found, but accept header does not support its type";
        return error(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", message);
    }
    let digest = digest_of(&stored.bytes).to_string();
    let length = stored.bytes.len();
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        Body::from(stored.bytes)
    };
    (
        [
            (header::CONTENT_TYPE, stored.media_type),
            (header::CONTENT_LENGTH, length.to_string()),
            (
                header::HeaderName::from_static("docker-content-digest"),
                digest,
            ),
        ],
        body,
    )
        .into_response()
}

/// Returns the refusal of a request that does not show what [`UpstreamAuth`] wants.
fn refuse(
    shared: &Shared,
    address: SocketAddr,
    request: &Request,
    repository: Option<&str>,
) -> Option<Response> {
    let challenge = match &shared.auth {
        UpstreamAuth::None => return None,
        UpstreamAuth::Basic { username, password } => {
            if basic(request.headers())
                .is_some_and(|(user, word)| user == *username && word == *password)
            {
                return None;
            }
            "Basic realm=\"upstream\"".to_owned()
        }
        UpstreamAuth::Bearer { .. } => {
            let grant = bearer(request.headers()).and_then(|token| shared.tokens.grant(&token));
            match (grant, repository) {
                (Some(_), None) => return None,
                (Some(grant), Some(repository)) if grant == repository => return None,
                _ => {}
            }
            let scheme = if shared.tls { "https" } else { "http" };
            let scope = repository
                .map(|repository| format!(",scope=\"repository:{repository}:pull\""))
                .unwrap_or_default();
            format!("Bearer realm=\"{scheme}://{address}/token\",service=\"upstream\"{scope}")
        }
    };
    let mut response = error(
        StatusCode::UNAUTHORIZED,
        "UNAUTHORIZED",
        "authentication required",
    );
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        challenge.parse().expect("a challenge is a header value"),
    );
    Some(response)
}

/// The token service: GET with Basic, or POST with the long-lived token.
async fn token(shared: &Shared, request: Request) -> Response {
    let UpstreamAuth::Bearer {
        account,
        identity_token,
        lifetime,
    } = &shared.auth
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let login = basic(request.headers());
    let mut pairs = request.uri().query().unwrap_or_default().to_owned();
    let mut refreshed = false;
    if *request.method() == Method::POST {
        let body = axum::body::to_bytes(request.into_body(), 1 << 16)
            .await
            .unwrap_or_default();
        pairs = String::from_utf8_lossy(&body).into_owned();
        let given = parameter(&pairs, "refresh_token");
        refreshed = given.is_some()
            && given == *identity_token
            && parameter(&pairs, "grant_type").as_deref() == Some("refresh_token");
        if !refreshed {
            return error(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "wrong refresh token",
            );
        }
    }
    if parameter(&pairs, "service").as_deref() != Some("upstream") {
        return error(StatusCode::BAD_REQUEST, "UNSUPPORTED", "unknown service");
    }
    if let Some(account) = account
        && !refreshed
        && login.as_ref() != Some(account)
    {
        return error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "wrong login");
    }
    let scope = parameter(&pairs, "scope").unwrap_or_default();
    let repository = scope
        .strip_prefix("repository:")
        .and_then(|scope| scope.rsplit_once(':'))
        .map_or("", |(repository, _)| repository);
    let token = shared.tokens.give(*lifetime, repository.to_owned());
    // Harbor sends the second field empty, others send only one: clients must take the one that is there
    axum::Json(json!({"token": token, "access_token": "", "expires_in": lifetime.as_secs()}))
        .into_response()
}

fn parameter(pairs: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(pairs.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

/// Sends content, or the part of it that the header `Range` asks for.
async fn send(content: Content, kind: &str, method: &Method, headers: &HeaderMap) -> Response {
    let total = match &content {
        Content::Bytes(bytes) => bytes.len() as u64,
        Content::File(path) => match fs_err::metadata(path) {
            Ok(metadata) => metadata.len(),
            Err(_) => return StatusCode::NOT_FOUND.into_response(),
        },
    };
    let asked = headers
        .get(header::RANGE)
        .and_then(|range| range.to_str().ok());
    let range = match asked.map(|range| parse_range(range, total)) {
        None => 0..total,
        Some(Some(range)) => range,
        Some(None) => {
            let range = [(header::CONTENT_RANGE, format!("bytes */{total}"))];
            return (StatusCode::RANGE_NOT_SATISFIABLE, range).into_response();
        }
    };
    let length = range.end - range.start;
    let mut response = Response::builder()
        .header(header::CONTENT_TYPE, kind)
        .header(header::CONTENT_LENGTH, length)
        .header(header::ACCEPT_RANGES, "bytes");
    if asked.is_some() {
        response = response.status(StatusCode::PARTIAL_CONTENT).header(
            header::CONTENT_RANGE,
            format!(
                "bytes {}-{}/{total}",
                range.start,
                range.end.saturating_sub(1)
            ),
        );
    }
    let body = if *method == Method::HEAD {
        Body::empty()
    } else {
        body(content, range).await
    };
    response.body(body).expect("the headers are valid")
}

async fn body(content: Content, range: Range<u64>) -> Body {
    match content {
        Content::Bytes(bytes) => {
            let start = usize::try_from(range.start).unwrap_or(usize::MAX);
            let end = usize::try_from(range.end).unwrap_or(usize::MAX);
            // in pieces, so that a cut in the middle is one
            let part = bytes.slice(start..end);
            let pieces: Vec<Result<bytes::Bytes, std::convert::Infallible>> = part
                .chunks(16 << 10)
                .map(|piece| Ok(part.slice_ref(piece)))
                .collect();
            Body::from_stream(futures_util::stream::iter(pieces))
        }
        Content::File(path) => {
            let opened = async {
                let mut file = tokio::fs::File::open(path.as_std_path()).await?;
                file.seek(std::io::SeekFrom::Start(range.start)).await?;
                std::io::Result::Ok(file.take(range.end - range.start))
            };
            match opened.await {
                Ok(part) => Body::from_stream(ReaderStream::with_capacity(part, 256 << 10)),
                Err(_) => Body::empty(),
            }
        }
    }
}

/// Parses `bytes=a-` and `bytes=a-b`; `None` where nothing of it exists.
fn parse_range(range: &str, total: u64) -> Option<Range<u64>> {
    let (start, end) = range.strip_prefix("bytes=")?.split_once('-')?;
    let start: u64 = start.parse().ok()?;
    let end = if end.is_empty() {
        total
    } else {
        end.parse::<u64>().ok()?.saturating_add(1).min(total)
    };
    (start < end).then_some(start..end)
}

pub(crate) fn error(status: StatusCode, code: &str, message: &str) -> Response {
    (
        status,
        axum::Json(json!({"errors": [{"code": code, "message": message}]})),
    )
        .into_response()
}
