//! Roles that others sign: what `targets` may delegate to, what a team may submit, and whether all of it can be listed
//! (TUF spec 4.5, PEP 480). Pure values: the proxy asks here to answer early, the command line before it publishes, and the
//! signer, which has the last word.
//!
//! The rule behind all of it: a client that walks the roles in order fails at a role whose file is missing or not signed by
//! those it is delegated to, and finds nothing in the roles after it. So no role is ever delegated to without such a file.

pub mod bins;
mod file;
mod glance;
mod judge;
mod place;
mod plain;
mod refusal;
mod rules;
mod standing;
mod top;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;

use serde_json::Value;

pub use self::{
    file::{Caps, RoleFile},
    glance::{abandoned, glance, head, held},
    judge::{Files, Next, Said, changes, custom, judge, observed, speaks_for},
    place::Delegation,
    refusal::{Refusal, RefusalKind},
    rules::{check_name, check_top},
    standing::Standing,
    top::{below, retarget},
};
use crate::tuf::json;

/// Most bytes of a submission.
pub const MAX_SUBMISSION: usize = 4 << 20;

/// Envelopes by role, as submitted; the file of a delegator of bins in the succinct view stands under `succinct/NAME.bins`.
pub type Submitted = BTreeMap<String, Value>;

/// A submission of more than [`MAX_SUBMISSION`] bytes.
pub fn too_long() -> Refusal {
    Refusal::large(None, format!("a submission has at most {MAX_SUBMISSION} bytes"))
}

/// Reads a submission, `{"roles": {NAME: ENVELOPE, …}}`.
///
/// # Errors
/// Not of that form, or no role in it.
pub fn submission(body: &[u8]) -> Result<Submitted, Refusal> {
    if body.len() > MAX_SUBMISSION {
        return Err(too_long());
    }
    let form = |why: String| {
        Refusal::malformed(None, why).hint("post `{\"roles\": {\"NAME\": {\"signatures\": […], \"signed\": {…}}}}`")
    };
    let mut body = json::parse(body).map_err(|error| form(error.to_string()))?;
    let roles = body.as_object_mut().filter(|fields| fields.len() == 1);
    match roles.and_then(|fields| fields.remove("roles")) {
        Some(Value::Object(roles)) if !roles.is_empty() => Ok(roles.into_iter().collect()),
        _ => Err(form(
            "it is no object with one field `roles`, which has a file by role".to_owned(),
        )),
    }
}
