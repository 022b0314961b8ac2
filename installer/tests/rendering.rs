//! What is written for each edition on each kind of site: node files and objects, byte for byte.

mod cloud_controller;
mod openbao;

use std::fmt::Write as _;

use airgap_installer::{
    Inventory,
    render::{
        NodeFile,
        argocd::{self, Application},
        config::{self, Entry},
        manifests::static_manifests,
        registries::{Accounts, SiteRegistryRef, registries},
        values,
    },
};
use airgap_manifests::{
    Catalog, ImageLock, LockedManifest, ResolvedEdition, SiteFacts, SiteKind, render_values,
    resolve, to_yaml,
};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

const ONPREM: &str = r"
apiVersion: airgap/v1
kind: Inventory
metadata: {name: prod}
site: onprem
domain: platform.corp.example
cluster:
  endpoint: k8s.corp.example
  tlsSans: [10.0.0.10]
  config: {cluster-cidr: 10.50.0.0/16}
  serverConfig: {etcd-snapshot-retention: 12, embedded-registry: true}
network: {apiVip: 10.0.0.10, loadBalancerPools: [10.0.0.200-10.0.0.220, 10.0.1.0/28]}
dns: {provider: rfc2136, server: 10.0.0.2, zone: platform.corp.example, tsigKeyName: airgap, tsigSecret: {file: ./tsig}}
registry:
  endpoint: harbor.corp.example:8443
  addresses: [10.0.0.5]
  project: airgap
  push: {username: push, password: {file: ./push}}
  pull: {username: pull, password: {file: ./pull}}
extraRegistries:
  mirrors: {internal.corp.example: {endpoint: ['https://internal.corp.example:5000']}}
hosts:
  - {name: cp1, role: server, ssh: {address: 10.0.0.11, user: root}, nodeIp: 192.168.10.11}
  - {name: cp2, role: server, ssh: {address: 10.0.0.12, user: root}}
  - {name: cp3, role: server, ssh: {address: 10.0.0.13, user: root}}
  - {name: w1, role: agent, ssh: {address: 10.0.1.21, user: root}, labels: {zone: b}, taints: ['gpu=true:NoSchedule'], config: {kubelet-arg: [max-pods=200]}}
values:
  argo-cd: {server: {replicas: 2}}
";

const AWS: &str = r"
apiVersion: airgap/v1
kind: Inventory
metadata: {name: prod}
site: aws
domain: platform.corp.example
cluster: {endpoint: nlb.internal.example}
aws:
  clusterName: prod
  region: eu-central-1
  vpcId: vpc-0a1b2c3d
  kmsKeyId: alias/openbao
  buckets: {loki: prod-logs, tempo: prod-traces, mimir: prod-metrics, backup: prod-backup}
dns: {provider: route53, zone: platform.corp.example}
registry:
  endpoint: harbor.corp.example
  project: airgap
  push: {username: push, password: {file: ./push}}
hosts:
  - {name: cp1, role: server, ssh: {address: 10.0.0.11, user: root}}
  - {name: w1, role: agent, ssh: {address: 10.0.1.21, user: root}}
";

fn edition(name: &str) -> ResolvedEdition {
    let catalog = Catalog::builtin().unwrap();
    resolve(&catalog, &full_lock(&catalog), name, &[], "linux/amd64").unwrap()
}

/// A lock in which everything has some digest.
fn full_lock(catalog: &Catalog) -> ImageLock {
    let mut lock = catalog.lock_skeleton(&Catalog::builtin_lock().unwrap());
    let digest = |name: &str| {
        format!("sha256:{}", hex::encode(Sha256::digest(name)))
            .parse()
            .unwrap()
    };
    for image in &mut lock.images {
        let digest = digest(&image.name.to_string());
        image.platforms.insert(
            "linux/amd64".to_owned(),
            LockedManifest {
                digest,
                size: Some(1),
            },
        );
    }
    for chart in &mut lock.charts {
        chart.sha256 = Some(digest(&chart.name));
    }
    for file in &mut lock.files {
        file.sha256 = Some(digest(&file.url));
    }
    lock
}

fn inventory(site: SiteKind) -> Inventory {
    let text = if site == SiteKind::Aws { AWS } else { ONPREM };
    Inventory::from_yaml(text, "hosts.yaml".into()).unwrap()
}

