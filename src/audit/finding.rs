//! What an audit found, in the words people and programs read.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

/// Most findings of one code that are listed; a ledger with a million broken rows is no better described by more.
const MOST: usize = 100;

/// Advice where the depot, or its timestamp, is gone.
pub(super) const RESTORE: &str = "stop the gate and restore the depot from a backup of the ledger's moment; `tufgate init` \
                                  would make another repository";
/// Advice where the timestamp, the one file that changes, is damaged.
pub(super) const RENEW: &str = "put the newest one back, from a mirror or a CDN, or else ledger and depot from backups of \
                                the same moment";

/// How bad a finding is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Data is damaged; exit code 65.
    Error,
    /// Something needs an operator; exit code 1.
    Warning,
    /// Good to know; exit code 0.
    Note,
}

/// What kind of finding it is. The names are part of the interface: they stay.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// The audit chain is broken.
    AuditChain,
    /// A signed bin and the recorded targets differ.
    BinDiffers,
    /// Ledger and depot changed too fast to be seen at one moment.
    Busy,
    /// Dates lie in the future.
    Clock,
    /// Views or delegations do not fit together.
    Delegation,
    /// The depot is older than the ledger.
    DepotBehind,
    /// A confirmed drift is open.
    Drift,
    /// Signed metadata has expired or soon will.
    Expiry,
    /// A file that is not the gate's.
    Foreign,
    /// Not the bytes that the gate writes.
    Form,
    /// A key or passphrase file cannot be used, or holds another key.
    Key,
    /// The metadata is not laid out as configured.
    Layout,
    /// The signer's lease.
    Lease,
    /// The ledger cannot be read.
    Ledger,
    /// The ledger is older than the depot.
    LedgerBehind,
    /// What a crash left, or what nobody collected.
    Leftover,
    /// A listed file is missing.
    Missing,
    /// Others may read or write what they must not.
    Mode,
    /// Files belong to different users.
    Owner,
    /// Work that has waited too long.
    Pending,
    /// Another length or digest than listed.
    Pinned,
    /// The ledger's last publication is not the depot's.
    Publication,
    /// A role's row does not fit its file.
    Role,
    /// The chain of roots is broken.
    RootChain,
    /// A row that cannot be believed.
    Row,
    /// A signature that is not good, or too few.
    Signature,
    /// A tombstone and the audit chain disagree.
    Tombstone,
    /// A file or folder cannot be read.
    Unreadable,
    /// A key lies unencrypted.
    Unencrypted,
    /// A file holds another version or type than its name says.
    Version,
    /// A role that others sign lists what was withdrawn here.
    Withdrawn,
}

impl Code {
    /// What to do about it.
    fn hint(self) -> &'static str {
        match self {
            Self::AuditChain | Self::Row | Self::Ledger | Self::Tombstone => {
                "stop the gate and restore the ledger from a backup; do not sign until it is whole"
            }
            Self::BinDiffers => "somebody changed rows or files by hand: find out who before anything is signed again",
            Self::Busy => "audit again when less is published",
            Self::Clock => "set the machine's clock; nothing is signed until it is right",
            Self::Delegation | Self::Form | Self::Missing | Self::Pinned | Self::Signature | Self::Version => {
                "restore the file from a backup, a mirror or a CDN; a listed file never changes"
            }
            Self::DepotBehind => "restore the depot to match the ledger: it is an older copy",
            Self::Drift => "`tufgate drift list` shows it; accept or reject it",
            Self::Expiry => "is the signer running? roots and offline targets need their keys' holders",
            Self::Foreign => "nobody lists it; move it out of the depot",
            Self::Key => "put the key back that root lists; `keys.*` in the configuration says where it is looked for",
            Self::Layout => "put `layout` and `bins` under `[tuf]` back; they are fixed at `init`",
            Self::Lease => "correct the clock; the lease lapses by itself",
            Self::LedgerBehind => "restore the ledger to match the depot: it is an older copy",
            Self::Leftover => "the signer clears it away; none does while none runs",
            Self::Mode => "take the permission away with `chmod`",
            Self::Owner => "give it to the gate's user with `chown`",
            Self::Pending => "is the gate running, and does the upstream answer? see its log",
            Self::Publication | Self::Role => "stop the gate and restore ledger and depot from one backup",
            Self::RootChain => "restore the root files; clients walk them from the first one on",
            Self::Unencrypted => "`passphrase_file` or `passphrase_env` under `[keys.*]` encrypts keys made by `init`",
            Self::Unreadable => "run the audit as the gate's user",
            Self::Withdrawn => "readers do not get it; those who sign the role can leave it out of its next version",
        }
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// One thing that was found.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// A file, or the ledger's file with table and row.
    #[serde(rename = "where")]
    pub place: String,
    /// What is wrong, lower-case, no full stop.
    pub message: String,
    /// What to do about it.
    pub hint: &'static str,
}

impl Finding {
    /// What makes it the same finding when it is found again.
    pub(super) fn identity(&self) -> (Code, String) {
        (self.code, self.place.clone())
    }
}

