//! What would break a client is not published, and everything else is.

use bytes::Bytes;
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};
use tough::schema::{RoleType, Root, Signed, Targets};

use super::{
    super::{batch::Bin, *},
    world::World,
};
use crate::{
    compat::Client,
    digest::Digest,
    ledger::{Act, Provenance},
    target::TargetPath,
    tuf::{
        build, canonical, schema,
        verify::{self, Unverified, testing},
    },
};

fn long(length: u64) -> Act {
    Act::Record {
        digest: Digest::of("x"),
        length,
        provenance: Provenance::Published,
    }
}

#[tokio::test]
async fn a_row_that_would_break_a_client_is_set_aside_alone() {
    let world = World::new().await;
    let mut parts = world.parts("a");
    let metrics = Metrics::new().unwrap();
    parts.metrics = metrics.clone();
    let mut signer = world.signer_of(parts);
    world.put("good", "x").await;
    world.observe("large", long(1 << 53)).await;
    world.observe("largest", long(u64::MAX)).await;
    world.observe("fits", long((1 << 53) - 1)).await;
    world.put("a/x: no", "x").await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["a/x: no", "fits", "good"]);
    let of = |client: Client| metrics.guarded_total.with_label_values(&["target", client.key()]).get();
    assert_eq!((of(Client::TufJs), of(Client::GoTuf), of(Client::Tough)), (2, 1, 0));
    let lines = world.ledger.audit_lines(100).await.unwrap();
    let told: Vec<_> = lines.iter().filter(|line| line.action == "guard").collect();
    assert_eq!(told.len(), 2);
    assert!(
        told[1].path == "large" && told[1].detail.contains("tuf-js 6.0.2"),
        "{told:?}"
    );
}

#[tokio::test]
async fn clients_that_are_named_are_guarded_too() {
    let world = World::changed(|config| config.tuf.clients.push(Client::PhpTuf)).await;
    let mut signer = world.signer("a");
    world.put("plain", "x").await;
    world.put("\u{e9}", "x").await;
    world.settle(&mut signer).await;
    assert_eq!(world.view().await.paths(), ["plain"]);
}

#[tokio::test]
async fn bins_do_not_grow_beyond_what_clients_read() {
    let world = World::changed(|config| {
        config.tuf.bins = 256;
        config.tuf.grow_at = 1;
        config.tuf.clients.push(Client::PhpTuf);
    })
    .await;
    let mut parts = world.parts("a");
    let metrics = Metrics::new().unwrap();
    parts.metrics = metrics.clone();
    let mut signer = world.signer_of(parts);
    for name in 0..300 {
        world.put(&format!("n/{name}"), "x").await;
    }
    for _ in 0..20 {
        signer.turn().await.unwrap();
    }
    let view = world.view().await;
    assert_eq!(view.targets.len(), 300, "publishing goes on");
    assert!(
        !view.roles.contains_key("bins10-000"),
        "1,024 bins are 180 kB, and php-tuf reads 100 kB"
    );
    let stopped = metrics.guarded_total.with_label_values(&["role", "php-tuf"]).get();
    assert_eq!(stopped, 1, "said once");
}

#[tokio::test]
async fn a_top_level_role_that_would_break_clients_is_not_published_and_the_last_stays() {
    let world = World::new().await;
    let mut signer = world.signer("a");
    world.put("a", "x").await;
    world.settle(&mut signer).await;
    signer.leave().await.unwrap();
    let before = world.view().await;
    // From now on somebody must go on who reads Ed25519 alone, and the key of bins, which targets.json lists, is ECDSA.
    let mut parts = world.parts("a");
    let mut config = (*parts.config).clone();
    config.tuf.clients.push(Client::PhpTuf);
    parts.config = Arc::new(config);
    let signer = world.signer_of(parts);
    let pem = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----";
    let key = json!({"keytype": "ecdsa", "scheme": "ecdsa-sha2-nistp256", "keyval": {"public": pem}});
    let id = Digest::of(canonical::to_vec(&key).unwrap()).to_string();
    let role = json!({"name": "bins", "keyids": [id], "threshold": 1, "terminating": true, "path_hash_prefixes": [""]});
    let signed = json!({
        "_type": "targets", "spec_version": "1.0.0", "version": 9, "expires": "2100-01-01T00:00:00Z", "targets": {},
        "delegations": {"keys": {id: key}, "roles": [role]},
    });
    let file = Bytes::from(json!({"signatures": [], "signed": signed}).to_string());
    let found = signer.targets_break(&file);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].clients, [Client::PhpTuf]);
    let mut reader = world.signer("a");
    let now = world.clock.now();
    reader.recover().await.unwrap();
    let state = reader.state.as_ref().unwrap();
    assert!(!reader.may_replace("targets", found.clone(), state, now).await.unwrap());
    let first = reader.may_replace("never-there", found, state, now).await;
    assert!(matches!(first, Err(SignerError::Guarded(_))), "{first:?}");
    assert_eq!(world.view().await.roles, before.roles);
}

