//! The table: one line for each limit of each known client, with the place in its source where it stands.
//!
//! What a line means for a repository is in `rules.rs`. A client's lines are in the order in which reasons are told.

use super::Client::{self, GoTuf, OldGoTuf, PhpTuf, PythonTuf, RustTuf, SigstoreJava, SigstoreTuf, Tough, TufJs};

/// A kind of metadata file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum File {
    /// Any root.
    Root,
    /// timestamp.json.
    Timestamp,
    /// The snapshot.
    Snapshot,
    /// targets.json and delegated roles.
    Targets,
}

/// What a client cannot do, or not beyond a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Limit {
    /// `succinct_roles` (TAP 15) break it, and how.
    Succinct(&'static str),
    /// `path_hash_prefixes` break it, and how.
    Prefixes(&'static str),
    /// It reads targets.json and nothing below.
    NoDelegations,
    /// It loses what it finds below a second delegation.
    OneDelegation,
    /// Most roles it visits for one target.
    Visits(u64),
    /// Most bytes it reads of a file.
    Bytes(File, u64),
    /// A length that is listed does not stand in place of [`Limit::Bytes`], as it does for others.
    LengthIgnored,
    /// Most newer roots it takes in one update.
    Roots(u64),
    /// Answers that mean that there is no newer root.
    RootEnd(&'static [u16]),
    /// A key's id must be the SHA-256 of the key.
    KeyIds,
    /// It verifies these kinds of keys only.
    Kinds(&'static [&'static str]),
    /// A key of a kind that the specification does not know makes it refuse the file.
    KnownKinds,
    /// The largest integer it reads exactly.
    Integers(u64),
    /// Fields of a listing that it leaves out when they are empty or 0, so that it verifies other bytes than were signed.
    EmptyFields,
    /// It asks for targets as `H.dir/name`; others do as `dir/H.name`.
    HashedFolder,
    /// It asks for targets as `dir/name`.
    Bare,
    /// Every target needs a sha256.
    Sha256,
    /// It asks for no content coding and undoes none.
    NoEncoding,
    /// It sorts names by UTF-16 units.
    Utf16Order,
    /// It never finds `__proto__`.
    Proto,
    /// It turns text into NFC before it verifies.
    Nfc,
    /// It sorts names with their quotes.
    QuotedOrder,
    /// A hash and a `:` after it may be a URL scheme to it.
    Colon,
    /// It refuses names that Windows cannot have.
    WindowsNames,
    /// It escapes what is not ASCII before it verifies.
    Ascii,
    /// Its time grows with the square of a snapshot's entries and a role's targets ([`super::cost`]).
    Quadratic,
    /// It loads every role before the first target, one after another.
    Eager,
}

/// One limit of one client.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// Whose.
    pub client: Client,
    /// What.
    pub limit: Limit,
    /// Where it stands: a file of that client's source, at the version that [`Client::name`] says, or how it was tried.
    pub source: &'static str,
}

const fn line(client: Client, limit: Limit, source: &'static str) -> Line {
    Line { client, limit, source }
}

use File::{Root, Snapshot, Targets, Timestamp};
use Limit::{
    Ascii, Bare, Bytes, Colon, Eager, EmptyFields, HashedFolder, Integers, KeyIds, Kinds, KnownKinds, LengthIgnored,
    Nfc, NoDelegations, NoEncoding, OneDelegation, Prefixes, Proto, Quadratic, QuotedOrder, RootEnd, Roots, Sha256,
    Succinct, Utf16Order, Visits, WindowsNames,
};

/// 2^53 - 1, `Number.MAX_SAFE_INTEGER`.
const JS: u64 = (1 << 53) - 1;
/// A Java `int`.
const INT: u64 = (1 << 31) - 1;
/// A signed integer of 64 bits.
const LONG: u64 = (1 << 63) - 1;

