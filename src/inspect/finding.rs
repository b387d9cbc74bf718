//! What a walk found: a stable code for machines, a sentence for people.

use std::{collections::BTreeMap, fmt};

use serde::{Serialize, Serializer};

/// Findings of one code that are kept whole; the rest is counted, so that a repository with 16,384 missing bins neither
/// fills the memory nor the screen.
const KEPT: u64 = 100;

/// How bad it is.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Clients that follow the specification fail, or do not find what is listed.
    Error,
    /// Some clients fail, or soon will.
    Warning,
    /// Odd, and no fault.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// Where it is.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Place {
    /// A metadata file, by its path below the metadata URL.
    File(String),
    /// A target, by its path.
    Target(String),
}

impl Place {
    /// A metadata file.
    pub fn file(name: impl Into<String>) -> Self {
        Self::File(name.into())
    }

    /// Whether it is a file below this folder.
    pub fn is_below(&self, folder: &str) -> bool {
        matches!(self, Self::File(name) if name.starts_with(folder))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => f.write_str(name),
            Self::Target(path) => write!(f, "target {path}"),
        }
    }
}

impl Serialize for Place {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What kind of fault it is. The text is stable: a script may compare it.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[non_exhaustive]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as it is printed.
            pub fn text(self) -> &'static str {
                match self { $(Code::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// A versioned file that may not be cached, or is not said to be.
    CacheNone = "cache-none",
    /// A file that changes may be cached for too long.
    CacheTooLong = "cache-too-long",
    /// Roles that delegate in a circle.
    DelegationCycle = "delegation-cycle",
    /// More delegations than clients follow.
    DelegationDepth = "delegation-depth",
    /// Delegations that contradict themselves.
    DelegationInvalid = "delegation-invalid",
    /// An answer with a Content-Encoding nobody asked for.
    EncodingUnasked = "encoding-unasked",
    /// Metadata has expired.
    Expired = "expired",
    /// A timestamp that stays good for so long that a freeze goes unnoticed.
    ExpiresFar = "expires-far",
    /// Metadata expires soon.
    ExpiresSoon = "expires-soon",
    /// A versioned file is another one when it is fetched again.
    FileChanged = "file-changed",
    /// A file that was there when the walk began is not there when it ends.
    FileGone = "file-gone",
    /// A file that is listed, or always needed, is not there.
    FileMissing = "file-missing",
    /// A file's hash is not the one listed.
    HashMismatch = "hash-mismatch",
    /// A number that some clients cannot hold.
    JsonBigNumber = "json-big-number",
    /// An object that holds a key twice.
    JsonDuplicateKey = "json-duplicate-key",
    /// A number with a fraction.
    JsonFloat = "json-float",
    /// Not JSON, or not signed metadata.
    JsonInvalid = "json-invalid",
    /// A key that cannot be used.
    KeyInvalid = "key-invalid",
    /// A role names a key id that has no key.
    KeyMissing = "key-missing",
    /// Keys that clients sort differently.
    KeyOrder = "key-order",
    /// One key under two ids, or one id twice in a role.
    KeyTwice = "key-twice",
    /// A key type or scheme that the specification does not know.
    KeyTypeUnknown = "key-type-unknown",
    /// A key that no role uses.
    KeyUnused = "key-unused",
    /// A key id that is not the key's digest.
    KeyidNotComputed = "keyid-not-computed",
    /// A file's length is not the one listed.
    LengthMismatch = "length-mismatch",
    /// A field that is missing or of the wrong kind.
    MetadataField = "metadata-field",
    /// Metadata of another type or specification than expected.
    MetadataType = "metadata-type",
    /// What is not there is answered otherwise than with 404.
    MissingNot404 = "missing-not-404",
    /// A target name that some client refuses or misreads.
    NameHostile = "name-hostile",
    /// A redirect where a file should be.
    Redirected = "redirected",
    /// More targets in one role than clients read in reasonable time.
    RoleCrowded = "role-crowded",
    /// A role that is delegated but not in the snapshot.
    RoleNotListed = "role-not-listed",
    /// A role in the snapshot that nobody delegates to.
    RoleUndelegated = "role-undelegated",
    /// The unversioned `root.json` is not the newest root.
    RootAliasStale = "root-alias-stale",
    /// The root served is not the one given, at the same version.
    RootDiffers = "root-differs",
    /// A missing root may be cached, so that clients miss the next one.
    RootEndCached = "root-end-cached",
    /// After the newest root something else than a plain 404 comes.
    RootEndNot404 = "root-end-not-404",
    /// More roots than clients walk.
    RootChainLong = "root-chain-long",
    /// A root that must be kept for ever is not there.
    RootMissing = "root-missing",
    /// One key id signs twice.
    SignatureDuplicate = "signature-duplicate",
    /// A signature that is wrong.
    SignatureInvalid = "signature-invalid",
    /// Fewer good signatures than needed.
    SignatureThreshold = "signature-threshold",
    /// A signature by a key that the role does not have.
    SignatureUnknownKey = "signature-unknown-key",
    /// A file larger than clients read.
    SizeLimit = "size-limit",
    /// A newer snapshot lies there than the timestamp names.
    SnapshotAhead = "snapshot-ahead",
    /// A listing that names what it may not, or lacks what it must name.
    ListingInvalid = "listing-invalid",
    /// A target's bytes are not the ones listed.
    TargetChanged = "target-changed",
    /// What a role says of a target cannot be used.
    TargetInvalid = "target-invalid",
    /// A target of other length than listed.
    TargetLength = "target-length",
    /// A target in a role where no client looks for it.
    TargetMisplaced = "target-misplaced",
    /// A target that cannot be downloaded.
    TargetMissing = "target-missing",
    /// A target that lacks one of the names under which clients ask for it.
    TargetNameMissing = "target-name-missing",
    /// Text that is not in Unicode normalisation form C.
    TextNotNfc = "text-not-nfc",
    /// Text with a control character.
    TextControl = "text-control",
    /// More signatures are asked for than there are keys, or none.
    ThresholdImpossible = "threshold-impossible",
    /// The timestamp went back during the walk.
    TimestampRollback = "timestamp-rollback",
    /// The server does not answer.
    Unreachable = "unreachable",
    /// A field that the specification does not know.
    UnknownField = "unknown-field",
    /// A file's version is not the one expected.
    VersionMismatch = "version-mismatch",
    /// The two views are not two ways to the same bins.
    ViewDiffers = "view-differs",
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.text())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.text())
    }
}