/// A bin that `names` were decided into, signed, and its root.
fn published(names: &[(String, u64)]) -> (Vec<String>, Vec<u8>, Vec<u8>) {
    let policy = crate::policy::Policy::quickstart().unwrap();
    let mut bin = Bin::default();
    let mut judge = super::super::batch::Judge {
        policy: &policy,
        caps: super::super::batch::Caps {
            targets: 2_000,
            bytes: 1_000_000,
        },
        clients: &Client::BINS,
        quota: &mut Default::default(),
        audited: 0,
    };
    let observations: Vec<_> = names
        .iter()
        .enumerate()
        .filter_map(|(seq, (name, length))| {
            Some(Observation {
                seq: seq as u64 + 1,
                path: TargetPath::new(name).ok()?,
                act: long(*length),
                who: String::new(),
                at: Timestamp::UNIX_EPOCH,
            })
        })
        .collect();
    judge.decide(&mut bin, &mut Default::default(), &observations, &[]);
    let rows = bin.rows();
    let listed = rows.keys().map(|path| path.as_str().to_owned()).collect();
    let rows = rows
        .iter()
        .map(|(path, (digest, length))| (path.as_str(), digest, *length));
    let signed = build::targets(1, Timestamp::MAX, None, rows).unwrap();
    let signed: Value = serde_json::from_slice(&signed).unwrap();
    let key = testing::key(7);
    let role = testing::role(&[&key], 1);
    let root = json!({
        "_type": "root", "spec_version": "1.0.0", "version": 1, "expires": "2100-01-01T00:00:00Z",
        "consistent_snapshot": true, "keys": testing::keys(&[&key]),
        "roles": {"root": role, "timestamp": role, "snapshot": role, "targets": role},
    });
    // Signed over our canonical form, as the signer does.
    let file = {
        use ed25519_dalek::Signer as _;
        let signature = key.sign(&canonical::to_vec(&signed).unwrap()).to_bytes();
        json!({"signatures": [{"keyid": testing::id(&key), "sig": hex::encode(signature)}], "signed": signed})
    };
    let root = testing::sign(&root, &[&key]);
    (listed, file.to_string().into_bytes(), root)
}

fn names() -> impl Strategy<Value = Vec<(String, u64)>> {
    let piece = prop_oneof![
        "[a-zA-Z0-9._+~@ !-]{1,6}",
        "\\PC{1,4}",
        Just("__proto__".to_owned()),
        Just("e\u{301}".to_owned()),
        Just("\u{ff01}".to_owned()),
        Just("\u{1f600}".to_owned()),
        Just("nul.txt".to_owned()),
        "[\"\\\\%?#:]{1,2}",
    ];
    let name = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let path = prop::collection::vec(name, 1..3).prop_map(|segments| segments.join("/"));
    let length = prop_oneof![0..1_000_u64, any::<u64>(), (1_u64 << 53) - 2..(1 << 53) + 2];
    prop::collection::vec((path, length), 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever the guard lets pass, our own client and tough read and verify; and JavaScript can count it.
    #[test]
    fn what_is_let_pass_is_read_by_everybody(names in names()) {
        let (listed, file, root) = published(&names);
        // Our own client.
        let ours = Unverified::parse(&root).unwrap().self_signed_root().unwrap();
        let keys = verify::Keys::of_root(&ours, RoleType::Targets).unwrap();
        let read: schema::Targets = Unverified::parse(&file).unwrap().verify(&keys, "targets").unwrap();
        prop_assert_eq!(read.targets.keys().cloned().collect::<Vec<_>>(), listed.clone());
        // tough, with its own canonical form.
        let theirs: Signed<Root> = serde_json::from_slice(&root).unwrap();
        let signed: Signed<Targets> = serde_json::from_slice(&file).unwrap();
        theirs.signed.verify_role(&signed).unwrap();
        prop_assert_eq!(signed.signed.targets.len(), listed.len());
        for (name, target) in &read.targets {
            prop_assert!(target.length < 1 << 53, "{} {}", name, target.length);
        }
        // JavaScript sorts by UTF-16 units.
        prop_assert!(listed.windows(2).all(|pair| pair[0].encode_utf16().lt(pair[1].encode_utf16())));
    }
}