/// Every limit of every known client.
#[rustfmt::skip]
pub const LIMITS: &[Line] = &[
    line(PythonTuf, Visits(32), "tuf/ngclient/config.py:48"),
    line(PythonTuf, Bytes(Root, 512_000), "tuf/ngclient/config.py:49"),
    line(PythonTuf, Bytes(Timestamp, 16_384), "tuf/ngclient/config.py:50"),
    line(PythonTuf, Bytes(Snapshot, 2_000_000), "tuf/ngclient/config.py:51"),
    line(PythonTuf, Bytes(Targets, 5_000_000), "tuf/ngclient/config.py:52"),
    line(PythonTuf, Roots(256), "tuf/ngclient/config.py:47"),
    line(PythonTuf, RootEnd(&[403, 404]), "tuf/ngclient/updater.py:419"),
    line(PythonTuf, KnownKinds, "securesystemslib/signer/_key.py: `from_dict` raises for others"),

    line(GoTuf, Prefixes("it compares hash prefixes with base64 (fixed after 2.4.2): no target below `path_hash_prefixes` is found"), "metadata/metadata.go:547"),
    line(GoTuf, Visits(32), "metadata/config/config.go:66"),
    line(GoTuf, Bytes(Root, 512_000), "metadata/config/config.go:67"),
    line(GoTuf, Bytes(Timestamp, 16_384), "metadata/config/config.go:68"),
    line(GoTuf, Bytes(Snapshot, 2_000_000), "metadata/config/config.go:69"),
    line(GoTuf, Bytes(Targets, 5_000_000), "metadata/config/config.go:70"),
    line(GoTuf, Roots(256), "metadata/config/config.go:65"),
    line(GoTuf, RootEnd(&[404]), "metadata/updater/updater.go:499"),
    line(GoTuf, Integers(LONG), "metadata/types.go:139: int64"),
    line(GoTuf, EmptyFields, "metadata/marshal.go:179"),

    line(TufJs, Visits(32), "dist/config.js:6"),
    line(TufJs, Bytes(Root, 512_000), "dist/config.js:7"),
    line(TufJs, Bytes(Timestamp, 16_384), "dist/config.js:8"),
    line(TufJs, Bytes(Snapshot, 2_000_000), "dist/config.js:9"),
    line(TufJs, Bytes(Targets, 5_000_000), "dist/config.js:10"),
    line(TufJs, Roots(256), "dist/config.js:5"),
    line(TufJs, RootEnd(&[403, 404]), "dist/updater.js:183"),
    line(TufJs, Integers(JS), "JSON.parse; canonical-json writes the rounded number"),
    line(TufJs, Utf16Order, "canonical-json: `Object.keys(…).sort()`"),
    line(TufJs, Proto, "@tufjs/models: targets in a plain object; tried"),
    line(TufJs, Quadratic, "@tufjs/models: object spread in a reduce; measured by bench/tuf-js.mjs"),

    line(Tough, Succinct("it cannot parse `succinct_roles`: nothing loads"), "src/schema/mod.rs:886"),
    line(Tough, Bytes(Root, 1 << 20), "src/lib.rs:292"),
    line(Tough, Bytes(Timestamp, 1 << 20), "src/lib.rs:294"),
    line(Tough, Bytes(Snapshot, 1 << 20), "src/lib.rs:295"),
    line(Tough, Bytes(Targets, 10 << 20), "src/lib.rs:293"),
    line(Tough, Roots(1_024), "src/lib.rs:296"),
    line(Tough, RootEnd(&[403, 404, 410]), "src/http.rs:536"),
    line(Tough, KeyIds, "src/schema/de.rs:21"),
    line(Tough, KnownKinds, "src/schema/key.rs: a tagged enum"),
    line(Tough, HashedFolder, "src/cache.rs:270"),
    line(Tough, Sha256, "src/schema/mod.rs:329"),
    line(Tough, NoEncoding, "src/http.rs: reqwest without its gzip feature"),
    line(Tough, Nfc, "olpc-cjson 0.1.4, src/lib.rs:178"),
    line(Tough, QuotedOrder, "olpc-cjson 0.1.4, src/lib.rs: keys are sorted as they are written"),
    line(Tough, Colon, "url's `Url::join`; tried"),
    line(Tough, Eager, "src/lib.rs:1317"),

    line(SigstoreTuf, Succinct("it ignores `succinct_roles`: no target in the bins is found"), "src/metadata/role.rs:110; tried"),
    line(SigstoreTuf, Visits(32), "src/transport.rs:89"),
    line(SigstoreTuf, Bytes(Root, 512_000), "src/transport.rs:83"),
    line(SigstoreTuf, Bytes(Timestamp, 16_384), "src/transport.rs:84"),
    line(SigstoreTuf, Bytes(Snapshot, 2_000_000), "src/transport.rs:85"),
    line(SigstoreTuf, Bytes(Targets, 5_000_000), "src/transport.rs:86"),
    line(SigstoreTuf, LengthIgnored, "src/client.rs:200"),
    line(SigstoreTuf, Roots(32), "src/transport.rs:88"),
    line(SigstoreTuf, RootEnd(&[403, 404]), "src/client.rs:591"),
    line(SigstoreTuf, NoEncoding, "Cargo.toml:83: reqwest without its gzip feature"),

    line(RustTuf, Succinct("it cannot parse `succinct_roles`: nothing loads"), "src/metadata.rs: `Delegations`"),
    line(RustTuf, Prefixes("it does not know `path_hash_prefixes`"), "src/metadata.rs: `Delegation`"),
    line(RustTuf, OneDelegation, "src/client.rs:1092"),
    line(RustTuf, Bytes(Root, 512_000), "src/client.rs:1244"),
    line(RustTuf, Bytes(Timestamp, 16_384), "src/client.rs:1245"),
    line(RustTuf, Bytes(Snapshot, 2_000_000), "src/client.rs:1246"),
    line(RustTuf, Bytes(Targets, 5_000_000), "src/client.rs:1247"),
    line(RustTuf, RootEnd(&[404]), "src/repository/http.rs"),
    line(RustTuf, KeyIds, "src/pouf/pouf1/shims.rs: other keys are dropped"),
    line(RustTuf, Kinds(&["ed25519/ed25519"]), "src/crypto.rs: `SignatureScheme`"),
    line(RustTuf, WindowsNames, "src/metadata.rs:62"),

    line(SigstoreJava, NoDelegations, "tuf/Updater.java"),
    line(SigstoreJava, Bytes(Root, 101_376), "tuf/MetaFetcher.java:33"),
    line(SigstoreJava, Bytes(Timestamp, 101_376), "tuf/MetaFetcher.java:33"),
    line(SigstoreJava, Bytes(Snapshot, 2_000_000), "tuf/model/SnapshotMeta.java:38"),
    line(SigstoreJava, Bytes(Targets, 2_000_000), "tuf/model/SnapshotMeta.java:38"),
    line(SigstoreJava, Roots(1_024), "tuf/Updater.java"),
    line(SigstoreJava, RootEnd(&[404]), "tuf/HttpFetcher.java:60"),
    line(SigstoreJava, Integers(INT), "tuf/model/TargetMeta.java:54: int"),

    line(PhpTuf, Succinct("it does not know `succinct_roles`: no target in the bins is found"), "src/Metadata/TargetsMetadata.php"),
    line(PhpTuf, Visits(100), "src/Client/Updater.php:36"),
    line(PhpTuf, Bytes(Root, 100_000), "src/Client/Repository.php:25"),
    line(PhpTuf, Bytes(Timestamp, 100_000), "src/Client/Repository.php:25"),
    line(PhpTuf, Bytes(Snapshot, 100_000), "src/Client/Repository.php:25"),
    line(PhpTuf, Bytes(Targets, 100_000), "src/Client/Repository.php:25"),
    line(PhpTuf, Roots(1_024), "src/Client/Updater.php:29"),
    line(PhpTuf, RootEnd(&[404]), "src/Client/Repository.php"),
    line(PhpTuf, KeyIds, "src/Key.php"),
    line(PhpTuf, Kinds(&["ed25519/ed25519"]), "src/Metadata/ConstraintsTrait.php:128"),
    line(PhpTuf, Integers(LONG), "PHP_INT_MAX"),
    line(PhpTuf, Bare, "src/Client/Updater.php"),
    line(PhpTuf, Ascii, "src/CanonicalJsonTrait.php:32: json_encode"),

    line(OldGoTuf, Succinct("it does not know `succinct_roles`: no target in the bins is found"), "data/types.go"),
    line(OldGoTuf, Visits(32), "client/delegations.go"),
    line(OldGoTuf, Bytes(Root, 512_000), "client/client.go"),
    line(OldGoTuf, Bytes(Timestamp, 16_384), "client/client.go"),
    line(OldGoTuf, Bytes(Snapshot, 2_000_000), "client/client.go"),
    line(OldGoTuf, Bytes(Targets, 5_000_000), "client/client.go"),
    line(OldGoTuf, RootEnd(&[404]), "client/client.go"),
    line(OldGoTuf, KeyIds, "data/types.go: `PublicKey.IDs`"),
    line(OldGoTuf, Integers(LONG), "data/types.go: int64"),
];
