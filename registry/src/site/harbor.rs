//! Harbor's own API, as far as pushing needs it: identity, project, quota, rights.

use reqwest::{Method, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Access, Flavour, ProjectState, Quota, SiteRegistry,
    connection::{Connection, Purpose, SMALL_TIMEOUT},
};
use crate::{
    error::{Error, Result},
    name::RepositoryName,
    retry::Attempts,
};

/// More than any of these answers has.
const MAX_ANSWER_BYTES: u64 = 1 << 20;

/// A numeric project name would be taken for an id without this.
const BY_NAME: (header::HeaderName, &str) = (
    header::HeaderName::from_static("x-is-resource-name"),
    "true",
);

/// Finds out what kind of registry answers.
pub(super) async fn flavour(connection: &Connection) -> Result<Flavour> {
    let object = "the system information";
    let response = connection
        .small(Method::GET, "/api/v2.0/systeminfo", &[], object)
        .await?;
    if !response.status().is_success() {
        return Ok(Flavour::Plain);
    }
    let body = connection.read(response, MAX_ANSWER_BYTES, object).await?;
    let Ok(info) = serde_json::from_slice::<Value>(&body) else {
        return Ok(Flavour::Plain);
    };
    if info.get("auth_mode").is_none() {
        return Ok(Flavour::Plain);
    }
    Ok(Flavour::Harbor {
        version: info["harbor_version"].as_str().map(str::to_owned),
    })
}

impl SiteRegistry {
    /// Looks at the project, the rights, the quota. Opens and cancels an upload; leaves nothing behind.
    pub async fn probe(&self) -> Result<Access> {
        let project = self.project_state().await?;
        let mut read_only = self.is_read_only().await?;
        let mut refusal = None;
        let push = match project {
            ProjectState::Missing => false,
            _ => match self.probe_push().await {
                // an upload is not opened when the quota is already used up, but the right is there
                Ok(()) | Err(Error::QuotaExceeded { .. }) => true,
                Err(Error::ReadOnly { .. }) => {
                    read_only = true;
                    false
                }
                Err(Error::Forbidden { message, .. }) => {
                    refusal = message;
                    false
                }
                Err(Error::ProjectMissing { .. }) => false,
                Err(error) => return Err(error),
            },
        };
        let quota = self.quota().await?;
        Ok(Access {
            flavour: self.shared.flavour.clone(),
            project,
            push,
            refusal,
            read_only,
            quota,
        })
    }

