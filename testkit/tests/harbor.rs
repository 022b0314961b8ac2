//! Harbor's documented behaviour, asked for with a bare HTTP client.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use airgap_testkit::{
    harbor::{Account, HarborConfig, HarborEmulation, Project, Right},
    image::{Image, digest_of},
    require_tool,
};
use reqwest::{Client, Method, RequestBuilder, Response, header};
use serde_json::{Value, json};

const PASSWORD: &str = "Canary-1";

struct Bench {
    harbor: HarborEmulation,
    client: Client,
}

fn start() -> Option<Bench> {
    require_tool("docker-registry").then(|| Bench {
        harbor: HarborEmulation::start(HarborConfig {
            accounts: vec![
                Account::admin("admin", PASSWORD),
                Account::pusher("p", PASSWORD),
                Account::puller("p", PASSWORD),
                Account::with("mixed", PASSWORD, "q", &[Right::Pull, Right::Push]),
            ],
            projects: vec![
                Project::named("p"),
                Project::named("q"),
                Project::named("4711"),
            ],
            ..HarborConfig::default()
        }),
        client: Client::builder().no_proxy().build().unwrap(),
    })
}

impl Bench {
    fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client
            .request(method, format!("{}{path}", self.harbor.url()))
    }

    fn as_user(&self, method: Method, path: &str, user: &str) -> RequestBuilder {
        self.ask(method, path).basic_auth(user, Some(PASSWORD))
    }
}

fn challenge(response: &Response) -> Option<&str> {
    response
        .headers()
        .get(header::WWW_AUTHENTICATE)?
        .to_str()
        .ok()
}

#[tokio::test]
async fn challenges_are_bearer_without_a_login_basic_with_one_and_empty_for_no_project() {
    let Some(bench) = start() else { return };
    let bare = bench.ask(Method::GET, "/v2/").send().await.unwrap();
    assert_eq!(bare.status(), 401);
    let expected = format!(
        "Bearer realm=\"{}/service/token\",service=\"harbor-registry\"",
        bench.harbor.url()
    );
    assert_eq!(challenge(&bare), Some(expected.as_str()));
    let push = bench
        .ask(Method::POST, "/v2/p/a/b/blobs/uploads/")
        .send()
        .await
        .unwrap();
    assert!(
        challenge(&push)
            .unwrap()
            .ends_with("scope=\"repository:p/a/b:pull,push\"")
    );
    let path = "/v2/p/a/b/blobs/uploads/";
    let no_right = bench
        .as_user(Method::POST, path, "robot$p+pull")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (no_right.status().as_u16(), challenge(&no_right)),
        (401, Some("Basic realm=\"harbor\""))
    );
    let path = "/v2/nowhere/a/manifests/x";
    let missing = bench
        .as_user(Method::GET, path, "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(
        (missing.status().as_u16(), challenge(&missing)),
        (401, Some(""))
    );
    let short = bench
        .as_user(Method::GET, "/v2/p/manifests/x", "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(short.status(), 400);
}

#[tokio::test]
async fn the_token_service_answers_200_to_a_wrong_password_but_grants_nothing() {
    let Some(bench) = start() else { return };
    let path = "/service/token?service=harbor-registry&scope=repository:p/a:pull";
    let wrong = bench
        .ask(Method::GET, path)
        .basic_auth("admin", Some("wrong"));
    let wrong = wrong.send().await.unwrap();
    assert_eq!(wrong.status(), 200);
    let answer: Value = wrong.json().await.unwrap();
    assert_eq!(answer["access_token"], "");
    let token = answer["token"].as_str().unwrap();
    let read = bench
        .ask(Method::GET, "/v2/p/a/manifests/x")
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(read.status(), 401);
    let bare = "/service/token?service=harbor-registry";
    let wrong = bench
        .ask(Method::GET, bare)
        .basic_auth("nobody", Some("wrong"));
    assert_eq!(wrong.send().await.unwrap().status(), 401);
    assert_eq!(
        bench.ask(Method::POST, path).send().await.unwrap().status(),
        405
    );
    let right = bench
        .as_user(Method::GET, path, "robot$p+pull")
        .send()
        .await
        .unwrap();
    let answer: Value = right.json().await.unwrap();
    let token = answer["token"].as_str().unwrap();
    let read = bench
        .ask(Method::GET, "/v2/p/a/manifests/x")
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(read.status(), 404);
}

