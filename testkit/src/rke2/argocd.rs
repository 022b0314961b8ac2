//! Argo CD, as far as an installer sees it: ApplicationSets make Applications, Applications pull their charts and get healthy.

use super::fail::Result;
use super::server::Server;

/// What was done for each Application.
#[derive(Debug, Default)]
pub(crate) struct Controller {}

impl Controller {
    #[expect(clippy::unused_async, reason = "filled in next")]
    pub(crate) async fn tick(&mut self, _server: &Server) -> Result<()> {
        Ok(())
    }
}
