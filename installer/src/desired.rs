//! What a site should be, worked out from the inventory, the bundle and the secrets before any host is asked.
//!
//! Everything that can fail for a reason of the inventory's or the bundle's own fails here, before anything is touched.

use airgap_archive::{Role as Carried, VerifiedArchive};
use airgap_manifests::{
    Delivery, Gate, ResolvedComponent, ResolvedEdition, Rke2Config, SiteFacts, SitePlan,
    render_values,
};
use airgap_registry::RepositoryName;
use airgap_signing::PublicKey;
use camino::Utf8PathBuf;
use oci_spec::image::Digest;
use secrecy::SecretString;
use serde_json::Value;

use crate::{
    Error, Host, Inventory, Put, Result, Secrets,
    host::Role,
    inventory::TextRef,
    record::{Offer, Release},
    render::{
        NodeFile,
        argocd::{self, Application},
        config::{self, Entry},
        manifests::{rendering, static_manifests},
        registries::{self, SiteRegistryRef},
        values,
    },
    site_secrets::SiteSecrets,
};

/// Where RKE2's release files are staged on a host.
const RELEASES: &str = "/var/lib/airgap/rke2";
/// The most one release file may weigh in memory.
const RELEASE_FILE_LIMIT: u64 = 128 << 20;

/// One component that Argo CD keeps.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    pub(crate) gate: Gate,
    pub(crate) application: Application,
    /// What its Application is to say, as far as it decides what is rolled out.
    pub(crate) spec: Value,
}

/// Argo CD itself.
#[derive(Clone, Debug)]
pub(crate) struct GitOps {
    pub(crate) namespace: String,
    pub(crate) release: String,
    pub(crate) chart: Value,
}

/// Everything a site should be.
pub(crate) struct Desired<'a> {
    pub(crate) inventory: &'a Inventory,
    pub(crate) edition: &'a ResolvedEdition,
    pub(crate) facts: SiteFacts,
    pub(crate) registry: SiteRegistryRef<'a>,
    pub(crate) ca_pem: Option<String>,
    pub(crate) push: (String, SecretString),
    pub(crate) extra_accounts: registries::Accounts,
    pub(crate) site_secrets: SiteSecrets,
    pub(crate) offer: Offer,
    pub(crate) runtime_image: String,
    pub(crate) decided: Rke2Config,
    pub(crate) static_files: Vec<NodeFile>,
    pub(crate) release_files: Vec<(Digest, Put)>,
    pub(crate) gitops: Option<GitOps>,
    pub(crate) waves: Vec<Vec<Member>>,
    pub(crate) notices: Vec<String>,
}

impl<'a> Desired<'a> {
    /// Works everything out; reads the registry's CA and the inventory's secrets.
    pub(crate) fn of(
        inventory: &'a Inventory,
        edition: &'a ResolvedEdition,
        archive: &VerifiedArchive,
        secrets: &Secrets<'_>,
    ) -> Result<Self> {
        let plan = edition.site(inventory.site).ok_or_else(|| Error::Bundle {
            what: format!(
                "edition {} has no plan for site `{}`",
                edition.edition, inventory.site
            ),
        })?;
        let ca_pem = read_ca(inventory, secrets)?;
        let registry = SiteRegistryRef {
            endpoint: &inventory.registry.endpoint,
            project: &inventory.registry.project,
            own_ca: ca_pem.is_some(),
            pull: inventory
                .registry
                .pull
                .as_ref()
                .map(|account| account_of(account, secrets, "registry.pull"))
                .transpose()?,
        };
        let keys: String = archive
            .trusted_keys()
            .iter()
            .map(PublicKey::to_pem)
            .collect();
        let facts = values::facts(inventory, plan, ca_pem.as_deref(), &keys);
        let (gitops, waves, notices) = components(inventory, edition, plan, &facts, &registry)?;
        let site_secrets =
            SiteSecrets::of(inventory, secrets)?.with_pull(argocd::docker_config(&registry));
        Ok(Self {
            inventory,
            edition,
            registry,
            push: account_of(&inventory.registry.push, secrets, "registry.push")?,
            extra_accounts: extra_accounts(inventory, secrets)?,
            site_secrets,
            offer: offer(archive),
            runtime_image: runtime_image(inventory, edition)?,
            decided: plan
                .config_with(&facts)
                .map_err(|error| rendering(error.into()))?,
            static_files: static_manifests(inventory, edition, plan, &facts, |name, version| {
                inlined_chart(archive, name, version)
            })?,
            release_files: release_files(edition)?,
            ca_pem,
            facts,
            gitops,
            waves,
            notices,
        })
    }

    /// Returns the folder on a host that holds this release's files.
    pub(crate) fn release_folder(&self) -> Utf8PathBuf {
        release_folder(self.edition)
    }

