//! The way to the registry behind: same path, other login, `Location` pointing back at the front.

use std::{net::SocketAddr, sync::Arc};

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    response::Response,
};
use bytes::Bytes;

use super::{
    BACKEND_PASSWORD, BACKEND_USER, Shared,
    api::parameter,
    policy,
    v2::{Object, Target},
};
use crate::upstream::error;

/// Passes a request on and notes what it changed.
pub(super) async fn forward(
    shared: &Arc<Shared>,
    address: SocketAddr,
    target: &Target,
    request: Request,
    query: &str,
) -> Response {
    let method = request.method().clone();
    if let (Object::Manifest(reference), &Method::PUT) = (&target.object, &method) {
        return put_manifest(shared, address, target, reference, request).await;
    }
    if matches!(target.object, Object::Manifest(_)) && method == Method::DELETE {
        return error(
            StatusCode::METHOD_NOT_ALLOWED,
            "UNSUPPORTED",
            "use the API to delete",
        );
    }
    let size = content_length(request.headers());
    let response = send(shared, address, request).await;
    let created = response.status() == StatusCode::CREATED;
    if created && target.object == Object::Upload {
        if let Some(digest) = parameter(query, "mount") {
            policy::after_blob(shared, target, &digest, None);
        } else if let Some(digest) = parameter(query, "digest") {
            // as Harbor: what counts is the length of this PUT alone
            policy::after_blob(shared, target, &digest, Some(size));
        }
    }
    response
}

async fn put_manifest(
    shared: &Arc<Shared>,
    address: SocketAddr,
    target: &Target,
    reference: &str,
    request: Request,
) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(manifest) = axum::body::to_bytes(body, 4 << 20).await else {
        return error(
            StatusCode::BAD_REQUEST,
            "MANIFEST_INVALID",
            "manifest exceeds the limit",
        );
    };
    if let Some(refusal) = policy::check_manifest(shared, target, &manifest).await {
        return refusal;
    }
    let media_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned();
    let request = Request::from_parts(parts, Body::from(manifest.clone()));
    let mut response = send(shared, address, request).await;
    if response.status() == StatusCode::CREATED
        && let Some(subject) =
            policy::after_manifest(shared, target, reference, &media_type, &manifest)
        && let Ok(subject) = subject.parse()
    {
        response
            .headers_mut()
            .insert(HeaderName::from_static("oci-subject"), subject);
    }
    response
}

/// Fetches a small object from the registry behind.
pub(super) async fn fetch(shared: &Shared, path: &str) -> Option<Bytes> {
    let url = format!("http://{}{path}", shared.backend);
    let request = shared
        .client
        .get(url)
        .basic_auth(BACKEND_USER, Some(BACKEND_PASSWORD));
    let response = request.send().await.ok()?.error_for_status().ok()?;
    response.bytes().await.ok()
}

async fn send(shared: &Shared, address: SocketAddr, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    let mut headers = HeaderMap::new();
    for name in [
        header::ACCEPT,
        header::CONTENT_TYPE,
        header::CONTENT_LENGTH,
        header::RANGE,
        header::CONTENT_RANGE,
    ] {
        for value in parts.headers.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
    let host = parts.headers.get(header::HOST).cloned();
    let own = HeaderValue::from_str(&address.to_string()).expect("an address is a header value");
    headers.insert(header::HOST, host.unwrap_or(own));
    let scheme = HeaderValue::from_static(if shared.tls { "https" } else { "http" });
    headers.insert(HeaderName::from_static("x-forwarded-proto"), scheme);
    let has_body = matches!(parts.method, Method::PUT | Method::PATCH | Method::POST);
    let mut forwarded = shared
        .client
        .request(parts.method, format!("http://{}{path}", shared.backend))
        .headers(headers)
        .basic_auth(BACKEND_USER, Some(BACKEND_PASSWORD));
    if has_body {
        forwarded = forwarded.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = match forwarded.send().await {
        Ok(answer) => answer,
        Err(cause) => {
            tracing::debug!(%cause, "the registry behind did not answer");
            return error(StatusCode::BAD_GATEWAY, "UNKNOWN", "bad gateway");
        }
    };
    let mut response = Response::builder().status(answer.status());
    if let Some(headers) = response.headers_mut() {
        for (name, value) in answer.headers() {
            if !matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING) {
                headers.append(name.clone(), value.clone());
            }
        }
    }
    response
        .body(Body::from_stream(answer.bytes_stream()))
        .expect("the headers were valid")
}

fn content_length(headers: &HeaderMap) -> u64 {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
