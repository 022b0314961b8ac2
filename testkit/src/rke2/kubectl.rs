//! The stand-in `kubectl`: the commands an installer uses, over the stand-in's API server.
//!
//! It fails as kubectl does (`Error from server (NotFound): …`, exit status 1) and refuses flags it does not know.

mod args;
mod client;
mod output;

use std::io::Read as _;
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use self::args::Args;
use self::client::{Api, percent};
use super::fail::{Context as _, Fail, Result};
use super::kinds::Kind;
use super::yaml;

/// What etcdctl has to be told in an etcd pod of RKE2's.
const ETCDCTL: [(&str, &str); 4] = [
    (
        "--cacert",
        "/var/lib/rancher/rke2/server/tls/etcd/server-ca.crt",
    ),
    (
        "--cert",
        "/var/lib/rancher/rke2/server/tls/etcd/server-client.crt",
    ),
    (
        "--key",
        "/var/lib/rancher/rke2/server/tls/etcd/server-client.key",
    ),
    ("--endpoints", "https://127.0.0.1:2379"),
];

/// Runs one command line; the text it prints.
pub(crate) async fn run(words: &[String]) -> Result<String> {
    let args = Args::parse(words)?;
    let Some(command) = args.words.first().cloned() else {
        return Err(Fail::new("kubectl (airgap stand-in): a command is needed"));
    };
    if command == "version" && args.has("client") {
        return Ok("Client Version: airgap stand-in, not kubectl\n".into());
    }
    let api = Api::open(&args)?;
    match command.as_str() {
        "version" => Ok(format!(
            "{}\n",
            api.call(Method::GET, "/version", None).await?["gitVersion"]
                .as_str()
                .unwrap_or_default()
        )),
        "get" => api.get(&args).await,
        "apply" => api.apply(&args).await,
        "create" => api.create(&args).await,
        "delete" => api.delete(&args).await,
        "patch" => api.patch(&args).await,
        "label" | "annotate" => api.label(&args, &command).await,
        "wait" => api.wait(&args).await,
        "logs" => api.logs(&args).await,
        "exec" => api.exec(&args).await,
        "cordon" | "uncordon" | "drain" => Ok(format!(
            "node/{} {command}ed (airgap stand-in)\n",
            args.words.get(1).cloned().unwrap_or_default()
        )),
        other => Err(Fail::new(format!(
            "error: unknown command \"{other}\" for \"kubectl\" (airgap stand-in)"
        ))),
    }
}

impl Api {
    async fn get(&self, args: &Args) -> Result<String> {
        if let Some(path) = args.value("raw") {
            return match self.call(Method::GET, path, None).await? {
                Value::String(text) => Ok(text),
                other => Ok(format!("{other}\n")),
            };
        }
        let (objects, single) = self.fetch(args, &args.words[1..]).await?;
        if objects.is_empty() && single_named(&args.words) {
            return Ok(String::new());
        }
        output::render(&objects, single, args)
    }

    /// The objects of `-f FILE` or `-f -`.
    fn documents(args: &Args) -> Result<Vec<Value>> {
        let mut out = Vec::new();
        let files = args.values("filename");
        if files.is_empty() {
            return Err(Fail::new("error: must specify one of -f and -k"));
        }
        for file in files {
            let mut text = String::new();
            if file == "-" {
                std::io::stdin().read_to_string(&mut text)?;
            } else {
                text = fs_err::read_to_string(file).context(format!("error: the path {file:?}"))?;
            }
            out.extend(yaml::many(&text).context(format!("error: error parsing {file}"))?);
        }
        if out.is_empty() {
            return Err(Fail::new("error: no objects passed to apply"));
        }
        Ok(out)
    }

    /// Kind, namespace and name of an object read from a file.
    async fn place(&self, object: &mut Value, args: &Args) -> Result<(Kind, String, String)> {
        let (kind_name, version) = (
            object["kind"].as_str().unwrap_or_default().to_owned(),
            object["apiVersion"].as_str().unwrap_or_default().to_owned(),
        );
        let name = object["metadata"]["name"].as_str().context("error: error when retrieving current configuration: resource name may not be empty")?.to_owned();
        let kind = self
            .kinds()
            .await?
            .into_iter()
            .find(|kind| kind.kind == kind_name && kind.api_version() == version);
        let kind = kind.context(format!(
            "error: resource mapping not found for name: \"{name}\" namespace: \"{}\" from \"STDIN\": no matches for kind \"{kind_name}\" in version \"{version}\"\nensure CRDs are installed first",
            object["metadata"]["namespace"].as_str().unwrap_or_default()
        ))?;
        let mut namespace = String::new();
        if kind.namespaced {
            let given = object["metadata"]["namespace"].as_str().map(str::to_owned);
            if let (Some(given), Some(flag)) = (&given, args.value("namespace"))
                && given != flag
            {
                return Err(Fail::new(format!(
                    "error: the namespace from the provided object \"{given}\" does not match the namespace \"{flag}\". You must pass '--namespace={given}' to perform this operation."
                )));
            }
            namespace = given.unwrap_or_else(|| self.namespace.clone());
            object["metadata"]["namespace"] = namespace.clone().into();
        }
        Ok((kind, namespace, name))
    }

