//! A small catalog, an upstream that serves what it names, and the way through both.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use airgap_archive::{OpenOptions, VerifiedArchive};
use airgap_bundler::{
    BundlePlatform, BundleRequest, Bundled, Cache, Event, LockRequest, Locked, Result, bundle,
    digest_of, lock,
};
use airgap_manifests::{Catalog, ImageLock, RenderedImages};
use airgap_registry::{DockerConfig, PullOptions, Puller, RetryPolicy, Upstreams};
use airgap_signing::{SigningKey, TrustRoot};
use airgap_testkit::{
    image::{Image, noise},
    upstream::{UpstreamBuilder, UpstreamRegistry},
};
use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

pub(crate) const RUNTIME: &str = "docker.io/rancher/rke2-runtime:v1.36.4-rke2r1";
pub(crate) const ARGOCD: &str = "quay.io/argoproj/argocd:v3.4.4";
pub(crate) const DOCKER: &str = "docker.io/library/redis:8.2.3";
const RELEASE: &str = "github.com/rancher/rke2/releases/download/v1.36.4%2Brke2r1";
pub(crate) const INSTALL_SH: &str =
    "raw.githubusercontent.com/rancher/rke2/v1.36.4%2Brke2r1/install.sh";
pub(crate) const CHART: &str = "charts.example/argo-cd-10.1.1.tgz";

const FILES: [(&str, &str); 7] = [
    (
        "components/rke2.yaml",
        "name: rke2
title: RKE2
about: Kubernetes
version: v1.36.4+rke2r1
licence: Apache-2.0
namespace: kube-system
delivery: rke2
provides: [dns, cni, ingress]
release:
  version: v1.36.4+rke2r1
  runtimeImage: docker.io/rancher/rke2-runtime:v1.36.4-rke2r1
  files:
    - name: rke2.linux-amd64.tar.gz
      url: https://RELEASE/rke2.linux-amd64.tar.gz
      platform: linux/amd64
      staged: true
    - name: sha256sum-amd64.txt
      url: https://RELEASE/sha256sum-amd64.txt
      platform: linux/amd64
      staged: true
    - name: install.sh
      url: https://INSTALL_SH
      staged: true
    - name: rke2-images-core.linux-amd64.txt
      url: https://RELEASE/rke2-images-core.linux-amd64.txt
      platform: linux/amd64
images:
  - docker.io/rancher/rke2-runtime:v1.36.4-rke2r1
rke2:
  server:
    cni: [none]
    ingress-controller: [none]
",
    ),
    (
        "components/argo-cd.yaml",
        "name: argo-cd
title: Argo CD
about: delivers everything else
version: v3.4.4
licence: Apache-2.0
namespace: argocd
delivery: helmChart
provides: [gitops]
chart:
  name: argo-cd
  version: 10.1.1
  url: CHART_URL
images:
  - quay.io/argoproj/argocd:v3.4.4
  - docker.io/library/redis:8.2.3
",
    ),
    (
        "editions/small.yaml",
        "name: small
title: Small
about: for tests
minNodes: 1
components: [rke2, argo-cd]
addOns: [pools]
",
    ),
    (
        "components/pools.yaml",
        "name: pools
title: Pools
about: objects in place of a chart
version: '1'
licence: Apache-2.0
namespace: pools
delivery: argoCd
needs: [gitops]
objects:
  - {apiVersion: v1, kind: ConfigMap, metadata: {name: pool}}
",
    ),
    (
        "sites/onprem.yaml",
        "name: onprem\ntitle: On-premises\nabout: machines of our own\n",
    ),
    (
        "sites/aws.yaml",
        "name: aws\ntitle: AWS\nabout: instances\n",
    ),
    (
        "registries.yaml",
        "mirrorHosts: [docker.io, quay.io, ghcr.io]\n",
    ),
];

