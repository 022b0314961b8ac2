//! Editions resolved, and what the installer writes from them.

mod locked;

use std::fmt::Write as _;

use airgap_manifests::{
    Catalog, Delivery, EditionError, Fact, RenderError, ResolvedEdition, SecretKey, SiteFacts,
    SiteKind, render_static, render_values, resolve,
};
use serde_json::{Value, json};

use crate::support::full_lock;

const EDITIONS: [&str; 3] = ["community", "standard", "enterprise"];

/// Resolves an edition of the shipped catalog, with add-ons.
pub(crate) fn resolved(edition: &str, with: &[&str]) -> ResolvedEdition {
    let catalog = Catalog::builtin().unwrap();
    let with: Vec<String> = with.iter().map(|name| (*name).to_owned()).collect();
    resolve(
        &catalog,
        &full_lock(&catalog),
        edition,
        &with,
        "linux/amd64",
    )
    .unwrap()
}

/// Returns what a complete inventory tells.
pub(crate) fn facts(site: SiteKind) -> SiteFacts {
    let facts = SiteFacts::new()
        .with(Fact::Cluster, "prod")
        .with(Fact::Domain, "platform.corp.example")
        .with(Fact::Endpoint, "k8s.corp.example")
        .with(Fact::Registry, "harbor.corp.example:8443")
        .with(Fact::RegistryHost, "harbor.corp.example")
        .with(Fact::RegistryProject, "airgap")
        .with(
            Fact::RegistryCa,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        )
        .with(
            Fact::TrustedKeys,
            "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
        )
        .with(Fact::Nodes, 5)
        .with(Fact::Servers, 3)
        .with(Fact::Replicas, 3);
    match site {
        SiteKind::Onprem => facts
            .with(Fact::ApiVip, "10.0.0.10")
            .with(Fact::LoadBalancerPools, json!(["10.0.0.200-10.0.0.220"]))
            .with(
                Fact::LoadBalancerBlocks,
                json!([{"start": "10.0.0.200", "stop": "10.0.0.220"}]),
            )
            .with(Fact::DnsProvider, "rfc2136")
            .with(Fact::DnsServer, "10.0.0.2")
            .with(Fact::DnsZone, "platform.corp.example")
            .with(Fact::DnsTsigKeyName, "airgap")
            .with(Fact::DnsTsigAlgorithm, "hmac-sha256"),
        SiteKind::Aws => facts
            .with(Fact::AwsClusterName, "prod-aws")
            .with(Fact::AwsRegion, "ap-northeast-2")
            .with(Fact::AwsVpcId, "vpc-0a1b2c3d")
            .with(Fact::AwsKmsKeyId, "alias/openbao")
            .with(Fact::AwsLokiBucket, "prod-logs")
            .with(Fact::AwsTempoBucket, "prod-traces")
            .with(Fact::AwsMimirBucket, "prod-metrics")
            .with(Fact::DnsProvider, "route53")
            .with(Fact::DnsZone, "platform.corp.example"),
    }
}

#[test]
fn plans_of_each_edition_and_site() {
    for edition in EDITIONS {
        let resolved = resolved(edition, &[]);
        for site in SiteKind::ALL {
            let plan = &resolved.sites[&site];
            let components: Vec<&String> = resolved
                .components
                .iter()
                .filter(|(_, component)| component.on(site))
                .map(|(name, _)| name)
                .collect();
            let summary = json!({
                "components": components,
                "waves": plan.waves,
                "config": plan.rke2_config,
                "static": plan.static_manifests.iter().map(|manifest| &manifest.name).collect::<Vec<_>>(),
                "images": resolved.images.iter().filter(|image| image.components.iter().any(|name| components.contains(&name))).map(|image| image.name.to_string()).collect::<Vec<_>>(),
            });
            insta::assert_snapshot!(
                format!("plan-{edition}-{site}"),
                airgap_manifests::to_yaml(&summary).unwrap()
            );
        }
    }
}