/// One fault or oddity.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// How bad.
    pub severity: Severity,
    /// Where.
    #[serde(rename = "where")]
    pub place: Place,
    /// For people: lower-case start, no full stop.
    pub message: String,
}

/// Findings as they come.
#[derive(Debug, Default)]
pub struct Findings {
    kept: Vec<Finding>,
    counts: BTreeMap<Code, u64>,
}

impl Findings {
    /// What breaks clients.
    pub fn error(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Error, place, message);
    }

    /// What breaks some clients, or soon will.
    pub fn warning(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Warning, place, message);
    }

    /// What is odd.
    pub fn note(&mut self, code: Code, place: &Place, message: impl fmt::Display) {
        self.add(code, Severity::Note, place, message);
    }

    fn add(&mut self, code: Code, severity: Severity, place: &Place, message: impl fmt::Display) {
        let count = self.counts.entry(code).or_default();
        *count += 1;
        if *count <= KEPT {
            self.kept.push(Finding {
                code,
                severity,
                place: place.clone(),
                message: message.to_string(),
            });
        }
    }

    /// Takes over what another part of the walk found.
    pub fn merge(&mut self, other: Findings) {
        let mut kept = BTreeMap::<Code, u64>::new();
        for finding in other.kept {
            *kept.entry(finding.code).or_default() += 1;
            self.add(finding.code, finding.severity, &finding.place, finding.message);
        }
        for (code, count) in other.counts {
            let dropped = count - kept.get(&code).copied().unwrap_or(0);
            if dropped > 0 {
                *self.counts.entry(code).or_default() += dropped;
            }
        }
    }

    /// Whether anything was found.
    #[cfg(test)]
    pub fn codes(&self) -> Vec<&'static str> {
        self.kept.iter().map(|finding| finding.code.text()).collect()
    }

    /// Number of findings so far that were kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// In order of severity, code and place, without repetitions; and by code how many more there were.
    pub fn finish(mut self) -> (Vec<Finding>, BTreeMap<Code, u64>) {
        self.kept
            .sort_by(|a, b| (a.severity, a.code, &a.place).cmp(&(b.severity, b.code, &b.place)));
        self.kept.dedup();
        let more = self.counts.into_iter().filter(|(_, count)| *count > KEPT);
        let more = more.map(|(code, count)| (code, count - KEPT)).collect();
        (self.kept, more)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_plain() {
        let texts: BTreeSet<_> = Code::ALL.iter().map(|code| code.text()).collect();
        assert_eq!(texts.len(), Code::ALL.len());
        let plain = |text: &&str| {
            text.chars()
                .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        assert!(texts.iter().all(plain));
    }

    #[test]
    fn a_flood_is_counted() {
        let place = Place::file("x");
        let mut part = Findings::default();
        for number in 0..150 {
            part.error(Code::FileMissing, &place, number);
        }
        let mut all = Findings::default();
        all.error(Code::FileMissing, &place, "before");
        all.note(Code::UnknownField, &place, "one");
        all.merge(part);
        let (kept, more) = all.finish();
        assert_eq!(kept.len(), 101);
        assert_eq!(more, BTreeMap::from([(Code::FileMissing, 51)]));
        assert_eq!(kept[100].severity, Severity::Note, "errors come first");
    }
}
