//! Components that are objects, and what depends on the components beside one.

use airgap_manifests::{
    Fact, OBJECTS_CHART, ResolvedEdition, SiteFacts, SiteKind, TemplateError, objects_chart,
    objects_chart_ref, render_values, resolve,
};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Files, full_lock};

const TENANTS: &str = "\
name: tenants
title: Tenants
about: a namespace for each tenant
version: \"1\"
licence: Apache-2.0
namespace: tenants
delivery: argoCd
needs: [gitops]
needsWith:
  seaweedfs: [s3]
accept: tenants-eula
redistribution: not to be resold
requests: {cpu: 250m, memory: 64Mi}
values:
  quota: {pods: \"10\"}
  tenants:
    - name: first
valuesWith:
  seaweedfs:
    tenants: [{name: storing, quota: 5}]
  cert-manager:
    quota: {pods: \"20\"}
siteValues:
  aws:
    tenants: []
objects:
  - apiVersion: v1
    kind: ConfigMap
    metadata: {name: \"${site.cluster}\"}
    data: {class: \"${site.ingressClass}\"}
  - forEach: tenants
    objects:
      - apiVersion: v1
        kind: Namespace
        metadata:
          name: tenant-${item.name}
          labels: {\"tenant.${site.domain}\": \"${item.name}\"}
      - apiVersion: v1
        kind: ResourceQuota
        metadata: {name: quota, namespace: \"tenant-${item.name}\"}
        spec: {hard: {pods: \"${item.quota?}\"}}
";

fn files() -> Files {
    Files::shipped()
        .replace(
            "editions/community.yaml",
            "  - longhorn\n",
            "  - longhorn\n  - tenants\n",
        )
        .add("components/tenants.yaml", TENANTS)
}

fn resolved(edition: &str) -> ResolvedEdition {
    let catalog = files().load().unwrap();
    resolve(&catalog, &full_lock(&catalog), edition, &[], "linux/amd64").unwrap()
}

fn render(
    edition: &ResolvedEdition,
    site: SiteKind,
    over: Option<&Value>,
) -> Result<Value, TemplateError> {
    let facts = SiteFacts::new()
        .with(Fact::Cluster, "prod")
        .with(Fact::Domain, "corp.example");
    let facts = edition.sites[&site].facts_with(&facts);
    let over = over.and_then(Value::as_object);
    render_values(edition, &edition.components["tenants"], site, &facts, over).map(Value::Object)
}

fn names(values: &Value) -> Vec<&str> {
    let objects = values["objects"].as_array().unwrap().iter();
    objects
        .map(|object| object["metadata"]["name"].as_str().unwrap())
        .collect()
}

#[test]
fn objects_are_repeated_for_every_item_of_the_merged_list() {
    let edition = resolved("community");
    let values = render(&edition, SiteKind::Onprem, None).unwrap();
    assert_eq!(names(&values), ["prod", "tenant-first", "quota"]);
    assert_eq!(values["objects"][0]["data"]["class"], "traefik");
    assert_eq!(
        values["objects"][1]["metadata"]["labels"],
        json!({"tenant.corp.example": "first"})
    );
    // what the item does not give is left out where it may be absent
    assert_eq!(values["objects"][2]["spec"], json!({"hard": {}}));
    let over = json!({"tenants": [{"name": "a", "quota": 3}, {"name": "b"}]});
    let values = render(&edition, SiteKind::Onprem, Some(&over)).unwrap();
    assert_eq!(
        names(&values),
        ["prod", "tenant-a", "quota", "tenant-b", "quota"]
    );
    assert_eq!(values["objects"][2]["spec"]["hard"]["pods"], 3);
}

#[test]
fn an_item_without_what_its_objects_need_is_named() {
    let edition = resolved("community");
    let over = json!({"tenants": [{"name": "a"}, {"nmae": "b"}]});
    let error = render(&edition, SiteKind::Onprem, Some(&over)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "objects.1 of Tenants, tenants.1.metadata.labels.tenant.${site.domain} needs `item.name`, which this entry of the component's values does not give"
    );
    let over = json!({"tenants": "a"});
    let error = render(&edition, SiteKind::Onprem, Some(&over)).unwrap_err();
    assert!(
        error.to_string().contains("repeated for `tenants`"),
        "{error}"
    );
}

#[test]
fn values_beside_another_component_hold_only_where_it_is() {
    // SeaweedFS comes with standard, and only on-prem; a kind of site has the last word
    let standard = resolved("standard");
    let values = render(&standard, SiteKind::Onprem, None).unwrap();
    assert_eq!(names(&values), ["prod", "tenant-storing", "quota"]);
    assert_eq!(
        names(&render(&standard, SiteKind::Aws, None).unwrap()),
        ["prod"]
    );
    let community = resolved("community");
    let with = |edition: &ResolvedEdition| -> Vec<String> {
        let with = edition.components["tenants"].values_with.iter();
        with.map(|with| with.component.clone()).collect()
    };
    assert_eq!(with(&standard), ["seaweedfs", "cert-manager"]);
    assert_eq!(with(&community), ["cert-manager"]);
}

#[test]
fn needs_beside_another_component_move_it_into_a_later_wave() {
    let wave = |edition: &ResolvedEdition, site: SiteKind, name: &str| {
        let waves = &edition.sites[&site].waves;
        waves
            .iter()
            .position(|wave| wave.iter().any(|of| of == name))
            .unwrap()
    };
    let (community, standard) = (resolved("community"), resolved("standard"));
    assert_eq!(wave(&community, SiteKind::Onprem, "tenants"), 0);
    assert!(
        wave(&standard, SiteKind::Onprem, "tenants")
            > wave(&standard, SiteKind::Onprem, "seaweedfs")
    );
    assert_eq!(wave(&standard, SiteKind::Aws, "tenants"), 0);
}

#[test]
fn the_generated_chart_travels_once_and_only_where_it_is_used() {
    let edition = resolved("community");
    let reference = objects_chart_ref();
    assert_eq!(edition.components["tenants"].chart, Some(reference.clone()));
    let charts: Vec<_> = edition
        .charts
        .iter()
        .filter(|chart| chart.name == OBJECTS_CHART)
        .collect();
    assert_eq!(charts.len(), 1);
    assert_eq!(charts[0].version, reference.version);
    let digest = hex::encode(Sha256::digest(objects_chart()));
    assert_eq!(charts[0].sha256.digest(), digest);
}

#[test]
fn what_must_be_accepted_and_what_it_requests_travel_with_the_component() {
    let edition = resolved("community");
    let mut text = serde_json::to_value(&edition).unwrap();
    for chart in text["charts"].as_array_mut().unwrap() {
        chart["digest"] = chart["sha256"].clone();
    }
    for file in text["rke2"]["files"].as_array_mut().unwrap() {
        file["size"] = json!(1);
    }
    let read = ResolvedEdition::from_json(text.to_string().as_bytes()).unwrap();
    let tenants = &read.components["tenants"];
    assert_eq!(tenants.accept.as_deref(), Some("tenants-eula"));
    assert_eq!(tenants.redistribution.as_deref(), Some("not to be resold"));
    assert_eq!(tenants.requests.as_ref().unwrap().memory.0, 64 << 20);
    assert_eq!(read.components, edition.components);
}

#[test]
fn a_fact_that_objects_need_is_required_of_the_site() {
    let edition = resolved("community");
    assert_eq!(
        edition.components["tenants"].requires[&SiteKind::Onprem],
        [Fact::Cluster, Fact::Domain]
    );
    let facts = SiteFacts::new();
    assert_eq!(
        edition.components["tenants"]
            .missing_facts(SiteKind::Onprem, &facts)
            .len(),
        2
    );
    let empty: Map<String, Value> = Map::new();
    let error = render_values(
        &edition,
        &edition.components["tenants"],
        SiteKind::Onprem,
        &facts,
        Some(&empty),
    );
    let error = error.unwrap_err().to_string();
    assert!(error.starts_with("objects.0 of Tenants"), "{error}");
}