/// How much was looked at.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Checked {
    /// Metadata files read and verified.
    pub files: u64,
    /// Role rows.
    pub roles: u64,
    /// Rows of live targets, and those that cannot be read.
    pub targets: u64,
    /// Rows of targets that were deleted or retracted.
    pub withdrawn: u64,
    /// Lines of the audit chain.
    pub audit_lines: u64,
}

/// Everything an audit found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    findings: Vec<Finding>,
    /// Findings left out, by code.
    omitted: BTreeMap<Code, u64>,
    /// How much was looked at.
    pub checked: Checked,
}

impl Report {
    /// What was found, in the order it was come upon.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.findings.iter()
    }

    /// The worst of it.
    pub fn worst(&self) -> Option<Severity> {
        self.findings.iter().map(|finding| finding.severity).min()
    }

    /// DESIGN 9: 65 for damaged data, 1 for lesser findings, 0 when there is nothing to do.
    pub fn exit_code(&self) -> u8 {
        match self.worst() {
            Some(Severity::Error) => 65,
            Some(Severity::Warning) => 1,
            Some(Severity::Note) | None => 0,
        }
    }

    pub(super) fn error(&mut self, code: Code, place: impl fmt::Display, message: impl fmt::Display) {
        self.add(code, Severity::Error, place, message);
    }

    pub(super) fn warning(&mut self, code: Code, place: impl fmt::Display, message: impl fmt::Display) {
        self.add(code, Severity::Warning, place, message);
    }

    pub(super) fn note(&mut self, code: Code, place: impl fmt::Display, message: impl fmt::Display) {
        self.add(code, Severity::Note, place, message);
    }

    pub(super) fn add(&mut self, code: Code, severity: Severity, place: impl fmt::Display, message: impl fmt::Display) {
        self.advise(code, severity, place, message, code.hint());
    }

    /// With advice of its own, where the code's does not fit.
    pub(super) fn advise(
        &mut self,
        code: Code,
        severity: Severity,
        place: impl fmt::Display,
        message: impl fmt::Display,
        hint: &'static str,
    ) {
        let alike = |other: &&Finding| other.code == code && other.severity == severity;
        if self.findings.iter().filter(alike).count() >= MOST {
            *self.omitted.entry(code).or_default() += 1;
            return;
        }
        self.findings.push(Finding {
            code,
            severity,
            place: place.to_string(),
            message: message.to_string(),
            hint,
        });
    }

    /// Drops what does not pass.
    pub(super) fn keep(&mut self, pass: impl FnMut(&Finding) -> bool) {
        self.findings.retain(pass);
        let codes: BTreeSet<_> = self.findings.iter().map(|finding| finding.code).collect();
        self.omitted.retain(|code, _| codes.contains(code));
    }

    /// Takes another's findings over.
    pub(super) fn join(&mut self, other: Self) {
        self.findings.extend(other.findings);
        for (code, more) in other.omitted {
            *self.omitted.entry(code).or_default() += more;
        }
    }
}

/// Grouped by severity, kind and hint, and one closing line.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut groups: BTreeMap<(Severity, Code, &str), Vec<&Finding>> = BTreeMap::new();
        for finding in &self.findings {
            groups
                .entry((finding.severity, finding.code, finding.hint))
                .or_default()
                .push(finding);
        }
        for ((severity, code, hint), findings) in &groups {
            let word = match severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                Severity::Note => "note",
            };
            for finding in findings {
                writeln!(f, "{word}[{code}] {}: {}", finding.place, finding.message)?;
            }
            if let Some(more) = self.omitted.get(code) {
                writeln!(f, "{word}[{code}] and {more} more")?;
            }
            writeln!(f, "  hint: {hint}")?;
        }
        let Checked {
            files,
            roles,
            targets,
            withdrawn,
            audit_lines,
        } = self.checked;
        let found = self.findings.len() as u64 + self.omitted.values().sum::<u64>();
        let found = counted(found, "finding");
        let (files, roles) = (counted(files, "file"), counted(roles, "role"));
        let (targets, lines) = (counted(targets, "target"), counted(audit_lines, "audit line"));
        let withdrawn = match withdrawn {
            0 => String::new(),
            more => format!(" ({more} more deleted or retracted)"),
        };
        write!(f, "checked {files}, {roles}, {targets}{withdrawn}, {lines}: {found}")
    }
}

/// A number of things, one or many.
pub(crate) fn counted(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_finding_decides() {
        let mut report = Report::default();
        assert_eq!(report.exit_code(), 0);
        report.note(Code::Drift, "a", "b");
        assert_eq!(report.exit_code(), 0);
        report.warning(Code::Mode, "a", "b");
        assert_eq!(report.exit_code(), 1);
        report.error(Code::Row, "a", "b");
        assert_eq!(report.exit_code(), 65);
        report.keep(|finding| finding.severity != Severity::Error);
        assert_eq!(report.exit_code(), 1);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let mut report = Report::default();
        for row in 0..MOST + 7 {
            report.error(Code::Row, row, "the checksum does not match");
        }
        let text = report.to_string();
        assert_eq!(text.lines().count(), MOST + 3, "{text}");
        assert!(text.contains("error[row] and 7 more"), "{text}");
        assert!(
            text.ends_with("checked 0 files, 0 roles, 0 targets, 0 audit lines: 107 findings"),
            "{text}"
        );
    }
}
