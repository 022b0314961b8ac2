//! `lock` against loopback registries and file servers.

use airgap_bundler::{Cache, Error, LockRequest, digest_of, lock, lock_check};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::Image,
    tls::TestCa,
    upstream::UpstreamAuth,
};

use crate::support::*;

fn cache() -> (tempfile::TempDir, Cache) {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::open(root(&dir)).unwrap();
    (dir, cache)
}

#[tokio::test]
async fn everything_the_catalog_names_is_resolved() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    let locked = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap();
    let lock = &locked.lock;
    assert_eq!(
        (lock.version.as_str(), lock.release, lock.locked_at),
        ("1.0.0", 1, now())
    );
    assert_eq!(lock.manifests_digest, *catalog().manifests_digest());

    let argocd = two_platforms(1);
    let image = lock.image(&ARGOCD.parse().unwrap()).unwrap();
    assert_eq!(image.index, Some(argocd.digest()));
    assert_eq!(image.platforms["linux/amd64"].digest, child(&argocd, 0));
    assert_eq!(image.platforms["linux/arm64"].digest, child(&argocd, 1));
    assert!(image.platforms["linux/amd64"].size.unwrap() > 300_000);
    assert_eq!(image.source.as_deref(), Some("registry quay.io"));
    let signed: Vec<_> = image
        .attached
        .iter()
        .map(|attached| attached.subject.clone())
        .collect();
    assert!(
        signed.contains(&child(&argocd, 0))
            && signed.contains(&argocd.digest())
            && signed.len() == 2,
        "{signed:?}"
    );

    let docker = lock.image(&DOCKER.parse().unwrap()).unwrap();
    assert_eq!(
        docker.index,
        Some(docker_image(20).digest()),
        "without an index the manifest itself"
    );
    assert_eq!(docker.platforms.keys().collect::<Vec<_>>(), ["linux/amd64"]);

    let chart = lock.chart("argo-cd", "10.1.1").unwrap();
    assert_eq!(
        chart.sha256,
        Some(digest_of(&crate::support::chart("argo-cd", "10.1.1")))
    );
    let archive = lock
        .file(&format!(
            "https://{}",
            release_file("rke2.linux-amd64.tar.gz")
        ))
        .unwrap();
    assert_eq!(
        (archive.sha256.clone(), archive.size),
        (Some(digest_of(&release_archive())), Some(1_500_000))
    );
    let script = lock.file(&format!("https://{INSTALL_SH}")).unwrap();
    assert_eq!(script.source.as_deref(), Some("the release's git tag"));
    assert!(
        cache.contains(archive.sha256.as_ref().unwrap(), None),
        "what was checked is kept"
    );
}

#[tokio::test]
async fn nothing_changed_leaves_the_file_untouched() {
    let (dir, cache) = cache();
    let (upstream, path) = (upstream().start(), root(&dir).join("images.lock"));
    let puller = puller(&upstream);
    let first = lock_over(&catalog(), None, &cache, &puller).await.unwrap();
    assert!(first.write(&path).unwrap());
    let before = fs_err::metadata(&path).unwrap();
    let catalog = catalog();
    let later = "2027-01-01T00:00:00Z".parse().unwrap();
    let request = LockRequest {
        catalog: &catalog,
        previous: Some(&first.lock),
        version: None,
        now: later,
        jobs: 1,
    };
    let second = lock(&request, &cache, &puller, &quiet).await.unwrap();
    assert_eq!((second.lock.release, second.lock.locked_at), (1, now()));
    assert!(second.changes.is_empty() && !second.write(&path).unwrap());
    let after = fs_err::metadata(&path).unwrap();
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&after.permissions()) & 0o777,
        0o644
    );

    let request = LockRequest {
        version: Some("1.1.0"),
        ..request
    };
    let third = lock(&request, &cache, &puller, &quiet).await.unwrap();
    assert_eq!((third.lock.release, third.lock.locked_at), (2, later));
    assert_eq!(third.changes.len(), 1, "{:?}", third.changes);
}

#[tokio::test]
async fn a_tag_that_moved_since_the_lock_is_named_and_nothing_is_written() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    let (catalog, puller) = (catalog(), puller(&upstream));
    let locked = lock_over(&catalog, None, &cache, &puller).await.unwrap();
    let request = LockRequest {
        catalog: &catalog,
        previous: Some(&locked.lock),
        version: None,
        now: now(),
        jobs: 4,
    };
    assert!(
        lock_check(&request, &cache, &puller, &quiet)
            .await
            .unwrap()
            .is_empty()
    );
    upstream.put_image(DOCKER, &docker_image(21));
    let changes = lock_check(&request, &cache, &puller, &quiet).await.unwrap();
    assert_eq!(changes.len(), 1, "{changes:?}");
    let text = changes[0].to_string();
    assert!(
        text.contains(DOCKER) && text.contains(&docker_image(21).digest().to_string()),
        "{text}"
    );
}