#[test]
fn the_whole_document_of_the_standard_edition() {
    let text = String::from_utf8(resolved("standard", &[]).to_json()).unwrap();
    insta::assert_snapshot!(text);
}

#[test]
fn everything_rendered_of_each_edition_and_site() {
    for edition in EDITIONS {
        let resolved = resolved(edition, &[]);
        for site in SiteKind::ALL {
            let plan = &resolved.sites[&site];
            let facts = plan.facts_with(&facts(site));
            let mut text = String::new();
            for manifest in plan.manifests_for(&facts) {
                let rendered =
                    render_static(manifest, &resolved, site, &facts, None, Some(b"chart")).unwrap();
                writeln!(text, "### static/{}.yaml\n{rendered}", manifest.name).unwrap();
            }
            for (name, component) in resolved
                .components
                .iter()
                .filter(|(_, component)| component.on(site))
            {
                if matches!(component.delivery, Delivery::ArgoCd | Delivery::HelmChart) {
                    assert_eq!(component.missing_facts(site, &facts), [], "{name}");
                    let values = render_values(&resolved, component, site, &facts, None).unwrap();
                    let values = airgap_manifests::to_yaml(&Value::Object(values)).unwrap();
                    writeln!(text, "### values of {name}\n{values}").unwrap();
                }
            }
            assert!(!text.contains("${site."), "{text}");
            insta::assert_snapshot!(format!("rendered-{edition}-{site}"), text);
        }
    }
}

#[test]
fn rendered_yaml_reads_back_as_itself() {
    let resolved = resolved("standard", &[]);
    let plan = &resolved.sites[&SiteKind::Onprem];
    let facts = plan.facts_with(&facts(SiteKind::Onprem));
    let manifest = plan
        .static_manifests
        .iter()
        .find(|manifest| manifest.name == "rke2-cilium-config")
        .unwrap();
    let text = render_static(manifest, &resolved, SiteKind::Onprem, &facts, None, None).unwrap();
    let nodes = airgap_manifests::strict::parse_nodes(&text, "m.yaml".into()).unwrap();
    let values = nodes[0].find(["spec", "valuesContent"]).unwrap().to_value();
    let values = airgap_manifests::strict::parse_node(values.as_str().unwrap(), "v.yaml".into())
        .unwrap()
        .to_value();
    let expected = render_values(
        &resolved,
        &resolved.components["rke2-cilium"],
        SiteKind::Onprem,
        &facts,
        None,
    )
    .unwrap();
    assert_eq!(values, Value::Object(expected));
    // texts that YAML 1.1 readers would take for booleans or numbers stay texts
    assert_eq!(values["kubeProxyReplacement"], "true");
    assert_eq!(values["k8sServicePort"], "6443");
}

#[test]
fn on_aws_the_embedded_controller_is_off_and_on_premises_nothing_is_set() {
    let resolved = resolved("community", &[]);
    let aws = &resolved.sites[&SiteKind::Aws].rke2_config;
    assert_eq!(aws.all["cloud-provider-name"], "external");
    assert_eq!(aws.all["node-name-from-cloud-provider-metadata"], true);
    assert_eq!(aws.server["disable-cloud-controller"], true);
    let onprem = &resolved.sites[&SiteKind::Onprem].rke2_config;
    assert!(onprem.all.is_empty() && !onprem.server.contains_key("disable-cloud-controller"));
    assert!(
        resolved.sites[&SiteKind::Onprem]
            .static_manifests
            .iter()
            .all(|manifest| manifest.component != "aws-cloud-controller-manager")
    );
}

