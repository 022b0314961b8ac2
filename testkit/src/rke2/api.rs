//! What the API server does with an object: create, server-side apply, merge patch, delete.
//!
//! Server-side apply keeps what each manager applied last in `metadata.managedFields` (a stand-in form), removes what the manager
//! left out, and refuses to change another manager's field unless forced. Lists are atomic.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::kinds::Kind;
use super::schema;
use super::store::State;

/// An answer that is no object: status code, reason, message.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ApiError {
    pub(crate) code: u16,
    pub(crate) reason: String,
    pub(crate) message: String,
}

impl ApiError {
    pub(crate) fn new(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        let plural = if kind.group.is_empty() {
            kind.plural.clone()
        } else {
            format!("{}.{}", kind.plural, kind.group)
        };
        Self::new(404, "NotFound", format!("{plural} {name:?} not found"))
    }

    pub(crate) fn status(&self) -> Value {
        json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": self.code, "reason": self.reason, "message": self.message})
    }
}

/// How an object is written.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Verb {
    Create,
    Apply { manager: String, force: bool },
    Merge,
    Delete,
}

/// One write, as it travels to the leader.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Write {
    pub(crate) verb: Verb,
    pub(crate) kind: Kind,
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) body: Value,
}

type Answer = Result<Value, ApiError>;

/// Carries out one write on the state.
pub(crate) fn write(state: &mut State, request: Write) -> Answer {
    let Write {
        verb,
        kind,
        namespace,
        name,
        mut body,
    } = request;
    let key = kind.key(&namespace, &name);
    let live = state.objects.get(&key).cloned();
    if matches!(verb, Verb::Delete) {
        return delete(state, &kind, &name, &key);
    }
    if matches!(verb, Verb::Merge) {
        let mut object = live.ok_or_else(|| ApiError::not_found(&kind, &name))?;
        merge(&mut object, &body);
        return Ok(store(state, &kind, &key, object));
    }
    check(state, &kind, &namespace, &name, &mut body)?;
    match verb {
        Verb::Create if live.is_some() => Err(ApiError::new(
            409,
            "AlreadyExists",
            format!("{} {name:?} already exists", kind.plural),
        )),
        Verb::Create => Ok(store(state, &kind, &key, body)),
        Verb::Apply { manager, force } => {
            let object = apply(live, body, &manager, force, &name)?;
            Ok(store(state, &kind, &key, object))
        }
        Verb::Merge | Verb::Delete => Ok(Value::Null),
    }
}

fn check(
    state: &State,
    kind: &Kind,
    namespace: &str,
    name: &str,
    body: &mut Value,
) -> Result<(), ApiError> {
    if kind.namespaced
        && !state
            .objects
            .contains_key(&format!("/namespaces//{namespace}"))
    {
        return Err(ApiError::new(
            404,
            "NotFound",
            format!("namespaces {namespace:?} not found"),
        ));
    }
    let name_ok = !name.is_empty()
        && name.len() <= 253
        && name
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
    if !name_ok {
        let rule = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'";
        return Err(ApiError::new(
            422,
            "Invalid",
            format!(
                "{} {name:?} is invalid: metadata.name: Invalid value: {rule}",
                kind.kind
            ),
        ));
    }
    if body["apiVersion"] != kind.api_version().as_str() || body["kind"] != kind.kind.as_str() {
        let text = format!(
            "{} {} does not match {} {}",
            body["apiVersion"],
            body["kind"],
            kind.api_version(),
            kind.kind
        );
        return Err(ApiError::new(400, "BadRequest", text));
    }
    let problems = schema::problems(body);
    if !problems.is_empty() {
        let text = format!(
            "{} in version {:?} cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            problems.join(", ")
        );
        return Err(ApiError::new(400, "BadRequest", text));
    }
    if kind.kind == "Secret" {
        secret(body)?;
    }
    let size = body.to_string().len();
    if ["Secret", "ConfigMap"].contains(&kind.kind.as_str()) && size > 1 << 20 {
        return Err(ApiError::new(
            422,
            "Invalid",
            format!(
                "{} {name:?} is invalid: data: Too long: may not be more than 1048576 bytes",
                kind.kind
            ),
        ));
    }
    if size > 3 << 19 {
        return Err(ApiError::new(
            500,
            "InternalError",
            "etcdserver: request is too large",
        ));
    }
    Ok(())
}

