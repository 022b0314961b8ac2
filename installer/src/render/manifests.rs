//! Static manifests: what RKE2 must apply before there is a CNI or a cloud controller, on the seed alone.
//!
//! Only these lie in RKE2's folder, under names of ours; it applies a file again within seconds and deletes what leaves it, so everything
//! else goes through the API.

use airgap_manifests::{
    Delivery, RenderError, ResolvedEdition, SiteFacts, SitePlan, StaticContent, render_static,
    to_yaml,
};
use serde_json::{Value, json};

use super::{HEADER, MANIFESTS_FOLDER, NodeFile, values::overrides};
use crate::{Error, Inventory, Result};

/// Renders the static manifests of a site. `chart` returns the bytes of a chart, by name and version, that is inlined.
pub fn static_manifests(
    inventory: &Inventory,
    edition: &ResolvedEdition,
    plan: &SitePlan,
    facts: &SiteFacts,
    chart: impl Fn(&str, &str) -> Result<Vec<u8>>,
) -> Result<Vec<NodeFile>> {
    let mut files = Vec::new();
    for manifest in plan.manifests_for(facts) {
        let Some(component) = edition.components.get(&manifest.component) else {
            continue;
        };
        if !component.on(inventory.site)
            || !component.missing_facts(inventory.site, facts).is_empty()
        {
            continue;
        }
        let inlined = match (&manifest.content, &component.chart) {
            (StaticContent::BootstrapHelmChart, Some(reference))
                if component.delivery == Delivery::Bootstrap =>
            {
                Some(chart(&reference.name, &reference.version)?)
            }
            _ => None,
        };
        let own = overrides(inventory, &manifest.component);
        let text = render_static(
            manifest,
            edition,
            inventory.site,
            facts,
            own,
            inlined.as_deref(),
        )
        .map_err(rendering)?;
        files.push(file(&manifest.name, &text));
    }
    if let Some(object) = coredns(inventory)? {
        files.push(file(
            "airgap-coredns",
            &to_yaml(&object).map_err(rendering)?,
        ));
    }
    Ok(files)
}

/// Where no DNS knows the registry, CoreDNS must: Argo CD and helm jobs resolve through it.
fn coredns(inventory: &Inventory) -> Result<Option<Value>> {
    if inventory.registry.addresses.is_empty() {
        return Ok(None);
    }
    let (name, _) = inventory.registry_address();
    let lines: Vec<String> = inventory
        .registry
        .addresses
        .iter()
        .map(|address| format!("{address} {name}"))
        .collect();
    // the server block of RKE2's own chart, whose list cannot be added to, with one plugin more; the chart itself puts the cluster's
    // domain before the parameters of `kubernetes`
    let plugins = json!([
        {"name": "errors"},
        {"name": "health", "configBlock": "lameduck 10s"},
        {"name": "ready"},
        {"name": "hosts", "configBlock": format!("{}\nfallthrough", lines.join("\n"))},
        {"name": "kubernetes", "parameters": "in-addr.arpa ip6.arpa", "configBlock": "pods insecure\nfallthrough in-addr.arpa ip6.arpa\nttl 30"},
        {"name": "prometheus", "parameters": "0.0.0.0:9153"},
        {"name": "forward", "parameters": ". /etc/resolv.conf"},
        {"name": "cache", "parameters": "30"},
        {"name": "loop"},
        {"name": "reload"},
        {"name": "loadbalance"},
    ]);
    let values = json!({"servers": [{"zones": [{"zone": ".", "use_tcp": true}], "port": 53, "plugins": plugins}]});
    Ok(Some(json!({
        "apiVersion": "helm.cattle.io/v1",
        "kind": "HelmChartConfig",
        "metadata": {"name": "rke2-coredns", "namespace": "kube-system"},
        "spec": {"valuesContent": to_yaml(&values).map_err(rendering)?},
    })))
}

fn file(name: &str, text: &str) -> NodeFile {
    NodeFile::new(
        format!("{MANIFESTS_FOLDER}/{name}.yaml"),
        0o600,
        format!("{HEADER}{text}"),
    )
}

/// The edition was checked when it was bundled, so what cannot be rendered lacks something of this site.
pub(crate) fn rendering(error: RenderError) -> Error {
    Error::Render {
        source: Box::new(error),
    }
}
