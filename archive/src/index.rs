//! `index.json`: rendering and reading the signed root (FORMAT §4).
//!
//! Rendering is canonical (sorted keys, no spaces), so the same tree gives the same bytes. Reading happens only after
//! the signature held, or for an [`crate::UntrustedListing`]; it accepts nothing ambiguous even then.

use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use oci_spec::image::{Descriptor, Digest, ImageIndex, MediaType};
use serde_json::{Value, json};

use crate::digest::sha256_hex;
use crate::limits::MAX_NAME;
use crate::manifest::{self, Kind};
use crate::{BundleInfo, DeltaBase, Entry, Role, annotations as keys, delta};

/// The value of `airgap.format` that this code reads and writes.
const FORMAT: &str = "1";

/// Why an index cannot be read.
#[derive(Debug)]
pub(crate) enum Problem {
    /// It is no bundle's index at all.
    NotABundle(String),
    /// It is a bundle of a kind this version does not know.
    Unsupported(String),
}

/// Renders `index.json`; the entries are written in their canonical order.
pub(crate) fn render(info: &BundleInfo, entries: &[Entry]) -> Vec<u8> {
    let mut annotations = BTreeMap::from([
        (keys::FORMAT, FORMAT.to_owned()),
        (keys::NAME, info.name.clone()),
        (keys::EDITION, info.edition.clone()),
        (keys::VERSION, info.version.clone()),
        (keys::RELEASE, info.release.to_string()),
        (keys::PLATFORM, info.platform.clone()),
        (keys::CREATED, info.created.to_string()),
    ]);
    if let Some(expires) = info.expires {
        annotations.insert(keys::EXPIRES, expires.to_string());
    }
    if let Some(sha256) = &info.installer_sha256 {
        annotations.insert(keys::INSTALLER_SHA256, sha256.clone());
    }
    if let Some(base) = &info.delta {
        annotations.insert(keys::DELTA_BASE, base.index_digest.to_string());
        annotations.insert(keys::DELTA_VERSION, base.version.clone());
        annotations.insert(keys::DELTA_RELEASE, base.release.to_string());
    }
    let manifests: Vec<Value> = entries
        .iter()
        .map(|entry| serde_json::to_value(&entry.descriptor).expect("a descriptor is plain JSON"))
        .collect();
    let index = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::ImageIndex,
        "annotations": annotations,
        "manifests": manifests,
    });
    sorted_json(index)
}

/// Renders JSON with sorted keys and without spaces.
pub(crate) fn sorted_json(value: Value) -> Vec<u8> {
    serde_json::to_vec(&Sorted::from(value)).expect("sorted JSON is plain JSON")
}

/// Orders entries canonically: by role, name, subject and digest.
pub(crate) fn sort(entries: &mut [Entry]) {
    entries.sort_by_cached_key(|entry| {
        let text = |digest: &Digest| digest.as_ref().to_owned();
        (
            entry.role,
            entry.name.clone(),
            entry.subject.as_ref().map(text),
            text(entry.descriptor.digest()),
        )
    });
}

/// JSON whose objects are sorted by key, whatever serde_json's own map does in this build.
#[derive(serde::Serialize)]
#[serde(untagged)]
enum Sorted {
    Object(BTreeMap<String, Sorted>),
    Array(Vec<Sorted>),
    Other(Value),
}

impl From<Value> for Sorted {
    fn from(value: Value) -> Self {
        match value {
            Value::Object(map) => Self::Object(
                map.into_iter()
                    .map(|(key, value)| (key, value.into()))
                    .collect(),
            ),
            Value::Array(values) => Self::Array(values.into_iter().map(Self::from).collect()),
            other => Self::Other(other),
        }
    }
}

/// Reads `index.json`.
pub(crate) fn parse(bytes: &[u8]) -> Result<(BundleInfo, Vec<Entry>), Problem> {
    let not = |reason: String| Problem::NotABundle(format!("index.json: {reason}"));
    let index: ImageIndex = serde_json::from_slice(bytes).map_err(|e| not(e.to_string()))?;
    if index.schema_version() != 2 || index.media_type().as_ref() != Some(&MediaType::ImageIndex) {
        return Err(not("not an OCI image index".to_owned()));
    }
    let empty = HashMap::new();
    let annotations = index.annotations().as_ref().unwrap_or(&empty);
    match annotations.get(keys::FORMAT).map(String::as_str) {
        None => return Err(not(format!("no `{}`", keys::FORMAT))),
        Some(FORMAT) => {}
        Some(other) => {
            let other = other.escape_default();
            return Err(Problem::Unsupported(format!(
                "format {other}; this version reads format {FORMAT}"
            )));
        }
    }
    let info = info(annotations).map_err(not)?;
    let entries: Vec<Entry> = index
        .manifests()
        .iter()
        .map(entry)
        .collect::<Result<_, _>>()
        .map_err(not)?;
    check(&entries).map_err(not)?;
    delta::check(info.delta.is_some(), &entries).map_err(not)?;
    Ok((info, entries))
}

