//! `list`: the roles that a gate's targets delegate to.

use clap::Args;
use serde_json::json;

use super::site::Site;
use crate::{
    ceremony::team::Chain,
    cli::{CliError, block_on, draft::failed, get, print, print_json},
    terminal::printable,
};

/// Show the roles that targets.json delegates to teams: keys, threshold, paths
#[derive(Args, Debug)]
pub struct List {
    #[command(flatten)]
    site: Site,
    /// Print one JSON object a role
    #[arg(long)]
    json: bool,
}

impl List {
    /// Prints them.
    pub fn run(self) -> Result<(), CliError> {
        let mut client = self.site.client()?;
        // Any chain begins with targets.json.
        let found = block_on(client.chain("bins"))?;
        let found = found.map_err(|error| get::GetError::of_refresh(error, self.site.root.clone()))?;
        let Some(found) = found else { return Ok(()) };
        let chain = Chain::new(&found.root, &found.above).map_err(failed)?;
        for (role, paths, authority) in chain.roles() {
            let names: Vec<_> = authority.signers.iter().map(|signer| signer.key.to_string()).collect();
            match self.json {
                true => print_json(&json!({
                    "role": role, "paths": paths, "threshold": authority.threshold,
                    "keys": authority.signers.iter().map(|signer| json!({"name": signer.key.name, "keyid": signer.key.keyid})).collect::<Vec<_>>(),
                }))?,
                false => print(printable(&format!(
                    "{role}: {} of {} must sign: {}; speaks for {}",
                    authority.threshold,
                    names.len(),
                    names.join(", "),
                    paths.join(", ")
                )))?,
            }
        }
        Ok(())
    }
}