/// The catalog's files, to be changed by a test.
pub(crate) fn catalog_with(changes: &[(&str, &str)]) -> Catalog {
    let chart = format!("https://{CHART}");
    let mut files = BTreeMap::new();
    for (path, text) in FILES {
        let mut text = text
            .replace("RELEASE", RELEASE)
            .replace("INSTALL_SH", INSTALL_SH);
        for (from, to) in changes {
            text = text.replace(from, to);
        }
        files.insert(path, text.replace("CHART_URL", &chart));
    }
    let files = files
        .iter()
        .map(|(path, text)| (Utf8Path::new(*path), text.as_str()));
    Catalog::from_files(files).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

pub(crate) fn catalog() -> Catalog {
    catalog_with(&[])
}

/// An image of two platforms with layers of their own and one that they share.
pub(crate) fn two_platforms(seed: u64) -> Image {
    let of = |platform: &str, seed: u64| {
        let layers = Image::oci()
            .platform(platform)
            .layer(&[("shared", b"the same on both")]);
        layers.layer(&[("bin/tool", &noise(300_000, seed))]).build()
    };
    Image::index(vec![
        ("linux/amd64", of("linux/amd64", seed)),
        ("linux/arm64", of("linux/arm64", seed + 1)),
    ])
}

pub(crate) fn docker_image(seed: u64) -> Image {
    Image::docker()
        .platform("linux/amd64")
        .layer(&[("data", &noise(2_000_000, seed))])
        .build()
}

/// The RKE2 release's big file.
pub(crate) fn release_archive() -> Vec<u8> {
    noise(1_500_000, 77).to_vec()
}

pub(crate) fn tgz(files: &[(&str, &str)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(
        Vec::new(),
        flate2::Compression::fast(),
    ));
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

pub(crate) fn chart(name: &str, version: &str) -> Vec<u8> {
    tgz(&[
        (
            &format!("{name}/Chart.yaml"),
            &format!("apiVersion: v2\nname: {name}\nversion: {version}\nappVersion: 1.20\n"),
        ),
        (&format!("{name}/values.yaml"), "replicas: 1\n"),
    ])
}

/// Everything the catalog names, under its real names.
pub(crate) fn upstream() -> UpstreamBuilder {
    let (archive, images) = (release_archive(), format!("{RUNTIME}\n"));
    let sums = format!(
        "{}  rke2.linux-amd64.tar.gz\n{}  rke2-images-core.linux-amd64.txt\n",
        digest_of(&archive).digest(),
        digest_of(images.as_bytes()).digest()
    );
    let argocd = two_platforms(1);
    let subject: oci_spec::image::Digest = child(&argocd, 0);
    let signature = Image::cosign_signature(&subject, "quay.io/argoproj/argocd");
    let of_index = Image::cosign_signature(&argocd.digest(), "quay.io/argoproj/argocd");
    UpstreamRegistry::builder()
        .image(RUNTIME, &two_platforms(10))
        .image(ARGOCD, &argocd)
        .image(
            &format!("quay.io/argoproj/argocd:sha256-{}.sig", subject.digest()),
            &signature,
        )
        .image(
            &format!(
                "quay.io/argoproj/argocd:sha256-{}.sig",
                argocd.digest().digest()
            ),
            &of_index,
        )
        .image(DOCKER, &docker_image(20))
        .file(CHART, chart("argo-cd", "10.1.1"))
        .file(INSTALL_SH, "#!/bin/sh\nexit 0\n")
        .file(&format!("{RELEASE}/rke2.linux-amd64.tar.gz"), archive)
        .file(&format!("{RELEASE}/sha256sum-amd64.txt"), sums)
        .file(
            &format!("{RELEASE}/rke2-images-core.linux-amd64.txt"),
            images,
        )
}

pub(crate) fn release_file(name: &str) -> String {
    format!("{RELEASE}/{name}")
}

/// The digest of an index's child.
pub(crate) fn child(index: &Image, number: usize) -> oci_spec::image::Digest {
    digest_of(&index.children[number].1)
}

pub(crate) fn puller(upstream: &UpstreamRegistry) -> Puller {
    puller_of(&upstream.upstreams_yaml(None))
}

pub(crate) fn puller_of(upstreams: &str) -> Puller {
    let upstreams = Upstreams::from_yaml(upstreams, "upstreams.yaml".into()).unwrap();
    let retry = RetryPolicy {
        attempts: 3,
        first_wait: Duration::from_millis(10),
        longest_wait: Duration::from_millis(50),
        ..RetryPolicy::default()
    };
    Puller::new(
        upstreams,
        DockerConfig::default(),
        PullOptions {
            retry,
            ..PullOptions::default()
        },
    )
}

pub(crate) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

pub(crate) fn quiet(_: Event) {}

pub(crate) fn now() -> Timestamp {
    "2026-11-21T08:00:00Z".parse().unwrap()
}

/// A folder with a cache, a catalog, and a lock made from an upstream.
pub(crate) struct World {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) catalog: Catalog,
    pub(crate) lock: ImageLock,
    pub(crate) upstream: UpstreamRegistry,
    pub(crate) puller: Puller,
    pub(crate) events: Mutex<Vec<Event>>,
}

impl World {
    /// Starts the upstream and locks the catalog.
    pub(crate) async fn new() -> Self {
        Self::over(catalog(), upstream().start()).await
    }

    pub(crate) async fn over(catalog: Catalog, upstream: UpstreamRegistry) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let puller = puller(&upstream);
        let cache = Cache::open(&root(&dir).join("lock-cache")).unwrap();
        let locked = lock_over(&catalog, None, &cache, &puller).await.unwrap();
        let records = catalog.fresh_records(&locked.lock, &RenderedImages::new());
        Self {
            dir,
            catalog: catalog.with_records(records),
            lock: locked.lock,
            upstream,
            puller,
            events: Mutex::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> Utf8PathBuf {
        root(&self.dir).join(name)
    }

    pub(crate) fn cache(&self) -> Arc<Cache> {
        Arc::new(Cache::open(&self.path("cache")).unwrap())
    }

    pub(crate) fn request<'a>(&'a self, output: &'a Utf8Path) -> BundleRequest<'a> {
        BundleRequest {
            catalog: &self.catalog,
            lock: &self.lock,
            edition: "small",
            with: &[],
            accepted: &[],
            platform: BundlePlatform::LinuxAmd64,
            output,
            source_date: None,
            expires_days: None,
            volume_size: None,
            jobs: 4,
            overwrite: true,
            base: None,
            verify_written: false,
            installer: None,
        }
    }

    pub(crate) async fn bundle(&self, request: &BundleRequest<'_>) -> Result<Bundled> {
        self.bundle_with(request, self.cache(), Some(&self.puller))
            .await
    }

    pub(crate) async fn bundle_with(
        &self,
        request: &BundleRequest<'_>,
        cache: Arc<Cache>,
        puller: Option<&Puller>,
    ) -> Result<Bundled> {
        let report = |event| self.events.lock().unwrap().push(event);
        bundle(request, [key(1)].into(), cache, puller, &report).await
    }
}

pub(crate) fn root(dir: &tempfile::TempDir) -> &Utf8Path {
    Utf8Path::from_path(dir.path()).unwrap()
}

pub(crate) async fn lock_over(
    catalog: &Catalog,
    previous: Option<&ImageLock>,
    cache: &Cache,
    puller: &Puller,
) -> Result<Locked> {
    let request = LockRequest {
        catalog,
        previous,
        version: Some("1.0.0"),
        now: now(),
        jobs: 4,
    };
    lock(&request, cache, puller, &quiet).await
}

/// Opens a bundle under the first test key.
pub(crate) fn open(path: &Utf8Path) -> VerifiedArchive {
    let trust = TrustRoot::new(vec![key(1).public_key()]);
    VerifiedArchive::open(path, &trust, &OpenOptions::default()).unwrap()
}
