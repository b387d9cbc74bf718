//! What every [`SigningKey`] must do, as a client sees it: through tough.

use std::collections::BTreeMap;

use tough::schema::{Root, Signed};

use super::SigningKey;
use crate::{
    digest::Digest,
    tuf::{
        build::{self, RoleKeys, TopLevel},
        canonical,
    },
};

/// `a` and `b` are two keys of one kind.
pub(super) async fn suite(a: &dyn SigningKey, b: &dyn SigningKey) {
    for key in [a, b] {
        let form = canonical::to_vec(key.public()).expect("a key has a canonical form");
        assert_eq!(hex::encode(key.key_id()), Digest::of(form).to_string());
        let root = signed_by(key, key).await;
        root.signed.verify_role(&root).expect("tough refuses the signature");
    }
    assert_ne!(a.key_id(), b.key_id());
    let forged = signed_by(a, b).await;
    assert!(
        forged.signed.verify_role(&forged).is_err(),
        "another key's signature passes"
    );
}

/// A root that lists `listed` for every role, signed by `signer` in its name.
async fn signed_by(listed: &dyn SigningKey, signer: &dyn SigningKey) -> Signed<Root> {
    let role = RoleKeys {
        keys: vec![(listed.key_id().clone(), listed.public().clone())],
        threshold: 1,
    };
    let roles = TopLevel {
        names: BTreeMap::new(),
        root: role.clone(),
        timestamp: role.clone(),
        snapshot: role.clone(),
        targets: role,
    };
    let expires = jiff::Timestamp::UNIX_EPOCH;
    let signed = build::root(1, expires, &roles).expect("a root has a canonical form");
    let signature = signer.sign(&signed).await.expect("the key signs");
    let file = build::envelope(&signed, &[(listed.key_id(), signature)]);
    serde_json::from_slice(&file).expect("tough parses the root")
}
