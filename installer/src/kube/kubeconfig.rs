//! The kubeconfig an operator gets: RKE2's own, with the cluster's address and name.

use secrecy::{ExposeSecret, SecretString};

use crate::render::config::bracketed;

/// Replaces the address in RKE2's kubeconfig by the cluster's endpoint, and the names `default` by the cluster's.
#[must_use]
pub fn kubeconfig_for(text: &SecretString, endpoint: &str, cluster: &str) -> SecretString {
    let endpoint = bracketed(endpoint);
    let text = text.expose_secret().replace(
        "https://127.0.0.1:6443",
        &format!("https://{endpoint}:6443"),
    );
    SecretString::from(
        text.lines()
            .map(|line| rename(line, cluster))
            .collect::<Vec<_>>()
            .join("\n")
            + "\n",
    )
}

fn rename(line: &str, cluster: &str) -> String {
    for key in ["name: ", "cluster: ", "user: ", "current-context: "] {
        if let Some(indent) = line
            .strip_suffix("default")
            .and_then(|line| line.strip_suffix(key))
        {
            return format!("{indent}{key}{cluster}");
        }
    }
    line.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kubeconfig_gets_the_endpoint_and_the_clusters_name() {
        let text = "clusters:\n- cluster:\n    server: https://127.0.0.1:6443\n  name: default\ncontexts:\n- context:\n    cluster: default\n    user: default\n  name: default\ncurrent-context: default\n";
        let text = kubeconfig_for(&text.to_owned().into(), "fd00::1", "prod");
        assert_eq!(
            text.expose_secret(),
            "clusters:\n- cluster:\n    server: https://[fd00::1]:6443\n  name: prod\ncontexts:\n- context:\n    cluster: prod\n    user: prod\n  name: prod\ncurrent-context: prod\n"
        );
    }
}
