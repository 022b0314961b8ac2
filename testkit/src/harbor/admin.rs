//! The loopback API by which another process orders faults, reads the log and changes state.
//!
//! `POST /faults` (a [`Fault`] as JSON), `DELETE /faults`, `GET /log`, `DELETE /log`, `POST /leave`,
//! `POST /come-back`, `PUT /read-only` (`true`/`false`), `PUT /projects` (a [`Project`]),
//! `GET /used/{project}`. Everything but `GET` answers 204.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post, put},
};

use super::{Shared, state::Project};
use crate::{
    faults::{Fault, Faults},
    requests::{Request, RequestLog},
    serve::Presence,
};

/// What the admin API acts on, beside the state.
#[derive(Debug, Clone)]
pub(super) struct Control {
    pub(super) faults: Faults,
    pub(super) log: RequestLog,
    pub(super) presence: Presence,
}

type Everything = (Arc<Shared>, Control);

pub(super) fn routes(shared: Arc<Shared>, control: Control) -> Router {
    Router::new()
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/log", get(log).delete(clear_log))
        .route("/leave", post(leave))
        .route("/come-back", post(come_back))
        .route("/read-only", put(read_only))
        .route("/projects", put(set_project))
        .route("/used/{project}", get(used))
        .with_state((shared, control))
}

async fn add_fault(State((_, control)): State<Everything>, Json(fault): Json<Fault>) -> Response {
    match control.faults.add(fault) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, error.to_string()).into_response(),
    }
}

async fn clear_faults(State((_, control)): State<Everything>) -> StatusCode {
    control.faults.clear();
    StatusCode::NO_CONTENT
}

async fn log(State((_, control)): State<Everything>) -> Json<Vec<Request>> {
    Json(control.log.all())
}

async fn clear_log(State((_, control)): State<Everything>) -> StatusCode {
    control.log.clear();
    StatusCode::NO_CONTENT
}

async fn leave(State((_, control)): State<Everything>) -> StatusCode {
    // it waits for the listener, which runs on the same threads
    tokio::task::block_in_place(|| control.presence.leave());
    StatusCode::NO_CONTENT
}

async fn come_back(State((_, control)): State<Everything>) -> StatusCode {
    tokio::task::block_in_place(|| control.presence.come_back());
    StatusCode::NO_CONTENT
}

async fn read_only(State((shared, _)): State<Everything>, Json(on): Json<bool>) -> StatusCode {
    shared.state(|state| state.read_only = on);
    StatusCode::NO_CONTENT
}

async fn set_project(
    State((shared, _)): State<Everything>,
    Json(project): Json<Project>,
) -> StatusCode {
    shared.state(|state| state.set_project(project));
    StatusCode::NO_CONTENT
}

async fn used(State((shared, _)): State<Everything>, Path(project): Path<String>) -> Json<u64> {
    Json(shared.state(|state| state.used(&project)))
}