#[tokio::test]
async fn every_problem_is_named_in_one_run() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    upstream.remove_image(ARGOCD);
    upstream.put_file(CHART, chart("argo-cd", "10.1.2"));
    upstream.put_file(
        &release_file("sha256sum-amd64.txt"),
        "<html>rate limited</html>",
    );
    let error = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap_err();
    let Error::Several(errors) = &error else {
        panic!("{error}")
    };
    assert_eq!(errors.len(), 3, "{error}");
    let text = error.to_string();
    for word in [ARGOCD, "says argo-cd 10.1.2", "line 1 of the checksum file"] {
        assert!(text.contains(word), "{word}: {text}");
    }
}

#[tokio::test]
async fn a_release_file_that_is_not_what_the_release_says_is_refused() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    upstream.put_file(
        &release_file("rke2.linux-amd64.tar.gz"),
        "not what was released",
    );
    let error = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap_err();
    match error {
        Error::WrongContent {
            object, expected, ..
        } => {
            assert_eq!(expected, digest_of(&release_archive()));
            assert!(object.contains("rke2.linux-amd64.tar.gz"), "{object}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_of_the_releases_list_that_the_catalog_does_not_name_is_a_problem() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    let list = format!("{RUNTIME}\ndocker.io/rancher/hardened-etcd:v3\n");
    let sums = format!(
        "{}  rke2.linux-amd64.tar.gz\n{}  rke2-images-core.linux-amd64.txt\n",
        digest_of(&release_archive()).digest(),
        digest_of(list.as_bytes()).digest()
    );
    upstream.put_file(&release_file("rke2-images-core.linux-amd64.txt"), list);
    upstream.put_file(&release_file("sha256sum-amd64.txt"), sums);
    let error = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("docker.io/rancher/hardened-etcd:v3") && error.contains("rke2-images-core"),
        "{error}"
    );
}

#[tokio::test]
async fn a_rotten_file_of_the_cache_is_fetched_anew() {
    let (dir, cache) = cache();
    let upstream = upstream().start();
    let puller = puller(&upstream);
    let first = lock_over(&catalog(), None, &cache, &puller).await.unwrap();
    let images = format!("{RUNTIME}\n");
    for sound in [&release_archive()[..], images.as_bytes()] {
        let digest = digest_of(sound);
        let path = root(&dir).join("blobs/sha256").join(digest.digest());
        let mut flipped = sound.to_vec();
        flipped[0] ^= 1;
        for rotten in [b"".to_vec(), flipped] {
            fs_err::write(&path, rotten).unwrap();
            let again = lock_over(&catalog(), None, &cache, &puller).await.unwrap();
            assert!(again.lock == first.lock, "as it was locked before");
            assert!(fs_err::read(&path).unwrap() == sound, "the cache is sound");
        }
    }
}

#[tokio::test]
async fn a_rotten_list_of_the_release_does_not_pass_for_a_complete_one() {
    let (dir, cache) = cache();
    let upstream = upstream().start();
    let list = format!("{RUNTIME}\ndocker.io/rancher/hardened-etcd:v3\n");
    let sums = format!(
        "{}  rke2.linux-amd64.tar.gz\n{}  rke2-images-core.linux-amd64.txt\n",
        digest_of(&release_archive()).digest(),
        digest_of(list.as_bytes()).digest()
    );
    let digest = cache.insert(list.as_bytes()).unwrap();
    let path = root(&dir).join("blobs/sha256").join(digest.digest());
    fs_err::write(&path, "").unwrap();
    upstream.put_file(&release_file("rke2-images-core.linux-amd64.txt"), list);
    upstream.put_file(&release_file("sha256sum-amd64.txt"), sums);
    let error = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("docker.io/rancher/hardened-etcd:v3"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_at_its_source_is_the_catalogs_mistake() {
    let missing = || FaultAction::Status {
        code: 404,
        retry_after: None,
    };
    let layer = two_platforms(1);
    // a file that the release's checksums name, a tag, a child of an index, a chart
    for (path, named, host) in [
        (
            "rke2\\.linux-amd64\\.tar\\.gz$".to_owned(),
            "https://",
            "github.com",
        ),
        ("argocd/manifests/v3".to_owned(), ARGOCD, "quay.io"),
        (child(&layer, 0).to_string(), ARGOCD, "quay.io"),
        ("\\.tgz$".to_owned(), CHART, "charts.example"),
    ] {
        let (_dir, cache) = cache();
        let upstream = upstream().start();
        upstream.fault(Fault::always("GET", &path, missing()));
        upstream.fault(Fault::always("HEAD", &path, missing()));
        let error = lock_over(&catalog(), None, &cache, &puller(&upstream))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Misplaced { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains(named) && text.ends_with("is not where its component says"),
            "{text}"
        );
        let cause = std::error::Error::source(&error).unwrap().to_string();
        assert!(
            cause.contains(host) || cause.contains("127.0.0.1"),
            "{cause}"
        );
    }
}

#[tokio::test]
async fn a_chart_may_come_from_a_registry() {
    let archive = chart("argo-cd", "10.1.1");
    let artifact = Image::artifact(
        "",
        ("application/vnd.cncf.helm.config.v1+json", "{}".into()),
        vec![(
            "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            archive.clone().into(),
        )],
        None,
    );
    let upstream = upstream()
        .image("ghcr.io/argoproj/charts/argo-cd:10.1.1", &artifact)
        .start();
    let url = "oci://ghcr.io/argoproj/charts/argo-cd";
    let (_dir, cache) = cache();
    let catalog = catalog_with(&[("CHART_URL", url)]);
    let locked = lock_over(&catalog, None, &cache, &puller(&upstream))
        .await
        .unwrap();
    let chart = locked.lock.chart("argo-cd", "10.1.1").unwrap();
    assert_eq!(
        (chart.url.as_str(), chart.sha256.clone()),
        (url, Some(digest_of(&archive)))
    );
}

#[tokio::test]
async fn a_chart_whose_digest_changed_upstream() {
    let upstream = upstream().start();
    let (_dir, cache) = cache();
    let mut known = lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap()
        .lock;
    let published = known.charts[0].sha256.replace(digest_of(b"as it was"));
    let error = lock_over(&catalog(), Some(&known), &cache, &puller(&upstream))
        .await
        .unwrap_err()
        .to_string();
    for word in [
        "chart argo-cd 10.1.1",
        digest_of(b"as it was").as_ref(),
        published.unwrap().as_ref(),
        "take the chart's digest out of images.lock",
    ] {
        assert!(error.contains(word), "{word}: {error}");
    }
    // forgotten on purpose, it is locked anew
    known.charts[0].sha256 = None;
    lock_over(&catalog(), Some(&known), &cache, &puller(&upstream))
        .await
        .unwrap();
}

#[tokio::test]
async fn logins_and_a_custom_authority_are_used() {
    let account = || ("robot".to_owned(), "s3cret".to_owned());
    let basic = UpstreamAuth::Basic {
        username: account().0,
        password: account().1,
    };
    let bearer = UpstreamAuth::Bearer {
        account: Some(account()),
        identity_token: None,
        lifetime: std::time::Duration::from_mins(1),
    };
    for auth in [basic, bearer] {
        let (dir, cache) = cache();
        let ca = TestCa::new("upstream");
        let ca_file = root(&dir).join("ca.pem");
        fs_err::write(&ca_file, ca.pem()).unwrap();
        let upstream = upstream().tls(ca.server(&["127.0.0.1"])).auth(auth).start();
        let yaml =
            upstream.upstreams_yaml_with_login(Some(ca_file.as_str()), Some(("robot", "s3cret")));
        let locked = lock_over(&catalog(), None, &cache, &puller_of(&yaml))
            .await
            .unwrap();
        assert_eq!(locked.lock.images.len(), 3);
        let yaml =
            upstream.upstreams_yaml_with_login(Some(ca_file.as_str()), Some(("robot", "wrong")));
        let error = lock_over(&catalog(), None, &cache, &puller_of(&yaml))
            .await
            .unwrap_err();
        assert!(!format!("{error:?}").contains("s3cret"));
    }
}

#[tokio::test]
async fn a_busy_server_is_asked_again() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    let busy = |code| FaultAction::Status {
        code,
        retry_after: Some("0".into()),
    };
    upstream.fault(Fault {
        // one try less than a single request has, should it meet all of them
        times: 2,
        ..Fault::once("GET", "/manifests/", busy(429))
    });
    upstream.fault(Fault {
        times: 2,
        ..Fault::once("GET", "\\.tgz$", busy(503))
    });
    lock_over(&catalog(), None, &cache, &puller(&upstream))
        .await
        .unwrap();
}

#[tokio::test]
async fn the_first_lock_needs_a_version() {
    let (_dir, cache) = cache();
    let upstream = upstream().start();
    let catalog = catalog();
    let request = LockRequest {
        catalog: &catalog,
        previous: None,
        version: None,
        now: now(),
        jobs: 4,
    };
    let error = lock(&request, &cache, &puller(&upstream), &quiet)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("--version"), "{error}");
}