    async fn apply(&self, args: &Args) -> Result<String> {
        let manager = args.value("field-manager").unwrap_or("kubectl");
        let force = args.has("force-conflicts") || !args.has("server-side");
        let side = if args.has("server-side") {
            "serverside-applied"
        } else {
            "configured"
        };
        let mut out = Vec::new();
        for mut object in Self::documents(args)? {
            let (kind, namespace, name) = self.place(&mut object, args).await?;
            let path = kind.path(Some(&namespace), Some(&name));
            if args.has("dry-run") {
                out.push(format!("{}/{name} {side} (dry run)\n", label(&kind)));
                continue;
            }
            self.call(
                Method::PATCH,
                &format!("{path}?fieldManager={}&force={force}", percent(manager)),
                Some(&object),
            )
            .await?;
            out.push(format!("{}/{name} {side}\n", label(&kind)));
        }
        Ok(out.concat())
    }

    async fn create(&self, args: &Args) -> Result<String> {
        if let [_, kind, name] = args.words.as_slice()
            && ["namespace", "ns"].contains(&kind.as_str())
        {
            let object =
                json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
            self.call(Method::POST, "/api/v1/namespaces", Some(&object))
                .await?;
            return Ok(format!("namespace/{name} created\n"));
        }
        let mut out = Vec::new();
        for mut object in Self::documents(args)? {
            let (kind, namespace, name) = self.place(&mut object, args).await?;
            self.call(
                Method::POST,
                &kind.path(Some(&namespace), None),
                Some(&object),
            )
            .await?;
            out.push(format!("{}/{name} created\n", label(&kind)));
        }
        Ok(out.concat())
    }

    async fn delete(&self, args: &Args) -> Result<String> {
        let mut targets = Vec::new();
        if args.values("filename").is_empty() {
            let (objects, _) = self.fetch(args, &args.words[1..]).await?;
            targets.extend(objects);
        } else {
            for mut object in Self::documents(args)? {
                let (kind, _, _) = self.place(&mut object, args).await?;
                targets.push((kind, object));
            }
        }
        let mut out = Vec::new();
        for (kind, object) in targets {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            let path = kind.path(object["metadata"]["namespace"].as_str(), Some(name));
            match self.call(Method::DELETE, &path, None).await {
                Ok(_) => out.push(format!("{} \"{name}\" deleted\n", label(&kind))),
                Err(error) if args.has("ignore-not-found") && error.0.contains("(NotFound)") => {}
                Err(error) => return Err(error),
            }
        }
        Ok(out.concat())
    }

    async fn patch(&self, args: &Args) -> Result<String> {
        let patch = match (args.value("patch"), args.value("patch-file")) {
            (Some(text), _) => text.to_owned(),
            (None, Some("-" | "/dev/stdin")) => std::io::read_to_string(std::io::stdin())?,
            (None, Some(file)) => fs_err::read_to_string(file).context(file)?,
            (None, None) => {
                return Err(Fail::new(
                    "error: must specify --patch or --patch-file containing the contents of the patch",
                ));
            }
        };
        if args.value("type").is_some_and(|kind| kind != "merge") {
            return Err(Fail::new("airgap stand-in kubectl knows only --type=merge"));
        }
        let patch = yaml::one(&patch)?;
        let mut out = Vec::new();
        for (kind, name) in self.targets(&args.words[1..]).await? {
            let name = name.context("error: a resource name is needed")?;
            self.call(
                Method::PATCH,
                &kind.path(Some(&self.namespace), Some(&name)),
                Some(&patch),
            )
            .await?;
            out.push(format!("{}/{name} patched\n", label(&kind)));
        }
        Ok(out.concat())
    }

    async fn label(&self, args: &Args, command: &str) -> Result<String> {
        let (changes, names): (Vec<_>, Vec<_>) = args.words[1..]
            .iter()
            .cloned()
            .partition(|word| word.contains('=') || word.ends_with('-'));
        let field = if command == "label" {
            "labels"
        } else {
            "annotations"
        };
        let mut map = serde_json::Map::new();
        for change in changes {
            match change.split_once('=') {
                Some((key, value)) => map.insert(key.to_owned(), value.into()),
                None => map.insert(change.trim_end_matches('-').to_owned(), Value::Null),
            };
        }
        let patch = json!({"metadata": {field: map}});
        let mut out = Vec::new();
        for (kind, name) in self.targets(&names).await? {
            let name = name.context("error: a resource name is needed")?;
            self.call(
                Method::PATCH,
                &kind.path(Some(&self.namespace), Some(&name)),
                Some(&patch),
            )
            .await?;
            out.push(format!("{}/{name} {command}ed\n", label(&kind)));
        }
        Ok(out.concat())
    }

