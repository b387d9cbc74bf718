//! The codes of findings.

use std::fmt;

use serde::{Serialize, Serializer};

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
