//! `tufgate retract`: the emergency brake. Out of the metadata now, 410 in every form.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use crate::{
    catalog::roles::Roles,
    cli::{CliError, block_on, operator, print, print_json},
    config::Config,
    delegated::bins,
    ledger::{Act, State, rule},
    server::Store,
    target::TargetPath,
};

/// Withdraw a target: out of the metadata now, 410 for every reader
#[derive(Debug, Args)]
pub struct Retract {
    /// Target path, decoded
    #[arg(value_parser = operator::target)]
    path: TargetPath,
    /// Why; it is kept in the audit log
    #[arg(long)]
    reason: String,
    /// Configuration file
    #[arg(long, value_name = "FILE", default_value = "tufgate.toml")]
    config: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Retract {
    /// Records it and waits for the publication.
    pub fn run(self) -> Result<(), CliError> {
        block_on(self.retract())?
    }

    async fn retract(self) -> Result<(), CliError> {
        let Self { path, reason, .. } = self;
        let config = Config::load(&self.config)?;
        let store = Store::existing(&config)?;
        let entry = store.ledger.lookup(&path).await.map_err(operator::failed)?;
        let superseding = config.policy.rule(path.as_str()).is_some_and(|rule| rule.superseding());
        match rule::fold(&entry, superseding) {
            None => return Err(CliError::failed(format_args!("nothing is recorded at `{path}`"))),
            Some(target) if target.state == State::Retracted => {
                return Err(CliError::failed(format_args!("`{path}` was retracted before")));
            }
            Some(_) => {}
        }
        let observation = operator::observation(&path, Act::Retract { reason });
        let seq = store.ledger.observe(observation).await.map_err(operator::failed)?;
        let outcome = operator::published(&*store.ledger, &config.signer.socket, seq).await?;
        // It is done, whether the depot can be read or not.
        let roles = Roles::new(store.depot).newest().await.unwrap_or_default();
        let role = roles.files.iter().find(|(_, file)| file.targets.contains_key(&path));
        let role = role.map(|(role, _)| role);
        if self.json {
            let mut said = json!({"retracted": path, "snapshot": outcome.snapshot()});
            if let Some(role) = role {
                said["listed_by"] = role.as_str().into();
            }
            return print_json(&said);
        }
        print(format_args!("retracted `{path}`: {outcome}"))?;
        match role {
            Some(role) if bins::owner(role) != role => print(format_args!(
                "the role `{role}` still lists it, and no newer file of it is taken that does: its team countersigns what the gate \
                 offers\nhint: `tufgate delegation draft --observed {}`; `tufgate targets draft --remove-role` ends the role",
                bins::owner(role)
            )),
            Some(role) => print(format_args!(
                "the role `{role}` still lists it, and no newer file of it is taken that does: have those who sign it drop it\n\
                 hint: `tufgate delegation draft --role {role} --remove {path}`; `tufgate targets draft --remove-role` ends the role"
            )),
            None => Ok(()),
        }
    }
}