    /// Returns the file whose presence says that this release's installer has run to its end.
    pub(crate) fn installed_mark(&self) -> Utf8PathBuf {
        self.release_folder().join("installed")
    }

    /// Renders the files that a node reads when it starts; the token of a joiner comes later, from the seed.
    pub(crate) fn node_files(
        &self,
        host: &Host,
        entry: &Entry,
        hosts_file: &str,
    ) -> Result<Vec<NodeFile>> {
        let mut files = Vec::new();
        files.extend(self.ca_pem.as_deref().map(registries::ca));
        files.push(registries::registries(
            &self.registry,
            &self.edition.mirror_hosts,
            &self.inventory.extra_registries,
            &self.extra_accounts,
        )?);
        files.push(config::config(
            self.inventory,
            self.edition,
            &self.decided,
            &self.runtime_image,
            host,
            entry,
        )?);
        let (name, _) = self.inventory.registry_address();
        files.extend(registries::hosts_file(
            hosts_file,
            &name,
            &self.inventory.registry.addresses,
        ));
        if host.role == Role::Server && *entry == Entry::Founds {
            files.extend(self.static_files.iter().cloned());
        }
        Ok(files)
    }

    /// Tells whether nodes count only once a cloud controller has given them their provider's id.
    pub(crate) fn needs_provider(&self) -> bool {
        self.decided.all.get("cloud-provider-name").is_some()
    }

    /// Returns the namespace of Argo CD's own objects.
    pub(crate) fn gitops_namespace(&self) -> &str {
        self.gitops
            .as_ref()
            .map_or(crate::kube::ARGOCD_NAMESPACE, |gitops| &gitops.namespace)
    }

    /// Returns the components that this site has, with their names.
    pub(crate) fn components(
        &self,
    ) -> impl Iterator<Item = (&'a String, &'a ResolvedComponent)> + '_ {
        let here = |component: &ResolvedComponent| {
            component.on(self.inventory.site)
                && component
                    .missing_facts(self.inventory.site, &self.facts)
                    .is_empty()
        };
        self.edition
            .components
            .iter()
            .filter(move |(_, component)| here(component))
    }
}

fn release_folder(edition: &ResolvedEdition) -> Utf8PathBuf {
    Utf8PathBuf::from(RELEASES).join(&edition.rke2.version)
}

fn read_ca(inventory: &Inventory, secrets: &Secrets<'_>) -> Result<Option<String>> {
    let Some(path) = &inventory.registry.ca_file else {
        return Ok(None);
    };
    let text = fs_err::read_to_string(secrets.path(path)).map_err(|source| Error::SiteFile {
        what: "registry.caFile",
        source,
    })?;
    Ok(Some(text))
}

fn account_of(
    account: &crate::inventory::Account,
    secrets: &Secrets<'_>,
    what: &str,
) -> Result<(String, SecretString)> {
    use secrecy::ExposeSecret;
    let username = match &account.username {
        TextRef::Plain(name) => name.clone(),
        TextRef::From(reference) => secrets
            .resolve(reference, &format!("{what}.username"))?
            .expose_secret()
            .to_owned(),
    };
    Ok((
        username,
        secrets.resolve(&account.password, &format!("{what}.password"))?,
    ))
}

fn extra_accounts(inventory: &Inventory, secrets: &Secrets<'_>) -> Result<registries::Accounts> {
    let configs = inventory.extra_registries.configs.iter();
    configs
        .filter_map(|(host, config)| Some((host, config.auth.as_ref()?)))
        .map(|(host, auth)| {
            let what = format!("extraRegistries.configs.{host}.auth");
            Ok((host.clone(), account_of(auth, secrets, &what)?))
        })
        .collect()
}

fn offer(archive: &VerifiedArchive) -> Offer {
    let info = archive.info();
    Offer {
        release: Release {
            release: info.release,
            version: info.version.clone(),
            edition: info.edition.clone(),
            platform: info.platform.clone(),
            // a delta is the release that it stands for
            index_digest: archive.whole_digest().to_string(),
        },
        created: info.created,
        expires: info.expires,
    }
}

/// RKE2 takes containerd, kubelet and its charts out of this image; by digest, from the site's registry, so that nothing is asked of docker.io.
fn runtime_image(inventory: &Inventory, edition: &ResolvedEdition) -> Result<String> {
    let name = &edition.rke2.runtime_image;
    let image = edition
        .images
        .iter()
        .find(|image| image.name == *name)
        .ok_or_else(|| Error::Bundle {
            what: format!("the edition names runtime image {name}, but does not carry it"),
        })?;
    let repository = RepositoryName::of(&name.full_repository())?;
    let registry = inventory.registry.endpoint.trim_start_matches("http://");
    Ok(format!(
        "{registry}/{}/{repository}@{}",
        inventory.registry.project, image.digest
    ))
}

