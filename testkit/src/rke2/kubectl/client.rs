//! The connection of the stand-in kubectl: the kubeconfig, the requests, the objects that a command line names.

use std::time::Duration;

use base64::Engine as _;
use reqwest::{Client, Method};
use serde_json::Value;

use super::args::Args;
use crate::rke2::fail::{Context as _, Fail, Result};
use crate::rke2::kinds::Kind;
use crate::rke2::yaml;

/// A connection to one API server.
#[derive(Debug)]
pub(super) struct Api {
    client: Client,
    base: String,
    pub(super) namespace: String,
}

impl Api {
    pub(super) fn open(args: &Args) -> Result<Self> {
        let path = args
            .value("kubeconfig")
            .map(str::to_owned)
            .or_else(|| std::env::var("KUBECONFIG").ok())
            .unwrap_or_else(|| "/etc/rancher/rke2/rke2.yaml".into());
        let text = fs_err::read_to_string(&path)
            .map_err(|error| Fail::new(format!("error: stat {path}: {error}")))?;
        let config = yaml::one(&text)?;
        let field = |value: &Value| -> Result<Vec<u8>> {
            let text = value.as_str().context("error: kubeconfig is incomplete")?;
            base64::engine::general_purpose::STANDARD
                .decode(text)
                .map_err(|error| Fail::new(format!("error: kubeconfig: {error}")))
        };
        let (cluster, user) = (
            &config["clusters"][0]["cluster"],
            &config["users"][0]["user"],
        );
        let identity = [
            field(&user["client-certificate-data"])?,
            field(&user["client-key-data"])?,
        ]
        .concat();
        let client = Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&field(
                &cluster["certificate-authority-data"],
            )?)?])
            .identity(reqwest::Identity::from_pem(&identity)?)
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(30))
            .no_proxy()
            .build()?;
        let base = args
            .value("server")
            .or(cluster["server"].as_str())
            .context("error: kubeconfig names no server")?
            .to_owned();
        let namespace = args.value("namespace").unwrap_or("default").to_owned();
        Ok(Self {
            client,
            base,
            namespace,
        })
    }

    pub(super) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value> {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        if let Some(body) = body {
            request = request.json(body);
        }
        let response = request.send().await.map_err(|error| {
            Fail::new(format!(
                "Unable to connect to the server: {}",
                Fail::from(error)
            ))
        })?;
        let ok = response.status().is_success();
        let text = response.text().await?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        if ok {
            return Ok(value);
        }
        let reason = value["reason"].as_str().unwrap_or("InternalError");
        Err(Fail::new(format!(
            "Error from server ({reason}): {}",
            value["message"].as_str().unwrap_or_default()
        )))
    }

    pub(super) async fn kinds(&self) -> Result<Vec<Kind>> {
        Ok(serde_json::from_value(
            self.call(Method::GET, "/apis/standin", None).await?,
        )?)
    }

    pub(super) async fn kind(&self, word: &str) -> Result<Kind> {
        let all = self.kinds().await?;
        let found = all.into_iter().find(|kind| kind.answers_to(word));
        found.context(format!(
            "error: the server doesn't have a resource type \"{word}\""
        ))
    }

    /// `TYPE NAME…`, `TYPE/NAME…`, `TYPE`, `T1,T2`: what a command line names.
    pub(super) async fn targets(&self, words: &[String]) -> Result<Vec<(Kind, Option<String>)>> {
        let mut out = Vec::new();
        if words.iter().any(|word| word.contains('/')) {
            for word in words {
                let (kind, name) = word.split_once('/').context(
                    "error: there is no need to specify a resource type as a separate argument",
                )?;
                out.push((self.kind(kind).await?, Some(name.to_owned())));
            }
            return Ok(out);
        }
        let first = words
            .first()
            .context("error: you must specify the type of resource")?;
        for word in first.split(',') {
            let kind = self.kind(word).await?;
            if words.len() == 1 {
                out.push((kind, None));
            } else {
                out.extend(
                    words[1..]
                        .iter()
                        .map(|name| (kind.clone(), Some(name.clone()))),
                );
            }
        }
        Ok(out)
    }

    pub(super) async fn fetch(
        &self,
        args: &Args,
        words: &[String],
    ) -> Result<(Vec<(Kind, Value)>, bool)> {
        let everywhere = args.has("all-namespaces");
        let mut out = Vec::new();
        let mut single = true;
        for (kind, name) in self.targets(words).await? {
            let namespace = (!everywhere).then_some(self.namespace.as_str());
            if let Some(name) = name {
                match self
                    .call(Method::GET, &kind.path(namespace, Some(&name)), None)
                    .await
                {
                    Ok(object) => out.push((kind, object)),
                    Err(error)
                        if args.has("ignore-not-found") && error.0.contains("(NotFound)") => {}
                    Err(error) => return Err(error),
                }
            } else {
                single = false;
                let selector = args
                    .value("selector")
                    .map(|text| format!("?labelSelector={}", percent(text)))
                    .unwrap_or_default();
                let list = self
                    .call(
                        Method::GET,
                        &format!("{}{selector}", kind.path(namespace, None)),
                        None,
                    )
                    .await?;
                out.extend(
                    list["items"]
                        .as_array()
                        .into_iter()
                        .flatten()
                        .map(|item| (kind.clone(), item.clone())),
                );
            }
        }
        let single = single && out.len() == 1;
        Ok((out, single))
    }
}

pub(super) fn percent(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}