#[test]
fn the_cluster_name_in_the_controllers_arguments_is_the_inventorys_letter_by_letter() {
    let resolved = resolved("community", &[]);
    let plan = &resolved.sites[&SiteKind::Aws];
    let manifest = plan
        .static_manifests
        .iter()
        .find(|manifest| manifest.component == "aws-cloud-controller-manager")
        .unwrap();
    let text = render_static(
        manifest,
        &resolved,
        SiteKind::Aws,
        &facts(SiteKind::Aws),
        None,
        Some(b"chart"),
    )
    .unwrap();
    assert!(text.contains("--cluster-name=prod-aws"), "{text}");
    assert!(text.contains("bootstrap: true"), "{text}");
    let unnamed = SiteFacts::new();
    let error = render_static(
        manifest,
        &resolved,
        SiteKind::Aws,
        &unnamed,
        None,
        Some(b"chart"),
    )
    .unwrap_err();
    assert!(
        error.to_string().contains("set `aws.clusterName`"),
        "{error}"
    );
    let large = vec![0; 700 * 1024 + 1];
    let error = render_static(
        manifest,
        &resolved,
        SiteKind::Aws,
        &facts(SiteKind::Aws),
        None,
        Some(&large),
    )
    .unwrap_err();
    assert!(
        matches!(error, RenderError::ChartTooLarge { size: 716_801, .. }),
        "{error}"
    );
}

#[test]
fn kube_vip_is_written_only_where_there_is_an_address_for_it() {
    let resolved = resolved("community", &[]);
    let plan = &resolved.sites[&SiteKind::Onprem];
    let named = |facts: &SiteFacts| {
        plan.manifests_for(facts)
            .any(|manifest| manifest.name == "kube-vip")
    };
    assert!(named(&facts(SiteKind::Onprem)));
    assert!(!named(&SiteFacts::new()));
    assert!(resolved.components["kube-vip"].optional);
    assert_eq!(
        resolved.components["kube-vip"].missing_facts(SiteKind::Onprem, &SiteFacts::new()),
        [Fact::ApiVip]
    );
}

#[test]
fn values_of_the_inventory_are_merged_last() {
    let resolved = resolved("standard", &[]);
    let facts = resolved.sites[&SiteKind::Onprem].facts_with(&facts(SiteKind::Onprem));
    let over = json!({"persistence": {"defaultClassReplicaCount": 2}, "ingress": {"host": "longhorn.${site.domain}"}});
    let values = render_values(
        &resolved,
        &resolved.components["longhorn"],
        SiteKind::Onprem,
        &facts,
        over.as_object(),
    )
    .unwrap();
    assert_eq!(values["persistence"]["defaultClassReplicaCount"], 2);
    assert_eq!(values["persistence"]["defaultClass"], true);
    assert_eq!(values["ingress"]["host"], "longhorn.platform.corp.example");
}

#[test]
fn without_a_private_authority_argo_cd_gets_no_certificate_entry() {
    let resolved = resolved("community", &[]);
    let facts = SiteFacts::new()
        .with(Fact::Domain, "a.example")
        .with(Fact::IngressClass, "traefik")
        .with(Fact::RegistryHost, "registry.example");
    let values = render_values(
        &resolved,
        &resolved.components["argo-cd"],
        SiteKind::Aws,
        &facts,
        None,
    )
    .unwrap();
    assert_eq!(values["configs"]["tls"]["certificates"], json!({}));
    let facts = facts.with(Fact::RegistryCa, "PEM");
    let values = render_values(
        &resolved,
        &resolved.components["argo-cd"],
        SiteKind::Aws,
        &facts,
        None,
    )
    .unwrap();
    assert_eq!(
        values["configs"]["tls"]["certificates"],
        json!({"registry.example": "PEM"})
    );
    assert_eq!(
        resolved.components["argo-cd"]
            .url_with(&facts)
            .unwrap()
            .unwrap(),
        "https://argocd.a.example"
    );
}

#[test]
fn a_secret_that_is_a_text_is_made_from_the_other_keys() {
    let resolved = resolved("standard", &[]);
    let secret = &resolved.components["seaweedfs"].secrets[0];
    let generated = secret
        .keys
        .iter()
        .filter(|(_, key)| !matches!(key, SecretKey::Text { .. }))
        .map(|(name, _)| (name.clone(), format!("<{name}>")))
        .collect();
    let keys = secret.complete(&generated);
    let config: Value = serde_json::from_str(&keys["seaweedfs_s3_config"]).unwrap();
    assert_eq!(
        config["identities"][0]["credentials"][0],
        json!({"accessKey": "<accessKey>", "secretKey": "<secretKey>"})
    );
}

