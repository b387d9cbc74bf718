//! `tufgate delegation`: a team signs its own targets. Drafts are files, as those of root; `ceremony::team` has the rules.

mod edit;
mod list;
mod make;
mod show;
mod sign;
mod site;
mod status;
mod submit;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::{
    ceremony::team::{MAX_TEAM_DRAFT, TeamDraft},
    cli::{
        CliError,
        draft::{failed, file},
    },
};

/// Sign a team's own targets: draft, sign, status, submit
///
/// For a role that targets.json delegates to the team's keys. The draft is a file: it goes to each signer by git, mail or
/// a USB stick, and comes back with one more signature. To sign one needs this program and the draft, and no network. The
/// submitted draft is the record.
#[derive(Args, Debug)]
pub struct Delegation {
    #[command(subcommand)]
    step: Step,
}

/// A step.
#[derive(Debug, Subcommand)]
enum Step {
    Draft(Box<make::Make>),
    Sign(sign::Sign),
    Status(status::Status),
    Submit(submit::Submit),
    List(list::List),
}

impl Delegation {
    /// Makes the step.
    pub fn run(self) -> Result<(), CliError> {
        match self.step {
            Step::Draft(make) => make.run(),
            Step::Sign(sign) => sign.run(),
            Step::Status(status) => status.run(),
            Step::Submit(submit) => submit.run(),
            Step::List(list) => list.run(),
        }
    }
}

/// A team's draft.
fn draft(path: &Path) -> Result<TeamDraft, CliError> {
    TeamDraft::parse(&file::read_up_to(path, MAX_TEAM_DRAFT)?).map_err(|error| {
        let failed = failed(error);
        CliError {
            message: format!("`{}`: {}", path.display(), failed.message),
            ..failed
        }
    })
}

/// Drafts, the copies of each united, beside the first file of each.
fn drafts(paths: &[PathBuf]) -> Result<Vec<(PathBuf, TeamDraft)>, CliError> {
    let mut all: Vec<(PathBuf, TeamDraft)> = Vec::new();
    for path in paths {
        let draft = draft(path)?;
        match all.iter_mut().find(|(_, known)| known.is_of_the_roles_of(&draft)) {
            Some((_, known)) => known.unite(draft).map_err(failed)?,
            None => all.push((path.clone(), draft)),
        }
    }
    Ok(all)
}

/// Writes plain metadata, for other tools: of one role to a file, of several into a folder, as `ROLE.json`.
fn export(draft: &TeamDraft, to: &Path) -> Result<(), CliError> {
    let folder = to.is_dir();
    if draft.parts().len() > 1 && !folder {
        let several = "the draft has several roles, and one file holds one";
        return Err(CliError::usage(several).hint("give `--metadata` a folder that exists"));
    }
    for part in draft.parts() {
        let bytes = part.file().map_err(failed)?;
        let path = match folder {
            true => to.join(format!("{}.json", part.role())),
            false => to.to_owned(),
        };
        file::put(&path, &bytes, false)?;
    }
    Ok(())
}
