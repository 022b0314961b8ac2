//! The stand-in `crictl`: `pull`, `images`, `inspecti` over the runtime's socket.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::fail::{Context as _, Fail, Result};
use super::node::SOCKET;

fn ask(request: &Value) -> Result<Value> {
    let mut stream = UnixStream::connect(SOCKET)
        .context(format!("validate service connection: dial unix {SOCKET}"))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let answer: Value = serde_json::from_str(&line)?;
    match answer["error"].as_str() {
        Some(error) => Err(Fail::new(error)),
        None => Ok(answer),
    }
}

/// Runs one command line; the text it prints.
pub(crate) fn run(args: &[String]) -> Result<String> {
    let mut words: Vec<&str> = Vec::new();
    let mut rest = args.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "--runtime-endpoint" | "-r" | "--image-endpoint" | "-i" | "--config" | "-c"
            | "--timeout" | "-t" | "-o" | "--output" => {
                rest.next();
            }
            word if word.starts_with('-') => {}
            word => words.push(word),
        }
    }
    match words.as_slice() {
        ["--version" | "version"] => Ok("crictl (airgap stand-in)\n".into()),
        ["pull", image] => {
            let answer = ask(&json!({"op": "pull", "image": image}))?;
            Ok(format!(
                "Image is up to date for {}\n",
                answer["digest"].as_str().unwrap_or_default()
            ))
        }
        ["images" | "img"] => {
            let list = ask(&json!({"op": "images"}))?;
            let images: Vec<Value> = list
                .as_object()
                .into_iter()
                .flatten()
                .map(|(name, digest)| {
                    let repository = name
                        .split('@')
                        .next()
                        .unwrap_or(name)
                        .rsplit_once(':')
                        .map_or(name.as_str(), |(path, _)| path);
                    let by_digest = format!("{repository}@{}", digest.as_str().unwrap_or_default());
                    if name.contains('@') {
                        json!({"repoTags": [], "repoDigests": [by_digest]})
                    } else {
                        json!({"repoTags": [name], "repoDigests": [by_digest]})
                    }
                })
                .collect();
            Ok(format!("{}\n", json!({"images": images})))
        }
        ["inspecti", image] => {
            let list = ask(&json!({"op": "images"}))?;
            let name = super::image::ImageName::parse(image)?.full();
            let digest = list[&name]
                .as_str()
                .context(format!("no such image \"{image}\" present"))?;
            Ok(format!(
                "{}\n",
                json!({"status": {"id": digest, "repoTags": [name]}})
            ))
        }
        other => Err(Fail::new(format!(
            "airgap stand-in crictl does not know {other:?}"
        ))),
    }
}