fn show(text: &mut String, title: &str, file: &NodeFile) {
    let content = String::from_utf8(file.content.clone()).unwrap();
    let _ = writeln!(
        text,
        "=== {title}: {} {:04o}\n{content}",
        file.path, file.mode
    );
}

#[test]
fn every_edition_on_every_kind_of_site() {
    for name in ["community", "standard", "enterprise"] {
        let edition = edition(name);
        for site in SiteKind::ALL {
            let inventory = inventory(site);
            let plan = edition.site(site).unwrap();
            let facts = values::facts(
                &inventory,
                plan,
                Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
                "-----BEGIN PUBLIC KEY-----\nMCow\n-----END PUBLIC KEY-----\n",
            );
            let decided = plan.config_with(&facts).unwrap();
            let mut text = String::new();
            for host in &inventory.hosts {
                let entry = if host.name == "cp1" {
                    Entry::Founds
                } else {
                    Entry::Joins("k8s.corp.example".to_owned())
                };
                if host.name == "cp3" {
                    continue;
                }
                let file = config::config(
                    &inventory,
                    &edition,
                    &decided,
                    "harbor.corp.example/airgap/docker.io/rancher/rke2-runtime@sha256:00",
                    host,
                    &entry,
                )
                .unwrap();
                // what is written is read back as what it says
                assert_eq!(config::entry_of(&file.content), Some(entry));
                show(&mut text, &format!("{} ({})", host.name, host.role), &file);
            }
            for file in static_manifests(&inventory, &edition, plan, &facts, |name, _| {
                Ok(format!("chart {name}").into_bytes())
            })
            .unwrap()
            {
                show(&mut text, "static", &file);
            }
            insta::assert_snapshot!(format!("{name}-{site}"), text);
        }
    }
}

#[test]
fn containerd_and_argo_cd_find_everything_at_the_site() {
    for name in ["community", "standard", "enterprise"] {
        let edition = edition(name);
        for site in SiteKind::ALL {
            let text = at_the_site(&edition, site);
            assert!(!text.contains("${site."), "a reference is left");
            insta::assert_snapshot!(format!("{name}-{site}-objects"), text);
        }
    }
}

/// Renders what containerd is told of the registry, and every object of Argo CD's own, values included.
fn at_the_site(edition: &ResolvedEdition, site: SiteKind) -> String {
    let inventory = inventory(site);
    let plan = edition.site(site).unwrap();
    let facts = values::facts(&inventory, plan, Some("PEM"), "PUBLIC KEYS");
    let registry = SiteRegistryRef {
        endpoint: &inventory.registry.endpoint,
        project: &inventory.registry.project,
        own_ca: true,
        pull: Some(("pull".to_owned(), "canary".into())),
    };
    let mut text = String::new();
    let file = registries(
        &registry,
        &edition.mirror_hosts,
        &inventory.extra_registries,
        &Accounts::new(),
    )
    .unwrap();
    show(&mut text, "node", &file);
    let applications: Vec<Application> = plan
        .waves
        .iter()
        .flatten()
        .map(|name| application(edition, site, name, &facts))
        .collect();
    let argo = application(edition, site, "argo-cd", &facts);
    let component = &edition.components["argo-cd"];
    let objects = [
        argocd::namespace("argocd", &component.namespace_labels),
        argocd::ca_config("PEM"),
        argocd::pull_secret(&registry).unwrap(),
        argocd::repository_secret("argocd", &registry),
        argocd::helm_chart(
            &registry,
            &argo.release,
            &argo.namespace,
            &argo.chart,
            &argo.version,
            &argo.values,
        )
        .unwrap(),
        argocd::application_set("argocd", &registry, &applications).unwrap(),
    ];
    for object in &objects {
        let _ = writeln!(text, "---\n{}", to_yaml(object).unwrap());
    }
    text
}

fn application(
    edition: &ResolvedEdition,
    site: SiteKind,
    name: &str,
    facts: &SiteFacts,
) -> Application {
    let component = &edition.components[name];
    let inventory = inventory(site);
    let overrides = values::overrides(&inventory, name);
    let values = render_values(edition, component, site, facts, overrides).unwrap();
    let chart = component.chart.clone().unwrap();
    Application {
        name: name.to_owned(),
        namespace: component.namespace.clone(),
        release: component.release_name.clone(),
        chart: chart.name,
        version: chart.version,
        values: Value::Object(values),
        ignore: component.ignore_differences.clone(),
    }
}
