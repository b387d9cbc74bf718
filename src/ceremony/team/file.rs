//! A team's draft as the file that travels; once submitted, the record.
//!
//! As with drafts of root, `changes` and `fingerprint` are computed anew at every step and must agree with the file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Chain, Part, Sent, TeamDraft, draft::down, part::changes};
use crate::{
    ceremony::{
        CeremonyError, Entry, Moment,
        file::{enveloped, opened, unaltered},
    },
    delegated::bins,
    digest::Digest,
    tuf::json,
};

/// Most bytes of a team's draft: some roles at their limit, twice, and what differs, laid out for people.
pub const MAX_TEAM_DRAFT: u64 = 32 << 20;

/// What the file says it is.
const FORMAT: &str = "tufgate delegation draft 1";

/// The fields of the file, in its order.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: String,
    drafted: Moment,
    roles: BTreeMap<String, Role>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    submitted: Option<Sent>,
    /// `targets`, then the roles down to the one that delegates.
    above: Vec<Above>,
    root: Value,
}

/// A role of the draft.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Role {
    changes: Vec<String>,
    fingerprint: Digest,
    signed_by: Vec<Entry>,
    proposed: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<Value>,
}

/// A role above.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Above {
    role: String,
    file: Value,
    /// A draft itself, which need not be signed yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    planned: bool,
}

impl TeamDraft {
    /// Reads a file that came by any way, and believes nothing it says of itself.
    ///
    /// # Errors
    /// [`CeremonyError::Malformed`]; [`CeremonyError::Altered`] where the changes, the fingerprint, a signature or a line
    /// of the record are not those of what the file proposes; [`CeremonyError::Refused`].
    pub fn parse(bytes: &[u8]) -> Result<Self, CeremonyError> {
        let malformed = |why: String| CeremonyError::Malformed(why);
        if bytes.len() as u64 > MAX_TEAM_DRAFT {
            return Err(malformed(format!("it has more than {MAX_TEAM_DRAFT} bytes")));
        }
        let value = json::parse(bytes).map_err(|error| malformed(error.to_string()))?;
        // serde also reads a struct from an array.
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            return Err(malformed(format!("its `format` is not `{FORMAT}`")));
        }
        let file: File = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
        let mut chain = Chain::top(file.root)?;
        for above in file.above {
            chain.push(&above.role, above.file, above.planned)?;
        }
        let mut parts = Vec::new();
        for (name, role) in bins::in_order(&file.roles) {
            let (signed, signatures) = opened(&role.proposed)?;
            role.current.as_ref().map(opened).transpose()?;
            let above = down(&chain, &parts, name)?;
            let delegation = above.delegation(bins::viewed(name).0)?;
            // Before the rules: who reads that a rule is broken should know that it was not when the draft was made.
            let lines = changes(&delegation, role.current.as_ref(), &signed);
            unaltered(&role.changes, &lines, role.fingerprint, &signed)?;
            let mut part = Part::new(&above, name, role.current.clone(), signed)?;
            part.take(signatures, role.signed_by.clone())?;
            parts.push(part);
        }
        if parts.is_empty() {
            return Err(malformed("it drafts no role".to_owned()));
        }
        let draft = Self {
            drafted: file.drafted,
            chain,
            parts,
            sent: file.submitted,
        };
        match &draft.sent {
            Some(sent) if sent.files != draft.sent_files()? => Err(CeremonyError::Altered(
                "the files that it says were submitted are not those that its signatures make".to_owned(),
            )),
            _ => Ok(draft),
        }
    }

    /// The file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let role = |part: &Part| {
            let role = Role {
                changes: part.changes(),
                fingerprint: part.fingerprint,
                signed_by: part.entries.clone(),
                proposed: enveloped(&part.signed, &part.signatures),
                current: part.current.clone(),
            };
            (part.role.clone(), role)
        };
        let above = |(role, file, planned): (&str, &Value, bool)| Above {
            role: role.to_owned(),
            file: file.clone(),
            planned,
        };
        let file = File {
            format: FORMAT.to_owned(),
            drafted: self.drafted.clone(),
            roles: self.parts.iter().map(role).collect(),
            submitted: self.sent.clone(),
            above: self.chain.above().map(above).collect(),
            root: self.chain.root.clone(),
        };
        let mut text = serde_json::to_string_pretty(&file).unwrap_or_default().into_bytes();
        text.push(b'\n');
        text
    }
}
