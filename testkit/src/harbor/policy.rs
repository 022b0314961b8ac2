//! What Harbor's core checks before and does after a request: quota, immutable tags, content trust,
//! referrers, and that configs are JSON.

use axum::{
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use serde_json::{Value, json};

use super::{
    Shared,
    api::parameter,
    proxy,
    v2::{Object, Target},
};
use crate::{image::digest_of, upstream::error};

/// Returns the refusal of a request that a policy of its project does not allow.
pub(super) fn before(
    shared: &Shared,
    target: &Target,
    method: &Method,
    headers: &HeaderMap,
    query: &str,
) -> Option<Response> {
    let denied = |message: &str| Some(error(StatusCode::FORBIDDEN, "DENIED", message));
    let writing = *method != Method::GET && *method != Method::HEAD;
    let project = &target.project;
    let is_proxy = shared.state(|state| {
        state
            .projects
            .get(project)
            .is_some_and(|held| held.project.proxy)
    });
    if writing && is_proxy {
        return denied("can not push artifact to a proxy project");
    }
    match &target.object {
        Object::Upload if *method == Method::POST => {
            let mounted = parameter(query, "mount");
            let size = match &mounted {
                Some(digest) => shared.state(|state| {
                    state
                        .projects
                        .values()
                        .find_map(|held| held.sizes.get(digest).copied())
                        .unwrap_or(0)
                }),
                None => 0,
            };
            let refusal = shared.state(|state| state.over_quota(project, mounted.as_deref(), size));
            refusal.and_then(|message| denied(&message))
        }
        Object::Upload if *method == Method::PUT => {
            let digest = parameter(query, "digest");
            let size = length(headers);
            let refusal = shared.state(|state| state.over_quota(project, digest.as_deref(), size));
            refusal.and_then(|message| denied(&message))
        }
        Object::Manifest(reference) if writing => {
            let tag = format!("{}:{reference}", target.repository);
            let immutable = shared.state(|state| {
                state.projects.get(project).is_some_and(|held| {
                    held.project.immutable_tags
                        && !reference.contains(':')
                        && held.tags.contains_key(&tag)
                })
            });
            if immutable {
                let message =
                    format!("Failed to process request due to '{tag}' configured as immutable.");
                return Some(error(
                    StatusCode::PRECONDITION_FAILED,
                    "PRECONDITION",
                    &message,
                ));
            }
            None
        }
        Object::Manifest(reference) => {
            let trusted = shared.state(|state| {
                let Some(held) = state.projects.get(project) else {
                    return true;
                };
                if !held.project.content_trust {
                    return true;
                }
                let digest = held
                    .tags
                    .get(&format!("{}:{reference}", target.repository))
                    .unwrap_or(reference);
                let key = format!("{}@{digest}", target.repository);
                held.signed.contains(&key) || held.signatures.contains(&key)
            });
            (!trusted).then(|| {
                error(
                    StatusCode::PRECONDITION_FAILED,
                    "PROJECTPOLICYVIOLATION",
                    "The image is not signed by cosign.",
                )
            })
        }
        _ => None,
    }
}

/// Notes what a request that went well changed.
pub(super) fn after_blob(shared: &Shared, target: &Target, digest: &str, size: Option<u64>) {
    shared.state(|state| {
        let size = size.or_else(|| {
            state
                .projects
                .values()
                .find_map(|held| held.sizes.get(digest).copied())
        });
        state.hold(&target.project, digest, size.unwrap_or(0));
    });
}

/// Checks a manifest as core does on PUT; returns the refusal.
pub(super) async fn check_manifest(
    shared: &Shared,
    target: &Target,
    manifest: &Bytes,
) -> Option<Response> {
    let digest = digest_of(manifest).to_string();
    let size = manifest.len() as u64;
    let project = &target.project;
    let over = shared.state(|state| state.over_quota(project, Some(&digest), size));
    if let Some(message) = over {
        return Some(error(StatusCode::FORBIDDEN, "DENIED", &message));
    }
    let internal = || {
        Some(error(
            StatusCode::INTERNAL_SERVER_ERROR,
            "UNKNOWN",
            "internal server error",
        ))
    };
    let parsed: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let kind = parsed["config"]["mediaType"].as_str().unwrap_or_default();
    let decoded = matches!(
        kind,
        "application/vnd.oci.image.config.v1+json"
            | "application/vnd.docker.container.image.v1+json"
            | "application/vnd.cncf.helm.config.v1+json"
    );
    if !decoded || parsed["config"]["size"] == 0 {
        return None;
    }
    let digest = parsed["config"]["digest"].as_str().unwrap_or_default();
    let path = format!("/v2/{}/blobs/{digest}", target.repository);
    let config = proxy::fetch(shared, &path).await;
    let is_object = config
        .and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok())
        .is_some_and(|value| value.is_object());
    if is_object { None } else { internal() }
}

/// Notes a manifest that was stored, and returns the digest of its subject.
pub(super) fn after_manifest(
    shared: &Shared,
    target: &Target,
    reference: &str,
    media_type: &str,
    manifest: &Bytes,
) -> Option<String> {
    let parsed: Value = serde_json::from_slice(manifest).unwrap_or_default();
    let digest = digest_of(manifest).to_string();
    let subject = parsed["subject"]["digest"].as_str().map(str::to_owned);
    let cosign_layer = parsed["layers"].as_array().is_some_and(|layers| {
        layers
            .iter()
            .any(|layer| layer["mediaType"] == "application/vnd.dev.cosign.simplesigning.v1+json")
    });
    shared.state(|state| {
        state.hold(&target.project, &digest, manifest.len() as u64);
        let Some(held) = state.projects.get_mut(&target.project) else {
            return;
        };
        let here = |digest: &str| format!("{}@{digest}", target.repository);
        if !reference.contains(':') {
            held.tags
                .insert(format!("{}:{reference}", target.repository), digest.clone());
            if let Some(hex) = reference
                .strip_prefix("sha256-")
                .and_then(|rest| rest.strip_suffix(".sig"))
                && cosign_layer
            {
                held.signed.insert(here(&format!("sha256:{hex}")));
                held.signatures.insert(here(&digest));
            }
        }
        if let Some(subject) = &subject {
            let mut descriptor =
                json!({"mediaType": media_type, "digest": digest, "size": manifest.len()});
            let kind = parsed["artifactType"]
                .as_str()
                .or(parsed["config"]["mediaType"].as_str());
            if let Some(kind) = kind {
                descriptor["artifactType"] = kind.into();
            }
            if parsed["annotations"].is_object() {
                descriptor["annotations"] = parsed["annotations"].clone();
            }
            let list = held.referrers.entry(here(subject)).or_default();
            list.retain(|other| other["digest"] != descriptor["digest"]);
            list.push(descriptor);
        }
    });
    subject
}

/// Answers the referrers API.
pub(super) fn referrers(shared: &Shared, target: &Target, subject: &str) -> Response {
    let key = format!("{}@{subject}", target.repository);
    let manifests = shared.state(|state| {
        state
            .projects
            .get(&target.project)
            .and_then(|held| held.referrers.get(&key))
            .cloned()
            .unwrap_or_default()
    });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": manifests,
    });
    let kind = HeaderValue::from_static("application/vnd.oci.image.index.v1+json");
    ([(header::CONTENT_TYPE, kind)], index.to_string()).into_response()
}

fn length(headers: &HeaderMap) -> u64 {
    headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.parse().ok())
        .unwrap_or(0)
}
