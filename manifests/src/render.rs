//! What the installer writes for one site: values, static manifests, config keys, addresses. Pure functions.
//!
//! Order of values, later wins: the component's, those beside other components, those of the kind of site, the inventory's
//! own; then references to facts are filled in. Invariant: the same edition and facts give the same bytes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::objects::OBJECTS_KEY;
use crate::template::{Scope, TemplateError, fill, fill_map, merge};
use crate::{
    Fact, ObjectEntry, ResolvedComponent, ResolvedEdition, Rke2Config, SiteFacts, SiteKind,
    SitePlan, StaticContent, StaticManifest, ValuesWith,
};

/// The largest chart, in bytes of its tgz, that may be inlined: the helm-controller copies it into a ConfigMap, which
/// Kubernetes limits to 1 MiB after base64.
pub const MAX_INLINE_CHART_BYTES: u64 = 700 * 1024;

/// Why something cannot be rendered for a site.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// A reference to a fact cannot be filled in.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The edition does not hold what a manifest refers to.
    #[error(
        "static manifest {manifest} belongs to component {component}, which the edition does not have"
    )]
    UnknownComponent {
        /// The manifest.
        manifest: String,
        /// The component.
        component: String,
    },
    /// A chart that must be inlined was not given.
    #[error("static manifest {manifest} needs the chart's bytes")]
    NoChart {
        /// The manifest.
        manifest: String,
    },
    /// A chart is too large to be inlined.
    #[error(
        "chart of static manifest {manifest} has {size} bytes, more than the {MAX_INLINE_CHART_BYTES} that fit"
    )]
    ChartTooLarge {
        /// The manifest.
        manifest: String,
        /// Its size in bytes.
        size: u64,
    },
    /// The values cannot be written as YAML.
    #[error("values of {what} cannot be written as YAML")]
    Yaml {
        /// What was to be written.
        what: String,
        /// Why.
        #[source]
        source: Box<serde_saphyr::SerializeError>,
    },
}

/// Returns the values with which a component's chart is installed on a site; for a component that is objects, these.
///
/// `facts` are those of [`SitePlan::facts_with`]; `overrides` is the component's entry under the inventory's `values`.
pub fn render_values(
    edition: &ResolvedEdition,
    component: &ResolvedComponent,
    site: SiteKind,
    facts: &SiteFacts,
    overrides: Option<&Map<String, Value>>,
) -> Result<Map<String, Value>, TemplateError> {
    let mut values = layered(
        &component.values,
        component
            .values_with
            .iter()
            .filter(|with| edition.has(&with.component, site, facts)),
        component.site_values.get(&site),
    );
    if let Some(over) = overrides {
        merge(&mut values, over);
    }
    let values = fill_map(
        &values,
        facts.into(),
        &format!("values of {}", component.title),
    )?;
    if component.objects.is_empty() {
        return Ok(values);
    }
    let objects = expand(component, &values, facts)?;
    Ok(Map::from_iter([(
        OBJECTS_KEY.to_owned(),
        Value::Array(objects),
    )]))
}

/// Merges the layers of a component's values that do not depend on a site's facts.
pub(crate) fn layered<'a>(
    own: &Map<String, Value>,
    with: impl Iterator<Item = &'a ValuesWith>,
    site: Option<&Map<String, Value>>,
) -> Map<String, Value> {
    let mut values = own.clone();
    for with in with {
        merge(&mut values, &with.values);
    }
    if let Some(over) = site {
        merge(&mut values, over);
    }
    values
}

