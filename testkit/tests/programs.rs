//! The stand-ins as programs: one ready line, faults by their admin API, an end with their starter.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use airgap_testkit::{requests::Request, require_tool, tls::TestCa};
use camino::Utf8Path;

fn start(program: &str, arguments: &[&str]) -> (Child, String) {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    assert!(line.starts_with("ready "), "{line}");
    (child, line.trim().to_owned())
}

fn ends(mut child: Child) -> bool {
    let deadline = Instant::now() + Duration::from_secs(10);
    while Instant::now() < deadline {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    false
}

#[tokio::test]
async fn harbor_serves_until_its_stdin_closes() {
    if !require_tool("docker-registry") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    let ca = TestCa::new("Site CA");
    let (certificate, key) = ca.server(&["127.0.0.1"]).write(folder);
    fs_err::write(folder.join("password"), "Canary-1\n").unwrap();
    let config = format!(
        "adminListen: 127.0.0.1:0\ntls: {{certFile: {certificate}, keyFile: {key}}}\n\
         accounts:\n  - {{name: \"robot$p+push\", passwordFile: {folder}/password, rights: {{p: [pull, push]}}}}\n\
         projects: [{{name: p, quota: 1000}}]\n"
    );
    fs_err::write(folder.join("harbor.yaml"), config).unwrap();
    let program = env!("CARGO_BIN_EXE_airgap-testkit-harbor");
    let (mut child, line) = start(program, &["--config", folder.join("harbor.yaml").as_str()]);
    let (url, admin) = line
        .trim_start_matches("ready ")
        .split_once(" admin ")
        .unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap()])
        .build()
        .unwrap();
    let ask = || {
        client
            .get(format!("{url}/v2/"))
            .basic_auth("robot$p+push", Some("Canary-1"))
            .send()
    };
    assert_eq!(ask().await.unwrap().status(), 200);
    let fault =
        r#"{"path": "^/v2/$", "action": {"kind": "status", "code": 503, "retryAfter": "1"}}"#;
    let order = client
        .post(format!("{admin}/faults"))
        .header("content-type", "application/json");
    assert_eq!(order.body(fault).send().await.unwrap().status(), 204);
    assert_eq!(ask().await.unwrap().status(), 503);
    assert_eq!(ask().await.unwrap().status(), 200);
    let log: Vec<Request> = client
        .get(format!("{admin}/log"))
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        log.iter().map(|it| it.status).collect::<Vec<_>>(),
        [200, 503, 200]
    );
    assert_eq!(log[0].user.as_deref(), Some("robot$p+push"));
    drop(child.stdin.take());
    assert!(ends(child));
}

#[tokio::test]
async fn upstream_serves_real_names_and_says_how_to_reach_them() {
    let folder = tempfile::tempdir().unwrap();
    let folder = Utf8Path::from_path(folder.path()).unwrap();
    fs_err::write(folder.join("file"), "content").unwrap();
    let config = format!(
        "faults: [{{path: github.com, action: {{kind: status, code: 429, retryAfter: \"2\"}}}}]\n\
         images:\n  - {{name: \"quay.io/argoproj/argocd:v3.4.4\", platforms: [linux/amd64, linux/arm64]}}\n  \
         - {{name: \"docker.io/library/redis:8\", docker: true}}\n\
         files:\n  - {{url: \"https://github.com/a/b\", path: {folder}/file}}\n"
    );
    fs_err::write(folder.join("up.yaml"), config).unwrap();
    let program = env!("CARGO_BIN_EXE_airgap-testkit-upstream");
    let (up, out) = (folder.join("up.yaml"), folder.join("upstreams.yaml"));
    let (child, line) = start(
        program,
        &["--config", up.as_str(), "--write-upstreams", out.as_str()],
    );
    let url = line.trim_start_matches("ready ");
    let yaml = fs_err::read_to_string(&out).unwrap();
    for host in ["quay.io", "docker.io", "https://github.com/"] {
        assert!(yaml.contains(host), "{yaml}");
    }
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let limited = client
        .get(format!("{url}/github.com/a/b"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (
            limited.status().as_u16(),
            limited.headers()["retry-after"].to_str().unwrap()
        ),
        (429, "2")
    );
    let file = client
        .get(format!("{url}/github.com/a/b"))
        .send()
        .await
        .unwrap();
    assert_eq!(file.text().await.unwrap(), "content");
    let manifest = client
        .get(format!("{url}/v2/quay.io/argoproj/argocd/manifests/v3.4.4"))
        .header("accept", "application/vnd.oci.image.index.v1+json");
    assert_eq!(manifest.send().await.unwrap().status(), 200);
    let status = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success() && ends(child));
}

#[test]
fn an_address_that_outsiders_reach_is_refused() {
    use airgap_testkit::program::check_listen;
    for address in [
        "127.0.0.1:0",
        "10.88.0.1:443",
        "192.168.7.1:5000",
        "[::1]:0",
    ] {
        assert!(check_listen(address.parse().unwrap()).is_ok(), "{address}");
    }
    for address in ["0.0.0.0:5000", "[::]:0", "8.8.8.8:443"] {
        assert!(check_listen(address.parse().unwrap()).is_err(), "{address}");
    }
}
