//! Whether the project has a repository at all: one question in place of one for each tag.

use std::time::Duration;

use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::{Flavour, SiteRegistry, connection::Purpose};

/// A list of one name is there at once, or is not worth waiting for.
const TIMEOUT: Option<Duration> = Some(Duration::from_secs(5));
/// A list of one name is shorter.
const MAX_LIST_BYTES: u64 = 64 << 10;

impl SiteRegistry {
    /// Returns whether the project is known to have no repository (one GET, never tried again).
    ///
    /// `false` says nothing: this account may not list, the registry has no lists, it was slow, or there are repositories. Blobs that no
    /// manifest refers to may be there all the same.
    ///
    /// Harbor is asked for the project's repositories (`GET /projects/{project_name}/repositories` of its API), for which a robot account
    /// needs `repository: list`; who has that gets all of them (`ListRepositories` in Harbor's `src/server/v2.0/handler/repository.go`: read
    /// there, tried on the stand-in only). A plain registry is asked for its catalog (distribution's HTTP API v2, "Listing Repositories") and
    /// has to be empty as a whole: to find one project's place in the list it would walk through all before that. Only an empty list counts;
    /// after any other answer each tag is asked for. A registry that lists nothing of what this account may pull would be taken for empty,
    /// and its tags set unasked; none that takes HTTP Basic is known to.
    pub async fn lists_nothing(&self) -> bool {
        let (path, names) = match self.shared.flavour {
            Flavour::Harbor { .. } => {
                let project = &self.shared.project;
                let path = format!("/api/v2.0/projects/{project}/repositories?page=1&page_size=1");
                (path, "")
            }
            Flavour::Plain => ("/v2/_catalog?n=1".to_owned(), "/repositories"),
        };
        let list = self.list(&path).await;
        let names = list.as_ref().and_then(|list| list.pointer(names));
        names.and_then(Value::as_array).is_some_and(Vec::is_empty)
    }

    async fn list(&self, path: &str) -> Option<Value> {
        let object = "the list of repositories";
        let connection = &self.shared.connection;
        let request = connection.request(Method::GET, connection.url(path).ok()?, Purpose::Work);
        match connection.send(request, TIMEOUT, object).await {
            Ok(response) if response.status() == StatusCode::OK => {
                let body = connection.read(response, MAX_LIST_BYTES, object).await;
                serde_json::from_slice(&body.ok()?).ok()
            }
            Ok(response) => {
                tracing::debug!(status = %response.status(), "the repositories are not listed");
                None
            }
            Err(failure) => {
                tracing::debug!(error = %failure.error, "the repositories are not listed");
                None
            }
        }
    }
}
