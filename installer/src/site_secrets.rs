//! What the site brings for the platform's secrets: read where hosts.yaml says, checked, never shown.
//!
//! Where hosts.yaml names no CA, one is made, once. Invariant: there is one CA in every secret, also on a later run, because what the
//! cluster has already is found again by what it is for. Left out: making anything else, which is [`crate::random`]'s.

mod ca;

use std::collections::BTreeMap;

use airgap_manifests::{SecretSpec, SiteSecret};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;

use crate::{
    Error, Inventory, Result, Secrets,
    kube::{ClusterState, secret_values},
};

/// The Secrets that components declare, each with the namespaces that have it.
pub(crate) type Declared<'a> = [(Vec<String>, &'a SecretSpec)];

/// The values that the site brings, by what they are for.
pub(crate) type Brought = BTreeMap<SiteSecret, SecretString>;

/// What hosts.yaml names.
pub(crate) struct SiteSecrets {
    given: Brought,
    cluster: String,
}

impl SiteSecrets {
    /// Reads everything that hosts.yaml names, and checks that its CA can issue certificates.
    pub(crate) fn of(inventory: &Inventory, secrets: &Secrets<'_>) -> Result<Self> {
        let mut given = Brought::new();
        if let Some(files) = &inventory.tls.ca {
            let certificate =
                fs_err::read_to_string(secrets.path(&files.cert_file)).map_err(|source| {
                    Error::SiteFile {
                        what: SiteSecret::CaCertificate.name(),
                        source,
                    }
                })?;
            let key = secrets.resolve(&files.key, SiteSecret::CaKey.name())?;
            ca::check(&certificate, &key)?;
            given.insert(SiteSecret::CaCertificate, certificate.into());
            given.insert(SiteSecret::CaKey, key);
        }
        let tsig = inventory
            .dns
            .as_ref()
            .and_then(|dns| dns.tsig_secret.as_ref());
        if let Some(reference) = tsig {
            let what = SiteSecret::TsigSecret;
            given.insert(what, secrets.resolve(reference, what.name())?);
        }
        if let Some(reference) = &inventory.licences.teleport {
            let what = SiteSecret::TeleportLicence;
            given.insert(what, secrets.resolve(reference, what.name())?);
        }
        Ok(Self {
            given,
            cluster: inventory.name.clone(),
        })
    }

    /// Adds what is known of the registry's pull account.
    pub(crate) fn with_pull(mut self, config: Option<SecretString>) -> Self {
        self.given
            .extend(config.map(|config| (SiteSecret::RegistryPull, config)));
        self
    }

    /// Tells whether a Secret holds anything on this site: one whose every key may be absent, and is, is not made.
    pub(crate) fn wants(&self, spec: &SecretSpec) -> bool {
        !spec.keys.values().all(|key| {
            key.site()
                .is_some_and(|(what, optional)| optional && !self.given.contains_key(&what))
        })
    }

    /// Says before anything changes what a Secret asks for and hosts.yaml does not give.
    pub(crate) fn check(&self, spec: &SecretSpec) -> Result<()> {
        for (what, optional) in spec
            .keys
            .values()
            .filter_map(airgap_manifests::SecretKey::site)
        {
            let made = matches!(what, SiteSecret::CaCertificate | SiteSecret::CaKey);
            if !optional && !made && !self.given.contains_key(&what) {
                return Err(Error::SiteSecret {
                    secret: spec.name.clone(),
                    entry: what.name(),
                });
            }
        }
        Ok(())
    }

    /// Returns what hosts.yaml gives, and a CA: its own, else the one that the cluster has, else a new one.
    pub(crate) fn complete(
        &self,
        declared: &Declared<'_>,
        state: &ClusterState,
    ) -> Result<Brought> {
        let mut brought = self.given.clone();
        let wanted = |what: SiteSecret| asks_for(declared, what);
        if brought.contains_key(&SiteSecret::CaCertificate)
            || !wanted(SiteSecret::CaCertificate) && !wanted(SiteSecret::CaKey)
        {
            return Ok(brought);
        }
        let certificate = present(declared, state, SiteSecret::CaCertificate);
        let key = present(declared, state, SiteSecret::CaKey);
        let (certificate, key) = match (certificate, key) {
            (Some(certificate), Some(key)) => (certificate, key),
            (None, None) => ca::make(&self.cluster)?,
            (certificate, _) => {
                let (there, gone) = if certificate.is_some() {
                    ("certificate", "key")
                } else {
                    ("key", "certificate")
                };
                return Err(Error::Cluster {
                    what: format!("the cluster has the {there} of the CA that was made for it, but not its {gone}"),
                    remedy: "restore the Secret from a backup of etcd, or delete every Secret site-ca and site-ca-bundle: then a new CA is made, and every certificate with it".to_owned(),
                });
            }
        };
        brought.insert(SiteSecret::CaCertificate, certificate);
        brought.insert(SiteSecret::CaKey, key);
        Ok(brought)
    }

    /// Names the Secrets of the cluster that hold something else than hosts.yaml gives. They stay: nothing is overwritten.
    pub(crate) fn differing(&self, declared: &Declared<'_>, state: &ClusterState) -> Vec<String> {
        let mut names = Vec::new();
        for (namespaces, spec) in declared {
            for namespace in namespaces {
                let Some(values) = found(state, namespace, &spec.name) else {
                    continue;
                };
                let differs = spec.keys.iter().any(|(key, kind)| {
                    let given = kind.site().and_then(|(what, _)| self.given.get(&what));
                    let present = values.get(key);
                    matches!((given, present), (Some(given), Some(present)) if given.expose_secret() != present.expose_secret())
                });
                if differs {
                    names.push(format!("{namespace}/{}", spec.name));
                }
            }
        }
        names
    }
}

fn asks_for(declared: &Declared<'_>, what: SiteSecret) -> bool {
    let mut keys = declared.iter().flat_map(|(_, spec)| spec.keys.values());
    keys.any(|key| key.site().is_some_and(|(wanted, _)| wanted == what))
}

/// Finds what some Secret of the cluster holds already.
fn present(
    declared: &Declared<'_>,
    state: &ClusterState,
    what: SiteSecret,
) -> Option<SecretString> {
    declared.iter().find_map(|(namespaces, spec)| {
        let mut keys = spec.keys.iter();
        let (key, _) =
            keys.find(|(_, kind)| kind.site().is_some_and(|(wanted, _)| wanted == what))?;
        namespaces
            .iter()
            .find_map(|namespace| found(state, namespace, &spec.name)?.remove(key))
    })
}

fn found(
    state: &ClusterState,
    namespace: &str,
    name: &str,
) -> Option<BTreeMap<String, SecretString>> {
    let object = json!({"kind": "Secret", "metadata": {"namespace": namespace, "name": name}});
    state.find(&object).map(secret_values)
}

#[cfg(test)]
mod tests;