/// Returns the objects of a component, those of a list once for every item; `values` are filled in already.
fn expand(
    component: &ResolvedComponent,
    values: &Map<String, Value>,
    facts: &SiteFacts,
) -> Result<Vec<Value>, TemplateError> {
    let mut expanded = Vec::new();
    for (index, entry) in component.objects.iter().enumerate() {
        let place = format!("objects.{index} of {}", component.title);
        let (list, objects) = match entry {
            ObjectEntry::Object(object) => {
                expanded.push(Value::Object(fill_map(object, facts.into(), &place)?));
                continue;
            }
            ObjectEntry::ForEach { list, objects } => (list, objects),
        };
        let items = match look_up(values, list) {
            // nothing to repeat for, as where the fact behind it may be absent
            None | Some(Value::Null) => continue,
            Some(Value::Array(items)) => items,
            Some(_) => {
                return Err(TemplateError::NotList {
                    place,
                    key: list.clone(),
                });
            }
        };
        for (number, item) in items.iter().enumerate() {
            let place = format!("{place}, {list}.{number}");
            for object in objects {
                let scope = Scope::from(facts).with_item(item);
                expanded.push(Value::Object(fill_map(object, scope, &place)?));
            }
        }
    }
    Ok(expanded)
}

/// Follows `a.b` into a mapping.
pub(crate) fn look_up<'a>(values: &'a Map<String, Value>, path: &str) -> Option<&'a Value> {
    let mut steps = path.split('.');
    let first = values.get(steps.next()?)?;
    steps.try_fold(first, |value, step| value.get(step))
}

/// Returns a static manifest's text.
///
/// `overrides` is the entry of its component under the inventory's `values`; `chart` is the tgz of the component's chart,
/// needed only for [`StaticContent::BootstrapHelmChart`].
pub fn render_static(
    manifest: &StaticManifest,
    edition: &ResolvedEdition,
    site: SiteKind,
    facts: &SiteFacts,
    overrides: Option<&Map<String, Value>>,
    chart: Option<&[u8]>,
) -> Result<String, RenderError> {
    let component = edition.components.get(&manifest.component).ok_or_else(|| {
        RenderError::UnknownComponent {
            manifest: manifest.name.clone(),
            component: manifest.component.clone(),
        }
    })?;
    let objects = match &manifest.content {
        StaticContent::Objects { objects } => {
            let mut filled = Vec::new();
            for object in objects {
                filled.extend(fill(
                    object,
                    facts.into(),
                    &format!("static manifest {}", manifest.name),
                )?);
            }
            filled
        }
        StaticContent::HelmChartConfig => {
            let values = render_values(edition, component, site, facts, overrides)?;
            vec![json!({
                "apiVersion": "helm.cattle.io/v1",
                "kind": "HelmChartConfig",
                "metadata": {"name": component.release_name, "namespace": component.namespace},
                "spec": {"valuesContent": yaml(&Value::Object(values), &manifest.name)?},
            })]
        }
        StaticContent::BootstrapHelmChart => {
            let values = render_values(edition, component, site, facts, overrides)?;
            let chart = chart.ok_or_else(|| RenderError::NoChart {
                manifest: manifest.name.clone(),
            })?;
            let bytes = chart.len() as u64;
            if bytes > MAX_INLINE_CHART_BYTES {
                return Err(RenderError::ChartTooLarge {
                    manifest: manifest.name.clone(),
                    size: bytes,
                });
            }
            vec![json!({
                "apiVersion": "helm.cattle.io/v1",
                "kind": "HelmChart",
                "metadata": {"name": component.release_name, "namespace": "kube-system"},
                "spec": {
                    "bootstrap": true,
                    "chartContent": STANDARD.encode(chart),
                    "failurePolicy": "retry",
                    "targetNamespace": component.namespace,
                    "valuesContent": yaml(&Value::Object(values), &manifest.name)?,
                },
            })]
        }
    };
    let mut text = String::new();
    for object in &objects {
        text.push_str("---\n");
        text.push_str(&yaml(object, &manifest.name)?);
    }
    Ok(text)
}

/// Returns a value as YAML text that ends in a line feed.
pub fn to_yaml(value: &Value) -> Result<String, RenderError> {
    yaml(value, "a value")
}

