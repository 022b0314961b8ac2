//! Manifests, tags and referrers: looked at first, written as the bytes they are, read back.

use bytes::Bytes;
use oci_spec::image::{Descriptor, Digest, ImageIndex, MediaType};
use reqwest::{Method, Response, StatusCode, header};
use serde_json::{Value, json};
use std::sync::atomic::Ordering;

use super::{
    Proof, SiteRegistry, TagOutcome,
    connection::{COMMIT_TIMEOUT, Purpose},
};
use crate::{
    error::{Error, Result},
    manifest::{ACCEPT, MAX_MANIFEST_BYTES, RawManifest, digest_of},
    name::{ManifestReference, RepositoryName, Tag},
    retry::Attempts,
};

impl SiteRegistry {
    /// Returns the digest that a tag or digest leads to (one HEAD); `None` when it is not there.
    pub async fn head_manifest(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Option<Digest>> {
        let object = self.named(repository, reference);
        let Some(response) = self
            .ask(Method::HEAD, repository, reference, &object)
            .await?
        else {
            return Ok(None);
        };
        if let Some(digest) = digest_of_answer(&response) {
            return Ok(Some(digest));
        }
        // a registry that does not say has to show
        Ok(self
            .get_manifest(repository, reference)
            .await?
            .map(|manifest| manifest.digest))
    }

    /// Fetches a manifest; its digest is computed from what came.
    pub async fn get_manifest(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
    ) -> Result<Option<RawManifest>> {
        let object = self.named(repository, reference);
        let Some(response) = self
            .ask(Method::GET, repository, reference, &object)
            .await?
        else {
            return Ok(None);
        };
        let connection = &self.shared.connection;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let bytes = connection
            .read(response, MAX_MANIFEST_BYTES, &object)
            .await?;
        let manifest = RawManifest::new(bytes.into(), content_type.as_deref());
        let manifest = manifest.ok_or_else(|| {
            connection.protocol("what it sent is no JSON object".to_owned(), &object)
        })?;
        if let ManifestReference::Digest(expected) = reference
            && *expected != manifest.digest
        {
            return Err(self.mismatch(object, expected, manifest.digest.to_string()));
        }
        Ok(Some(manifest))
    }

    /// Puts a manifest under its digest. Its blobs and children must be there.
    pub async fn put_manifest(
        &self,
        repository: &RepositoryName,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<Digest> {
        let digest = digest_of(bytes);
        let reference = digest.clone().into();
        self.put(repository, &reference, media_type, bytes).await?;
        Ok(digest)
    }

    /// Points a tag at a manifest: looks first, writes only if it differs, then reads back.
    pub async fn tag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<TagOutcome> {
        let before = self.head_manifest(repository, &tag.clone().into()).await?;
        self.retag(repository, tag, media_type, bytes, before, Proof::ReadBack)
            .await
    }

    /// Points a tag at a manifest, as [`Self::tag`] does, for a caller that has asked already what the tag holds: `before`.
    ///
    /// Storing under a tag stores under the digest too, so what the tag leads to needs no PUT of its own (distribution spec, "Pushing
    /// manifests"); what *it* leads to must be there. Reading back costs a request and also finds a policy of the project that stores what
    /// it lets nobody pull; without it, a registry whose answer names another digest or none is still asked.
    pub async fn retag(
        &self,
        repository: &RepositoryName,
        tag: &Tag,
        media_type: &MediaType,
        bytes: &Bytes,
        before: Option<Digest>,
        proof: Proof,
    ) -> Result<TagOutcome> {
        let wanted = digest_of(bytes);
        let reference = tag.clone().into();
        // an immutable tag refuses even the digest that it holds
        if before.as_ref() == Some(&wanted) {
            return Ok(TagOutcome::Unchanged);
        }
        let written = self.put(repository, &reference, media_type, bytes).await;
        let now = match &written {
            Err(error) if !may_have_worked(error) => None,
            Ok(response)
                if proof == Proof::Answer && digest_of_answer(response) == Some(wanted.clone()) =>
            {
                Some(wanted.clone())
            }
            _ => self.head_manifest(repository, &reference).await?,
        };
        match (written, now) {
            (_, Some(now)) if now == wanted => Ok(match before {
                Some(from) => TagOutcome::Moved { from },
                None => TagOutcome::Created,
            }),
            (
                Err(Error::Policy {
                    host,
                    object,
                    message,
                }),
                now,
            ) if message.contains("immutable") => Err(Error::ImmutableTag {
                host,
                object,
                present: now.or(before),
                wanted: wanted.into(),
            }),
            (Err(error), _) => Err(error),
            (Ok(_), now) => {
                let got = now.map_or_else(|| "nothing".to_owned(), |digest| digest.to_string());
                Err(self.mismatch(self.named(repository, &reference), &wanted, got))
            }
        }
    }

    /// Puts a manifest that has a `subject`, and lists it under the fallback tag where the registry has no
    /// referrers API.
    pub async fn put_referrer(
        &self,
        repository: &RepositoryName,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<Digest> {
        let digest = digest_of(bytes);
        let reference = digest.clone().into();
        let response = self.put(repository, &reference, media_type, bytes).await?;
        if response.headers().contains_key("oci-subject") {
            return Ok(digest);
        }
        let object = self.named(repository, &reference);
        let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let subject = manifest["subject"]["digest"]
            .as_str()
            .and_then(|subject| subject.parse().ok());
        let Some(subject) = subject else {
            let message = "a manifest without a subject is no referrer".to_owned();
            return Err(self.shared.connection.protocol(message, &object));
        };
        self.list_referrer(repository, &subject, media_type, bytes, &manifest)
            .await?;
        Ok(digest)
    }

    /// Lists what refers to `subject`: the referrers API, else the fallback tag.
    pub async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
    ) -> Result<Vec<Descriptor>> {
        let connection = &self.shared.connection;
        let object = format!(
            "referrers of {}",
            self.named(repository, &subject.clone().into())
        );
        let path = self.path(repository, &format!("referrers/{subject}"));
        let accept = [(header::ACCEPT, ACCEPT)];
        let response = connection
            .small(Method::GET, &path, &accept, &object)
            .await?;
        let listed = if response.status().is_success() {
            Some(
                connection
                    .read(response, MAX_MANIFEST_BYTES, &object)
                    .await?,
            )
        } else {
            let tag = Tag::referrers(subject).into();
            self.get_manifest(repository, &tag)
                .await?
                .map(|listed| listed.bytes.to_vec())
        };
        let Some(listed) = listed else {
            return Ok(Vec::new());
        };
        let index = ImageIndex::from_reader(listed.as_slice());
        let index = index.map_err(|error| {
            connection.protocol(format!("the list is no index: {error}"), &object)
        })?;
        Ok(index.manifests().clone())
    }

    /// Adds a manifest to the list under the fallback tag. The list is another writer's too: it is kept.
    ///
    /// Of two that are added at once, the second to write would leave out the first: a list is one caller's at a time.
    async fn list_referrer(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        media_type: &MediaType,
        bytes: &Bytes,
        manifest: &Value,
    ) -> Result<()> {
        let tag = Tag::referrers(subject);
        let list = self.shared.list(repository, &tag);
        let _alone = list.lock().await;
        let listed = self.get_manifest(repository, &tag.clone().into()).await?;
        let mut index: Value = match &listed {
            Some(listed) => serde_json::from_slice(&listed.bytes).unwrap_or_default(),
            None => json!({
                "schemaVersion": 2,
                "mediaType": MediaType::ImageIndex.to_string(),
                "manifests": [],
            }),
        };
        let digest = digest_of(bytes).to_string();
        let manifests = index.get_mut("manifests").and_then(Value::as_array_mut);
        let Some(manifests) = manifests else {
            let object = self.named(repository, &tag.into());
            let message = "what it keeps under the tag for referrers is no index".to_owned();
            return Err(self.shared.connection.protocol(message, &object));
        };
        if manifests
            .iter()
            .any(|listed| listed["digest"] == digest.as_str())
        {
            return Ok(());
        }
        let mut descriptor = json!({
            "mediaType": media_type.to_string(),
            "digest": digest,
            "size": bytes.len(),
        });
        let kind = manifest["artifactType"]
            .as_str()
            .or(manifest["config"]["mediaType"].as_str());
        if let Some(kind) = kind {
            descriptor["artifactType"] = kind.into();
        }
        if manifest["annotations"].is_object() {
            descriptor["annotations"] = manifest["annotations"].clone();
        }
        manifests.push(descriptor);
        let bytes = Bytes::from(index.to_string());
        self.tag(repository, &tag, &MediaType::ImageIndex, &bytes)
            .await?;
        Ok(())
    }

    /// Sends a manifest; the same again is harmless, so it is sent again as the policy says.
    async fn put(
        &self,
        repository: &RepositoryName,
        reference: &ManifestReference,
        media_type: &MediaType,
        bytes: &Bytes,
    ) -> Result<Response> {
        let connection = &self.shared.connection;
        let object = self.named(repository, reference);
        let url =
            connection.url(&self.path(repository, &format!("manifests/{}", name(reference))))?;
        let mut attempts = Attempts::new(self.shared.retry);
        loop {
            connection
                .counters
                .bytes_sent
                .fetch_add(bytes.len() as u64, Ordering::Relaxed);
            let request = connection
                .request(Method::PUT, url.clone(), Purpose::Work)
                .header(header::CONTENT_TYPE, media_type.to_string())
                .body(bytes.clone());
            let failure = match connection
                .send(request, Some(COMMIT_TIMEOUT), &object)
                .await
            {
                Ok(response) if response.status() == StatusCode::CREATED => return Ok(response),
                Ok(response) => {
                    self.write_refusal(response, object.clone(), bytes.len() as u64)
                        .await
                }
                Err(failure) => failure,
            };
            attempts.wait_or_give_up(failure).await?;
        }
    }

    /// Asks for a manifest; `None` when it is not there.
    async fn ask(
        &self,
        method: Method,
        repository: &RepositoryName,
        reference: &ManifestReference,
        object: &str,
    ) -> Result<Option<Response>> {
        let connection = &self.shared.connection;
        let path = self.path(repository, &format!("manifests/{}", name(reference)));
        let accept = [(header::ACCEPT, ACCEPT)];
        let response = connection.small(method, &path, &accept, object).await?;
        match response.status() {
            status if status.is_success() => Ok(Some(response)),
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.no_right("pull", object.to_owned(), None).await)
            }
            _ => Err(connection.refusal(response, object).await.0.error),
        }
    }

    fn named(&self, repository: &RepositoryName, reference: &ManifestReference) -> String {
        format!("manifest {}/{repository}{reference}", self.shared.project)
    }

    fn mismatch(&self, object: String, expected: &Digest, got: String) -> Error {
        Error::DigestMismatch {
            host: self.host().to_owned(),
            object,
            expected: expected.clone(),
            got,
        }
    }
}

/// Returns the digest that an answer names.
fn digest_of_answer(response: &Response) -> Option<Digest> {
    let digest = response.headers().get("docker-content-digest")?;
    digest.to_str().ok()?.parse().ok()
}

fn name(reference: &ManifestReference) -> String {
    match reference {
        ManifestReference::Tag(tag) => tag.to_string(),
        ManifestReference::Digest(digest) => digest.to_string(),
    }
}

/// Whether the manifest may be there although its PUT failed: an attempt before the last may have stored
/// it, and then an immutable tag refuses the next one.
fn may_have_worked(error: &Error) -> bool {
    matches!(
        error,
        Error::ConnectionLost { .. } | Error::Policy { .. } | Error::Status { status: 500.., .. }
    )
}
