//! The facts of a site, as an inventory tells them: what the edition's values refer to.

use airgap_manifests::{Fact, SiteFacts, SitePlan};
use serde_json::{Map, Value, json};

use crate::Inventory;

/// Collects the facts of a site over those its kind knows by itself; `registry_ca` is the PEM text of the registry's CA,
/// `trusted_keys` that of the public keys that the site trusts.
pub fn facts(
    inventory: &Inventory,
    plan: &SitePlan,
    registry_ca: Option<&str>,
    trusted_keys: &str,
) -> SiteFacts {
    let mut facts = SiteFacts::new();
    let mut set = |fact: Fact, value: Option<Value>| {
        if let Some(value) = value {
            facts.set(fact, value);
        }
    };
    let text = |text: &Option<String>| text.clone().map(Value::from);
    set(Fact::Cluster, Some(json!(inventory.name)));
    set(Fact::Domain, text(&inventory.domain));
    set(Fact::Endpoint, inventory.endpoint().map(Value::from));
    set(Fact::Registry, Some(json!(inventory.registry.endpoint)));
    set(
        Fact::RegistryHost,
        Some(json!(inventory.registry_address().0)),
    );
    set(
        Fact::RegistryProject,
        Some(json!(inventory.registry.project)),
    );
    set(Fact::RegistryCa, registry_ca.map(Value::from));
    set(Fact::TrustedKeys, Some(json!(trusted_keys)));
    set(
        Fact::ApiVip,
        inventory.network.api_vip.map(|vip| json!(vip.to_string())),
    );
    set(
        Fact::LoadBalancerPools,
        Some(json!(inventory.network.load_balancer_pools)),
    );
    let pools = inventory.network.load_balancer_pools.iter();
    set(
        Fact::LoadBalancerBlocks,
        Some(pools.map(|pool| block(pool)).collect()),
    );
    set(
        Fact::ClusterCidr,
        inventory.cluster.config.get("cluster-cidr").cloned(),
    );
    set(Fact::Nodes, Some(json!(inventory.hosts.len())));
    set(Fact::Servers, Some(json!(inventory.servers().count())));
    set(Fact::Replicas, Some(json!(inventory.hosts.len().min(3))));
    if let Some(dns) = &inventory.dns {
        set(Fact::DnsProvider, Some(json!(dns.provider)));
        set(Fact::DnsServer, text(&dns.server));
        set(Fact::DnsZone, Some(json!(dns.zone)));
        set(Fact::DnsTsigKeyName, text(&dns.tsig_key_name));
        let algorithm = dns.tsig_algorithm.as_deref().unwrap_or("hmac-sha256");
        set(Fact::DnsTsigAlgorithm, Some(json!(algorithm)));
    }
    if let Some(aws) = &inventory.aws {
        set(Fact::AwsClusterName, Some(json!(aws.cluster_name)));
        set(Fact::AwsRegion, Some(json!(aws.region)));
        set(Fact::AwsVpcId, text(&aws.vpc_id));
        set(Fact::AwsKmsKeyId, text(&aws.kms_key_id));
        let bucket = |name: &str| aws.buckets.get(name).map(|bucket| json!(bucket));
        set(Fact::AwsLokiBucket, bucket("loki"));
        set(Fact::AwsTempoBucket, bucket("tempo"));
        set(Fact::AwsMimirBucket, bucket("mimir"));
        set(Fact::AwsBackupBucket, bucket("backup"));
    }
    plan.facts_with(&facts)
}

/// Writes a range or network of addresses as Cilium does.
fn block(pool: &str) -> Value {
    match pool.split_once('-') {
        Some((start, stop)) => json!({"start": start.trim(), "stop": stop.trim()}),
        None => json!({"cidr": pool}),
    }
}

/// Returns the operator's own values for a component.
pub fn overrides<'a>(inventory: &'a Inventory, component: &str) -> Option<&'a Map<String, Value>> {
    inventory.values.get(component).and_then(Value::as_object)
}
