//! A made-up site, for rendering charts where no site is known yet.

use serde_json::{Value, json};

use crate::{Fact, SiteFacts, SiteKind};

impl SiteFacts {
    /// Returns a value for every fact. Which images a chart asks for must not depend on them; what it says besides may.
    #[must_use]
    pub fn sample(site: SiteKind) -> Self {
        let mut facts = Self::new();
        for fact in Fact::ALL {
            facts.set(*fact, value(*fact, site));
        }
        facts
    }
}

fn value(fact: Fact, site: SiteKind) -> Value {
    match fact {
        Fact::Domain => json!("platform.example"),
        Fact::Endpoint => json!("api.platform.example"),
        Fact::Registry | Fact::RegistryHost => json!("registry.example"),
        Fact::RegistryProject => json!("airgap"),
        Fact::RegistryCa => json!("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"),
        Fact::IngressClass => json!("traefik"),
        Fact::StorageClass => json!(match site {
            SiteKind::Onprem => "longhorn",
            SiteKind::Aws => "gp3",
        }),
        Fact::ApiVip => json!("192.0.2.10"),
        Fact::LoadBalancerPools => json!(["192.0.2.20-192.0.2.40"]),
        Fact::ClusterCidr => json!("10.42.0.0/16"),
        Fact::Nodes | Fact::Servers | Fact::Replicas => json!(3),
        Fact::DnsProvider => json!(match site {
            SiteKind::Onprem => "rfc2136",
            SiteKind::Aws => "route53",
        }),
        other => json!(format!("sample-{}", other.name())),
    }
}
