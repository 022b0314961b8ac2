//! Kinds of site, and the facts of one site that values may refer to.
//!
//! Invariant: every `${site.…}` in the catalog names a [`Fact`], so a misspelt one is found when the catalog is loaded,
//! not on site. Where a fact comes from in hosts.yaml is told here; reading hosts.yaml is the installer's.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A kind of site; it decides cloud provider, load balancer, storage and DNS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SiteKind {
    /// Machines of the customer's own.
    Onprem,
    /// Amazon EC2, in a VPC without a way out.
    Aws,
}

impl SiteKind {
    /// Every kind, in order.
    pub const ALL: [Self; 2] = [Self::Onprem, Self::Aws];

    /// Returns the word used in files: `onprem` or `aws`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Onprem => "onprem",
            Self::Aws => "aws",
        }
    }
}

impl fmt::Display for SiteKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The error of a word that names no kind of site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a kind of site: onprem, aws")]
pub struct SiteKindError(pub String);

impl FromStr for SiteKind {
    type Err = SiteKindError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| SiteKindError(text.to_owned()))
    }
}

macro_rules! facts {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal from $origin:literal,)+) => {
        /// A fact of a site, referred to in values as `${site.NAME}`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Fact {
            $($(#[doc = $doc])+ #[serde(rename = $name)] $variant,)+
        }

        impl Fact {
            /// Every fact, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// Returns the name used in values, without `site.`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// Returns where the fact comes from, in the words of hosts.yaml.
            pub fn origin(self) -> &'static str {
                match self { $(Self::$variant => $origin,)+ }
            }
        }
    };
}

facts! {
    /// The cluster's name, a DNS label.
    Cluster = "cluster" from "metadata.name",
    /// The platform's DNS domain; components answer at `<name>.<domain>`.
    Domain = "domain" from "domain",
    /// The fixed registration address of the cluster.
    Endpoint = "endpoint" from "cluster.endpoint",
    /// The site registry's host, with its port where it has one.
    Registry = "registry" from "registry.endpoint",
    /// The site registry's host without a port.
    RegistryHost = "registryHost" from "registry.endpoint",
    /// The registry's project.
    RegistryProject = "registryProject" from "registry.project",
    /// The PEM text of the registry's certificate authority.
    RegistryCa = "registryCa" from "registry.caFile",
    /// The PEM text of every public key that bundles are trusted by, one after another.
    TrustedKeys = "trustedKeys" from "/etc/airgap/trusted.d",
    /// The default storage class; the kind of site knows it.
    StorageClass = "storageClass" from "the kind of site",
    /// The class of the cluster's ingress controller: `traefik` or `nginx`.
    IngressClass = "ingressClass" from "the edition's ingress controller",
    /// The virtual address of the API servers.
    ApiVip = "apiVip" from "network.apiVip",
    /// Address ranges for load balancers, a list of texts.
    LoadBalancerPools = "loadBalancerPools" from "network.loadBalancerPools",
    /// The same ranges as Cilium writes them: a list of `{start, stop}` and `{cidr}`.
    LoadBalancerBlocks = "loadBalancerBlocks" from "network.loadBalancerPools",
    /// Pod address range.
    ClusterCidr = "clusterCidr" from "cluster.config.cluster-cidr",
    /// How many hosts the inventory lists.
    Nodes = "nodes" from "hosts",
    /// How many of them are servers.
    Servers = "servers" from "hosts",
    /// How many copies of a replicated volume or service make sense: the number of hosts, at most three.
    Replicas = "replicas" from "hosts",
    /// How external names are published: `rfc2136`, `route53`.
    DnsProvider = "dnsProvider" from "dns.provider",
    /// The DNS server that takes updates.
    DnsServer = "dnsServer" from "dns.server",
    /// The zone that updates go to.
    DnsZone = "dnsZone" from "dns.zone",
    /// The name of the TSIG key that updates are signed with.
    DnsTsigKeyName = "dnsTsigKeyName" from "dns.tsigKeyName",
    /// The algorithm of that key: `hmac-sha256` unless hosts.yaml says otherwise.
    DnsTsigAlgorithm = "dnsTsigAlgorithm" from "dns.tsigAlgorithm",
    /// The AWS cluster name, equal to the tag `kubernetes.io/cluster/<name>`.
    AwsClusterName = "awsClusterName" from "aws.clusterName",
    /// The AWS region.
    AwsRegion = "awsRegion" from "aws.region",
    /// The VPC's id.
    AwsVpcId = "awsVpcId" from "aws.vpcId",
    /// The key that unseals OpenBao.
    AwsKmsKeyId = "awsKmsKeyId" from "aws.kmsKeyId",
    /// The bucket of the site's own that keeps logs.
    AwsLokiBucket = "awsLokiBucket" from "aws.buckets.loki",
    /// The bucket that keeps traces.
    AwsTempoBucket = "awsTempoBucket" from "aws.buckets.tempo",
    /// The bucket that keeps metrics.
    AwsMimirBucket = "awsMimirBucket" from "aws.buckets.mimir",
    /// The bucket that keeps backups of databases.
    AwsBackupBucket = "awsBackupBucket" from "aws.buckets.backup",
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fact {
    type Err = String;

    /// Parses a fact's name; the error is the remedy.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .copied()
            .find(|fact| fact.name() == text)
            .ok_or_else(|| crate::suggest(text, Self::ALL.iter().map(|fact| fact.name())))
    }
}

/// The facts of one site. An absent fact is not there; an empty text or list is treated as absent too.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SiteFacts(BTreeMap<Fact, Value>);

impl SiteFacts {
    /// Returns no facts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a fact.
    #[must_use]
    pub fn with(mut self, fact: Fact, value: impl Into<Value>) -> Self {
        self.set(fact, value);
        self
    }

    /// Adds or replaces a fact.
    pub fn set(&mut self, fact: Fact, value: impl Into<Value>) {
        self.0.insert(fact, value.into());
    }

    /// Returns a fact, unless it is absent or empty.
    #[must_use]
    pub fn get(&self, fact: Fact) -> Option<&Value> {
        self.0.get(&fact).filter(|value| is_there(value))
    }

    /// Returns these facts over the given defaults.
    #[must_use]
    pub fn over(&self, defaults: &Self) -> Self {
        let mut merged = defaults.0.clone();
        merged.extend(self.0.iter().map(|(fact, value)| (*fact, value.clone())));
        Self(merged)
    }

    /// Iterates over every fact.
    pub fn iter(&self) -> impl Iterator<Item = (Fact, &Value)> {
        self.0.iter().map(|(fact, value)| (*fact, value))
    }
}

/// Tells whether a value says something: null and what is empty count as absent.
pub(crate) fn is_there(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::String(text) => !text.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_fact_counts_as_absent() {
        let facts = SiteFacts::new()
            .with(Fact::ApiVip, "")
            .with(Fact::Domain, "corp.example");
        assert_eq!(facts.get(Fact::ApiVip), None);
        assert_eq!(facts.get(Fact::Domain).unwrap(), "corp.example");
    }

    #[test]
    fn names_parse_back_and_misspelt_ones_are_explained() {
        for fact in Fact::ALL {
            assert_eq!(fact.name().parse::<Fact>().unwrap(), *fact);
        }
        assert_eq!(
            "apivip".parse::<Fact>().unwrap_err(),
            "did you mean `apiVip`?"
        );
        assert_eq!("onprem".parse::<SiteKind>().unwrap(), SiteKind::Onprem);
        assert!("azure".parse::<SiteKind>().is_err());
    }
}