fn release_files(edition: &ResolvedEdition) -> Result<Vec<(Digest, Put)>> {
    let folder = release_folder(edition);
    let staged = edition.rke2.files.iter().filter(|file| file.staged);
    staged
        .map(|file| {
            let size = file
                .size
                .filter(|size| *size <= RELEASE_FILE_LIMIT)
                .ok_or_else(|| Error::Bundle {
                    what: format!(
                        "file {} of RKE2 is too large, or of unknown size",
                        file.name
                    ),
                })?;
            let mode = if file.name == "install.sh" {
                0o755
            } else {
                0o644
            };
            let put = Put {
                path: folder.join(&file.name),
                mode,
                owner: "root:root".to_owned(),
                size,
                sha256: file.digest.digest().to_owned(),
            };
            Ok((file.digest.clone(), put))
        })
        .collect()
}

/// Returns the bytes of a chart that is small enough to be inlined.
fn inlined_chart(archive: &VerifiedArchive, name: &str, version: &str) -> Result<Vec<u8>> {
    let entry = archive.entry(&format!("charts/{name}:{version}"))?;
    debug_assert_eq!(entry.role, Carried::Chart);
    let layers = archive.references(entry.descriptor.digest())?;
    let chart = layers.iter().find(|layer| {
        layer.media_type().to_string() == "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
    });
    let chart = chart.ok_or_else(|| Error::Bundle {
        what: format!("chart {name} {version} has no content"),
    })?;
    Ok(archive.read(chart.digest(), airgap_manifests::MAX_INLINE_CHART_BYTES)?)
}

type Platform = (Option<GitOps>, Vec<Vec<Member>>, Vec<String>);

/// Renders the components that Argo CD keeps, by wave, and Argo CD itself. What lacks a fact is dropped with a notice if it is optional;
/// otherwise preflight has named it, and rendering fails.
fn components(
    inventory: &Inventory,
    edition: &ResolvedEdition,
    plan: &SitePlan,
    facts: &SiteFacts,
    registry: &SiteRegistryRef<'_>,
) -> Result<Platform> {
    let mut notices = Vec::new();
    let here = |name: &String, notices: &mut Vec<String>| -> Result<Option<&ResolvedComponent>> {
        let component = edition.components.get(name).ok_or_else(|| Error::Bundle {
            what: format!("the edition's waves name component {name}, which it does not have"),
        })?;
        let missing = component.missing_facts(inventory.site, facts);
        if missing.is_empty() || !component.optional {
            return Ok(Some(component));
        }
        let wanted: Vec<&str> = missing.iter().map(|fact| fact.origin()).collect();
        notices.push(format!(
            "{} is left out: the inventory does not give {}",
            component.title,
            wanted.join(", ")
        ));
        Ok(None)
    };
    let mut waves = Vec::new();
    for names in &plan.waves {
        let mut wave = Vec::new();
        for name in names {
            let Some(component) = here(name, &mut notices)? else {
                continue;
            };
            let chart = component.chart.as_ref().ok_or_else(|| Error::Bundle {
                what: format!("component {name} has no chart"),
            })?;
            let values = render_values(
                edition,
                component,
                inventory.site,
                facts,
                values::overrides(inventory, name),
            )
            .map_err(|error| rendering(error.into()))?;
            let application = Application {
                name: name.clone(),
                namespace: component.namespace.clone(),
                release: component.release_name.clone(),
                chart: chart.name.clone(),
                version: chart.version.clone(),
                values: Value::Object(values),
                ignore: component.ignore_differences.clone(),
            };
            wave.push(Member {
                name: name.clone(),
                gate: component.gate,
                spec: argocd::application_spec(registry, &application)?,
                application,
            });
        }
        if !wave.is_empty() {
            waves.push(wave);
        }
    }
    let mut gitops = None;
    for (name, component) in &edition.components {
        if component.delivery != Delivery::HelmChart || !component.on(inventory.site) {
            continue;
        }
        let chart = component.chart.as_ref().ok_or_else(|| Error::Bundle {
            what: format!("component {name} has no chart"),
        })?;
        let values = render_values(
            edition,
            component,
            inventory.site,
            facts,
            values::overrides(inventory, name),
        )
        .map_err(|error| rendering(error.into()))?;
        gitops = Some(GitOps {
            namespace: component.namespace.clone(),
            release: component.release_name.clone(),
            chart: argocd::helm_chart(
                registry,
                &component.release_name,
                &component.namespace,
                &chart.name,
                &chart.version,
                &Value::Object(values),
            )?,
        });
    }
    Ok((gitops, waves, notices))
}