fn yaml(value: &Value, what: &str) -> Result<String, RenderError> {
    // a long text stays on its line, as a person would look for it
    let options = serde_saphyr::ser_options! { min_fold_chars: usize::MAX };
    let mut text = serde_saphyr::to_string_with_options(value, options).map_err(|source| {
        RenderError::Yaml {
            what: what.to_owned(),
            source: Box::new(source),
        }
    })?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

impl SitePlan {
    /// Returns the inventory's facts over those that the kind of site knows by itself.
    #[must_use]
    pub fn facts_with(&self, inventory: &SiteFacts) -> SiteFacts {
        inventory.over(&self.facts)
    }

    /// Returns the static manifests that a site with these facts gets.
    pub fn manifests_for<'a>(
        &'a self,
        facts: &'a SiteFacts,
    ) -> impl Iterator<Item = &'a StaticManifest> {
        self.static_manifests.iter().filter(|manifest| {
            manifest
                .requires
                .iter()
                .all(|fact| facts.get(*fact).is_some())
        })
    }

    /// Returns the keys of RKE2's config.yaml with facts filled in.
    pub fn config_with(&self, facts: &SiteFacts) -> Result<Rke2Config, TemplateError> {
        Ok(Rke2Config {
            all: fill_map(&self.rke2_config.all, facts.into(), "rke2")?,
            server: fill_map(&self.rke2_config.server, facts.into(), "rke2")?,
            agent: fill_map(&self.rke2_config.agent, facts.into(), "rke2")?,
        })
    }
}

impl ResolvedEdition {
    /// Tells whether a site has a component: it is part of the edition, the kind of site has it, and no fact is missing for
    /// which it would be left out.
    #[must_use]
    pub fn has(&self, component: &str, site: SiteKind, facts: &SiteFacts) -> bool {
        self.components.get(component).is_some_and(|component| {
            component.on(site)
                && (!component.optional || component.missing_facts(site, facts).is_empty())
        })
    }
}

impl ResolvedComponent {
    /// Tells whether a kind of site has it.
    #[must_use]
    pub fn on(&self, site: SiteKind) -> bool {
        self.sites.contains(&site)
    }

    /// Returns the facts that it cannot do without and that are absent.
    #[must_use]
    pub fn missing_facts(&self, site: SiteKind, facts: &SiteFacts) -> Vec<Fact> {
        self.requires
            .get(&site)
            .into_iter()
            .flatten()
            .copied()
            .filter(|fact| facts.get(*fact).is_none())
            .collect()
    }

    /// Returns its address on a site, if it has one.
    pub fn url_with(&self, facts: &SiteFacts) -> Result<Option<String>, TemplateError> {
        let Some(url) = &self.url else {
            return Ok(None);
        };
        let filled = fill(
            &Value::String(url.clone()),
            facts.into(),
            &format!("url of {}", self.title),
        )?;
        Ok(filled.and_then(|value| value.as_str().map(str::to_owned)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_that_yaml_1_1_takes_for_something_else_are_quoted() {
        let words = [
            "true",
            "True",
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "N",
            "null",
            "~",
            "",
            "1",
            "1.0",
            "1e3",
            "0x1F",
            "0o7",
            "017",
            "1_000",
            "12:30:45",
            "2026-11-21",
            ".inf",
            ".nan",
            "-",
            "=",
            "<<",
            "!tag",
            "&anchor",
            "*alias",
            "@at",
            "%percent",
            "a: b",
            "a #b",
            " leading",
            "trailing ",
            "{a}",
            "[a]",
            "tab\tbed",
            "line\nfeed",
            "line\nfeed\n",
            "\u{7f}",
            "\u{feff}bom",
        ];
        for word in words {
            let text = to_yaml(&json!({ word: word })).unwrap();
            let node = crate::strict::parse_node(&text, "x.yaml".into()).unwrap();
            assert_eq!(node.to_value(), json!({ word: word }), "{text}");
        }
        insta::assert_snapshot!(to_yaml(&json!(words.to_vec())).unwrap());
    }

    proptest! {
        #[test]
        fn any_text_reads_back(key in "\\PC{1,12}", text in "[\\PC\n\t]{0,40}", number in any::<i64>()) {
            let value = json!({ key: [text, { "n": number }] });
            let written = to_yaml(&value).unwrap();
            let node = crate::strict::parse_node(&written, "x.yaml".into());
            prop_assert_eq!(node.map(|node| node.to_value()), Ok(value), "{}", written);
        }
    }
}