    /// Makes the project where it is missing (private, without policies); fails if the account may not.
    pub async fn ensure_project(&self) -> Result<ProjectState> {
        if self.project_state().await? == ProjectState::Exists {
            return Ok(ProjectState::Exists);
        }
        let connection = &self.shared.connection;
        let object = format!("project {}", self.shared.project);
        // the values of metadata are texts, also where they mean yes or no
        let body = json!({
            "project_name": self.shared.project.as_str(),
            "metadata": {
                "public": "false",
                "auto_scan": "false",
                "prevent_vul": "false",
                "enable_content_trust": "false",
                "enable_content_trust_cosign": "false",
            },
            "storage_limit": -1,
        });
        let mut attempts = Attempts::new(self.shared.retry);
        loop {
            let request = connection
                .request(
                    Method::POST,
                    connection.url("/api/v2.0/projects")?,
                    Purpose::Work,
                )
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string());
            let failure = match connection.send(request, SMALL_TIMEOUT, &object).await {
                Ok(response) => match response.status() {
                    StatusCode::CREATED => return Ok(ProjectState::Created),
                    // also where an attempt made it whose answer was lost
                    StatusCode::CONFLICT => return Ok(ProjectState::Exists),
                    StatusCode::FORBIDDEN | StatusCode::UNAUTHORIZED => {
                        let (failure, refusal) = connection.refusal(response, &object).await;
                        return Err(match failure.error {
                            error @ Error::ReadOnly { .. } => error,
                            _ => self.forbidden("create", object, refusal.said()),
                        });
                    }
                    _ => connection.refusal(response, &object).await.0,
                },
                Err(failure) => failure,
            };
            attempts.wait_or_give_up(failure).await?;
        }
    }

    /// Proves that this account may read from the project.
    pub async fn probe_pull(&self) -> Result<()> {
        let connection = &self.shared.connection;
        let object = format!("project {}", self.shared.project);
        // a name that nobody has: what counts is whether it may be asked for
        let path = format!("/v2/{}/airgap/probe/manifests/probe", self.shared.project);
        let response = connection.small(Method::HEAD, &path, &[], &object).await?;
        match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Err(self.no_right("pull", object, None).await)
            }
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            // a policy speaks only to those who may read
            StatusCode::PRECONDITION_FAILED => Ok(()),
            _ => Err(connection.refusal(response, &object).await.0.error),
        }
    }

    /// Returns the project's quota; `None` where there is none or this account may not read it.
    pub async fn quota(&self) -> Result<Option<Quota>> {
        if self.shared.flavour == Flavour::Plain {
            return Ok(None);
        }
        let path = format!("/api/v2.0/projects/{}", self.shared.project);
        let Some(project) = self.api(&path, &[BY_NAME]).await? else {
            return Ok(None);
        };
        let Some(id) = project["project_id"].as_u64() else {
            return Ok(None);
        };
        let path = format!("/api/v2.0/quotas?reference=project&reference_id={id}");
        let Some(quotas) = self.api(&path, &[]).await? else {
            return Ok(None);
        };
        let Some(used) = quotas[0]["used"]["storage"].as_u64() else {
            return Ok(None);
        };
        // -1 is without limit
        Ok(Some(Quota {
            limit: quotas[0]["hard"]["storage"].as_u64(),
            used,
        }))
    }

    /// Opens an upload and cancels it.
    async fn probe_push(&self) -> Result<()> {
        let connection = &self.shared.connection;
        let repository = RepositoryName::parse("airgap/probe")?;
        let object = format!("project {}", self.shared.project);
        let url = connection.url(&self.path(&repository, "blobs/uploads/"))?;
        let mut attempts = Attempts::new(self.shared.retry);
        let response = loop {
            let request = connection
                .request(Method::POST, url.clone(), Purpose::Probe)
                .header(header::CONTENT_LENGTH, 0);
            let failure = match connection.send(request, SMALL_TIMEOUT, &object).await {
                Ok(response) if response.status() == StatusCode::ACCEPTED => break response,
                Ok(response) => self.write_refusal(response, object.clone(), 0).await,
                Err(failure) => failure,
            };
            attempts.wait_or_give_up(failure).await?;
        };
        let upload = connection.upload_url(&response, &object)?;
        let request = connection.request(Method::DELETE, upload, Purpose::Probe);
        let cancelled = connection.send(request, SMALL_TIMEOUT, &object).await;
        if let Err(failure) = cancelled {
            // the registry drops what is left open by itself
            tracing::debug!(error = %failure.error, "the upload of the probe was not cancelled");
        }
        Ok(())
    }

    async fn project_state(&self) -> Result<ProjectState> {
        if self.shared.flavour == Flavour::Plain {
            return Ok(ProjectState::Exists);
        }
        let connection = &self.shared.connection;
        let object = format!("project {}", self.shared.project);
        let path = format!("/api/v2.0/projects?project_name={}", self.shared.project);
        let response = connection.small(Method::HEAD, &path, &[], &object).await?;
        match response.status() {
            StatusCode::NOT_FOUND => Ok(ProjectState::Missing),
            status if status.is_success() => Ok(ProjectState::Exists),
            _ => Err(connection.refusal(response, &object).await.0.error),
        }
    }

    async fn is_read_only(&self) -> Result<bool> {
        if self.shared.flavour == Flavour::Plain {
            return Ok(false);
        }
        let info = self.api("/api/v2.0/systeminfo", &[]).await?;
        Ok(info.is_some_and(|info| info["read_only"] == true))
    }

    /// Fetches JSON from Harbor's API; `None` where this account may not.
    async fn api(
        &self,
        path: &str,
        headers: &[(header::HeaderName, &str)],
    ) -> Result<Option<Value>> {
        let connection = &self.shared.connection;
        let object = format!("project {}", self.shared.project);
        let response = connection
            .small(Method::GET, path, headers, &object)
            .await?;
        match response.status() {
            status if status.is_success() => {
                let body = connection.read(response, MAX_ANSWER_BYTES, &object).await?;
                Ok(serde_json::from_slice(&body).ok())
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => Ok(None),
            _ => Err(connection.refusal(response, &object).await.0.error),
        }
    }

    fn forbidden(&self, action: &'static str, object: String, message: Option<String>) -> Error {
        let connection = &self.shared.connection;
        let (host, user) = (connection.host().to_owned(), connection.user());
        Error::Forbidden {
            host,
            user,
            action,
            object,
            message,
        }
    }

    /// Tells why a proven login was refused: Harbor says 401 both for a missing project and a missing right.
    pub(super) async fn no_right(
        &self,
        action: &'static str,
        object: String,
        message: Option<String>,
    ) -> Error {
        match self.project_state().await {
            Ok(ProjectState::Missing) => Error::ProjectMissing {
                host: self.host().to_owned(),
                project: self.shared.project.to_string(),
                user: self.shared.connection.user(),
            },
            _ => self.forbidden(action, object, message),
        }
    }
}