/// Moves `stringData` into `data` and checks that `data` is base64.
fn secret(body: &mut Value) -> Result<(), ApiError> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD;
    let plain = body
        .as_object_mut()
        .and_then(|map| map.remove("stringData"));
    for (key, value) in plain
        .as_ref()
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        body["data"][key] = Value::String(engine.encode(value.as_str().unwrap_or_default()));
    }
    for (key, value) in body["data"].as_object().into_iter().flatten() {
        if engine.decode(value.as_str().unwrap_or_default()).is_err() {
            return Err(ApiError::new(
                400,
                "BadRequest",
                format!(
                    "Secret in version \"v1\" cannot be handled as a Secret: illegal base64 data in {key}"
                ),
            ));
        }
    }
    if body["type"].is_null() {
        body["type"] = "Opaque".into();
    }
    Ok(())
}

fn apply(live: Option<Value>, mut body: Value, manager: &str, force: bool, name: &str) -> Answer {
    if let Some(map) = body["metadata"].as_object_mut() {
        map.remove("managedFields");
    }
    let mut object = live.unwrap_or_else(|| json!({}));
    let managers = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut kept = Vec::new();
    for mut entry in managers {
        if entry["manager"] == manager {
            prune(&mut object, &entry["applied"], &body);
            continue;
        }
        let clash = clashes(&entry["applied"], &body, "");
        if !clash.is_empty() {
            if !force {
                let text = format!(
                    "Apply failed with {} conflicts: conflicts with {}: {}",
                    clash.len(),
                    entry["manager"],
                    clash.join(", ")
                );
                return Err(ApiError::new(409, "Conflict", format!("{name}: {text}")));
            }
            // forced: the fields change hands
            disown(&mut entry["applied"], &body);
        }
        kept.push(entry);
    }
    merge(&mut object, &body);
    kept.push(json!({"manager": manager, "operation": "Apply", "applied": owned(&body)}));
    object["metadata"]["managedFields"] = Value::Array(kept);
    Ok(object)
}

/// What a manager owns: everything it sent but the object's identity.
fn owned(body: &Value) -> Value {
    let mut owned = body.clone();
    if let Some(map) = owned.as_object_mut() {
        map.remove("apiVersion");
        map.remove("kind");
    }
    if let Some(map) = owned["metadata"].as_object_mut() {
        map.retain(|key, _| ["labels", "annotations"].contains(&key.as_str()));
    }
    owned
}

/// Removes from `object` what was applied before and is not in `now`.
fn prune(object: &mut Value, before: &Value, now: &Value) {
    let (Some(before), Some(map)) = (before.as_object(), object.as_object_mut()) else {
        return;
    };
    for (key, old) in before {
        match now.get(key) {
            None => {
                map.remove(key);
            }
            Some(new) => {
                if let Some(inner) = map.get_mut(key) {
                    prune(inner, old, new);
                }
            }
        }
    }
}

fn clashes(theirs: &Value, ours: &Value, path: &str) -> Vec<String> {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let both = theirs
                .iter()
                .filter_map(|(key, value)| Some((key, value, ours.get(key)?)));
            both.flat_map(|(key, theirs, ours)| clashes(theirs, ours, &format!("{path}.{key}")))
                .collect()
        }
        (theirs, ours) if theirs != ours => vec![path.to_owned()],
        _ => Vec::new(),
    }
}

fn disown(theirs: &mut Value, ours: &Value) {
    let (Some(map), Some(ours)) = (theirs.as_object_mut(), ours.as_object()) else {
        return;
    };
    map.retain(|key, value| match ours.get(key) {
        Some(new) if value.is_object() && new.is_object() => {
            disown(value, new);
            true
        }
        Some(_) => false,
        None => true,
    });
}

