//! The flat layout: all targets in targets.json, for clients that read no delegations.

use std::fs;

use tufgate::Digest;

use crate::support::{
    ceremony::said,
    clients::{Client, Place},
    gate::{Gate, Setup, tufgate, until},
    http,
    nginx::Nginx,
};

const TARGETS: [(&str, &[u8]); 3] = [
    ("top.txt", b"top"),
    ("a/one.txt", b"one"),
    ("a/b/three+four@1.0.bin", b"three and four"),
];

#[test]
fn clients_without_delegations_read_it_and_are_guarded() {
    let nginx = Nginx::start();
    let gate = Gate::start(&Setup::learning(nginx.url()).extra("[tuf]\nlayout = \"flat\"\n"));
    for (path, bytes) in TARGETS {
        gate.publish(&format!("/{path}"), bytes);
    }
    let folder = tempfile::tempdir().unwrap();
    let get = |client: Client, wanted: &[(&str, &[u8])]| {
        let place = Place {
            gate: gate.url(),
            root: gate.root(),
            dir: folder.path().join(client.name()),
            user_agent: "flat".to_owned(),
        };
        fs::create_dir_all(&place.dir).unwrap();
        let outs: Vec<_> = (0..wanted.len())
            .map(|number| folder.path().join(number.to_string()))
            .collect();
        let pairs: Vec<_> = wanted
            .iter()
            .zip(&outs)
            .map(|((path, _), out)| (*path, out.as_path()))
            .collect();
        for (said, (path, bytes)) in client.get(&place, &pairs).iter().zip(wanted) {
            assert_eq!(
                said.result,
                Ok(Digest::of(bytes).to_string()),
                "{}: {path}",
                client.name()
            );
        }
    };
    let all = || Client::ALL.into_iter().chain(Client::FLAT);
    all().for_each(|client| get(client, &TARGETS));

    // A name that Windows cannot have makes rust-tuf refuse the whole file: it is not recorded, and everybody goes on.
    let refused = http::put(gate.addr, "/a/nul.txt", b"odd");
    assert_eq!(refused.status, 507, "{refused:?}");
    gate.publish("/a/caf%C3%A9.txt", b"later");
    all().for_each(|client| get(client, &[("a/caf\u{e9}.txt", b"later")]));
    until("everything to be settled", || gate.status()["pending"] == 0);
    let lint = gate.command(&["lint"]);
    assert!(
        lint.status.success() && said(&lint).contains("sigstore-java"),
        "{}",
        said(&lint)
    );
    // The audit of others, and our own client.
    let (root, url) = (gate.root(), gate.url());
    let verify = ["verify", "--all", "--url", &url, "--root", root.to_str().unwrap()];
    let done = tufgate(&gate.dir, &verify);
    assert!(done.status.success(), "{}", said(&done));
}
