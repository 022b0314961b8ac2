//! Port 9345, where nodes join and report; 2380, where servers talk to each other; 2381 on loopback, etcd's health.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Path, Request, State as Shared};
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine as _;
use rustls::ServerConfig;
use serde_json::{Value, json};

use super::api::{self, Write};
use super::fail::{Context as _, Fail, Result};
use super::http::TlsListener;
use super::peers::Leader;
use super::server::Server;
use super::store::{Delta, Member, State};
use super::{log, nodes};

type App = Shared<Arc<Server>>;

fn any(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))
}

/// Opens the three ports.
pub(crate) async fn serve(server: &Arc<Server>, settings: &Arc<ServerConfig>) -> Result<()> {
    let public = Router::new()
        .route("/ping", get(|| async { "pong" }))
        .route(
            "/cacerts",
            get(|Shared(server): App| async move {
                server.peers.read(|state| state.cluster.ca_cert.clone())
            }),
        )
        .route("/v1-rke2/readyz", get(readyz))
        .route("/v1-rke2/{what}", post(call))
        .with_state(Arc::clone(server));
    let peers = Router::new()
        .route(
            "/standin/status",
            get(|Shared(server): App| async move { Json(server.peers.status()) }),
        )
        .route(
            "/standin/document",
            get(|Shared(server): App| async move { Json(server.peers.read(Clone::clone)) })
                .post(document),
        )
        .route("/standin/delta", post(delta))
        .route("/standin/lead", post(lead))
        .route("/standin/{what}", post(peer_call))
        .layer(middleware::from_fn_with_state(
            Arc::clone(server),
            peers_only,
        ))
        .layer(axum::extract::DefaultBodyLimit::max(64 << 20))
        .with_state(Arc::clone(server));
    for (port, router) in [(9345, public), (2380, peers)] {
        let listener = TlsListener::bind(any(port), Arc::clone(settings)).await?;
        tokio::spawn(async move { axum::serve(listener, router).await });
    }
    // the client port only has to be there: the API server talks to its own copy
    let client = tokio::net::TcpListener::bind(any(2379))
        .await
        .context("listen tcp :2379")?;
    tokio::spawn(async move { while client.accept().await.is_ok() {} });
    let health = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 2381))
        .await
        .context("listen tcp 127.0.0.1:2381")?;
    let router = Router::new()
        .route("/health", get(etcd_health))
        .with_state(Arc::clone(server));
    tokio::spawn(async move { axum::serve(health, router).await });
    Ok(())
}

async fn etcd_health(Shared(server): App) -> Response {
    match server.peers.leader().await {
        Ok(_) => Json(json!({"health": "true", "reason": ""})).into_response(),
        Err(error) => (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"health": "false", "reason": error.0})),
        )
            .into_response(),
    }
}

/// The user whose password the caller showed: `server`, or `node` for agents.
fn user(server: &Server, headers: &HeaderMap) -> Option<&'static str> {
    let header = headers
        .get(AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Basic ")?;
    let pair = String::from_utf8(
        base64::engine::general_purpose::STANDARD
            .decode(header)
            .ok()?,
    )
    .ok()?;
    let (name, password) = pair.split_once(':')?;
    server.peers.read(|state| {
        if password == state.cluster.server_password {
            Some(if name == "server" { "server" } else { "node" })
        } else {
            (password == state.cluster.agent_password).then_some("node")
        }
    })
}

async fn readyz(Shared(server): App, headers: HeaderMap) -> Response {
    if user(&server, &headers).is_none() {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    if server.ready.load(Ordering::SeqCst) {
        "ok".into_response()
    } else {
        StatusCode::SERVICE_UNAVAILABLE.into_response()
    }
}

async fn call(
    Shared(server): App,
    Path(what): Path<String>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let Some(user) = user(&server, &headers) else {
        log::warn(format!("{what}: not authorized"));
        return (StatusCode::UNAUTHORIZED, "401 Unauthorized: invalid token").into_response();
    };
    if ["server-bootstrap", "member-add"].contains(&what.as_str()) && user != "server" {
        return (StatusCode::FORBIDDEN, "403 Forbidden: not a server token").into_response();
    }
    if !server.ready.load(Ordering::SeqCst) {
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            "503 Service Unavailable: runtime core not ready",
        )
            .into_response();
    }
    if what == "server-bootstrap" {
        return Json(
            server
                .peers
                .read(|state| json!({"critical": state.cluster.critical})),
        )
        .into_response();
    }
    answer(server.leader_call(&what, &body).await)
}

fn answer<T: serde::Serialize>(result: Result<T>) -> Response {
    match result {
        Ok(value) => Json(value).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.0).into_response(),
    }
}

async fn peers_only(Shared(server): App, request: Request, next: Next) -> Response {
    let shown = request
        .headers()
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if shown
        != format!(
            "Bearer {}",
            server
                .peers
                .read(|state| state.cluster.server_password.clone())
        )
    {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    next.run(request).await
}

async fn document(Shared(server): App, Json(document): Json<State>) -> Response {
    answer(server.peers.take_document(document))
}

async fn delta(Shared(server): App, Json(delta): Json<Delta>) -> Response {
    answer(server.peers.take_delta(delta))
}

async fn lead(Shared(server): App) -> Response {
    answer(match server.peers.leader().await {
        Ok(Leader::Me) => Ok(()),
        Ok(Leader::Other(member)) => Err(Fail::new(format!("{} should lead", member.name))),
        Err(error) => Err(error),
    })
}

async fn peer_call(
    Shared(server): App,
    Path(what): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    if !server.peers.is_leader() {
        return answer::<()>(Err(Fail::new("etcdserver: not leader")));
    }
    answer(on_leader(&server, &what, body).await)
}

/// Calls that only the leader carries out.
pub(crate) async fn on_leader(server: &Server, what: &str, body: Value) -> Result<Value> {
    match what {
        "write" => {
            let request: Write = serde_json::from_value(body)?;
            let done = server
                .peers
                .commit(|state| Ok(api::write(state, request)))
                .await?;
            Ok(serde_json::to_value(done)?)
        }
        "node-password" => server
            .peers
            .commit(|state| nodes::check_password(state, &body))
            .await
            .map(|()| Value::Null),
        "sync" => nodes::sync(server, &body).await,
        "member-add" => member_add(server, serde_json::from_value(body)?).await,
        "promote" => {
            let id = body["id"].as_u64().context("promote: no id")?;
            server
                .peers
                .commit(|state| {
                    let member = state
                        .members
                        .iter_mut()
                        .find(|member| member.id == id)
                        .context("etcdserver: member not found")?;
                    member.learner = false;
                    Ok(Value::Null)
                })
                .await
        }
        _ => Err(Fail::new(format!("unknown call {what}"))),
    }
}

/// Adds a learner; the answer is the whole document with it.
async fn member_add(server: &Server, member: Member) -> Result<Value> {
    server
        .peers
        .commit(|state| {
            if let Some(old) = state.members.iter().find(|old| old.node == member.node) {
                return Err(Fail::new(format!(
                    "duplicate node name found, please use a unique name for this node (member {} at {} is still in the etcd cluster)",
                    old.name, old.address
                )));
            }
            if state.members.iter().any(|old| old.address == member.address) {
                return Err(Fail::new("etcdserver: Peer URLs already exists"));
            }
            if state.members.iter().any(|old| old.learner) {
                return Err(Fail::new("etcdserver: too many learner members in cluster"));
            }
            state.members.push(member);
            Ok(())
        })
        .await?;
    Ok(server.peers.read(|state| serde_json::to_value(state))?)
}