/// JSON merge patch: null removes.
pub(crate) fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *object = patch.clone();
        return;
    };
    if !object.is_object() {
        *object = Value::Object(Map::new());
    }
    let Some(map) = object.as_object_mut() else {
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            map.remove(key);
        } else {
            merge(map.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Puts an object into the state, with the fields the API server owns.
pub(crate) fn store(state: &mut State, kind: &Kind, key: &str, mut object: Value) -> Value {
    let live = state.objects.get(key);
    let strip = |value: &Value| {
        let mut value = value.clone();
        if let Some(map) = value["metadata"].as_object_mut() {
            map.remove("resourceVersion");
            map.remove("generation");
        }
        value
    };
    if let Some(live) = live
        && strip(live) == strip(&object)
    {
        return live.clone();
    }
    let metadata = &mut object["metadata"];
    metadata["resourceVersion"] = (state.revision + 1).to_string().into();
    if let Some(live) = live {
        for field in ["uid", "creationTimestamp"] {
            metadata[field] = live["metadata"][field].clone();
        }
        let generation = live["metadata"]["generation"].as_u64().unwrap_or(1);
        let changed = live["spec"] != object["spec"] || live["data"] != object["data"];
        object["metadata"]["generation"] = (generation + u64::from(changed)).into();
    } else {
        let id = super::pull::sha256(format!("{key} {}", jiff::Timestamp::now()).as_bytes());
        metadata["uid"] = format!(
            "{}-{}-{}-{}-{}",
            &id[7..15],
            &id[15..19],
            &id[19..23],
            &id[23..27],
            &id[27..39]
        )
        .into();
        metadata["creationTimestamp"] = format!("{:.0}", jiff::Timestamp::now()).into();
        metadata["generation"] = 1.into();
    }
    if kind.kind == "Namespace" {
        object["status"]["phase"] = "Active".into();
        let name = object["metadata"]["name"].clone();
        object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
    }
    state.objects.insert(key.to_owned(), object.clone());
    object
}

fn delete(state: &mut State, kind: &Kind, name: &str, key: &str) -> Answer {
    let gone = state
        .objects
        .remove(key)
        .ok_or_else(|| ApiError::not_found(kind, name))?;
    match kind.kind.as_str() {
        // RKE2's etcd controller removes the member of a server whose Node is deleted
        "Node" => {
            state.members.retain(|member| member.node != name);
            let bound =
                |object: &Value| object["kind"] == "Pod" && object["spec"]["nodeName"] == name;
            state.objects.retain(|_, object| !bound(object));
        }
        "Namespace" => {
            let inside = format!("/{name}/");
            state.objects.retain(|key, _| !key.contains(&inside));
        }
        _ => {
            let uid = gone["metadata"]["uid"].clone();
            let owned = |object: &Value| {
                object["metadata"]["ownerReferences"]
                    .as_array()
                    .is_some_and(|all| all.iter().any(|owner| owner["uid"] == uid))
            };
            state.objects.retain(|_, object| !owned(object));
        }
    }
    Ok(gone)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apply_removes_what_its_manager_left_out_and_keeps_what_others_set() {
        let first = json!({"metadata": {"name": "a"}, "spec": {"x": 1, "y": 2}});
        let mut live = apply(None, first, "airgap", false, "a").unwrap();
        live["status"] = json!({"ok": true});
        let next = apply(
            Some(live),
            json!({"metadata": {"name": "a"}, "spec": {"x": 3}}),
            "airgap",
            false,
            "a",
        )
        .unwrap();
        assert_eq!(next["spec"], json!({"x": 3}));
        assert_eq!(next["status"]["ok"], true);
    }

    #[test]
    fn another_managers_field_needs_force() {
        let live = apply(None, json!({"spec": {"x": 1}}), "other", false, "a").unwrap();
        let error = apply(
            Some(live.clone()),
            json!({"spec": {"x": 2}}),
            "airgap",
            false,
            "a",
        )
        .unwrap_err();
        assert_eq!(error.code, 409);
        let forced = apply(Some(live), json!({"spec": {"x": 2}}), "airgap", true, "a").unwrap();
        assert_eq!(forced["spec"]["x"], 2);
        assert!(
            apply(
                Some(forced),
                json!({"spec": {"x": 3}}),
                "airgap",
                false,
                "a"
            )
            .is_ok()
        );
    }
}
