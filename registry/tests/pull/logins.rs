//! Logins of every kind, and whom they are shown to.

use std::time::Duration;

use airgap_registry::{DockerConfig, Error, Puller, Upstreams};
use airgap_testkit::{
    faults::{Fault, FaultAction},
    image::digest_of,
    tls::TestCa,
    upstream::{UpstreamAuth, UpstreamRegistry},
};

use crate::{
    scripted::{Scripted, reply},
    support::{chain, sample},
};

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
async fn a_token_that_is_refused_without_a_word_is_not_kept() {
    let image = sample();
    let auth = UpstreamAuth::Bearer {
        account: None,
        identity_token: None,
        lifetime: Duration::from_mins(5),
    };
    let upstream = serving(&image).auth(auth).start();
    let puller = puller(&upstream);
    puller.resolve(&reference(NAME)).await.unwrap();
    // no challenge with it: what is wanted is asked for without the token
    let refusal = FaultAction::Status {
        code: 401,
        retry_after: None,
    };
    upstream.fault(Fault::once("GET", "/manifests/", refusal.clone()));
    puller.resolve(&reference(NAME)).await.unwrap();
    assert_eq!(upstream.log().count(|it| it.path == "/token"), 2);
    // once, and not for ever
    upstream.log().clear();
    upstream.fault(Fault::always("GET", "/manifests/", refusal));
    let error = puller.resolve(&reference(NAME)).await.unwrap_err();
    assert!(matches!(error, Error::Unauthorized { .. }), "{error}");
    assert_eq!(upstream.log().all().len(), 2);
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

/// A puller with a login for the registry at that address.
fn puller_of(registry: &Scripted, entry: &str) -> Puller {
    let address = registry.address;
    let yaml = format!("mirrors: {{quay.io: {{endpoint: [\"http://{address}\"]}}}}");
    let json = format!(r#"{{"auths": {{"{address}": {{{entry}}}}}}}"#);
    let logins = DockerConfig::from_json(&json, "config.json".into()).unwrap();
    let upstreams = Upstreams::from_yaml(&yaml, "u".into()).unwrap();
    Puller::new(upstreams, logins, options())
}

const BASIC: &str = r#""username": "bot", "password": "Canary-77""#;

fn redirect(to: &str) -> String {
    reply(&format!("307 Temporary Redirect\r\nLocation: {to}"), "")
}

fn carries_login(request: &str) -> bool {
    let request = request.to_lowercase();
    request.contains("authorization:") || request.contains("refresh_token")
}

#[tokio::test]
async fn a_challenge_from_where_a_redirect_leads_is_not_answered() {
    let thief = Scripted::start(|_| reply("200 OK", r#"{"token": "t"}"#)).await;
    let realm = format!("http://{}/token", thief.address);
    let elsewhere = Scripted::start(move |_| {
        let challenge = format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\"");
        reply(&challenge, "")
    })
    .await;
    let to = format!("http://{}/x?secret=Canary", elsewhere.address);
    let registry = Scripted::start(move |_| redirect(&to)).await;
    for entry in [BASIC, r#""identitytoken": "Canary-long""#] {
        let puller = puller_of(&registry, entry);
        let error = puller.resolve(&reference(NAME)).await.unwrap_err();
        let text = chain(&error);
        assert!(
            text.contains("answered 401") && text.contains(&elsewhere.address.to_string()),
            "{text}"
        );
        assert!(!text.contains("Canary"), "{text}");
    }
    assert_eq!(thief.asked(), [""; 0]);
    assert!(!elsewhere.asked().iter().any(|it| carries_login(it)));
}

#[tokio::test]
async fn a_login_does_not_come_back_at_the_second_hop() {
    let elsewhere = Scripted::start(|request| {
        if request.starts_with("GET /x ") {
            redirect("/y")
        } else {
            reply("200 OK", "{}")
        }
    })
    .await;
    let to = format!("http://{}/x", elsewhere.address);
    let registry = Scripted::start(move |request| {
        if carries_login(request) {
            redirect(&to)
        } else {
            reply(
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"",
                "",
            )
        }
    })
    .await;
    let puller = puller_of(&registry, BASIC);
    puller.resolve(&reference(NAME)).await.unwrap();
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 2);
    assert!(!asked.iter().any(|it| carries_login(it)), "{asked:?}");
}

#[tokio::test]
async fn a_login_follows_redirects_within_its_host_and_not_for_ever() {
    let registry = Scripted::start(|request| {
        if request.contains("/manifests/v3.4.4 ") {
            redirect("/v2/argoproj/argocd/manifests/moved")
        } else if request.contains("/manifests/moved ") && carries_login(request) {
            reply("200 OK", "{}")
        } else if request.contains("/manifests/moved ") {
            reply(
                "401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"r\"",
                "",
            )
        } else {
            redirect("/round")
        }
    })
    .await;
    let puller = puller_of(&registry, BASIC);
    puller.resolve(&reference(NAME)).await.unwrap();
    let before = registry.asked().len();
    let round = reference("quay.io/argoproj/argocd:round");
    let error = puller.resolve(&round).await.unwrap_err();
    assert!(error.to_string().contains("more than 5 times"), "{error}");
    assert_eq!(registry.asked().len() - before, 6);
}

#[tokio::test]
async fn a_redirect_from_tls_to_none_is_not_followed() {
    let (ca, image) = (TestCa::new("Upstream CA"), sample());
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("ca.pem");
    fs_err::write(&ca_file, ca.pem()).unwrap();
    let plain = Scripted::start(|_| reply("200 OK", "{}")).await;
    let upstream = serving(&image).tls(ca.server(&["127.0.0.1"])).start();
    let location = format!("http://{}/x", plain.address);
    upstream.fault(Fault::once("GET", "/", FaultAction::Redirect { location }));
    let puller = puller_for(&upstream.upstreams_yaml(ca_file.to_str()));
    let error = puller.resolve(&reference(NAME)).await.unwrap_err();
    assert!(error.to_string().contains("from https to http"), "{error}");
    assert_eq!(plain.asked(), [""; 0]);
}

#[tokio::test]
async fn a_token_service_that_redirects_does_not_take_the_login_along() {
    let thief = Scripted::start(|_| reply("200 OK", r#"{"token": "t"}"#)).await;
    let to = format!("http://{}/token", thief.address);
    let service = Scripted::start(move |_| redirect(&to)).await;
    let realm = format!("http://{}/token", service.address);
    let registry = Scripted::start(move |_| {
        let challenge = format!("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"{realm}\"");
        reply(&challenge, "")
    })
    .await;
    for entry in [BASIC, r#""identitytoken": "Canary-long""#] {
        let puller = puller_of(&registry, entry);
        let error = puller.resolve(&reference(NAME)).await.unwrap_err();
        assert!(
            error.to_string().contains("its token service redirects"),
            "{error}"
        );
    }
    assert!(service.asked().iter().all(|it| carries_login(it)));
    assert_eq!(thief.asked(), [""; 0]);
}
