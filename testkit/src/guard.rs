//! What stands between the wire and a test server's answers: the request log and the ordered faults.

use axum::{
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};

use crate::{
    faults::{FaultAction, Faults},
    requests::{self, RequestLog},
    serve::{Connection, Presence},
};

/// The log, the faults and the presence of one server.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    pub(crate) faults: Faults,
    pub(crate) log: RequestLog,
    pub(crate) presence: Presence,
}

impl Guard {
    /// Logs a request, lets the next matching fault happen, and has `answer` do the rest.
    pub(crate) async fn pass<Answering: Future<Output = Response> + Send>(
        &self,
        connection: Connection,
        mut request: Request,
        forget_tokens: impl FnOnce() + Send,
        answer: impl FnOnce(Request) -> Answering + Send,
    ) -> Response {
        let method = request.method().to_string();
        let path = request.uri().path().to_owned();
        let place = self.log.begin(requests::Request {
            method: method.clone(),
            path: path.clone(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            user: user(request.headers()),
            status: 0,
        });
        let action = self.faults.take(&method, &path);
        match &action {
            Some(FaultAction::Status { code, retry_after }) => {
                self.log.end(place, *code);
                return fault_status(*code, retry_after.as_deref());
            }
            Some(FaultAction::Redirect { location }) => {
                self.log.end(place, 307);
                let location = [(header::LOCATION, location.clone())];
                return (StatusCode::TEMPORARY_REDIRECT, location).into_response();
            }
            Some(FaultAction::CutRequest { after_bytes }) => {
                request = cut_request(request, *after_bytes, move || connection.cut());
                if *after_bytes == 0 {
                    drain(request).await;
                    return std::future::pending().await;
                }
            }
            Some(FaultAction::Gone { after_bytes }) => {
                let presence = self.presence.clone();
                request = cut_request(request, *after_bytes, move || {
                    presence.begin_to_leave();
                });
                if *after_bytes == 0 {
                    drain(request).await;
                    return std::future::pending().await;
                }
            }
            Some(FaultAction::Delay { millis }) => {
                tokio::time::sleep(std::time::Duration::from_millis(*millis)).await;
            }
            Some(FaultAction::ExpireTokens) => forget_tokens(),
            Some(FaultAction::IgnoreRange) => {
                request.headers_mut().remove(header::RANGE);
            }
            Some(FaultAction::CutResponse { after_bytes }) => {
                let response = answer(request).await;
                self.log.end(place, response.status().as_u16());
                return cut_response(response, *after_bytes, move || connection.cut());
            }
            _ => {}
        }
        let response = distort(answer(request).await, action.as_ref());
        self.log.end(place, response.status().as_u16());
        response
    }
}

/// Changes an answer that is otherwise right.
fn distort(mut response: Response, action: Option<&FaultAction>) -> Response {
    match action {
        Some(FaultAction::StatusAfter { code }) => fault_status(*code, None),
        Some(FaultAction::WrongDigestHeader) => {
            let wrong = format!("sha256:{}", "0".repeat(64));
            let wrong = HeaderValue::from_str(&wrong).expect("hex is a header value");
            response
                .headers_mut()
                .insert("docker-content-digest", wrong);
            response
        }
        Some(FaultAction::NoDigestHeader) => {
            response.headers_mut().remove("docker-content-digest");
            response
        }
        Some(FaultAction::CorruptBody) => {
            let (parts, body) = response.into_parts();
            let mut flipped = false;
            let stream = body.into_data_stream().map(move |chunk| {
                chunk.map(|chunk| {
                    if flipped || chunk.is_empty() {
                        return chunk;
                    }
                    flipped = true;
                    let mut bytes = chunk.to_vec();
                    bytes[0] ^= 1;
                    Bytes::from(bytes)
                })
            });
            Response::from_parts(parts, Body::from_stream(stream))
        }
        Some(FaultAction::HttpLocation) => {
            relocate(response, |path| path.replacen("https://", "http://", 1))
        }
        Some(FaultAction::RelativeLocation) => relocate(response, |location| {
            location
                .split_once("://")
                .and_then(|(_, rest)| rest.find('/').map(|slash| rest[slash..].to_owned()))
                .unwrap_or_else(|| location.to_owned())
        }),
        Some(FaultAction::ForeignLocation) => relocate(response, |location| {
            location
                .split_once("://")
                .and_then(|(scheme, rest)| {
                    rest.find('/')
                        .map(|slash| format!("{scheme}://elsewhere.invalid{}", &rest[slash..]))
                })
                .unwrap_or_else(|| location.to_owned())
        }),
        _ => response,
    }
}

fn relocate(mut response: Response, change: impl FnOnce(&str) -> String) -> Response {
    let changed = response
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok())
        .map(change)
        .and_then(|location| HeaderValue::from_str(&location).ok());
    if let Some(location) = changed {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

fn fault_status(code: u16, retry_after: Option<&str>) -> Response {
    let status = StatusCode::from_u16(code).expect("a fault names a valid status");
    // what a proxy in front of the registry would say: not JSON
    let mut response = (status, format!("<html><h1>{code}</h1></html>")).into_response();
    if let Some(value) = retry_after.and_then(|value| HeaderValue::from_str(value).ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

fn cut_request(request: Request, after_bytes: u64, cut: impl FnOnce() + Send + 'static) -> Request {
    let (parts, body) = request.into_parts();
    let stream = cut_stream(body.into_data_stream(), after_bytes, cut);
    Request::from_parts(parts, Body::from_stream(stream))
}

fn cut_response(
    response: Response,
    after_bytes: u64,
    cut: impl FnOnce() + Send + 'static,
) -> Response {
    let (parts, body) = response.into_parts();
    let stream = cut_stream(body.into_data_stream(), after_bytes, cut);
    Response::from_parts(parts, Body::from_stream(stream))
}

async fn drain(request: Request) {
    let mut stream = request.into_body().into_data_stream();
    while stream.next().await.is_some() {}
}

/// Passes on `after_bytes`, then cuts and stays silent; a shorter body ends as it would.
fn cut_stream<E: Send + 'static>(
    inner: impl Stream<Item = Result<Bytes, E>> + Send + Unpin + 'static,
    after_bytes: u64,
    cut: impl FnOnce() + Send + 'static,
) -> impl Stream<Item = Result<Bytes, E>> + Send {
    stream::unfold(
        (inner, after_bytes, Some(cut)),
        |(mut inner, left, cut)| async move {
            if left == 0 {
                // let what was passed on before reach the wire
                tokio::time::sleep(std::time::Duration::from_millis(30)).await;
                if let Some(cut) = cut {
                    cut();
                }
                return std::future::pending().await;
            }
            let chunk = inner.next().await?;
            Some(match chunk {
                Ok(mut bytes) => {
                    let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    bytes.truncate(take);
                    (Ok(bytes), (inner, left - take as u64, cut))
                }
                Err(error) => (Err(error), (inner, left, cut)),
            })
        },
    )
}

/// Returns the account in a request's Basic login.
fn user(headers: &HeaderMap) -> Option<String> {
    basic(headers).map(|(user, _)| user)
}

/// Returns the account and password of a request's Basic login.
pub(crate) fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    use base64::Engine as _;
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Returns a request's Bearer token.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.to_owned())
}
