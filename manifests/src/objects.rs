//! Components that are objects, not charts: the entries people write, and the one generated chart that carries them.
//!
//! Argo CD then has one kind of source for everything. Invariant: the chart has one template, which prints the objects of
//! its values and interprets nothing in them; its version follows from its contents, so another template is another
//! version, and the same program makes the same bytes.

use std::io;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use crate::ChartRef;

/// The name of the chart that carries objects.
pub const OBJECTS_CHART: &str = "airgap-objects";

/// The key of the chart's values that holds the objects.
pub(crate) const OBJECTS_KEY: &str = "objects";

const TEMPLATE: &str = "\
{{- range .Values.objects }}
---
{{ toYaml . }}
{{- end }}
";

const VALUES: &str = "objects: []\n";

/// One entry of a component's `objects`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub enum ObjectEntry {
    /// An object as it is; texts may refer to facts.
    Object(Map<String, Value>),
    /// Objects made once for every item of a list.
    ForEach {
        /// The key of the component's values that holds the list; `a.b` goes one level down.
        list: String,
        /// The objects; texts may refer to facts, and to the item as `${item.key}`.
        objects: Vec<Map<String, Value>>,
    },
}

impl ObjectEntry {
    /// Returns the objects of the entry as they are written.
    #[must_use]
    pub fn objects(&self) -> &[Map<String, Value>] {
        match self {
            Self::Object(object) => std::slice::from_ref(object),
            Self::ForEach { objects, .. } => objects,
        }
    }
}

impl TryFrom<Map<String, Value>> for ObjectEntry {
    type Error = String;

    fn try_from(mut map: Map<String, Value>) -> Result<Self, String> {
        if !map.contains_key("forEach") {
            return Ok(Self::Object(map));
        }
        let (list, objects) = (map.remove("forEach"), map.remove("objects"));
        if let Some(key) = map.keys().next() {
            return Err(format!(
                "unknown key `{key}` beside `forEach`; only `objects` belongs there"
            ));
        }
        let Some(Value::String(list)) = list else {
            return Err("`forEach` names a key of the component's values".to_owned());
        };
        let Some(Value::Array(objects)) = objects else {
            return Err("`forEach` needs a list `objects` beside it".to_owned());
        };
        let objects = objects
            .into_iter()
            .map(|object| match object {
                Value::Object(object) => Ok(object),
                other => Err(format!("`{other}` is not an object")),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self::ForEach { list, objects })
    }
}

impl From<ObjectEntry> for Map<String, Value> {
    fn from(entry: ObjectEntry) -> Self {
        match entry {
            ObjectEntry::Object(object) => object,
            ObjectEntry::ForEach { list, objects } => Self::from_iter([
                ("forEach".to_owned(), Value::String(list)),
                (
                    "objects".to_owned(),
                    Value::Array(objects.into_iter().map(Value::Object).collect()),
                ),
            ]),
        }
    }
}

/// Returns name and version of the generated chart.
#[must_use]
pub fn objects_chart_ref() -> ChartRef {
    let mut hasher = Sha256::new();
    for (path, text) in parts("") {
        hasher.update(format!("{path}\n{text}\n"));
    }
    ChartRef {
        name: OBJECTS_CHART.to_owned(),
        // a letter first: digits alone would be a number to semver, and might begin with zero
        version: format!("1.0.0-t{}", &hex::encode(hasher.finalize())[..12]),
    }
}

/// Returns the generated chart's tgz.
#[must_use]
pub fn objects_chart() -> Vec<u8> {
    let version = objects_chart_ref().version;
    match pack(&parts(&version)) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("short names and memory take every chart: {error}"),
    }
}

fn parts(version: &str) -> [(&'static str, String); 3] {
    let metadata = format!(
        "apiVersion: v2\nname: {OBJECTS_CHART}\ndescription: prints the objects of its values\ntype: application\nversion: {version}\n"
    );
    [
        ("Chart.yaml", metadata),
        ("templates/objects.yaml", TEMPLATE.to_owned()),
        ("values.yaml", VALUES.to_owned()),
    ]
}

/// Packs without compressing, so that the bytes do not depend on a compressor's version.
fn pack(parts: &[(&str, String)]) -> io::Result<Vec<u8>> {
    let gzip = flate2::GzBuilder::new().write(Vec::new(), flate2::Compression::none());
    let mut tar = tar::Builder::new(gzip);
    for (path, text) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_mode(0o644);
        header.set_mtime(0);
        header.set_size(text.len() as u64);
        let path = format!("{OBJECTS_CHART}/{path}");
        tar.append_data(&mut header, path, text.as_bytes())?;
    }
    tar.into_inner()?.finish()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_chart_is_the_same_every_time_and_named_by_what_it_holds() {
        assert_eq!(objects_chart(), objects_chart());
        // a change of the template must show here, and in the version
        insta::assert_snapshot!(objects_chart_ref().version);
        let mut names = Vec::new();
        let bytes = objects_chart();
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(&bytes[..]));
        for entry in tar.entries().unwrap() {
            names.push(entry.unwrap().path().unwrap().display().to_string());
        }
        assert_eq!(
            names,
            [
                "airgap-objects/Chart.yaml",
                "airgap-objects/templates/objects.yaml",
                "airgap-objects/values.yaml"
            ]
        );
    }

    #[test]
    fn an_entry_is_an_object_or_a_list_of_them_for_each_item() {
        let read = |value: Value| serde_json::from_value::<ObjectEntry>(value);
        let object = json!({"apiVersion": "v1", "kind": "Namespace"});
        let entry = read(object.clone()).unwrap();
        assert_eq!(serde_json::to_value(&entry).unwrap(), object);
        let each = json!({"forEach": "tenants", "objects": [object]});
        let entry = read(each.clone()).unwrap();
        assert_eq!(entry.objects().len(), 1);
        assert_eq!(serde_json::to_value(&entry).unwrap(), each);
        for (wrong, why) in [
            (
                json!({"forEach": "tenants", "object": []}),
                "unknown key `object`",
            ),
            (json!({"forEach": 1, "objects": []}), "names a key"),
            (json!({"forEach": "tenants"}), "needs a list `objects`"),
            (
                json!({"forEach": "tenants", "objects": [1]}),
                "is not an object",
            ),
        ] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }
}