    async fn wait(&self, args: &Args) -> Result<String> {
        let wanted = args
            .value("for")
            .context("error: --for is required")?
            .to_owned();
        let limit = duration(args.value("timeout").unwrap_or("30s"))?;
        let start = Instant::now();
        loop {
            let fetched = self.fetch(args, &args.words[1..]).await;
            let objects = match fetched {
                Ok((objects, _)) => objects,
                Err(error) if error.0.contains("(NotFound)") && wanted == "delete" => Vec::new(),
                Err(error) => return Err(error),
            };
            if wanted == "delete" && objects.is_empty() {
                return Ok(String::new());
            }
            if !objects.is_empty()
                && objects
                    .iter()
                    .all(|(_, object)| output::met(object, &wanted))
            {
                let lines = objects.iter().map(|(kind, object)| {
                    let name = object["metadata"]["name"].as_str().unwrap_or_default();
                    format!("{}/{name} condition met\n", label(kind))
                });
                return Ok(lines.collect::<Vec<_>>().concat());
            }
            if start.elapsed() >= limit {
                return Err(Fail::new(format!(
                    "error: timed out waiting for the condition on {}",
                    args.words[1..].join(" ")
                )));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    }

    /// The one program there is in a pod: etcdctl in an etcd pod, with the client certificate that etcd asks for.
    async fn exec(&self, args: &Args) -> Result<String> {
        let pod = args.words.get(1).map(String::as_str).unwrap_or_default();
        let node = pod.strip_prefix("etcd-").context(format!(
            "Error from server (NotFound): pods {pod:?} not found"
        ))?;
        let nodes = self.kind("nodes").await?;
        self.call(Method::GET, &nodes.path(None, Some(node)), None)
            .await?;
        let words: Vec<&str> = args.inner.iter().map(String::as_str).collect();
        let [program, rest @ ..] = words.as_slice() else {
            return Err(Fail::new(
                "error: you must specify at least one command for the container",
            ));
        };
        let (flags, command) = rest.split_at(rest.len().min(2 * ETCDCTL.len()));
        let given = |name: &str| {
            let found = flags.chunks(2).find(|pair| pair[0] == name);
            found.and_then(|pair| pair.get(1)).copied()
        };
        // without the certificates that lie there, etcd does not answer
        let answered = ETCDCTL
            .iter()
            .all(|(name, wanted)| given(name) == Some(*wanted));
        if *program != "etcdctl" || !answered {
            return Err(Fail::new(
                "error: etcdctl (airgap stand-in): context deadline exceeded",
            ));
        }
        match command {
            ["member", "list", "-w", "json"] => {
                let members = self.call(Method::GET, "/apis/standin/etcd", None).await?;
                Ok(format!("{members}\n"))
            }
            other => Err(Fail::new(format!(
                "error: etcdctl (airgap stand-in) does not know {other:?}"
            ))),
        }
    }

    async fn logs(&self, args: &Args) -> Result<String> {
        let word = args
            .words
            .get(1)
            .context("error: expected 'logs [-f] [-p] (POD | TYPE/NAME)'")?;
        let name = word
            .strip_prefix("job/")
            .or_else(|| word.strip_prefix("jobs/"))
            .context("airgap stand-in kubectl shows the logs of jobs only")?;
        let job = self.kind("jobs").await?;
        let object = self
            .call(
                Method::GET,
                &job.path(Some(&self.namespace), Some(name)),
                None,
            )
            .await?;
        Ok(format!(
            "{}\n",
            object["metadata"]["annotations"]["standin.airgap/log"]
                .as_str()
                .unwrap_or_default()
        ))
    }
}

fn single_named(words: &[String]) -> bool {
    words.len() > 2 || words.iter().skip(1).any(|word| word.contains('/'))
}

/// `kind.group`, as kubectl names what it did.
fn label(kind: &Kind) -> String {
    let name = kind.kind.to_ascii_lowercase();
    if kind.group.is_empty() {
        name
    } else {
        format!("{name}.{}", kind.group)
    }
}

/// Go's durations, as far as kubectl's flags need them.
fn duration(text: &str) -> Result<Duration> {
    let bad = || Fail::new(format!("error: invalid duration {text:?}"));
    let (number, unit) = text.split_at(
        text.find(|c: char| c.is_ascii_alphabetic())
            .ok_or_else(bad)?,
    );
    let number: u64 = number.parse().map_err(|_| bad())?;
    Ok(match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        "h" => Duration::from_secs(3600 * number),
        _ => return Err(bad()),
    })
}
