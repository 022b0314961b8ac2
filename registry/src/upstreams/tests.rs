//! What the `--upstreams` file says and refuses.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Result<Upstreams> {
    Upstreams::from_yaml(text, "up.yaml".into())
}

fn refused(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

fn places(upstreams: &Upstreams, registry: &str, repository: &str) -> Vec<String> {
    let endpoints = upstreams.endpoints(registry, repository).unwrap();
    endpoints
        .iter()
        .map(|at| format!("{}{}", at.base, at.repository))
        .collect()
}

#[test]
fn a_name_goes_to_its_mirror_renamed_and_nowhere_else() {
    let upstreams = parse(
        "mirrors:\n  docker.io:\n    endpoint: [\"https://m.corp:5000\", \"http://second\"]\n    \
         rewrite: {\"^(.*)$\": \"hub/$1\"}\n  ghcr.io: {endpoint: [\"https://m.corp/v2/ghcr\"]}\n",
    )
    .unwrap();
    assert_eq!(
        places(&upstreams, "docker.io", "library/nginx"),
        [
            "https://m.corp:5000/hub/library/nginx",
            "http://second/hub/library/nginx"
        ]
    );
    assert_eq!(places(&upstreams, "index.docker.io", "a/b").len(), 2);
    assert_eq!(
        places(&upstreams, "ghcr.io", "a/b"),
        ["https://m.corp/ghcr/a/b"]
    );
    assert_eq!(
        places(&upstreams, "quay.io", "a/b"),
        ["https://quay.io/a/b"]
    );
    let direct = Upstreams::default();
    assert_eq!(
        places(&direct, "docker.io", "a/b"),
        ["https://registry-1.docker.io/a/b"]
    );
}

#[test]
fn a_wildcard_serves_what_has_no_mirror_of_its_own() {
    let upstreams = parse(
        "mirrors:\n  \"*\": {endpoint: [\"https://all\"]}\n  quay.io: {endpoint: [\"https://q\"]}\n",
    )
    .unwrap();
    assert_eq!(places(&upstreams, "ghcr.io", "a/b"), ["https://all/a/b"]);
    assert_eq!(places(&upstreams, "quay.io", "a/b"), ["https://q/a/b"]);
}

#[test]
fn files_go_by_the_longest_prefix() {
    let upstreams = parse(
        "urls:\n  - {prefix: \"https://github.com/\", replace: \"http://f/github/\"}\n  \
         - {prefix: \"https://github.com/rancher/\", replace: \"http://f/rancher/\"}\n",
    )
    .unwrap();
    let to = |url: &str| upstreams.file_url(&url.parse().unwrap()).to_string();
    assert_eq!(to("https://github.com/rancher/a"), "http://f/rancher/a");
    assert_eq!(to("https://github.com/b?c"), "http://f/github/b?c");
    assert_eq!(to("https://get.helm.sh/x"), "https://get.helm.sh/x");
}

#[test]
fn mistakes_are_refused_with_file_and_line() {
    let unanchored =
        "mirrors:\n  quay.io:\n    endpoint: [\"https://m\"]\n    rewrite: {\"(.*)\": \"q/$1\"}\n";
    let message = refused(unanchored);
    assert!(
        message.starts_with("up.yaml:") && message.contains("`^(.*)$`"),
        "{message}"
    );
    let two = "mirrors:\n  quay.io:\n    endpoint: [\"https://m\"]\n    rewrite: {\"^a$\": b, \"^c$\": d}\n";
    assert!(refused(two).contains("order is not defined"));
    let typo = refused("mirrors:\n  quay.io:\n    endpoints: [\"https://m\"]\n");
    assert!(
        typo.starts_with("up.yaml:3: ") && typo.contains("endpoints"),
        "{typo}"
    );
    let skip = "configs:\n  m:\n    tls: {insecure_skip_verify: true}\n";
    assert!(refused(skip).contains("ca_file"));
    assert!(
        refused("configs:\n  m:\n    tls: {ca_file: /nowhere/ca.pem}\n")
            .contains("/nowhere/ca.pem")
    );
    assert!(refused("mirrors:\n  q:\n    endpoint: [\"https://m/prefix\"]\n").contains("/v2"));
    let login = refused("mirrors:\n  q:\n    endpoint: [\"https://u:canary@m\"]\n");
    assert!(
        login.contains("configs") && !login.contains("canary"),
        "{login}"
    );
    assert!(
        refused("urls:\n  - {prefix: github.com, replace: \"http://f\"}\n").contains("github.com")
    );
}

#[test]
fn logins_are_found_by_host_with_or_without_the_usual_port() {
    let upstreams = parse(
        "configs:\n  \"m:443\": {auth: {username: u, password: canary}}\n  \"n:5000\": {auth: {auth: \"dTpw\"}}\n",
    )
    .unwrap();
    let login = |url: &str| {
        let url: Url = url.parse().unwrap();
        upstreams
            .host(&url)
            .and_then(|host| host.login.as_ref()?.username().map(str::to_owned))
    };
    assert_eq!(login("https://m/").as_deref(), Some("u"));
    assert_eq!(login("https://n:5000/").as_deref(), Some("u"));
    assert_eq!(login("https://n/"), None);
    assert!(!format!("{upstreams:?}").contains("canary"));
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in ".{0,200}") {
        drop(parse(&text));
    }

    #[test]
    fn an_anchored_rewrite_keeps_the_whole_name(name in "[a-z0-9]{1,8}(/[a-z0-9]{1,8}){0,3}") {
        let text = "mirrors: {q: {endpoint: [\"https://m\"], rewrite: {\"^(.*)$\": \"p/$1\"}}}";
        prop_assert_eq!(places(&parse(text).unwrap(), "q", &name), [format!("https://m/p/{name}")]);
    }
}
