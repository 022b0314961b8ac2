//! Harbor's own API below `/api/v2.0`, as far as an installer uses it, and its token service.

use std::{collections::BTreeSet, sync::Arc};

use axum::{
    extract::Request,
    http::{HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use super::{
    Shared,
    state::{Account, Project, Right},
    v2::{Caller, caller},
};
use crate::upstream::error;

/// Answers `/api/v2.0/…`.
pub(super) async fn answer(shared: &Arc<Shared>, request: Request) -> Response {
    let path = request
        .uri()
        .path()
        .trim_start_matches("/api/v2.0")
        .to_owned();
    match path.as_str() {
        "/ping" => return "Pong".into_response(),
        "/health" => {
            return axum::Json(json!({"status": "healthy", "components": [
                {"name": "core", "status": "healthy"}, {"name": "registry", "status": "healthy"}]}))
            .into_response();
        }
        _ => {}
    }
    let user = match caller(shared, request.headers()).await {
        Caller::Nobody => None,
        Caller::Account(user) => Some(user),
        Caller::Wrong => return unauthorized(),
    };
    // a session cookie brings CSRF protection with it, so a client that keeps cookies fails
    let cookie = request
        .headers()
        .get(header::COOKIE)
        .and_then(|value| value.to_str().ok());
    let write = !matches!(*request.method(), Method::GET | Method::HEAD);
    if write && cookie.is_some_and(|cookie| cookie.contains("sid=")) {
        return error(
            StatusCode::FORBIDDEN,
            "FORBIDDEN",
            "CSRF token not found in request",
        );
    }
    let mut response = route(shared, &path, user.as_deref(), request).await;
    response.headers_mut().insert(
        header::SET_COOKIE,
        HeaderValue::from_static("sid=stand-in; Path=/; HttpOnly"),
    );
    response
}

async fn route(shared: &Arc<Shared>, path: &str, user: Option<&str>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if path == "/systeminfo" && *request.method() == Method::GET {
        let mut info =
            json!({"auth_mode": "db_auth", "primary_auth_mode": false, "self_registration": false});
        if user.is_some() {
            info["harbor_version"] = "v2.15.2-stand-in".into();
            info["read_only"] = shared.state(|state| state.read_only).into();
            info["project_creation_restriction"] = shared
                .state(|state| {
                    if state.creation_admin_only {
                        "adminonly"
                    } else {
                        "everyone"
                    }
                })
                .into();
        }
        return axum::Json(info).into_response();
    }
    let Some(user) = user else {
        return unauthorized();
    };
    let by_name = request
        .headers()
        .get("x-is-resource-name")
        .is_some_and(|value| value == "true");
    match (request.method().clone(), path) {
        (Method::HEAD, "/projects") => {
            let known = parameter(&query, "project_name")
                .is_some_and(|name| shared.state(|state| state.projects.contains_key(&name)));
            (if known {
                StatusCode::OK
            } else {
                StatusCode::NOT_FOUND
            })
            .into_response()
        }
        (Method::POST, "/projects") => create_project(shared, user, request).await,
        (Method::POST, "/robots") => create_robot(shared, user, request).await,
        (Method::GET, "/quotas") => quotas(shared, user, &query),
        (Method::GET, path) if path.starts_with("/projects/") => {
            let name = path.trim_start_matches("/projects/");
            match name.strip_suffix("/repositories") {
                Some(name) => repositories(shared, user, name),
                None => project(shared, user, name, by_name),
            }
        }
        _ => error(StatusCode::NOT_FOUND, "NOT_FOUND", "no such path"),
    }
}

fn project(shared: &Shared, user: &str, name_or_id: &str, by_name: bool) -> Response {
    shared.state(|state| {
        // a numeric name is an id unless the header says otherwise
        let name = if !by_name && name_or_id.bytes().all(|byte| byte.is_ascii_digit()) {
            let id: u64 = name_or_id.parse().unwrap_or_default();
            state
                .projects
                .iter()
                .find(|(_, holding)| holding.id == id)
                .map(|(name, _)| name.clone())
        } else {
            Some(name_or_id.to_owned())
        };
        let admin = state.account(user).is_some_and(|account| account.admin);
        let Some(name) = name.filter(|name| state.sees(user, name)) else {
            return if admin {
                error(StatusCode::NOT_FOUND, "NOT_FOUND", "project not found")
            } else {
                error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden")
            };
        };
        let holding = &state.projects[&name];
        axum::Json(json!({
            "project_id": holding.id, "name": name,
            "metadata": {
                "public": holding.project.public.to_string(),
                "enable_content_trust_cosign": holding.project.content_trust.to_string(),
            },
        }))
        .into_response()
    })
}

/// Lists the repositories that have a tag; the right to list is taken to come with that to read the project.
fn repositories(shared: &Shared, user: &str, project: &str) -> Response {
    shared.state(|state| {
        if !state.sees(user, project) {
            return error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden");
        }
        let tags = state.projects[project].tags.keys();
        let names: BTreeSet<&str> = tags
            .filter_map(|tag| Some(tag.rsplit_once(':')?.0))
            .collect();
        let listed: Vec<Value> = names
            .into_iter()
            .map(|name| json!({"name": name}))
            .collect();
        axum::Json(listed).into_response()
    })
}

async fn create_project(shared: &Shared, user: &str, request: Request) -> Response {
    let Some(body) = body(request).await else {
        return error(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "the body is not JSON",
        );
    };
    let Some(name) = body["project_name"].as_str() else {
        return error(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "project_name is required",
        );
    };
    let texts = body["metadata"]
        .as_object()
        .is_none_or(|all| all.values().all(Value::is_string));
    if !texts {
        return error(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "metadata values are strings",
        );
    }
    shared.state(|state| {
        if state.read_only {
            return read_only();
        }
        let admin = state.account(user).is_some_and(|account| account.admin);
        if !admin && (state.creation_admin_only || user.contains('+')) {
            return error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden");
        }
        let valid = !name.is_empty()
            && name.len() <= 255
            && name.split(['.', '_', '-']).all(|part| {
                !part.is_empty()
                    && part
                        .bytes()
                        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
            });
        if !valid {
            return error(
                StatusCode::BAD_REQUEST,
                "BAD_REQUEST",
                "project name is not in lower case or contains illegal characters",
            );
        }
        if state.projects.contains_key(name) {
            let message = format!("The project named {name} already exists");
            return error(StatusCode::CONFLICT, "CONFLICT", &message);
        }
        state.set_project(Project {
            public: body["metadata"]["public"] == "true",
            content_trust: body["metadata"]["enable_content_trust_cosign"] == "true",
            quota: body["storage_limit"]
                .as_u64()
                .filter(|limit| admin && *limit > 0),
            ..Project::named(name)
        });
        if !admin && let Some(mut account) = state.account(user).cloned() {
            let rights = [Right::Pull, Right::Push, Right::Read, Right::Quota];
            account
                .rights
                .insert(name.to_owned(), rights.into_iter().collect());
            state.set_account(account);
        }
        let id = state.projects[name].id;
        (
            StatusCode::CREATED,
            [(header::LOCATION, format!("/api/v2.0/projects/{id}"))],
        )
            .into_response()
    })
}

async fn create_robot(shared: &Shared, user: &str, request: Request) -> Response {
    let body = body(request).await.unwrap_or_default();
    let (Some(name), Some("project")) = (body["name"].as_str(), body["level"].as_str()) else {
        return error(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "only robots of a project can be made here",
        );
    };
    let permission = &body["permissions"][0];
    let Some(project) = permission["namespace"].as_str() else {
        return error(
            StatusCode::BAD_REQUEST,
            "BAD_REQUEST",
            "a robot needs a project",
        );
    };
    let mut rights = Vec::new();
    for access in permission["access"].as_array().into_iter().flatten() {
        match (access["resource"].as_str(), access["action"].as_str()) {
            (Some("repository"), Some("push")) => rights.extend([Right::Push, Right::Pull]),
            (Some("repository"), Some("pull")) => rights.push(Right::Pull),
            (Some("project"), Some("read")) => rights.push(Right::Read),
            (Some("quota"), Some("read")) => rights.push(Right::Quota),
            _ => return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "unknown permission"),
        }
    }
    shared.state(|state| {
        if !state.account(user).is_some_and(|account| account.admin) {
            return error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden");
        }
        let full = format!("robot${project}+{name}");
        if state.account(&full).is_some() {
            return error(StatusCode::CONFLICT, "CONFLICT", "the robot already exists");
        }
        let secret = hex::encode(full.as_bytes());
        state.set_account(Account::with(&full, &secret, project, &rights));
        (
            StatusCode::CREATED,
            axum::Json(json!({"id": 1, "name": full, "secret": secret})),
        )
            .into_response()
    })
}

fn quotas(shared: &Shared, user: &str, query: &str) -> Response {
    let id: u64 = parameter(query, "reference_id")
        .and_then(|id| id.parse().ok())
        .unwrap_or_default();
    shared.state(|state| {
        let found = state.projects.iter().find(|(_, holding)| holding.id == id);
        let Some((name, holding)) =
            found.filter(|(name, _)| state.may(Some(user), name, Right::Quota))
        else {
            return error(StatusCode::FORBIDDEN, "FORBIDDEN", "forbidden");
        };
        let hard = holding
            .project
            .quota
            .map_or(json!(-1), |limit| json!(limit));
        axum::Json(json!([{
            "id": id,
            "ref": {"id": id, "name": name},
            "hard": {"storage": hard},
            "used": {"storage": state.used(name)},
        }]))
        .into_response()
    })
}

/// `/service/token`: GET only; a wrong login with a scope gets a token that is good for nothing.
pub(super) async fn token(shared: &Arc<Shared>, request: Request) -> Response {
    if *request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let query = request.uri().query().unwrap_or_default().to_owned();
    if parameter(&query, "service").as_deref() != Some("harbor-registry") {
        return error(StatusCode::BAD_REQUEST, "BAD_REQUEST", "unknown service");
    }
    let user = match caller(shared, request.headers()).await {
        Caller::Account(user) => user,
        Caller::Nobody => String::new(),
        Caller::Wrong if parameter(&query, "scope").is_some() => String::new(),
        Caller::Wrong => return unauthorized(),
    };
    let lifetime = shared.token_lifetime;
    let token = shared.tokens.give(lifetime, user);
    axum::Json(json!({"token": token, "access_token": "", "expires_in": lifetime.as_secs()}))
        .into_response()
}

pub(super) fn unauthorized() -> Response {
    let mut response = error(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "unauthorized");
    response.headers_mut().insert(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Basic realm=\"harbor\""),
    );
    response
}

pub(super) fn read_only() -> Response {
    let message = "The system is in read only mode. Any modification is prohibited.";
    error(StatusCode::FORBIDDEN, "DENIED", message)
}

async fn body(request: Request) -> Option<Value> {
    let bytes = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .ok()?;
    serde_json::from_slice(&bytes).ok()
}

pub(super) fn parameter(pairs: &str, name: &str) -> Option<String> {
    url::form_urlencoded::parse(pairs.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}
