//! Logins of every kind, and whom they are shown to.

use std::time::Duration;

use airgap_registry::{DockerConfig, Error, Puller, Upstreams};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::digest_of,
    tls::TestCa,
    upstream::{UpstreamAuth, UpstreamRegistry},
};

use crate::support::{chain, sample};

use super::{NAME, all, check, options, puller, puller_for, reference, serving};

#[tokio::test]
async fn logins_are_basic_or_by_token_over_tls_with_an_own_authority() {
    let ca = TestCa::new("Upstream CA");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs_err::write(&ca_file, ca.pem()).unwrap();
    let account = || Some(("bot".to_owned(), "Canary-77".to_owned()));
    let bearer = |account, identity_token| UpstreamAuth::Bearer {
        account,
        identity_token,
        lifetime: Duration::from_mins(5),
    };
    let basic = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    for auth in [basic, bearer(account(), None), bearer(None, None)] {
        let image = sample();
        let upstream = serving(&image)
            .tls(ca.server(&["127.0.0.1"]))
            .auth(auth)
            .start();
        let yaml = upstream.upstreams_yaml_with_login(ca_file.to_str(), Some(("bot", "Canary-77")));
        check(&puller_for(&yaml), &image).await;
    }
}

#[tokio::test]
async fn dockers_login_and_identity_token_are_used() {
    let image = sample();
    let auth = UpstreamAuth::Bearer {
        account: Some(("bot".into(), "Canary-77".into())),
        identity_token: Some("Canary-long".into()),
        lifetime: Duration::from_mins(5),
    };
    let upstream = serving(&image).auth(auth).start();
    let yaml = upstream.upstreams_yaml(None);
    for entry in [
        r#""username": "bot", "password": "Canary-77""#,
        r#""identitytoken": "Canary-long""#,
    ] {
        let json = format!(r#"{{"auths": {{"{}": {{{entry}}}}}}}"#, upstream.address());
        let logins = DockerConfig::from_json(&json, "config.json".into()).unwrap();
        let upstreams = Upstreams::from_yaml(&yaml, "u".into()).unwrap();
        check(&Puller::new(upstreams, logins, options()), &image).await;
    }
}

#[tokio::test]
async fn a_wrong_password_is_named_with_account_and_host() {
    let basic = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "right".into(),
    };
    let bearer = UpstreamAuth::Bearer {
        account: Some(("bot".into(), "right".into())),
        identity_token: None,
        lifetime: Duration::from_mins(5),
    };
    for auth in [basic, bearer] {
        let upstream = serving(&sample()).auth(auth).start();
        let yaml = upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-wrong")));
        let error = puller_for(&yaml)
            .resolve(&reference(NAME))
            .await
            .unwrap_err();
        assert!(matches!(&error, Error::Unauthorized { user: Some(user), .. } if user == "bot"));
        let text = chain(&error);
        assert!(text.contains("account bot") && text.contains("quay.io/argoproj/argocd:v3.4.4"));
        assert!(!text.contains("Canary"), "{text}");
        assert!(
            upstream.log().all().len() <= 4,
            "a wrong password is not tried again and again"
        );
    }
}

#[tokio::test]
async fn many_first_requests_at_once_all_log_in() {
    let image = sample();
    let auth = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller_for(&upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-77"))));
    let name = reference(NAME);
    let all = futures_util::future::join_all((0..16).map(|_| puller.resolve(&name))).await;
    for manifest in all {
        assert_eq!(manifest.unwrap().digest, image.digest());
    }
}

#[tokio::test]
async fn a_token_that_ended_early_is_renewed() {
    let image = sample();
    let auth = UpstreamAuth::Bearer {
        account: None,
        identity_token: None,
        lifetime: Duration::from_mins(5),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller(&upstream);
    puller.resolve(&reference(NAME)).await.unwrap();
    upstream.fault(Fault::once("GET", "/manifests/", FaultAction::ExpireTokens));
    check(&puller, &image).await;
    assert_eq!(upstream.log().count(|it| it.path == "/token"), 2);
}

#[tokio::test]
async fn a_login_does_not_cross_hosts() {
    let image = sample();
    let elsewhere = UpstreamRegistry::builder()
        .file("cdn.example/blob", "redirected")
        .start();
    let auth = UpstreamAuth::Basic {
        username: "bot".into(),
        password: "Canary-77".into(),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller_for(&upstream.upstreams_yaml_with_login(None, Some(("bot", "Canary-77"))));
    puller.resolve(&reference(NAME)).await.unwrap();
    let location = format!("{}/cdn.example/blob", elsewhere.url());
    upstream.fault(Fault::once(
        "GET",
        "/blobs/",
        FaultAction::Redirect { location },
    ));
    let body = puller
        .blob(&reference(NAME), &digest_of(&image.blobs[0]), 0)
        .await
        .unwrap();
    assert_eq!(all(body).await.unwrap(), "redirected");
    let users: Vec<_> = elsewhere
        .log()
        .all()
        .into_iter()
        .map(|it| it.user)
        .collect();
    assert_eq!(users, [None]);
    assert!(
        upstream
            .log()
            .all()
            .iter()
            .any(|it| it.user.as_deref() == Some("bot"))
    );
}
