//! Port 6443: the part of the Kubernetes API that the stand-in's kubectl and an installer use.
//!
//! Anonymous requests are refused, as RKE2's `--anonymous-auth=false` does.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State as Shared};
use axum::http::{Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use rustls::ServerConfig;
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{ApiError, Verb, Write};
use super::fail::Result;
use super::http::{Caller, TlsListener};
use super::kinds::{self, Kind};
use super::server::Server;
use super::store::{Member, State};

/// The query parameters that are looked at.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Options {
    field_manager: Option<String>,
    #[serde(default)]
    force: bool,
    label_selector: Option<String>,
}

pub(crate) async fn serve(server: &Arc<Server>, settings: &Arc<ServerConfig>) -> Result<()> {
    let listener = TlsListener::bind(
        SocketAddr::from((Ipv4Addr::UNSPECIFIED, 6443)),
        Arc::clone(settings),
    )
    .await?;
    let router = Router::new()
        .fallback(handle)
        .layer(axum::extract::DefaultBodyLimit::max(8 << 20))
        .with_state(Arc::clone(server))
        .into_make_service_with_connect_info::<Caller>();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

async fn handle(
    Shared(server): Shared<Arc<Server>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    method: Method,
    uri: Uri,
    Query(options): Query<Options>,
    body: Bytes,
) -> Response {
    let answer = if caller.certified {
        route(&server, &method, uri.path(), &options, &body).await
    } else {
        Err(ApiError::new(401, "Unauthorized", "Unauthorized"))
    };
    match answer {
        Ok(Value::String(text)) => text.into_response(),
        Ok(value) => Json(value).into_response(),
        Err(error) => {
            let code =
                StatusCode::from_u16(error.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (code, Json(error.status())).into_response()
        }
    }
}

/// The members as `etcdctl member list -w json` shows them.
fn members(state: &State) -> Value {
    let member = |member: &Member| {
        let url = |port: u16| format!("https://{}:{port}", member.address);
        let mut shown = json!({"ID": member.id, "name": member.name, "peerURLs": [url(2380)], "clientURLs": [url(2379)]});
        if member.learner {
            shown["isLearner"] = true.into();
        }
        shown
    };
    json!({"members": state.members.iter().map(member).collect::<Vec<_>>()})
}

async fn route(
    server: &Server,
    method: &Method,
    path: &str,
    options: &Options,
    body: &[u8],
) -> Result<Value, ApiError> {
    match path {
        "/readyz" | "/livez" | "/healthz" => {
            server
                .peers
                .leader()
                .await
                .map_err(|error| ApiError::new(500, "InternalError", error.0))?;
            if path == "/readyz" && !server.ready.load(Ordering::SeqCst) {
                return Err(ApiError::new(
                    500,
                    "InternalError",
                    "[-]poststarthook/rke2 failed: not ready",
                ));
            }
            return Ok("ok".into());
        }
        "/version" => {
            let git = &server.release.version;
            let mut parts = git.trim_start_matches('v').split('.');
            return Ok(
                json!({"major": parts.next(), "minor": parts.next(), "gitVersion": git, "platform": "linux/amd64"}),
            );
        }
        // discovery in one document: kubectl's real one is spread over the API groups
        "/apis/standin" => return Ok(json!(server.peers.read(kinds::served))),
        // what etcdctl in an etcd pod would answer
        "/apis/standin/etcd" => return Ok(server.peers.read(members)),
        _ => {}
    }
    let (kind, namespace, name) = locate(server, path)?;
    let write = |verb: Verb, body: Value, name: &str| Write {
        verb,
        namespace: namespace.clone().unwrap_or_default(),
        name: name.to_owned(),
        kind: kind.clone(),
        body,
    };
    let parse = || {
        serde_json::from_slice::<Value>(body)
            .map_err(|error| ApiError::new(400, "BadRequest", error.to_string()))
    };
    match (method.as_str(), name) {
        ("GET", Some(name)) => {
            let found = server.get(&kind, namespace.as_deref().unwrap_or_default(), &name);
            found.ok_or_else(|| ApiError::not_found(&kind, &name))
        }
        ("GET", None) => {
            let prefix = kind.prefix(namespace.as_deref());
            let wanted = options.label_selector.as_deref().unwrap_or_default();
            let items = server.peers.read(|state| {
                state
                    .under(&prefix)
                    .filter(|object| selected(object, wanted))
                    .cloned()
                    .collect::<Vec<_>>()
            });
            Ok(
                json!({"apiVersion": kind.api_version(), "kind": format!("{}List", kind.kind), "items": items}),
            )
        }
        ("POST", None) => {
            let object = parse()?;
            let name = object["metadata"]["name"]
                .as_str()
                .unwrap_or_default()
                .to_owned();
            server.write(write(Verb::Create, object, &name)).await
        }
        ("PATCH", Some(name)) => {
            let verb = match &options.field_manager {
                Some(manager) => Verb::Apply {
                    manager: manager.clone(),
                    force: options.force,
                },
                None => Verb::Merge,
            };
            server.write(write(verb, parse()?, &name)).await
        }
        ("DELETE", Some(name)) => server.write(write(Verb::Delete, Value::Null, &name)).await,
        _ => Err(ApiError::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )),
    }
}

fn locate(server: &Server, path: &str) -> Result<(Kind, Option<String>, Option<String>), ApiError> {
    let missing = || {
        ApiError::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
    };
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    let (group, version, rest) = match parts.as_slice() {
        ["api", version, rest @ ..] => ("", *version, rest),
        ["apis", group, version, rest @ ..] => (*group, *version, rest),
        _ => return Err(missing()),
    };
    let (namespace, rest) = match rest {
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => {
            (Some((*namespace).to_owned()), rest)
        }
        _ => (None, rest),
    };
    let (plural, name) = match rest {
        [plural] => (*plural, None),
        [plural, name] => (*plural, Some((*name).to_owned())),
        _ => return Err(missing()),
    };
    let kinds = server.peers.read(kinds::served);
    let kind = kinds
        .into_iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural);
    Ok((kind.ok_or_else(missing)?, namespace, name))
}

/// Equality selectors only: `a=b,c==d,e`.
fn selected(object: &Value, selector: &str) -> bool {
    selector
        .split(',')
        .filter(|term| !term.is_empty())
        .all(|term| {
            let (key, wanted) = term.split_once('=').map_or((term, None), |(key, value)| {
                (key, Some(value.trim_start_matches('=')))
            });
            let found = object["metadata"]["labels"][key].as_str();
            wanted.map_or(found.is_some(), |wanted| found == Some(wanted))
        })
}
