//! What is attached to an image and pushed with it: signatures, cosign's attestations, referrers.

use std::sync::Mutex;

use airgap_archive::{Addition, Role};
use airgap_installer::{Event, push};
use airgap_registry::{RepositoryName, SiteRegistry, Tag};
use airgap_testkit::{
    bundle::FakeBundle,
    docker_registry::{DockerRegistry, DockerRegistryConfig},
    image::Image,
};
use oci_spec::image::{Digest, MediaType};

use crate::pushing::{PASSWORD, Site, image, push, quiet, registry, tools};

/// An artifact with one JSON layer, and a subject if it is a referrer.
fn evidence(text: &'static str, subject: Option<&Image>) -> Image {
    let config = ("application/vnd.oci.empty.v1+json", "{}".into());
    let layer = vec![("application/json", text.into())];
    Image::artifact("application/vnd.in-toto+json", config, layer, subject)
}

/// Adds what cosign keeps beside `subject` by tag alone, as the bundler does.
fn beside(mut bundle: FakeBundle, subject: &Digest, suffix: &str, image: &Image) -> FakeBundle {
    let addition = Addition {
        manifest: image.manifest.clone(),
        media_type: MediaType::from(image.media_type.as_str()),
        role: Role::Referrer,
        name: Some(format!("quay.io/a/one:{}", Tag::companion(subject, suffix))),
        subject: Some(subject.clone()),
        platform: None,
    };
    bundle.tree.add(addition).unwrap();
    for blob in &image.blobs {
        bundle.blobs.insert(blob.clone());
    }
    bundle
}

/// Pushes an image with everything that can be attached to it, twice.
async fn attached_is_pushed_once(site: &Site, registry: &SiteRegistry) {
    let one = image(1);
    let signature = Image::cosign_signature(&one.digest(), "quay.io/a/one");
    let attestation = evidence("{\"predicate\":1}", None);
    let sbom = evidence("{\"sbom\":1}", None);
    let (referrer, tagged) = (
        evidence("{\"referrer\":1}", Some(&one)),
        evidence("{\"tagged\":1}", Some(&one)),
    );
    let bundle = FakeBundle::new("b")
        .with(Role::Image, "quay.io/a/one:1", &one)
        .referring(Role::Signature, &one.digest(), &signature)
        .referring(Role::Referrer, &one.digest(), &referrer)
        // no subject, no tag: nobody finds it, but the bundle may hold it
        .referring(Role::Referrer, &one.digest(), &evidence("{}", None));
    let bundle = beside(bundle, &one.digest(), "att", &attestation);
    let bundle = beside(bundle, &one.digest(), "sbom", &sbom);
    let archive = site.bundle(&beside(bundle, &one.digest(), "vex", &tagged));
    let plan = push::plan(registry, &archive, 4, &quiet).await.unwrap();
    assert_eq!(plan.summary.missing, 7);
    plan.run(registry, &archive, 4, &quiet).await.unwrap();

    let repository = RepositoryName::parse("quay.io/a/one").unwrap();
    for (suffix, wanted) in [
        ("sig", &signature),
        ("att", &attestation),
        ("sbom", &sbom),
        ("vex", &tagged),
    ] {
        let tag = Tag::companion(&one.digest(), suffix).into();
        let found = registry.head_manifest(&repository, &tag).await.unwrap();
        assert_eq!(found, Some(wanted.digest()), "{suffix}");
    }
    let listed = registry.referrers(&repository, &one.digest()).await;
    let mut listed: Vec<Digest> = listed
        .unwrap()
        .iter()
        .map(|listed| listed.digest().clone())
        .collect();
    let mut wanted = vec![referrer.digest(), tagged.digest()];
    listed.sort_by_key(Digest::to_string);
    wanted.sort_by_key(Digest::to_string);
    assert_eq!(listed, wanted);

    let before = registry.stats();
    let again = push::plan(registry, &archive, 4, &quiet).await.unwrap();
    assert!(again.is_empty());
    again.run(registry, &archive, 4, &quiet).await.unwrap();
    assert_eq!(registry.stats().writes, before.writes);
    assert_eq!(registry.stats().heads, before.heads + 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_and_referrers_go_to_a_harbor_and_a_second_run_writes_nothing() {
    if !tools() {
        return;
    }
    let site = Site::start();
    attached_is_pushed_once(&site, &site.registry().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn attestations_and_referrers_go_to_a_registry_without_the_referrers_api() {
    if !tools() {
        return;
    }
    let site = Site::start();
    let plain = DockerRegistry::start(&DockerRegistryConfig {
        tls: Some(site.ca.server(&["localhost"])),
        accounts: vec![("robot$airgap+push".to_owned(), PASSWORD.to_owned())],
        data: None,
    });
    let registry = registry(plain.address().port(), site.ca.pem()).await;
    attached_is_pushed_once(&site, &registry).await;
}

/// Pushes an image with what the site has put beside it, then the publisher's bundle with `ours` there.
async fn theirs_stays(suffix: &str, theirs: &Image, ours: &Image) -> String {
    let site = Site::start();
    let one = image(1);
    let bundle = |attached: &Image| {
        let bundle = FakeBundle::new("b").with(Role::Image, "quay.io/a/one:1", &one);
        match suffix {
            "sig" => bundle.referring(Role::Signature, &one.digest(), attached),
            _ => beside(bundle, &one.digest(), suffix, attached),
        }
    };
    push(&site, &site.bundle(&bundle(theirs))).await.unwrap();
    fs_err::remove_file(site.path()).unwrap();
    let archive = site.bundle(&bundle(ours));
    let warnings = Mutex::new(Vec::new());
    let report = |event: Event| {
        if let Event::Warning { message } = event {
            warnings.lock().unwrap().push(message);
        }
    };
    let registry = site.registry().await;
    let plan = push::plan(&registry, &archive, 4, &report).await.unwrap();
    assert!(plan.is_empty() && plan.summary.moved.is_empty());
    let tag = Tag::companion(&one.digest(), suffix);
    assert_eq!(
        plan.summary.kept,
        [format!("quay.io/a/one:{tag}: {}", theirs.digest())]
    );
    let [warning] = warnings.into_inner().unwrap().try_into().unwrap();
    warning
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_of_the_sites_own_stays() {
    if !tools() {
        return;
    }
    let subject = image(1).digest();
    let ours = Image::cosign_signature(&subject, "quay.io/a/one");
    let theirs = Image::cosign_signature(&subject, "somewhere.else/one");
    let warning = theirs_stays("sig", &theirs, &ours).await;
    assert!(
        warning.contains("holds a signature of the site's own"),
        "{warning}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attestation_of_the_sites_own_stays_whether_it_has_a_subject_or_not() {
    if !tools() {
        return;
    }
    let one = image(1);
    for subject in [None, Some(&one)] {
        let (theirs, ours) = (evidence("{\"site\":1}", subject), evidence("{}", subject));
        let warning = theirs_stays("att", &theirs, &ours).await;
        assert!(
            warning.contains("holds an attestation of the site's own"),
            "{warning}"
        );
    }
}