fn info(annotations: &HashMap<String, String>) -> Result<BundleInfo, String> {
    let text = |key: &str| {
        let value = annotations.get(key).ok_or_else(|| format!("no `{key}`"))?;
        if !is_name(value) {
            return Err(format!("`{key}` is no plain text"));
        }
        Ok(value.clone())
    };
    let time = |key: &str| {
        let value = text(key)?;
        value
            .parse::<Timestamp>()
            .map_err(|_| format!("`{key}` is no RFC 3339 time"))
    };
    let number = |key: &str| {
        let value = text(key)?;
        value
            .parse::<u64>()
            .map_err(|_| format!("`{key}` is no number"))
    };
    let delta = annotations
        .contains_key(keys::DELTA_BASE)
        .then(|| {
            let base = text(keys::DELTA_BASE)?;
            Ok::<_, String>(DeltaBase {
                index_digest: base
                    .parse()
                    .map_err(|_| format!("`{}` is no digest", keys::DELTA_BASE))?,
                version: text(keys::DELTA_VERSION)?,
                release: number(keys::DELTA_RELEASE)?,
            })
        })
        .transpose()?;
    let installer_sha256 = annotations
        .contains_key(keys::INSTALLER_SHA256)
        .then(|| text(keys::INSTALLER_SHA256))
        .transpose()?;
    let info = BundleInfo {
        name: text(keys::NAME)?,
        edition: text(keys::EDITION)?,
        version: text(keys::VERSION)?,
        release: number(keys::RELEASE)?,
        platform: text(keys::PLATFORM)?,
        created: time(keys::CREATED)?,
        expires: annotations
            .contains_key(keys::EXPIRES)
            .then(|| time(keys::EXPIRES))
            .transpose()?,
        installer_sha256,
        delta,
    };
    check_info(&info)?;
    Ok(info)
}

/// Checks what both sides demand of the bundle's own annotations.
pub(crate) fn check_info(info: &BundleInfo) -> Result<(), String> {
    let texts = [
        (keys::NAME, &info.name),
        (keys::EDITION, &info.edition),
        (keys::VERSION, &info.version),
        (keys::PLATFORM, &info.platform),
    ];
    let base = info.delta.as_ref();
    let base = base.map(|base| (keys::DELTA_VERSION, &base.version));
    for (key, text) in texts.into_iter().chain(base) {
        if !is_name(text) {
            return Err(format!("`{key}` is no plain text"));
        }
    }
    let is_sha256 = |text: &String| {
        text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    };
    let base = info.delta.as_ref().map(|base| &base.index_digest);
    if base.is_some_and(|digest| sha256_hex(digest).is_none()) {
        return Err(format!("`{}` is no sha256 digest", keys::DELTA_BASE));
    }
    if !info.installer_sha256.as_ref().is_none_or(is_sha256) {
        return Err(format!("`{}` is no sha256", keys::INSTALLER_SHA256));
    }
    Ok(())
}

/// A name is printable ASCII without spaces, so that it can be shown and typed as it is.
pub(crate) fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

fn entry(descriptor: &Descriptor) -> Result<Entry, String> {
    let digest = descriptor.digest();
    let empty = HashMap::new();
    let annotations = descriptor.annotations().as_ref().unwrap_or(&empty);
    let role = annotations
        .get(keys::ROLE)
        .ok_or_else(|| format!("{digest} has no `{}`", keys::ROLE))?;
    let role: Role = role
        .parse()
        .map_err(|_| format!("{digest} has an unknown role"))?;
    let subject = annotations
        .get(keys::SUBJECT)
        .map(|text| {
            text.parse()
                .map_err(|_| format!("`{}` of {digest} is no digest", keys::SUBJECT))
        })
        .transpose()?;
    let name = annotations.get(keys::REF_NAME).cloned();
    Ok(Entry {
        descriptor: descriptor.clone(),
        role,
        name,
        subject,
    })
}

/// Checks what both sides demand of the entries: typed, within limits, named once, and belonging to something.
pub(crate) fn check(entries: &[Entry]) -> Result<(), String> {
    let mut names = HashSet::new();
    for entry in entries {
        let digest = entry.descriptor.digest();
        if Kind::of(entry.descriptor.media_type()).is_none() {
            return Err(format!("{digest} is no manifest"));
        }
        manifest::check(&entry.descriptor)?;
        let refers = matches!(entry.role, Role::Signature | Role::Referrer);
        // what upstream keeps under a tag of its own (`sha256-….att`) is named by it
        let may_be_named = !refers || entry.role == Role::Referrer;
        match (&entry.name, &entry.subject) {
            (None, Some(_)) if refers => {}
            (Some(name), subject) if may_be_named && subject.is_some() == refers => {
                if !is_name(name) {
                    return Err(format!("the name of {digest} is no plain text"));
                }
                if !names.insert(name) {
                    return Err(format!("the name `{name}` is used twice"));
                }
            }
            _ if refers => {
                return Err(format!(
                    "{} {digest} needs a subject, and only a referrer may have a name",
                    entry.role
                ));
            }
            _ => {
                return Err(format!(
                    "{} {digest} needs a name and no subject",
                    entry.role
                ));
            }
        }
    }
    Ok(())
}