#[test]
fn an_add_on_replaces_what_it_says_and_only_listed_ones_are_taken() {
    let resolved = resolved("standard", &["rke2-ingress-nginx"]);
    assert_eq!(resolved.rke2.ingress, "ingress-nginx");
    assert!(!resolved.components.contains_key("rke2-traefik"));
    let catalog = Catalog::builtin().unwrap();
    let problems = resolve(
        &catalog,
        &full_lock(&catalog),
        "standard",
        &["rke2-ingres-nginx".to_owned()],
        "linux/amd64",
    )
    .unwrap_err();
    assert!(
        problems[0]
            .to_string()
            .contains("did you mean `rke2-ingress-nginx`?"),
        "{problems:?}"
    );
    let problems = resolve(
        &catalog,
        &full_lock(&catalog),
        "standart",
        &[],
        "linux/amd64",
    )
    .unwrap_err();
    assert!(
        problems[0].to_string().contains("did you mean `standard`?"),
        "{problems:?}"
    );
}

#[test]
fn one_name_adds_a_group_of_components() {
    const GROUP: [&str; 3] = ["cloudnative-pg", "harbor-db", "harbor-registry"];
    let has = |edition: &str, with: &[&str]| {
        let resolved = resolved(edition, with);
        GROUP.map(|name| resolved.components.contains_key(name))
    };
    assert_eq!(has("community", &[]), [false, false, false]);
    assert_eq!(has("community", &["harbor"]), [true, true, true]);
    assert_eq!(has("standard", &["harbor"]), [true, true, true]);
    // its members may be chosen one by one as well, where the rest of what they need is there
    assert_eq!(has("standard", &["harbor-db"]), [true, true, false]);
}

#[test]
fn each_edition_holds_what_the_one_before_it_delivers() {
    let [community, standard, enterprise] = EDITIONS.map(|edition| resolved(edition, &[]));
    assert_eq!(
        (community.rke2.cni.as_str(), standard.rke2.cni.as_str()),
        ("canal", "cilium")
    );
    for name in community
        .components
        .keys()
        // Cilium stands in for the network and for what gives away addresses
        .filter(|name| !["rke2-canal", "metallb", "metallb-pools"].contains(&name.as_str()))
    {
        assert!(standard.components.contains_key(name), "{name}");
    }
    for name in standard.components.keys() {
        assert!(enterprise.components.contains_key(name), "{name}");
    }
    assert_eq!(
        [
            community.min_nodes,
            standard.min_nodes,
            enterprise.min_nodes
        ],
        [3, 5, 10]
    );
}

#[test]
fn a_document_reads_back_once_the_bundler_has_completed_it() {
    let mut edition = resolved("standard", &[]);
    assert!(matches!(
        ResolvedEdition::from_json(&edition.to_json()),
        Err(EditionError::Incomplete { .. })
    ));
    for file in &mut edition.rke2.files {
        file.size = Some(1);
    }
    for chart in &mut edition.charts {
        chart.digest = Some(chart.sha256.clone());
    }
    let bytes = edition.to_json();
    assert_eq!(ResolvedEdition::from_json(&bytes).unwrap(), edition);
    let text = String::from_utf8(bytes).unwrap();
    let newer = text.replace("\"schema\": 1", "\"schema\": 2");
    assert!(matches!(
        ResolvedEdition::from_json(newer.as_bytes()),
        Err(EditionError::Schema { schema: 2 })
    ));
    let unknown = text.replacen("\"title\"", "\"added\": 1, \"title\"", 1);
    assert!(matches!(
        ResolvedEdition::from_json(unknown.as_bytes()),
        Err(EditionError::Json(_))
    ));
}