#[tokio::test]
async fn a_wrong_password_locks_the_name_for_a_while() {
    let Some(bench) = start() else { return };
    let wrong = bench
        .ask(Method::GET, "/v2/")
        .basic_auth("admin", Some("wrong"))
        .send();
    let right = async {
        // until the wrong one has arrived; it is refused long after that
        for _ in 0..500 {
            let answer = bench.as_user(Method::GET, "/v2/", "admin").send();
            if answer.await.unwrap().status() == 401 {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        false
    };
    let (wrong, locked) = tokio::join!(wrong, right);
    assert_eq!(wrong.unwrap().status(), 401);
    assert!(locked, "also the right password is refused meanwhile");
}

#[tokio::test]
async fn cookies_bring_csrf_and_numbers_are_ids() {
    let Some(bench) = start() else { return };
    let body = json!({"project_name": "new", "metadata": {"public": "false"}});
    let with_cookie = bench.as_user(Method::POST, "/api/v2.0/projects", "admin");
    let refused = with_cookie
        .header(header::COOKIE, "sid=x")
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
    let path = "/api/v2.0/projects/4711";
    let by_id = bench
        .as_user(Method::GET, path, "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(by_id.status(), 404);
    let by_name = bench
        .as_user(Method::GET, path, "admin")
        .header("X-Is-Resource-Name", "true");
    assert_eq!(by_name.send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn projects_are_made_by_those_who_may_and_once() {
    let Some(bench) = start() else { return };
    let make = async |user: &str, body: Value| {
        let request = bench
            .as_user(Method::POST, "/api/v2.0/projects", user)
            .json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    let named = |name: &str| json!({"project_name": name, "metadata": {"public": "false"}});
    assert_eq!(make("robot$p+push", named("new")).await, 403);
    assert_eq!(make("admin", named("new")).await, 201);
    assert_eq!(make("admin", named("new")).await, 409);
    assert_eq!(make("admin", named("a__b")).await, 400);
    assert_eq!(
        make(
            "admin",
            json!({"project_name": "x", "metadata": {"public": false}})
        )
        .await,
        400
    );
}

#[tokio::test]
async fn an_index_needs_its_children_and_a_config_that_is_json() {
    let Some(bench) = start() else { return };
    let image = Image::oci().layer(&[("a", b"b")]).build();
    let index = Image::index(vec![("linux/amd64", image.clone())]);
    let put = async |image: &Image| {
        let path = format!("/v2/p/a/b/manifests/{}", image.digest());
        let request = bench.as_user(Method::PUT, &path, "robot$p+push");
        let request = request.header(header::CONTENT_TYPE, &image.media_type);
        request
            .body(image.manifest.clone())
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    let upload = async |bytes: bytes::Bytes| {
        let path = "/v2/p/a/b/blobs/uploads/";
        let opened = bench
            .as_user(Method::POST, path, "robot$p+push")
            .send()
            .await
            .unwrap();
        let location = opened.headers()[header::LOCATION].to_str().unwrap();
        assert!(location.starts_with(&bench.harbor.url()), "{location}");
        let url = format!("{location}&digest={}", digest_of(&bytes));
        let request = bench
            .client
            .put(url)
            .basic_auth("robot$p+push", Some(PASSWORD));
        assert_eq!(request.body(bytes).send().await.unwrap().status(), 201);
    };
    assert_eq!(put(&index).await, 400, "a child is missing");
    assert_eq!(put(&image).await, 500, "the config is missing");
    for blob in &image.blobs {
        upload(blob.clone()).await;
    }
    assert_eq!(put(&image).await, 201);
    assert_eq!(put(&index).await, 201);
    let config = (
        "application/vnd.oci.image.config.v1+json",
        bytes::Bytes::from("no json"),
    );
    let broken = Image::artifact("", config, vec![], None);
    upload(broken.blobs[0].clone()).await;
    assert_eq!(put(&broken).await, 500);
}

#[tokio::test]
async fn a_mount_needs_the_right_to_read_its_source() {
    let Some(bench) = start() else { return };
    let digest = digest_of(b"whatever");
    let mount = async |from: &str| {
        let path = format!("/v2/q/a/blobs/uploads/?mount={digest}&from={from}");
        bench
            .as_user(Method::POST, &path, "mixed")
            .send()
            .await
            .unwrap()
            .status()
            .as_u16()
    };
    assert_eq!(mount("p/a").await, 401);
    assert_eq!(mount("nosegment").await, 400);
    assert_eq!(mount("q/b").await, 202);
}

#[tokio::test]
async fn a_proxy_project_takes_nothing() {
    let Some(bench) = start() else { return };
    bench.harbor.set_project(Project {
        proxy: true,
        ..Project::named("cache")
    });
    let path = "/v2/cache/a/blobs/uploads/";
    let refused = bench
        .as_user(Method::POST, path, "admin")
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 403);
}
